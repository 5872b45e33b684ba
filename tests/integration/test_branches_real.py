"""Branches on the real backbone: the same bits in any company, at any number of tokens; parity with training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from umbel.branch_graph import BranchEngine, Kept, build_branching_graph
from umbel.catalogue import load_backbone
from umbel.reader import LENGTHS, PASS_TOKENS
from umbel.tree import Branch, rows_of
from umbel.weights import Backbone

torch = pytest.importorskip("torch", reason="training needs torch")

from umbel.backbones.bert import BertEncoder  # noqa: E402

TEXT = "我昨天在你们店里买的手机充不进电，麻烦换一台新的。My parcel from Berlin has not arrived yet, where is it?"
WITHIN = {"float32": 1e-4, "bfloat16": 0.05}


@pytest.fixture(scope="module")
def backbone(default_backbone: str) -> Backbone:
    return load_backbone(default_backbone)


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def engine(backbone: Backbone, request: pytest.FixtureRequest) -> BranchEngine:
    return BranchEngine(build_branching_graph(backbone.shape, backbone.tensors), backbone.shape, request.param)


@pytest.fixture(scope="module")
def kept(backbone: Backbone, engine: BranchEngine) -> Kept:
    ids = backbone.tokenizer.windows(TEXT)[0].ids
    return engine.keep(backbone.embedding.rows(ids[None]), np.array([len(ids)], np.int32))[0]


def read(backbone: Backbone, engine: BranchEngine, kept: Kept, found: list[Branch], length: int) -> list[Any]:
    rows = rows_of(found, backbone.tokenizer.pad, length)
    states = engine.branch(backbone.embedding.rows(rows.ids[rows.used]), rows, kept)
    return np.split(states, np.cumsum([len(each) for each in rows.read])[:-1])


def drawn(random: np.random.Generator, most: int) -> Branch:
    """Return a branch of 3 to `most` tokens."""
    sizes = [int(random.integers(3, 13))]
    while sum(sizes) < most - 6 and random.random() < 0.8:
        sizes.append(int(random.integers(2, 7)))
    question, *options = (random.integers(10, 50_000, size).astype(np.int32) for size in sizes)
    return Branch(question, 0, tuple(options), 1)


@pytest.mark.parametrize("length", LENGTHS)
def test_a_branch_has_the_same_bits_in_any_company(
    backbone: Backbone, engine: BranchEngine, kept: Kept, length: int
) -> None:
    random = np.random.default_rng(length)
    most = PASS_TOKENS // length
    found = [drawn(random, length) for _ in range(most)]
    together = read(backbone, engine, kept, found, length)
    for count in (1, 1, 1, 2, 3, 5, 8, most // 2):
        some = random.permutation(most)[:count].tolist()
        for place, states in zip(some, read(backbone, engine, kept, [found[p] for p in some], length), strict=True):
            np.testing.assert_array_equal(states, together[place])


def test_both_engines_agree(backbone: Backbone, engine: BranchEngine, kept: Kept) -> None:
    random = np.random.default_rng(0)
    found = [drawn(random, 64) for _ in range(6)]
    rows = rows_of(found, backbone.tokenizer.pad, 64)
    encoder = BertEncoder.from_tensors(backbone.shape, backbone.all_tensors()).eval()
    with torch.no_grad():
        ids = torch.from_numpy(backbone.tokenizer.windows(TEXT)[0].ids[None].astype(np.int64))
        encoding = encoder.encode(ids, torch.ones_like(ids, dtype=torch.bool))
        given = [torch.from_numpy(each) for each in (rows.ids, rows.positions)]
        roles = torch.zeros((*rows.ids.shape, backbone.shape.hidden))
        first = torch.zeros(len(found), dtype=torch.long)
        wanted = encoder.branch(encoding, first, *given, roles, torch.from_numpy(rows.attends)).numpy()
    states = np.concatenate(read(backbone, engine, kept, found, 64))
    np.testing.assert_allclose(states, wanted[rows.used][np.concatenate(rows.read)], atol=WITHIN[engine.precision])
