"""What is wrong with a request's values, in words: every place with what was found and what was expected there.

Texts are not repeated, as they may be private; numbers and the words of a choice of forms are.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

MOST = 8  # places that are told
LOOKED_AT = 64  # details at most: a body may hold a million faults, and others wait meanwhile
LONGEST, LONGEST_PLACE = 40, 200  # characters of a word that is repeated, and of a place, which a client names
KINDS: tuple[tuple[type, str], ...] = (  # the first that fits
    (bool, "true or false"),
    (str, "text"),
    (int, "a number"),
    (float, "a number"),
    (list, "a list"),
    (dict, "an object"),
    (type(None), "null"),
)
EXPECTED = {
    "string_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "too_long": "at most {max_length} of them",
    "too_short": "at least {min_length} of them",
    "string_too_long": "at most {max_length} characters",
    "string_too_short": "at least {min_length} characters",
    "literal_error": "{expected}",
    "enum": "{expected}",
}  # by pydantic's names

Detail = Mapping[str, Any]


def in_words(details: Sequence[Detail], body: Any) -> tuple[str, str]:
    """Return the first place that is wrong, and a sentence on all of them, from pydantic's details."""
    places: dict[str, list[Detail]] = {}
    for each in details[:LOOKED_AT]:
        places.setdefault(place_of(each, body), []).append(each)
    for place in [*places]:  # of the forms that a value may have, the one that was meant says more
        if any(other.startswith((f"{place}.", f"{place}[")) for other in places):
            del places[place]
    missing = [place for place, found in places.items() if found[0]["type"] == "missing"]
    told = [f"{place}: {_fault(place, found, missing)}" for place, found in places.items()]
    left = max(len(told) - MOST, 0) + max(len(details) - LOOKED_AT, 0)
    more = [f"and {left} more"] if left else []
    return next(iter(places)), "; ".join(told[:MOST] + more)


def place_of(detail: Detail, body: Any) -> str:
    """Return `questions[0].options` for where a fault is: what pydantic calls the forms of a value is left out."""
    source, *parts = detail["loc"]
    if source != "body":
        return ".".join(map(str, parts)) or str(source)
    path, here = "", body
    for number, part in enumerate(parts):
        absent = number == len(parts) - 1 and detail["type"] == "missing"
        if isinstance(here, list) and isinstance(part, int):
            path, here = f"{path}[{part}]", here[part] if part < len(here) else None
        elif isinstance(here, dict) and (part in here or absent):
            path, here = f"{path}.{part}" if path else str(part), here.get(part)
    if detail["type"].startswith("union_tag"):
        path = f"{path}.{detail['ctx']['discriminator'].strip(chr(39))}".removeprefix(".")
    return path[:LONGEST_PLACE] or "body"


def _fault(place: str, details: Sequence[Detail], missing: Sequence[str]) -> str:
    """Say what is wrong at a place; a value that may have several forms has a detail for each."""
    first = details[0]
    if first["type"] in ("missing", "union_tag_not_found"):
        return "missing"
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(place, missing, 1)
        return f"not known here; did you mean {near[0]}?" if near else "not known here"
    if first["type"] == "union_tag_invalid":
        return f"found {first['ctx']['tag']!r:.{LONGEST}}, expected {first['ctx']['expected_tags']}"
    wanted = list(dict.fromkeys(_expected(each) for each in details))
    found = _found(first)
    return f"{found}expected {' or '.join(wanted)}" if all(wanted) else first["msg"].removeprefix("Value error, ")


def _expected(detail: Detail) -> str:
    words = EXPECTED.get(detail["type"], "")
    return words.format(**detail.get("ctx", {}))


def _found(detail: Detail) -> str:
    given, context = detail.get("input"), detail.get("ctx", {})
    if "actual_length" in context:
        return f"found {context['actual_length']}, "
    if isinstance(given, str) and detail["type"].startswith("string_too"):
        return f"found {len(given)}, "
    if isinstance(given, int | float) and not isinstance(given, bool):
        return f"found {given}, "
    return f"found {next((word for kind, word in KINDS if isinstance(given, kind)), type(given).__name__)}, "
