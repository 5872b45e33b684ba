"""A decoder as users meet it: asked questions and given texts to write, without a pack and without training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from umbel.decide import Answer
from umbel.decoding.base import Cancelled, Limits, Message, Stream, Written
from umbel.decoding.engine import LlamaCpp
from umbel.decoding.writing import LocalWriter
from umbel.decoding.zeroshot import Asker
from umbel.questions import Question

NO_LIMITS = Limits()


class DecoderModel:
    """A decoder-only backbone, ready; safe to use from several threads.

    >>> decoder = umbel.load_decoder()
    >>> decoder.ask("I was charged twice", [Predicate("Someone is angry")])
    >>> decoder.write("Write a haiku about rain").text
    """

    def __init__(self, engine: LlamaCpp) -> None:
        self.engine, self.writer, self._asker = engine, LocalWriter(engine), Asker(engine)
        self.name, self.counters = engine.name, engine.counters

    def ask(self, text: str, questions: Sequence[Question], exact: bool = False) -> list[Answer]:
        """Answer questions on one text, in order; the text is read once. All options are read, `exact` or not.

        Raises:
            InputError: the text is blank or too long, or a question is not as it should be.
        """
        return self._asker.ask(text, questions)

    def write(
        self, conversation: str | Sequence[Message], limits: Limits = NO_LIMITS, adapter: str | None = None
    ) -> Written:
        """Write the answer to a message or a conversation.

        Raises:
            InputError: it is empty, or a limit is impossible.
            TimeLimitError: it was not read in time.
        """
        return self.write_many(conversation, 1, limits, adapter)[0]

    def write_many(
        self, conversation: str | Sequence[Message], texts: int, limits: Limits = NO_LIMITS, adapter: str | None = None
    ) -> list[Written]:
        """Write several answers at once, which grow together from one reading; a temperature makes them differ."""
        stream = self.stream(conversation, limits, texts, adapter=adapter)
        for _ in stream:
            pass
        return stream.written

    def stream(
        self,
        conversation: str | Sequence[Message],
        limits: Limits = NO_LIMITS,
        texts: int = 1,
        cancelled: Cancelled | None = None,
        adapter: str | None = None,
    ) -> Stream:
        """Write as `write_many` does, chunk by chunk."""
        messages = [Message("user", conversation)] if isinstance(conversation, str) else list(conversation)
        stripped = [replace(message, content=message.content.strip()) for message in messages]
        return self.writer.stream(stripped, limits, texts, cancelled, adapter)

    def close(self) -> None:
        """Free the model's memory."""
        self.engine.close()
