"""What a task of kind text-generation writes: settings that a declaration gives and a pack's manifest stores.

Knows nothing of decoders.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

TASKS = ("reply", "summary", "plan", "free")


def _tuple(value: object) -> object:
    if isinstance(value, list):
        return tuple(value)
    return (value,) if isinstance(value, str) else value


def _by_language(value: object) -> object:
    """Take one text for all languages."""
    return {"*": value} if isinstance(value, str) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(_tuple)]
ByLanguage = Annotated[dict[str, str], BeforeValidator(_by_language)]


class Writing(BaseModel):
    """One task that writes. Texts by language (`zh`, `en`, or `*` for any) replace the built-in ones."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        alias_generator=lambda name: name.replace("_", "-"),
        validate_by_name=True,
        validate_by_alias=True,
    )

    task: Literal["reply", "summary", "plan", "free"] = "reply"
    decoder: str = "smollm2-135m-instruct"  # a catalogue's name, a GGUF file, or http://host/v1#model
    adapter: str = ""  # a low-rank adapter in GGUF, active on what is written alone
    adapter_sha256: str = ""  # of the one that `umbel train` put into the pack
    examples: str = ""  # rows of `text` and `answer` that `umbel train` learns an adapter from
    instruction: ByLanguage = Field(default_factory=dict)
    fallback: ByLanguage = Field(default_factory=dict)
    knowledge: str = ""  # an index that `umbel index` made
    passages: Annotated[int, Field(ge=1, le=20)] = 1  # small decoders mix up several (docs/log.md)
    moderation: Texts = ()  # task=label: a text that a task of the pack gives this label is not returned
    check_language: bool = True
    json_schema: dict[str, Any] = Field(default_factory=dict)  # of a plan
    max_tokens: Annotated[int, Field(ge=1)] = 160
    temperature: Annotated[float, Field(ge=0, le=5)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    stop: Texts = ()
    seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 60.0


def said(texts: dict[str, str], language: str) -> str:
    """Return the text for a language, that for any, or an empty one."""
    return texts.get(language) or texts.get("*", "")
