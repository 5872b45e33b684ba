"""The shipped pack reads a text with the same bits whether anybody asks or not, alone or among others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest

import umbel
from umbel.adapters import merge
from umbel.branch_graph import BranchEngine, Kept
from umbel.catalogue import load_backbone
from umbel.engine import Floats, OpenVinoEngine, build_graph
from umbel.inquiries import Inquiry, Reply
from umbel.pack import read_pack
from umbel.questions import Choice, Option, Predicate
from umbel.records import Result
from umbel.runtime import Model

TEXTS = (
    "这是一个关于AI的多任务处理案例。",
    "I was charged twice for order 1042, please refund one of them today.",
    "房间很干净，但是服务员态度很差 :(",
    "ok",
    "My parcel from Berlin has not arrived yet. Where is it? I have been waiting for two weeks now.",
)
ASKED = (Predicate("The customer wants money back"), Choice("Which team?", (Option("billing"), Option("delivery"))))
LENGTH = 40  # holds each of the texts


@pytest.fixture(scope="module", params=["float32", "bfloat16", "int8"])
def model(default_backbone: str, request: pytest.FixtureRequest) -> Model:
    return umbel.load("base", precision=request.param, threads=1)


@pytest.fixture(scope="module")
def engine(model: Model) -> BranchEngine:
    return model.reader.engine


@pytest.fixture(scope="module")
def batch(model: Model) -> tuple[Floats, np.ndarray]:
    rows = [cut[0].ids for cut in model.tokenizer.windows_many(TEXTS)]
    ids = np.full((len(rows), LENGTH), model.tokenizer.pad, np.int64)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = row
    return model.embedding.rows(ids), np.array([len(row) for row in rows], np.int32)


def same(first: Kept, second: Kept) -> bool:
    pairs = zip((first.hidden, *first.layers), (second.hidden, *second.layers), strict=True)
    return all(np.array_equal(*pair) for pair in pairs)


def bits(result: Result) -> dict[str, dict[str, Any]]:
    """Return each task's answer, arrays as their bytes."""
    return {
        name: {key: value.tobytes() if isinstance(value, np.ndarray) else value for key, value in vars(answer).items()}
        for name, answer in result.items()
    }


def test_a_graph_that_gives_hidden_states_alone_gives_the_same(
    model: Model, engine: BranchEngine, batch: tuple[Floats, np.ndarray], default_backbone: str, tmp_path: Path
) -> None:
    backbone = load_backbone(default_backbone)
    tensors, roundings = merge(backbone.tensors, model.pack.adapter()), {}
    if engine.precision == "int8":
        roundings = model.pack.roundings()
    ov.save_model(build_graph(backbone.shape, tensors, roundings=roundings), tmp_path / "plain.xml")
    plain = OpenVinoEngine(tmp_path / "plain.xml", engine.precision, 1)  # type: ignore[arg-type]
    without, beside = plain.encode(*batch), engine.encode(*batch)
    for row, length in enumerate(batch[1]):
        assert np.array_equal(without[row, :length], beside[row, :length])


def test_what_is_kept_has_the_same_bits_alone_and_in_a_batch(
    engine: BranchEngine, batch: tuple[Floats, np.ndarray]
) -> None:
    embedded, lengths = batch
    hidden, together = engine.encode(embedded, lengths), engine.keep(embedded, lengths)
    for row, kept in enumerate(together):
        assert np.array_equal(kept.hidden, hidden[row, : lengths[row]])
        (alone,) = engine.keep(embedded[row : row + 1], lengths[row : row + 1])
        assert same(kept, alone)


def test_tasks_answer_the_same_beside_questions_and_without(model: Model) -> None:
    assert read_pack("base").manifest.branches
    before = model(list(TEXTS))
    beside = model.inquire([Inquiry(text, questions=ASKED) for text in TEXTS])
    alone = [model.ask(text, ASKED) for text in TEXTS]
    for first, reply, answers, again in zip(before, beside, alone, model(list(TEXTS)), strict=True):
        assert isinstance(reply, Reply)
        assert bits(first) == bits(reply.result) == bits(again)
        assert list(reply.answers) == answers
