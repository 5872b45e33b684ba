"""Tells whether conditions can ever hold together, by trying every value that makes a difference to them.

What they name is tried with the values they mention and with others, each reference by itself: that `a.label` and
`a.probabilities` hang together is not known. So `False` is certain, `True` is not.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise, product
from math import isfinite, prod
from typing import Any

from umbel.conditions import ANSWERED, MISSING, Condition, Reference
from umbel.scopes import ByName, Number, Scope, Several, Truth, Type, Words

MOST_TRIED = 20_000  # combinations; conditions with more are taken to be possible
MOST_LISTED = 6  # texts mentioned, of which every subset is tried
_OTHER = "\0other"  # a text that no condition mentions


def can_hold(conditions: Sequence[Condition], scope: Scope, without: str = "") -> bool:
    """Return False where no answers make all conditions true; they fit the scope. The answer `without` is missing."""
    references = list(dict.fromkeys(found for condition in conditions for found in condition.references))
    mentioned = [value for condition in conditions for value in _constants(condition.tree)]
    texts = sorted({value for value in mentioned if isinstance(value, str)})
    numbers = sorted({float(value) for value in mentioned if not isinstance(value, str | bool)})
    if len(texts) > MOST_LISTED and any(isinstance(_type(each, scope), Several) for each in references):
        return True
    candidates = [
        [_missing(each)] if each.name == without else list(_candidates(_type(each, scope), texts, numbers))
        for each in references
    ]
    if prod(map(len, candidates)) > MOST_TRIED:
        return True
    return any(_all_hold(conditions, dict(zip(references, values, strict=True))) for values in product(*candidates))


def _all_hold(conditions: Sequence[Condition], values: dict[Reference, Any]) -> bool:
    return all(condition.evaluate(values.__getitem__) for condition in conditions)


def _missing(reference: Reference) -> Any:
    return False if reference.field == ANSWERED else MISSING


def _constants(tree: ast.expr) -> Iterator[Any]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant):
            yield node.value


def _type(reference: Reference, scope: Scope) -> Type:
    found = scope[reference.name][reference.field]
    return found.each if isinstance(found, ByName) and reference.key is not None else found


def _candidates(found: Type, texts: Sequence[str], numbers: Sequence[float]) -> Iterator[Any]:
    match found:
        case Truth():
            yield from (True, False)
        case Number(low, high, whole):
            yield from _numbers(low, high, whole, numbers)
        case Words(values):
            yield from _words(values, texts)
        case Several(values):
            known = [text for text in texts if values is None or text in values]
            for size in range(len(known) + 1):
                yield from combinations(known, size)
            yield (_OTHER,)
        case ByName():  # a whole mapping is compared with nothing
            yield {}


def _words(values: tuple[str, ...] | None, texts: Sequence[str]) -> Iterator[str]:
    if values is None:
        yield from texts
        yield " ".join(texts) + _OTHER  # holds all of them
    else:
        yield from (value for value in values if value in texts)
        yield from [value for value in values if value not in texts][:2]  # two, to differ from another field's
    yield ""


def _numbers(low: float, high: float, whole: bool, numbers: Sequence[float]) -> Iterator[float]:
    step = 1.0 if whole else 0.5
    tried = {edge for edge in (low, high) if isfinite(edge)} | {0.0, 1.0}
    tried |= {number + move for number in numbers for move in (-step, 0.0, step)}
    tried |= {(first + second) / 2 for first, second in pairwise(sorted(tried)) if not whole}
    yield from sorted(number for number in tried if low <= number <= high and not (whole and number % 1))
