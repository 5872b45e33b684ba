"""Errors: what was found, what to do, every fault of a file, and whether a retry may help."""

import pytest

from umbel import errors
from umbel.errors import (
    BusyError,
    DataError,
    DecoderError,
    DownloadError,
    FaultsError,
    InputError,
    MissingExtraError,
    TimeLimitError,
    UmbelError,
    UnavailableError,
    suggest,
)

TREE = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, UmbelError)]


def test_the_tree_in_the_docstring_is_the_tree():
    drawn = {
        line.lstrip("│├└─ ").split()[0] for line in errors.__doc__.splitlines() if line.startswith(("│", "├", "└"))
    }
    assert drawn == {kind.__name__ for kind in TREE} - {"UmbelError", "FaultsError"}


def test_a_message_carries_its_hint():
    error = InputError("the text is blank", "leave blank texts out")
    assert (error.message, error.hint) == ("the text is blank", "leave blank texts out")
    assert str(error) == "the text is blank\n  leave blank texts out"
    assert str(InputError("the text is blank")) == "the text is blank"


def test_every_fault_is_told():
    error = DataError("pack.yaml", ["train.jsonl:3: no text", "train.jsonl:9: no text"], "mend them")
    assert str(error) == "pack.yaml: 2 faults\n  train.jsonl:3: no text\n  train.jsonl:9: no text\n  mend them"
    assert error.faults == ("train.jsonl:3: no text", "train.jsonl:9: no text")
    assert str(FaultsError("pack.yaml", ["no tasks"])) == "pack.yaml: 1 fault\n  no tasks"


def test_what_may_be_tried_again():
    again = {DownloadError, DecoderError, TimeLimitError, BusyError, UnavailableError}
    assert {kind for kind in TREE if kind.retry} == again


def test_a_missing_extra_names_its_command():
    assert MissingExtraError("torch", "train").hint == 'pip install "umbel[train]"'


@pytest.mark.parametrize(
    ("found", "known", "expected"),
    [
        ("refnd", ["refund", "buy"], "; did you mean 'refund'?"),
        ("zzz", ["refund", "buy"], "; expected one of refund, buy"),
        ("zzz", [f"label {n}" for n in range(13)], ""),
        ("zzz", [], ""),
    ],
)
def test_the_nearest_name_is_suggested_or_a_short_list(found, known, expected):
    assert suggest(found, known) == expected
