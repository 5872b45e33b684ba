"""The measurement of decoders: rows in a fair order, answers kept as they come, figures of them, trees of one pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import decoders
import pytest
from packed import Tree
from unseen import Asked

from umbel.questions import Choice, Mentions, Option, Predicate

MOOD = Choice("Mood?", (Option("glad"), Option("sad")))


def asked(number: int) -> Asked:
    return Asked(f"text {number}", MOOD, number % 2)


def questions() -> dict[str, list[Asked]]:
    texts = [asked(number) for number in range(6)]
    return {
        "a.mood": texts,
        "a.holds": [Asked(each.text, Predicate("Someone is glad"), each.gold == 0) for each in texts],
        "b.mood": texts[:2],
        "c.types": [Asked("x", Mentions((Option("city"), Option("day"))), ())],
    }


def test_rows_of_all_sets_come_in_turn_with_all_that_is_asked_of_them() -> None:
    rows = decoders.rows_of(questions())
    assert [of for of, _ in rows] == ["a", "b", "a", "b", "a", "a", "a", "a"]
    assert {tuple(name for name, _ in some) for of, some in rows if of == "a"} == {("mood", "holds")}
    assert all(some[0][1].text == some[1][1].text for of, some in rows if of == "a")
    assert sorted(some[0][1].text for of, some in rows if of == "a") == [f"text {number}" for number in range(6)]
    assert rows == decoders.rows_of(questions())
    assert len({decoders.fingerprint(row) for row in rows}) == len(rows)
    assert decoders.language(rows[0]) == "en"


def test_a_stop_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    rows, path = decoders.rows_of(questions()), tmp_path / "engine.jsonl"
    read: list[str] = []

    def engine(asks: Sequence[tuple[str, Asked]]) -> Iterator[tuple[str, dict[str, Any]]]:
        if len(read) == 3:
            raise KeyboardInterrupt
        read.append(asks[0][1].text)
        for name, each in asks:
            said = "glad" if name == "mood" else str(each.gold)
            yield name, {"ways": {"sum": [said, 0.5]}, "first": 0.2, "more": 0.1}

    with pytest.raises(KeyboardInterrupt):
        decoders.run(engine, rows, path)
    path.write_text(path.read_text() + '{"row": "cut off in the mid')
    read.clear()
    with pytest.raises(KeyboardInterrupt):
        decoders.run(engine, rows, path)
    read.clear()
    decoders.run(engine, rows, path)
    lines = decoders.lines_of(path)
    assert sorted(line["row"] for line in lines) == sorted(map(decoders.fingerprint, rows))
    table = decoders.table(lines)
    assert {key: found["rows"] for key, found in table.items()} == {"a.mood": 6, "a.holds": 6, "b.mood": 2}
    mood = table["a.mood"]
    assert (mood["accuracy"], mood["always_the_same"], mood["ms"], mood["+ms"]) == (50.0, 50.0, 200.0, 100.0)
    assert mood["error"] == pytest.approx(100 * (0.25 / 6) ** 0.5, abs=0.05)
    assert table["a.holds"]["accuracies"] == {"sum": 100.0}


def test_a_tree_sees_its_ancestors_alone() -> None:
    tree = Tree([1, 2])
    stem = tree.grow([3], tree.trunk)
    leaves = [tree.grow_path([4, 5], stem), tree.grow_path([6], stem)]
    other = tree.grow([7], tree.trunk)
    assert tree.tokens == [1, 2, 3, 4, 5, 6, 7]
    assert tree.places == [0, 1, 2, 3, 4, 3, 2]
    assert leaves == [[3, 4], [5]]
    assert [[place for place in range(7) if row[place]] for row in tree.sees()] == [
        [0],
        [0, 1],
        [0, 1, 2],
        [0, 1, 2, 3],
        [0, 1, 2, 3, 4],
        [0, 1, 2, 5],
        [0, 1, other],
    ]
