"""Texts with places to fill in.

    Your order {service_entities.best["order_id"]|of unknown number} is on its way.

A place names a field of an answer, as conditions do, or several between bars, of which the first that says something
counts; behind the last bar stands what to write where there is nothing. `{{` and `}}` are braces. What is filled in is
never read again: braces in a message stay braces.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from umbel.conditions import MISSING, Lookup, Reference, parse_reference
from umbel.scopes import ByName, Scope, check_reference

ANY = "*"  # stands for every language
_PLACE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


@dataclass(frozen=True)
class Place:
    """One place: the first of these that is there and not empty, else `otherwise` (None: one must be there)."""

    references: tuple[Reference, ...]
    otherwise: str | None = None


@dataclass(frozen=True)
class Template:
    """A text with places; `parts` are texts and places in turn."""

    text: str
    parts: tuple[str | Place, ...]

    @property
    def places(self) -> list[Place]:
        """The places, in the order of the text."""
        return [part for part in self.parts if isinstance(part, Place)]

    def check(self, scope: Scope) -> list[str]:
        """Return what is wrong with its places."""
        references = (reference for place in self.places for reference in place.references)
        return [fault for reference in references for fault in _faults(reference, scope)]

    def fill(self, lookup: Lookup) -> str | None:
        """Return the text, or None where a place without an alternative has nothing to write."""
        written = [part if isinstance(part, str) else _written(part, lookup) for part in self.parts]
        return None if None in written else "".join(part for part in written if part is not None)


def parse(text: object) -> Template:
    """Read a text with places.

    Raises:
        ValueError: it is blank, a brace stands alone, or a place names no field.
    """
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"found {text!r:.60}, expected a text")
    return Template(text, tuple(_parts(text)))


def _parts(text: str) -> Iterator[str | Place]:
    end = 0
    for found in _PLACE.finditer(text):
        yield text[end : found.start()]
        end = found.end()
        if found[0] in ("{{", "}}"):
            yield found[0][0]
        elif found[1] is None:
            raise ValueError(f"a {found[0]} stands alone at character {found.start() + 1}; write {found[0] * 2}")
        else:
            *names, last = found[1].split("|")
            references = tuple(parse_reference(name.strip()) for name in names or [last])
            yield Place(references, last if names else None)
    yield text[end:]


def _faults(reference: Reference, scope: Scope) -> list[str]:
    faults = check_reference(reference, scope)
    if not faults and reference.key is None and isinstance(scope[reference.name][reference.field], ByName):
        return [f'`{reference}` holds several; name one: {reference}["..."]']
    return faults


def _written(place: Place, lookup: Lookup) -> str | None:
    values = (lookup(reference) for reference in place.references)
    texts = (shown(value) for value in values if value is not MISSING)
    return next((text for text in texts if text), place.otherwise)


def shown(value: Any) -> str:
    """Return a value as people write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return value if isinstance(value, str) else ", ".join(map(str, value))


@dataclass(frozen=True)
class Texts:
    """One template for each language, or one for all."""

    by_language: Mapping[str, Template]

    def of(self, language: str) -> tuple[str, Template]:
        """Return the language and the template for texts of a language: its own, else `*`, English, the first."""
        for name in (language, ANY, "en", *self.by_language):
            if name in self.by_language:
                return name, self.by_language[name]
        raise KeyError(language)
