"""What is known of a pack that is served: a report in its folder goes before what the manifest says."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from tiny_pack import write_tiny_backbone, write_tiny_pack

from umbel.report import report_of
from umbel.server.showing import report_in


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_pack(tmp_path / "pack", write_tiny_backbone(tmp_path / "backbone")).folder


def test_without_a_file_the_manifest_speaks(folder: Path) -> None:
    found = report_in(folder)
    assert found["measured"] is False
    assert found["tasks"]["sentiment"]["score"] == [81.25, None, None]


def test_a_report_in_the_folder_goes_before_it(folder: Path) -> None:
    written = report_in(folder) | {"measured": True}
    (folder / "report.json").write_text(json.dumps(written))
    assert report_in(folder) == written


@pytest.mark.parametrize("text", ['{"pack": "tiny", "version": "9.9.9"}', '{"pack": "other", "version": "0.1.0"}'])
def test_that_of_another_version_or_pack_is_passed_over(folder: Path, text: str) -> None:
    (folder / "report.json").write_text(text)
    assert report_in(folder)["measured"] is False


@pytest.mark.parametrize("text", ["{", "[]", '"x"', "{}", "7"])
def test_one_that_cannot_be_read_is_told_in_the_log(folder: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "report.json").write_text(text)
    with caplog.at_level(logging.WARNING):
        assert report_in(folder)["pack"] == "tiny"
    assert "report.json cannot be read" in caplog.text


def test_it_is_what_the_command_writes(folder: Path) -> None:
    from umbel.pack import read_pack

    assert report_in(folder) == report_of(read_pack(folder))
