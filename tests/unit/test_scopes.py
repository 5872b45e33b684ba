"""What may be named: references that stand alone, and comparisons of fields with each other."""

from __future__ import annotations

import pytest
from test_conditions import SCOPE

from umbel.conditions import Reference, parse
from umbel.scopes import check, check_reference


@pytest.mark.parametrize(
    ("reference", "faults"),
    [
        (Reference("category", "label"), 0),
        (Reference("category", "probabilities", "ORDER"), 0),
        (Reference("spans", "best", "anything"), 0),
        (Reference("category", "probabilities", "OTHER"), 1),
        (Reference("category", "label", "ORDER"), 1),
        (Reference("category", "nothing"), 1),
        (Reference("nothing", "label"), 1),
    ],
)
def test_references(reference: Reference, faults: int) -> None:
    assert len(check_reference(reference, SCOPE)) == faults


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("category.probability > spans.count", 0),
        ("category.label == message.text", 0),
        ("category.label == message.language", 1),  # they have no value in common
        ("category.label in message.text", 0),
        ("category.label in spans.labels", 1),
        ("(spans.count > 1) == wants_refund.holds", 0),
    ],
)
def test_fields_compared_with_each_other(text: str, faults: int) -> None:
    assert len(check(parse(text), SCOPE)) == faults
