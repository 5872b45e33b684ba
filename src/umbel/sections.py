"""Reads the mappings of a declaration key by key and collects what is wrong: one fault does not hide another.

For declarations whose keys depend on one another; those of a fixed form are pydantic's (`spec`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from umbel.errors import suggest
from umbel.fill import Texts
from umbel.fill import parse as parse_template
from umbel.questions import Option
from umbel.yamlfile import Place

T = TypeVar("T")
Fault = tuple[Place, str]


class Section:
    """One mapping: its values are taken by key; what nothing took is unknown."""

    def __init__(self, value: object, place: Place, faults: list[Fault]) -> None:
        self.place, self.faults = place, faults
        self.values: Mapping[str, Any] = value if isinstance(value, dict) else {}
        self._taken: set[str] = set()
        self.sound = isinstance(value, dict)
        if not self.sound:
            self.fault("", f"found {value!r:.60}, expected a mapping")

    def fault(self, key: str, message: str) -> None:
        """Note a fault of a key, or of the whole."""
        self.faults.append(((*self.place, key) if key else self.place, message))

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def take(self, key: str, default: Any = None) -> Any:
        """Return a raw value."""
        self._taken.add(key)
        return self.values.get(key, default)

    def read(self, key: str, reader: Callable[[Any], T], default: T) -> T:
        """Return what `reader` makes of a value, or the default where there is none or the reader raises ValueError."""
        value = self.take(key)
        if key not in self.values:
            return default
        try:
            return reader(value)
        except ValueError as error:
            self.fault(key, str(error))
            return default

    def section(self, key: str) -> Section:
        """Return a mapping inside this one; an empty one where there is none."""
        return Section(self.take(key, {}), (*self.place, key), self.faults)

    def texts(self, key: str) -> Texts | None:
        """Return a text, or a mapping of languages to texts, with places to fill in."""
        value = self.take(key)
        if isinstance(value, dict) and value:
            inner = Section(value, (*self.place, key), self.faults)
            found = {name: inner.read(name, parse_template, None) for name in value}
            whole = {name: template for name, template in found.items() if template}
            return Texts(whole) if whole else None
        template = self.read(key, parse_template, None) if key in self.values else None
        return Texts({"*": template}) if template else None

    def end(self, others: Sequence[str] = ()) -> None:
        """Note every key that nothing took; `others` are keys that belong elsewhere."""
        for key in self.values:
            if key in self._taken:
                continue
            if key in others:
                self.fault(key, "does not belong here")
            else:
                self.fault(key, f"unknown key{suggest(key, sorted({*self._taken, *others}))}")


def positive(value: object) -> float:
    """Read a number above 0.

    Raises:
        ValueError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ValueError(f"found {value!r:.40}, expected a number above 0")
    return float(value)


def whole(value: object) -> int:
    """Read a whole number of at least 1.

    Raises:
        ValueError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"found {value!r:.40}, expected a whole number, 1 or more")
    return value


def words(value: object) -> str:
    """Read a text that is not blank.

    Raises:
        ValueError: it is.
    """
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"found {value!r:.40}, expected a text (quote it)")
    return value


def true_or_false(value: object) -> bool:
    """Read a truth value.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, bool):
        raise ValueError(f"found {value!r:.40}, expected true or false")
    return value


def one_of(*known: str) -> Callable[[object], str]:
    """Return a reader of one of these texts."""

    def read(value: object) -> str:
        if value not in known:
            raise ValueError(f"found {value!r:.40}{suggest(str(value), known)}")
        return str(value)

    return read


def several_words(value: object) -> tuple[str, ...]:
    """Read a list of texts, or one text for a list of one.

    Raises:
        ValueError: it is something else, or empty.
    """
    values = value if isinstance(value, list) else [value]
    if not values:
        raise ValueError("found an empty list, expected at least one")
    return tuple(words(each) for each in values)


def options(value: object) -> tuple[Option, ...]:
    """Read a list of options: texts, or `name: description` as a mapping of one.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(value, list):
        raise ValueError(f"found {value!r:.40}, expected a list")
    return tuple(_option(each) for each in value)


def _option(value: object) -> Option:
    if isinstance(value, dict) and len(value) == 1:
        ((name, description),) = value.items()
        return Option(words(name), words(description))
    return Option(str(value)) if isinstance(value, int) and not isinstance(value, bool) else Option(words(value))
