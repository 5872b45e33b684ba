"""Choices out of measured scores: what is tried, in which order, what is taken, within which budget, and the guard."""

import pytest

from umbel.deciding import Guard, Standing, Trial, decide, explain, guarded_in_words, mean_gain, over_alone
from umbel.intervals import Interval
from umbel.shapes import EncoderShape
from umbel.ways import ALL, GROUP, GROUP_FORK, HEAD, TAUGHT, Cost, Way, cost_of, rank_of, ways_of

ADAPTER, FORK = Way("adapter", 8), Way("fork", 8)
WAYS = [HEAD, ADAPTER, FORK]
COSTS = {HEAD: Cost(), ADAPTER: Cost(1_000_000, 1 / 3), FORK: Cost(7_000_000, 1 / 3)}
PLENTY = Cost(10**9, 10.0)


def standing(alone, joint=70.0, noise=1.0, task="mood", metric="accuracy", hurt_by="", rows=0):
    return Standing(task, metric, Interval(joint, joint - noise, joint + noise), alone, hurt_by, rows)


def trying(gains, noise=0.5, tried=None):
    """Return what pretends to train: each way's gain by its kind."""

    def answer(task, way):
        if tried is not None:
            tried.append((task, way.name))
        gain = gains[way.kind]
        return Trial(way, 70 + gain, Interval(gain, gain - noise, gain + noise), COSTS_TAUGHT[way])

    return answer


@pytest.mark.parametrize(
    ("gains", "taken", "tried"),
    [
        ({"head": 9}, HEAD, 1),  # the cheapest that comes near alone, and nothing is tried after it
        ({"head": 0, "adapter": 9}, ADAPTER, 2),
        ({"head": 0, "adapter": 0.4, "fork": 9.5}, FORK, 3),
        ({"head": 0, "adapter": 0.4, "fork": -3}, ALL, 3),  # none is surely better
        ({"head": 0, "adapter": 5, "fork": 5.4}, ADAPTER, 3),  # none recovers: the cheapest within noise of the best
        ({"head": 0, "adapter": 3, "fork": 5}, FORK, 3),
    ],
)
def test_each_way_can_be_taken(gains, taken, tried):
    choice = decide([standing(80.0)], WAYS, COSTS, PLENTY, trying(gains))["mood"]
    assert choice.way == taken
    assert len(choice.trials) == tried
    assert (choice.cost == Cost()) is (taken in (ALL, HEAD))


@pytest.mark.parametrize("alone", [60.0, 70.0, 70.9, None])
def test_a_task_that_does_not_surely_lose_shares_all(alone):
    choice = decide([standing(alone)], WAYS, COSTS, PLENTY, trying({}))["mood"]
    assert (choice.way, choice.trials) == (ALL, ())
    assert "shares all" in explain(choice)["en"]


def test_much_noise_does_not_excuse_more_than_a_point():
    wide = standing(72.0, noise=3.0)
    tried = []
    decide([wide], WAYS, COSTS, PLENTY, trying({"head": 0.9, "adapter": 1.1}, tried=tried))
    assert tried == [("mood", "head"), ("mood", ADAPTER.name)]  # the first left a loss of 1.1
    assert decide([standing(70.9, noise=3.0)], WAYS, COSTS, PLENTY, trying({}))["mood"].trials == ()


def test_less_than_a_point_is_left_however_sure_the_loss_is():
    choice = decide([standing(70.9, noise=0.1)], WAYS, COSTS, PLENTY, trying({"head": 0.9}))["mood"]
    assert (choice.way, choice.trials) == (ALL, ())
    assert "no more than a point" in explain(choice)["en"]


def test_errors_are_better_low():
    less = decide([standing(60.0, metric="mean-absolute-error")], WAYS, COSTS, PLENTY, trying({"head": 10}))
    assert less["mood"].way == HEAD
    more = decide([standing(80.0, metric="mean-absolute-error")], WAYS, COSTS, PLENTY, trying({}))
    assert more["mood"].way == ALL


def test_the_budget_goes_to_those_that_lose_most_first():
    tried = []
    two = [standing(75.0, task="small"), standing(90.0, task="large")]
    budget = Cost(7_500_000, 10.0)
    found = decide(two, WAYS, COSTS, budget, trying({"head": 0, "adapter": 0, "fork": 20}, tried=tried))
    assert list(found) == ["small", "large"]
    assert (found["large"].way, found["small"].way) == (FORK, ALL)
    assert tried == [("large", way.name) for way in WAYS] + [("small", "head")]
    assert found["small"].short
    assert not found["large"].short
    assert "more does not fit into the budget" in explain(found["small"])["en"]


