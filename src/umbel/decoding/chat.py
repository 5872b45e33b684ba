"""Conversations as tokens, by a model's own chat template; and what to leave out of one that does not fit.

What users wrote never passes through the template or the reader of control tokens: the template is rendered around
placeholders, and each text is cut into tokens by itself. So no text can pretend to be another role. Knows nothing of
sampling.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from umbel.decoding.base import Decoder, Message
from umbel.errors import BackboneError, InputError, MissingExtraError

PLAIN = "{% for message in messages %}{{ message['content'] }}\n\n{% endfor %}"  # for models that were taught no chat
_HOLE = "\ue000{0}\ue001\ue000-{0}\ue001"  # what is given, and what the program adds
_HOLES = re.compile("\ue000(-?\\d+)\ue001")
CUT_MARK = "\n[...]\n"
CUTS = 3  # a text that was cut may have a few tokens more than were counted
LEAST_ROOM = 16  # tokens for a conversation


@dataclass(frozen=True)
class Fitted:
    """A conversation as tokens, and what was left out of it: whole turns, and tokens of its last message."""

    tokens: list[int]
    dropped_turns: int = 0
    cut_tokens: int = 0


class Chat:
    """The chat template of one decoder."""

    def __init__(self, decoder: Decoder) -> None:
        try:
            from jinja2 import TemplateError
            from jinja2.sandbox import ImmutableSandboxedEnvironment
        except ImportError as error:
            raise MissingExtraError("jinja2", "write") from error
        self._decoder = decoder
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        environment.globals["raise_exception"] = _refuse
        try:
            self._template = environment.from_string(decoder.template or PLAIN)
        except TemplateError as error:
            raise BackboneError(
                f"{decoder.name}: its chat template cannot be read ({error})", "take another"
            ) from error

    def tokens(self, messages: Sequence[Message]) -> list[int]:
        """Return a conversation as tokens, up to where the answer begins."""
        found = list(self._decoder.begin)
        for text, given in self._parts(messages):
            found += self._decoder.tokens(text, special=not given)
        return found

    def around(self, system: str, message: str) -> tuple[list[int], list[int]]:
        """Return the tokens up to and with a user's only message, and those between it and the answer."""
        parts = self._parts([*([Message("system", system)] if system else []), Message("user", message)])
        last = max(place for place, (_, given) in enumerate(parts) if given)
        before = [t for text, given in parts[: last + 1] for t in self._decoder.tokens(text, special=not given)]
        after = [t for text, _ in parts[last + 1 :] for t in self._decoder.tokens(text, special=True)]
        return [*self._decoder.begin, *before], after

    def _parts(self, messages: Sequence[Message]) -> list[tuple[str, bool]]:
        """Return the rendered pieces in order, each with whether it is a given text rather than the template's."""
        if not messages:
            raise InputError("the conversation is empty", "give at least one message")
        pieces = _HOLES.split(self._rendered(messages))
        parts = [(piece, False) if at % 2 == 0 else (_filled(messages, piece), True) for at, piece in enumerate(pieces)]
        return [(text, given) for text, given in parts if text]

    def _rendered(self, messages: Sequence[Message]) -> str:
        from jinja2 import TemplateError

        holes = [{"role": each.role, "content": _HOLE.format(at)} for at, each in enumerate(messages)]
        try:
            text = self._template.render(messages=holes, add_generation_prompt=True, bos_token="", eos_token="")
        except TemplateError:
            merged = _without_system(holes)  # some templates know no system
            try:
                text = self._template.render(messages=merged, add_generation_prompt=True, bos_token="", eos_token="")
            except TemplateError as error:
                raise InputError(f"{self._decoder.name}: its template refuses this conversation ({error})") from error
        return str(text)

    def fit(self, messages: Sequence[Message], room: int) -> Fitted:
        """Return a conversation as at most `room` tokens.

        Where it is too long its oldest turns are left out, so many that half the room is free again: the next turns
        then go on from what was kept. A last message that is too long even alone loses its middle; what the program
        adds behind it is never cut.

        Raises:
            InputError: there is no room for what the program adds.
        """
        if room < LEAST_ROOM:
            raise InputError(f"found room for {room} tokens, expected {LEAST_ROOM}", "ask for a shorter answer")
        tokens = self.tokens(messages)
        if len(tokens) <= room:
            return Fitted(tokens)
        system, turns = [m for m in messages if m.role == "system"], [m for m in messages if m.role != "system"]
        dropped = self._dropped(system, turns, room)
        kept = [*system, *turns[dropped:]]
        tokens = self.tokens(kept)
        if len(tokens) <= room:
            return Fitted(tokens, dropped)
        cut = 0
        for _ in range(CUTS):
            kept, more = self._cut(kept, len(tokens) - room)
            tokens, cut = self.tokens(kept), cut + more
            if len(tokens) <= room:
                return Fitted(tokens, dropped, cut)
        raise InputError(
            f"found {len(tokens)} tokens of instructions and notes, {self._decoder.name} has room for {room}",
            "take fewer passages, or a shorter instruction",
        )

    def _dropped(self, system: Sequence[Message], turns: Sequence[Message], room: int) -> int:
        """Return how many first turns are left out, as they would have been turn by turn."""
        sizes = [len(self.tokens([*system, turn])) for turn in turns]
        fixed = len(self.tokens(system)) if system else 0
        start, total = 0, fixed
        for at, size in enumerate(sizes):
            total += size - fixed
            while total > room and start < at:
                goal = max(room // 2, size)
                while total > goal and start < at:
                    total -= sizes[start] - fixed
                    start += 1
        return start

    def _cut(self, messages: Sequence[Message], excess: int) -> tuple[list[Message], int]:
        """Take tokens out of the middle of the last message, and say how many."""
        last = messages[-1]
        tokens = self._decoder.tokens(last.content)
        left = max(len(tokens) - excess - len(self._decoder.tokens(CUT_MARK)) - LEAST_ROOM, 0)
        head, tail = tokens[: (left + 1) // 2], tokens[len(tokens) - left // 2 :]
        text = self._text(head) + CUT_MARK + self._text(tail)
        return [*messages[:-1], replace(last, content=text)], len(tokens) - left

    def _text(self, tokens: Sequence[int]) -> str:
        return b"".join(map(self._decoder.piece, tokens)).decode("utf-8", "ignore")


def _filled(messages: Sequence[Message], hole: str) -> str:
    message = messages[abs(int(hole))]
    return message.after if hole.startswith("-") else message.content


def _without_system(holes: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Put what the system says at the head of the first message of the user."""
    system = "\n\n".join(hole["content"] for hole in holes if hole["role"] == "system")
    rest = [dict(hole) for hole in holes if hole["role"] != "system"]
    if system and rest:
        rest[0]["content"] = f"{system}\n\n{rest[0]['content']}"
    return rest


def _refuse(message: str) -> Any:
    from jinja2 import TemplateError

    raise TemplateError(message)
