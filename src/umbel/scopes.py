"""What conditions and templates may name, of which type, and whether a condition fits that.

Checked before anything runs, so that a misspelt label is a fault and not a condition that never holds.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from dataclasses import dataclass

from umbel.conditions import Condition, Reference, reference_at
from umbel.errors import suggest


@dataclass(frozen=True)
class Truth:
    """True or false."""


@dataclass(frozen=True)
class Number:
    """A number between two bounds; a count is `whole`."""

    low: float = -math.inf
    high: float = math.inf
    whole: bool = False


@dataclass(frozen=True)
class Words:
    """A text; one of `values` where they are known."""

    values: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Several:
    """A list of texts, each one of `values` where they are known."""

    values: tuple[str, ...] | None = None


@dataclass(frozen=True)
class ByName:
    """Something for each of `keys`, or for any key where they are not known."""

    keys: tuple[str, ...] | None
    each: Number | Words


Type = Truth | Number | Words | Several | ByName
Scope = Mapping[str, Mapping[str, Type]]
"""What a condition may name: answers by name (with underscores), and each one's fields."""


def check(condition: Condition, scope: Scope) -> list[str]:
    """Return what is wrong with a condition: names, fields and labels that are unknown, values of the wrong type."""
    checker = _Checker(scope)
    checker.truth(condition.tree)
    return checker.faults


def check_reference(reference: Reference, scope: Scope) -> list[str]:
    """Return what is wrong with a reference that stands alone."""
    checker = _Checker(scope)
    checker.reference(reference)
    return checker.faults


class _Checker:
    """Finds the types of a tree's parts and collects faults; a faulty part has none."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.faults: list[str] = []

    def truth(self, node: ast.expr) -> None:
        """Check a part that has to be true or false."""
        match node:
            case ast.BoolOp(values=values):
                for value in values:
                    self.truth(value)
            case ast.UnaryOp(operand=operand):
                self.truth(operand)
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                parts = [left, *comparators]
                for op, first, second in zip(ops, parts, parts[1:], strict=False):
                    self._comparison(op, first, second)
            case _:
                found = self._type(node)
                if found is not None and not isinstance(found, Truth):
                    self.faults.append(
                        f"`{ast.unparse(node)}` is {_told(found)}, expected something true or false; compare it"
                    )

    def reference(self, reference: Reference) -> Type | None:
        """Return the type of a reference."""
        if reference.name not in self.scope:
            known = list(self.scope)
            self.faults.append(
                f"`{reference}`: there is no answer {reference.name!r} here{suggest(reference.name, known)}"
            )
            return None
        fields = self.scope[reference.name]
        if reference.field not in fields:
            hint = suggest(reference.field, list(fields))
            self.faults.append(f"`{reference}`: {reference.name} has no {reference.field!r}{hint}")
            return None
        found = fields[reference.field]
        if reference.key is None:
            return found
        if not isinstance(found, ByName):
            self.faults.append(
                f"`{reference}`: {reference.name}.{reference.field} is {_told(found)} and has no entries"
            )
            return None
        if found.keys is not None and reference.key not in found.keys:
            self.faults.append(f"`{reference}`: there is no {reference.key!r}{suggest(reference.key, found.keys)}")
        return found.each

    def _type(self, node: ast.expr) -> Type | None:
        match node:
            case ast.Constant(value=bool()):
                return Truth()
            case ast.Constant(value=str() as text):
                return Words((text,))
            case ast.Constant(value=int() | float() as number):
                return Number(number, number)
            case ast.Tuple():
                return Several()
            case ast.Name(id=name):
                self._bare(name)
                return None
            case ast.Attribute() | ast.Subscript():
                return self.reference(reference_at(node))
        self.truth(node)
        return Truth()

    def _bare(self, name: str) -> None:
        fields = list(self.scope.get(name, {}))
        if fields:
            self.faults.append(f"`{name}` is a whole answer; name a field of it: {', '.join(fields)}")
        else:
            known = suggest(name, list(self.scope))
            self.faults.append(f'there is no answer {name!r} here{known}; texts stand in quotes: "{name}"')

    def _comparison(self, op: ast.cmpop, first: ast.expr, second: ast.expr) -> None:
        left, right = self._type(first), self._type(second)
        if left is None or right is None:
            return
        shown = f"`{ast.unparse(ast.Compare(first, [op], [second]))}`"
        if isinstance(op, ast.In | ast.NotIn):
            self._membership(shown, left, right, second)
        elif isinstance(op, ast.Eq | ast.NotEq):
            if type(left) is not type(right) or isinstance(left, Several | ByName):
                self.faults.append(f"{shown} compares {_told(left)} with {_told(right)}")
            elif isinstance(left, Words) and isinstance(right, Words):
                self._common(shown, left.values, right.values)
        elif not isinstance(left, Number) or not isinstance(right, Number):
            self.faults.append(f"{shown} compares {_told(left)} with {_told(right)}, expected two numbers")

    def _membership(self, shown: str, left: Type, right: Type, second: ast.expr) -> None:
        if isinstance(second, ast.Tuple):
            parts = [self._type(part) for part in second.elts]
            if not isinstance(left, Words | Number) or not all(type(part) is type(left) for part in parts):
                self.faults.append(f"{shown} looks for {_told(left)} in a list of something else")
            elif isinstance(left, Words):
                for part in parts:
                    self._common(shown, left.values, part.values if isinstance(part, Words) else None)
        elif not isinstance(left, Words) or not isinstance(right, Words | Several):
            self.faults.append(f"{shown} looks for {_told(left)} in {_told(right)}, expected a text in a list or text")
        elif isinstance(right, Several):
            self._common(shown, right.values, left.values)
        elif right.values is not None:
            self.faults.append(f"{shown} looks inside one of {', '.join(right.values[:6])}; compare with ==")

    def _common(self, shown: str, known: tuple[str, ...] | None, given: tuple[str, ...] | None) -> None:
        """Note a text that can never be one of the values it is compared with."""
        if known is None or given is None or set(known) & set(given):
            return
        if len(known) == 1 < len(given):
            known, given = given, known
        self.faults.append(f"{shown}: there is no {given[0]!r}{suggest(given[0], known)}")


def _told(found: Type) -> str:
    match found:
        case Truth():
            return "true or false"
        case Number():
            return "a number"
        case Words():
            return "a text"
        case Several():
            return "a list"
        case ByName():
            return "a mapping"