def test_latency_is_a_budget_too():
    found = decide([standing(90.0)], WAYS, COSTS, Cost(10**9, 0.3), trying({"head": 0.1}))
    assert [trial.way for trial in found["mood"].trials] == [HEAD]
    found = decide([standing(90.0)], WAYS, COSTS, Cost(10**9, 1 / 3), trying({"head": 0, "adapter": 20}))
    assert found["mood"].way == ADAPTER


def grouping(gains, asked=None, noise=0.5, copied=None):
    """Return what pretends to train one part for several tasks: each one's gain by its name."""

    def answer(tasks, way):
        if asked is not None:
            asked.append(list(tasks))
        found = gains if way == GROUP else copied
        return {
            task: Trial(way, 70 + found[task], Interval(found[task], found[task] - noise, found[task] + noise),
                        COSTS_COPIED[way], tuple(tasks))
            for task in tasks
        }  # fmt: skip

    return answer


COSTS_TOGETHER = {**COSTS, GROUP: Cost(3_000_000, 1.0)}
COSTS_COPIED = {**COSTS_TOGETHER, GROUP_FORK: Cost(20_000_000, 1.0)}
LOSING = [standing(80.0, task="names"), standing(76.0, task="slots"), standing(74.0, task="terms")]


def test_tasks_that_lose_have_one_part_together_and_share_its_cost():
    asked, tried = [], []
    together = grouping({"names": 9.5, "slots": 5.5, "terms": 4}, asked)
    fine = standing(60.0, task="mood")
    found = decide([fine, *LOSING], WAYS, COSTS_TOGETHER, Cost(10**7, 1.0), trying({}, tried=tried), together)
    assert asked == [["names", "slots", "terms"]]
    assert tried == []
    assert [choice.way for choice in found.values()] == [ALL, GROUP, GROUP, GROUP]
    assert sum((choice.cost for choice in found.values()), Cost()).within(Cost(3_000_000, 1.0))
    said = explain(found["names"])
    assert "names has an adapter of all layers together with slots, terms: 70.00 shared" in said["en"]
    assert "names 使用与其他任务合用的全层适配器（slots、terms）" in said["zh"]


def test_a_task_that_the_common_part_does_not_help_takes_one_of_its_own_from_what_is_left():
    tried = []
    together = grouping({"names": -0.1, "slots": 5.5, "terms": 4})
    gains = trying({"head": 0, "adapter": 9.5}, tried=tried)
    found = decide(LOSING, WAYS, COSTS_TOGETHER, Cost(10**7, 1.4), gains, together)
    assert [found[task].way for task in ("names", "slots", "terms")] == [ADAPTER, GROUP, GROUP]
    assert [trial.way for trial in found["names"].trials] == [GROUP, HEAD, ADAPTER]
    assert sum((choice.cost for choice in found.values()), Cost()).encodings == pytest.approx(4 / 3)
    left = decide(LOSING, WAYS, COSTS_TOGETHER, Cost(10**7, 1.1), trying({"head": 0}), together)
    assert left["names"].way == ALL
    assert "an adapter of all layers together -0.10" in explain(left["names"])["en"]


def test_a_part_that_others_pay_for_is_taken_where_it_is_better_at_all():
    together = grouping({"names": 0.1, "slots": 5.5, "terms": 4})
    found = decide(LOSING, WAYS, COSTS_TOGETHER, Cost(10**7, 1.0), trying({"head": 0}), together)
    assert [found[task].way for task in ("names", "slots", "terms")] == [GROUP, GROUP, GROUP]
    assert "Not surely better, but the part is there for the others." in explain(found["names"])["en"]
    assert "未必更好" in explain(found["names"])["zh"]
    assert "Not surely" not in explain(found["slots"])["en"]


