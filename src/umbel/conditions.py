"""Conditions over earlier answers: read by Python's own parser, checked against what answers hold, never run as code.

    service_category.label == "REFUND" and urgency.score >= 2
    "order_id" in service_entities.labels or not wants_refund.holds

There are comparisons, `in`, `and`, `or`, `not`, texts, numbers, true and false, lists of them, a field of an answer,
and an entry of a field by its name: no calls, no arithmetic. Hyphens of names are written as underscores. What is
missing, because its step did not run, is neither true nor false (Kleene's logic): `or` may still find another reason.

Knows nothing of answers and flows: `scopes` says what can be named.
"""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

LONGEST = 1000  # characters: deep enough for any condition, too short to exhaust the parser
ANSWERED = "answered"  # a field of every answer: whether its step gave one; never missing itself
MISSING = None  # what a reference gives whose step gave no answer


@dataclass(frozen=True)
class Reference:
    """A field of an answer, or the entry `key` of one; `name` is as it is written, with underscores."""

    name: str
    field: str
    key: str | None = None

    def __str__(self) -> str:
        return f"{self.name}.{self.field}" + (f'["{self.key}"]' if self.key is not None else "")


Lookup = Callable[[Reference], Any]
"""Gives the value of a reference, or `MISSING` where its step gave no answer. A list is given as a tuple."""


def written_as(name: str) -> str:
    """Return how a name is written in a condition."""
    return name.replace("-", "_")


@dataclass(frozen=True)
class Condition:
    """A condition that is well formed; `scopes.check` says whether it fits what may be named."""

    text: str
    tree: ast.expr = field(repr=False, compare=False)

    @property
    def references(self) -> list[Reference]:
        """The references in it, each once, in the order of the text."""
        return list(dict.fromkeys(_references(self.tree)))

    def evaluate(self, lookup: Lookup) -> bool | None:
        """Return whether it holds, or `MISSING` where that hangs on an answer that is missing."""
        found = _value(self.tree, lookup)
        return None if found is MISSING else bool(found)

    def reasons(self, lookup: Lookup) -> list[Reference]:
        """Return the references that decided it: of an `and` that failed those of its first false part, and so on."""
        return list(dict.fromkeys(_reasons(self.tree, lookup)))


def parse(text: str) -> Condition:
    """Read a condition.

    Raises:
        ValueError: it is not in the language; the message says what was found.
    """
    return Condition(" ".join(str(text).split()), _read(text))


def parse_reference(text: str) -> Reference:
    """Read one reference, as templates hold them.

    Raises:
        ValueError: it is something else.
    """
    tree = _read(text)
    if not isinstance(tree, ast.Attribute | ast.Subscript):
        raise ValueError(f"found `{text}`, expected a field of an answer, like sentiment.label")
    return reference_at(tree)


def _read(text: object) -> ast.expr:
    """Return the tree of a text, with nothing in it but what the language has."""
    if isinstance(text, bool):
        text = str(text).lower()
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f'found {text!r:.60}, expected a condition, like sentiment.label == "negative"')
    if len(text) > LONGEST:
        raise ValueError(f"found {len(text)} characters, expected at most {LONGEST}")
    try:
        with warnings.catch_warnings():  # of Python's about its own strings
            warnings.simplefilter("ignore")
            return _admitted(ast.parse(" ".join(text.split()), mode="eval").body)
    except SyntaxError as error:
        raise ValueError(f"`{text:.200}` cannot be read: {error.msg} at character {error.offset}") from None
    except (RecursionError, MemoryError):
        raise ValueError(f"`{text:.60}` cannot be read: it is too deep") from None


_COMPARED: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
}
_CONSTANTS = {"true": True, "false": False}


