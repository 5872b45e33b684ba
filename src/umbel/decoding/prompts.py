"""The words that decoders are asked and instructed with, in Chinese and English. Knows nothing of decoders."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

LANGUAGES = ("en", "zh")


@cache
def _all() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = json.loads(files(__package__).joinpath("prompts.json").read_text("utf-8"))
    return found


def prompt(name: str, language: str) -> str:
    """Return the words called `name` in a language, English where there are none in it."""
    return _all()[language if language in LANGUAGES else "en"][name]