def test_all_layers_are_trained_anew_for_several_where_the_budget_holds_them():
    some, more = {"names": 9.4, "slots": 5.5, "terms": 4}, {"names": 9.5, "slots": 5.8, "terms": 3.5}
    asked = []
    together = grouping(some, asked, copied=more)
    found = decide(LOSING, WAYS, COSTS_COPIED, Cost(10**8, 1.0), trying({"head": 0}), together)
    assert len(asked) == 1
    assert {choice.way for choice in found.values()} == {GROUP_FORK}
    assert sum((choice.cost for choice in found.values()), Cost()).within(Cost(20_000_000, 1.0))
    assert "names has all layers trained anew together with slots, terms" in explain(found["names"])["en"]
    assert "重新训练的全部层" in explain(found["names"])["zh"]
    less = decide(LOSING, WAYS, COSTS_COPIED, Cost(10**7, 1.0), trying({"head": 0}), together)
    assert len(asked) == 2
    assert {choice.way for choice in less.values()} == {GROUP}


def test_an_adapter_is_tried_for_several_where_layers_trained_anew_surely_help_none():
    asked = []
    together = grouping(
        {"names": 5, "slots": 5.5, "terms": 4}, asked, copied=dict.fromkeys(("names", "slots", "terms"), 0.4)
    )
    found = decide(LOSING, WAYS, COSTS_COPIED, Cost(10**8, 1.0), trying({"head": 0}), together)
    assert len(asked) == 2
    assert {choice.way for choice in found.values()} == {GROUP}
    assert [trial.way for trial in found["names"].trials][:2] == [GROUP_FORK, GROUP]


@pytest.mark.parametrize(("losing", "encodings"), [(LOSING[:2], 1.0), (LOSING, 0.9)])
def test_no_part_is_trained_together_for_few_tasks_or_over_the_budget(losing, encodings):
    asked = []
    decide(losing, WAYS, COSTS_TOGETHER, Cost(10**7, encodings), trying({"head": 10}), grouping({}, asked))
    assert asked == []


def test_a_common_part_that_helps_nobody_costs_nothing():
    together = grouping({"names": 0.1, "slots": 0.2, "terms": -1})
    gains = trying({"head": 0, "adapter": 0, "fork": 10})
    found = decide(LOSING[:3], WAYS, COSTS_TOGETHER, Cost(3 * 10**7, 1.0), gains, together)
    assert [choice.way for choice in found.values()] == [FORK, FORK, FORK]


COSTS_TAUGHT = {**COSTS_COPIED, TAUGHT: Cost(20_000_000, 1.0)}
FEW = [standing(80.0, task="names", rows=1999), *LOSING[1:]]


@pytest.mark.parametrize(
    ("shared", "taught", "way", "tried"),
    [
        (10.0, 11.5, TAUGHT, 1),  # more than a point better
        (10.0, 11.0, GROUP_FORK, 1),
        (12.0, None, GROUP_FORK, 0),  # two points over alone already
    ],
)
def test_a_small_task_is_taught_by_the_common_part_what_others_know(shared, taught, way, tried):
    asked = []
    together = grouping({}, copied={"names": shared, "slots": 5.5, "terms": 4})
    gains = trying({"taught": taught}, tried=asked)
    found = decide(FEW, WAYS, COSTS_TAUGHT, Cost(10**8, 2.0), gains, together)
    assert [found[task].way for task in ("names", "slots", "terms")] == [way, GROUP_FORK, GROUP_FORK]
    assert asked == [("names", "taught-0")] * tried
    assert sum((choice.cost for choice in found.values()), Cost()).encodings == pytest.approx(2 if way == TAUGHT else 1)
    if way == TAUGHT:
        assert "also on others' texts labelled by the part together: 70.00 shared" in explain(found["names"])["en"]
        assert "合用部分为其他任务文本所标的标签" in explain(found["names"])["zh"]


def test_where_nothing_can_be_taught_all_layers_anew_may_be_taken():
    together = grouping({}, copied={"names": 10.0, "slots": 5.5, "terms": 4})
    anew = Way("fork", 0)

    def trying_anew(task, way):
        assert way == TAUGHT
        return Trial(anew, 81.5, Interval(11.5, 11, 12), COSTS_TAUGHT[TAUGHT])

    found = decide(FEW, WAYS, COSTS_TAUGHT, Cost(10**8, 2.0), trying_anew, together)["names"]
    assert (found.way, found.chosen.score, found.cost) == (anew, 81.5, Cost(20_000_000, 1.0))
    assert [trial.way for trial in found.trials] == [GROUP_FORK, anew]