def _admitted(node: ast.expr) -> ast.expr:
    """Return a tree that holds nothing but what the language has, `true` and `false` as constants."""
    match node:
        case ast.BoolOp(values=values):
            node.values = [_admitted(value) for value in values]
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            node.operand = _admitted(operand)
        case ast.Compare():
            if not all(type(each) in _COMPARED for each in node.ops):
                raise ValueError(f"`{ast.unparse(node)}`: `is` is not known; compare with ==")
            node.left = _admitted(node.left)
            node.comparators = [_admitted(each) for each in node.comparators]
        case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
            return ast.Tuple([_constant(part) for part in parts], ast.Load())
        case ast.Name(id=name) if name not in _CONSTANTS:
            pass  # checking says what it may have been meant for
        case ast.Attribute() | ast.Subscript():
            reference_at(node)
        case _:
            return _constant(node)
    return node


def _constant(node: ast.expr) -> ast.Constant:
    """Return a text, a number, true or false."""
    match node:
        case ast.Name(id=name) if name in _CONSTANTS:
            return ast.Constant(_CONSTANTS[name])
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return ast.Constant(-value)
        case ast.Constant(value=str() | bool() | int() | float()):
            return node
    raise ValueError(f"`{ast.unparse(node):.60}` is not known here{_advice(node)}")


def _advice(node: ast.expr) -> str:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub):
        return "; hyphens of a name are written as underscores, and there is no arithmetic"
    if isinstance(node, ast.Call):
        return "; there are no calls"
    if isinstance(node, ast.Name | ast.Attribute):
        return "; a list holds texts, in quotes, and numbers"
    return "; there are comparisons, in, and, or, not, texts and numbers"


def reference_at(node: ast.expr) -> Reference:
    """Return the reference that a part of a tree is.

    Raises:
        ValueError: it is something else.
    """
    match node:
        case ast.Attribute(value=ast.Name(id=name), attr=name_of_field):
            return Reference(name, name_of_field)
        case ast.Subscript(
            value=ast.Attribute(value=ast.Name(id=name), attr=name_of_field), slice=ast.Constant(value=key)
        ):
            if isinstance(key, str):
                return Reference(name, name_of_field, key)
    raise ValueError(f'`{ast.unparse(node):.60}` is not known here; expected answer.field or answer.field["key"]')


def _references(node: ast.expr) -> Iterator[Reference]:
    if isinstance(node, ast.Attribute | ast.Subscript):
        yield reference_at(node)
        return
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            yield from _references(child)


def _reasons(node: ast.expr, lookup: Lookup) -> Iterator[Reference]:
    match node:
        case ast.BoolOp(op=op, values=parts):
            whole = _value(node, lookup)
            same = [part for part in parts if _value(part, lookup) is whole]
            # Whichever part made an `and` false or an `or` true is reason enough.
            enough = whole is isinstance(op, ast.Or)
            for part in same[:1] if enough else same:
                yield from _reasons(part, lookup)
        case ast.UnaryOp(operand=operand):
            yield from _reasons(operand, lookup)
        case _:
            yield from _references(node)


def _value(node: ast.expr, lookup: Lookup) -> Any:
    match node:
        case ast.BoolOp(op=op, values=values):
            return _joined(isinstance(op, ast.Or), [_value(value, lookup) for value in values])
        case ast.UnaryOp(operand=operand):
            found = _value(operand, lookup)
            return MISSING if found is MISSING else not found
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            values = [_value(each, lookup) for each in (left, *comparators)]
            pairs = zip(ops, values, values[1:], strict=False)
            return _joined(False, [_compared(*pair) for pair in pairs])
        case ast.Tuple(elts=parts):
            return tuple(_value(part, lookup) for part in parts)
        case ast.Constant(value=value):
            return value
    return lookup(reference_at(node))


def _joined(decides: bool, values: list[Any]) -> bool | None:
    """Return what `or` (decided by one true) or `and` (decided by one false) makes of values."""
    if any(value is not MISSING and bool(value) is decides for value in values):
        return decides
    return MISSING if any(value is MISSING for value in values) else not decides


def _compared(op: ast.cmpop, left: Any, right: Any) -> bool | None:
    if left is MISSING or right is MISSING:
        return None
    return bool(_COMPARED[type(op)](left, right))
