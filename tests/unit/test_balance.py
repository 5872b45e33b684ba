"""The plan: shares, limits of batches, every row in its turn, and nothing but the seed and the round behind it."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umbel.balance import Plan, by_progress, shares_of

SIZES = {"big": 400, "small": 25}


def plan_of(rows=2000, seed=1, **settings):
    lengths = {name: np.random.default_rng(len(name)).integers(3, 60, size) for name, size in SIZES.items()}
    shares = shares_of(SIZES, "square-root")
    return Plan(lengths, shares, rows, settings.pop("batch_rows", 16), settings.pop("batch_tokens", 512), seed, 500)


def test_shares():
    assert shares_of(SIZES, "size") == {"big": pytest.approx(400 / 425), "small": pytest.approx(25 / 425)}
    assert shares_of(SIZES, "square-root") == {"big": pytest.approx(0.8), "small": pytest.approx(0.2)}
    assert shares_of(SIZES, "temperature", 1.0) == shares_of(SIZES, "size")
    assert shares_of(SIZES, "temperature", 2.0) == shares_of(SIZES, "square-root")
    assert shares_of(SIZES, "size", cap=75) == {"big": pytest.approx(0.75), "small": pytest.approx(0.25)}
    assert shares_of(SIZES, "size", 1.0, {"small": 16.0}) == {"big": pytest.approx(0.5), "small": pytest.approx(0.5)}


def test_every_source_gets_its_share_and_every_row_its_turn():
    plan = plan_of()
    rows = [row for number in range(plan.rounds) for batch in plan.batches(number) for row in batch]
    assert len(rows) == 2000
    counts = Counter(rows)
    assert sum(n for (source, _), n in counts.items() if source == "small") == 400
    assert {counts["small", index] for index in range(25)} == {16}
    assert {counts["big", index] for index in range(400)} == {4}


def test_batches_keep_their_limits():
    plan = plan_of(batch_rows=8, batch_tokens=200)
    for batch in plan.batches(0):
        longest = max(int(plan.lengths[source][index]) for source, index in batch)
        assert len(batch) <= 8
        assert len(batch) == 1 or len(batch) * longest <= 200


def test_a_row_longer_than_a_batch_stands_alone():
    plan = plan_of(batch_tokens=10)
    assert all(len(batch) == 1 for batch in plan.batches(0) if max(plan.lengths[s][i] for s, i in batch) > 10)


def test_a_round_depends_on_the_seed_and_its_number_alone():
    assert plan_of().batches(2) == plan_of().batches(2)
    assert plan_of().batches(2) != plan_of(seed=2).batches(2)
    assert plan_of().batches(1) != plan_of().batches(2)


def test_sources_left_out_leave_the_others_rows():
    plan = plan_of()
    kept = Counter(row for batch in plan.batches(1, {"small"}) for row in batch)
    assert kept == Counter(row for batch in plan.batches(1) for row in batch if row[0] == "big")


def test_the_fraction_counts_rows_so_that_a_short_last_round_counts_little():
    plan = plan_of(rows=1100)  # rounds of 500, 500 and 100
    assert plan.rounds == 3
    assert [plan.fraction(n, 0.0) for n in range(4)] == [0, 500 / 1100, 1000 / 1100, 1]
    assert plan.fraction(2, 0.5) == pytest.approx(1050 / 1100)


def test_rows_come_epoch_by_epoch():
    plan = plan_of(rows=2000)
    drawn = [index for number in range(plan.rounds) for source, index in plan._drawn("big", number)]
    epochs = [sorted(drawn[start : start + 400]) for start in range(0, len(drawn), 400)]
    assert epochs == [list(range(400))] * 4
    assert drawn[:400] != drawn[400:800]


@settings(max_examples=30)
@given(st.integers(1, 3000), st.integers(1, 700), st.integers(0, 9), st.integers(1, 40), st.integers(1, 900))
def test_all_plans_keep_their_promises(rows, round_rows, seed, batch_rows, batch_tokens):
    base = plan_of()
    plan = Plan(base.lengths, base.shares, rows, batch_rows, batch_tokens, seed, round_rows)
    batches = [batch for number in range(plan.rounds) for batch in plan.batches(number)]
    counts = Counter(source for batch in batches for source, _ in batch)
    for source, share in plan.shares.items():
        assert abs(counts[source] - share * rows) <= 1
    for batch in batches:
        longest = max(int(plan.lengths[source][index]) for source, index in batch)
        assert 0 < len(batch) <= batch_rows
        assert len(batch) == 1 or len(batch) * longest <= batch_tokens


def test_progress_begins_with_the_square_root_and_shares_go_where_scores_move():
    sizes = {"large": 400, "small": 100}
    shares = shares_of(sizes, "progress")
    assert shares == shares_of(sizes, "square-root")
    rows = {"large": [{"still"}] * 4, "small": [{"moving"}] * 2 + [set()]}
    assert by_progress(shares, rows, [{"still": 50.0, "moving": 10.0}]) == shares
    for after in (30.0, 20.0):
        found = by_progress(shares, rows, [{"still": 50.0, "moving": 25.0}, {"still": 50.0, "moving": after}])
        assert sum(found.values()) == pytest.approx(1)
        assert found["small"] / found["large"] == pytest.approx(shares["small"] / shares["large"] * 1.5 / 0.5)
    same = {"still": 50.0, "moving": 25.0}
    assert by_progress(shares, rows, [same, same]) == pytest.approx(shares)


def test_a_turn_changes_what_is_drawn_from_its_round_on_and_nothing_before():
    lengths = {"a": np.full(50, 5), "b": np.full(50, 5)}
    plan = Plan(lengths, {"a": 0.5, "b": 0.5}, 400, 8, 1000, 1, round_rows=100)
    turned = replace(plan, turns=[(1, {"a": 0.9, "b": 0.1}), (3, {"a": 0.0, "b": 1.0})])
    counts = [Counter(source for batch in turned.batches(number) for source, _ in batch) for number in range(4)]
    assert [count["a"] for count in counts] == [50, 90, 90, 0]
    assert all(sum(count.values()) == 100 for count in counts)
    assert turned.batches(0) == plan.batches(0)
    drawn = Counter(row for number in range(4) for batch in turned.batches(number) for row in batch)
    assert all(4 <= count <= 5 for (source, _), count in drawn.items() if source == "a")  # each row its turn