def test_what_a_small_task_had_for_itself_goes_when_it_is_taught():
    together = grouping({}, copied={"names": 1, "slots": 5.5, "terms": 4})
    gains = trying({"head": 0, "adapter": 3, "fork": 8, "taught": 9.5})
    found = decide(FEW, WAYS, COSTS_TAUGHT, Cost(47_000_000, 2.0), gains, together)
    assert [trial.way for trial in found["names"].trials] == [GROUP_FORK, HEAD, ADAPTER, FORK, TAUGHT]
    assert found["names"].way == TAUGHT  # 20 MB of the group's, 20 of its own
    assert sum((choice.cost for choice in found.values()), Cost()) == Cost(40_000_000, 2.0)


@pytest.mark.parametrize(
    ("tasks", "encodings"),
    [([standing(80.0, task="names", rows=2000), *LOSING[1:]], 2.0), (LOSING, 2.0), (FEW, 1.9), (FEW[:2], 2.0)],
    ids=["not small", "of unknown size", "over the budget", "no part together"],
)
def test_nothing_is_taught_to_others(tasks, encodings):
    asked = []
    together = grouping({}, copied={"names": 10.0, "slots": 5.5, "terms": 4})
    decide(tasks, WAYS[:1], COSTS_TAUGHT, Cost(10**8, encodings), trying({"head": 10}, tried=asked), together)
    assert "taught-0" not in {way for _, way in asked}


def test_sentences_say_why_in_both_languages():
    choice = decide([standing(80.0, hurt_by="topic")], WAYS, COSTS, PLENTY, trying({"head": 0, "adapter": 9}))["mood"]
    said = explain(choice)
    for part in ("mood has an adapter of its own from layer 8", "70.00 shared, 80.00 alone", "beside topic", "79.00 so",
                 "+9.00, +8.50 to +9.50", "1.00 MB and 0.33 of an encoding"):  # fmt: skip
        assert part in said["en"]
    assert "专用适配器" in said["zh"]
    assert "topic" in said["zh"]


def test_gains_over_alone_have_the_noise_of_two_scores():
    choice = decide([standing(80.0)], WAYS, COSTS, PLENTY, trying({"head": 9}))["mood"]
    gain = over_alone(choice)
    assert gain.value == pytest.approx(-1)
    assert gain.high - gain.low == pytest.approx(2 * 2**0.5)
    assert over_alone(decide([standing(None)], WAYS, COSTS, PLENTY, trying({}))["mood"]) is None


def test_means_of_gains():
    mean = mean_gain([Interval(2.0, 1.0, 3.0), Interval(0.0, 0.0, 0.0)])
    assert mean == Interval(1.0, 0.5, 1.5)


@pytest.mark.parametrize(
    ("took", "nothing", "told"),
    [
        ("auto", Interval(1.0, 0.5, 1.5), "over sharing nothing +1.00 (+0.50 to +1.50)."),
        ("auto", Interval(-2.0, -2.5, -1.5), "the budget does not hold it."),
        ("all", None, "so everything stays shared."),
        ("none", Interval(-2.0, -2.5, -1.5), "so nothing is shared, which the budget allows."),
    ],
)
def test_the_guard_says_what_it_did(took, nothing, told):
    said = guarded_in_words(Guard(Interval(0.3, 0.1, 0.5), nothing, took))
    assert said["en"].startswith("Mean gain over sharing all +0.30 (+0.10 to +0.50)")
    assert told in said["en"]
    assert said["zh"].endswith("。")


def test_costs_are_those_of_stored_layers():
    shape = EncoderShape(100, 384, 12, 12, 1536, 512, 2, 1e-5)
    assert [way.name for way in ways_of(12)] == [
        "head", "adapter-8", "fork-8", "adapter-4", "fork-4", "adapter-0", "fork-0",
    ]  # fmt: skip
    assert cost_of(HEAD, shape, 16) == cost_of(ALL, shape, 16) == Cost()
    fork, adapter = cost_of(FORK, shape, 16), cost_of(ADAPTER, shape, 16)
    assert fork.bytes == pytest.approx(4 * 1.8e6, rel=0.02)
    assert fork.encodings == adapter.encodings == pytest.approx(1 / 3)
    assert adapter.bytes == 4 * 2 * 16 * (4 * 2 * 384 + 2 * (384 + 1536))
    assert cost_of(GROUP, shape, 16).bytes == 12 * 2 * 2 * 16 * (4 * 2 * 384 + 2 * (384 + 1536))
    assert (rank_of(GROUP, 16), rank_of(ADAPTER, 16), cost_of(GROUP, shape, 16).encodings) == (32, 16, 1.0)
