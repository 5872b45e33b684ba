"""The heads in numpy against the training engine's, and their independence of each other."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from umbel.heads import GROUP, Heads
from umbel.model import PooledHead, TokenHead

HIDDEN = 24


def heads_of(count, seed=0):
    random = np.random.default_rng(seed)
    pooled = {
        f"pooled{n}": {
            "query": random.normal(size=HIDDEN),
            "weight": random.normal(size=(n + 2, HIDDEN)),
            "bias": np.ones(n + 2),
        }
        for n in range(count)
    }
    token = {"token": {"weight": random.normal(size=(5, HIDDEN)), "bias": random.normal(size=5)}}
    typed = {name: {k: v.astype(np.float32) for k, v in head.items()} for name, head in (pooled | token).items()}
    return typed | {"vector": {}}


@pytest.fixture
def hidden():
    return np.random.default_rng(5).normal(size=(7, HIDDEN)).astype(np.float32)


def test_logits_equal_the_training_heads(hidden):
    heads = heads_of(3)
    found = Heads(heads).logits(hidden, list(heads))
    states, mask = torch.tensor(hidden)[None], torch.ones(1, 7, dtype=torch.bool)
    for name, arrays in heads.items():
        if not arrays:
            assert np.allclose(found[name], hidden.mean(axis=0), atol=1e-6)
            continue
        module = (PooledHead if "query" in arrays else TokenHead)(HIDDEN, len(arrays["bias"]))
        module.load_state_dict({key: torch.tensor(value) for key, value in arrays.items()})
        expected = module(states, mask, 0.0)[0].detach().numpy()
        assert np.allclose(found[name], expected, atol=1e-5)


@pytest.mark.parametrize("count", [1, GROUP, GROUP + 3, 3 * GROUP])
def test_a_task_is_bit_identical_whatever_is_asked_beside_it(hidden, count):
    heads = heads_of(count)
    together = Heads(heads).logits(hidden, list(heads))
    for name in heads:
        assert np.array_equal(Heads(heads).logits(hidden, [name])[name], together[name])


def test_a_task_is_bit_identical_when_others_come_and_go(hidden):
    few, many = heads_of(2), heads_of(40)
    before = Heads(few).logits(hidden, list(few))
    after = Heads({**{f"new{n}": many[f"pooled{n}"] for n in range(5, 25)}, **few}).logits(hidden, list(few))
    for name in few:
        assert np.array_equal(before[name], after[name])


SHIFTED = """
import numpy as np
from umbel.heads import GROUP, Heads
random = np.random.default_rng(1)
def numbers(*size):
    return random.normal(size=size).astype(np.float32)
for width in (32, 64, 384):
    heads = {f"t{n}": {"query": numbers(width), "weight": numbers(3, width), "bias": numbers(3)} for n in range(GROUP)}
    fewer = {name: head for name, head in heads.items() if name != "t0"}  # all others stand one place earlier
    for tokens in (1, 3, 8, 27, 128):
        hidden = numbers(tokens, width)
        before, after = (Heads(each).logits(hidden, list(each)) for each in (heads, fewer))
        assert all(np.array_equal(before[name], after[name]) for name in fewer), (width, tokens)
"""


@pytest.mark.parametrize("kernels", ["", "Haswell"])  # those for AVX2 round a row of a product by where it stands
def test_a_task_is_bit_identical_wherever_it_stands_whatever_the_processor(kernels):
    kept = {key: value for key, value in os.environ.items() if not key.startswith("OPENBLAS_")}
    forced = {"OPENBLAS_CORETYPE": kernels} if kernels else {}
    done = subprocess.run([sys.executable, "-c", SHIFTED], env=kept | forced, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_answers_come_in_the_order_asked(hidden):
    heads = heads_of(20)
    asked = ["vector", "pooled17", "token", "pooled2"]
    assert list(Heads(heads).logits(hidden, asked)) == asked
