"""The bodies of the native routes that write, and of the events of their streams."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from umbel.decoding.base import Message
from umbel.server.schemas import Given, PackOf, Text

MOST_TOKENS, MOST_MESSAGES, MOST_STOPS = 32_768, 1000, 16
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Stops = Annotated[list[Text], Field(max_length=MOST_STOPS)]


class MessageGiven(Given):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str

    def message(self) -> Message:
        """Return it as the library has it."""
        return Message(self.role, self.content)


class GenerateRequest(Given):
    """A message to write about with a task of the pack, or a conversation to go on with."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"task": "reply", "text": "My parcel is late. Where is it?", "stream": True},
                {"messages": [{"role": "user", "content": "Why is the sky blue?"}], "max_tokens": 64},
            ]
        }
    )

    pack: PackOf = None
    task: str | None = Field(
        None,
        min_length=1,
        description="A task of the pack that writes, or `reply`, `summary`, `plan`, `free` where a decoder is served; "
        "without one the conversation is gone on with as it stands.",
    )
    text: Text | None = Field(None, description="The message; or give `messages`.")
    messages: list[MessageGiven] | None = Field(
        None, min_length=1, max_length=MOST_MESSAGES, description="The conversation; its last message is the user's."
    )
    stream: bool = Field(False, description="Answer with events as they come: `token`, then `result` or `error`.")
    max_tokens: int | None = Field(None, ge=1, le=MOST_TOKENS)
    temperature: float | None = Field(None, ge=0, le=5, description="0 takes the likeliest token.")
    top_p: float | None = Field(None, gt=0, le=1)
    stop: Text | Stops | None = Field(None, description="Words before which the text ends.")
    seed: Seed = Field(0, description="The same seed writes the same.")

    @model_validator(mode="after")
    def _has_one_input(self) -> GenerateRequest:
        if (self.text is None) == (self.messages is None):
            raise ValueError("give either text or messages")
        if self.messages and self.messages[-1].role != "user":
            raise ValueError("the last of the messages must be the user's")
        return self

    @property
    def conversation(self) -> tuple[Message, ...]:
        """The messages, or the text as the only one."""
        return tuple(each.message() for each in self.messages or [MessageGiven(role="user", content=self.text or "")])

    @property
    def changes(self) -> dict[str, Any]:
        """What is to be otherwise than the task says, by the names of `Writing`."""
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        given = {"temperature": self.temperature, "top_p": self.top_p, "stop": stop or None}
        return {name: value for name, value in given.items() if value is not None}


class UsageShown(BaseModel):
    """Tokens that were read and written; those read are 0 where a server elsewhere writes."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class SourceShown(BaseModel):
    """A passage that the text was grounded in; the text names it by its number."""

    number: int
    source: str
    text: str
    score: float
    start: int
    end: int
    line: int


class GenerateAnswer(BaseModel):
    """A text, checked by the pack. `flagged` means that it failed, and that `text` is what the pack says instead."""

    pack: str
    version: str
    task: str | None
    decoder: str
    language: str
    text: str
    finish_reason: Literal["stop", "length", "time", "cancelled"]
    usage: UsageShown
    sources: list[SourceShown]
    flagged: bool
    flags: list[str] = Field(description="What was found in the text that failed.")
    checks: list[str] = Field(description="The tasks of the pack that looked at the text.")
    plan: Any = Field(None, description="The JSON that the text is, where the task writes some.")
    dropped_turns: int = Field(description="First turns of the conversation that were left out for want of room.")
    cut_tokens: int = Field(description="Tokens of the message that were left out for want of room.")
    milliseconds: float
    milliseconds_first: float = Field(description="Until the first token.")


class FlowRequest(Given):
    """A message for a pack's flow."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"text": "Where is my order 10432?", "stream": True}]})

    pack: PackOf = None
    text: Text
    stream: bool = Field(False, description="Answer with events: `step`, `token`, then `result` or `error`.")


class StepReported(BaseModel):
    """What became of a step, and why."""

    name: str
    action: str
    state: Literal["ran", "skipped", "failed", "timed out"]
    why: str
    milliseconds: float
    fallback: bool = Field(description="Whether what stands in for its answers was used.")
    answers: list[str]


class FlowAnswer(BaseModel):
    """The answers of a flow's steps by name, what became of each step in the order they ran, and the reply."""

    pack: str
    version: str
    text: str
    language: str
    reply: str | None
    answers: dict[str, dict[str, Any]]
    steps: list[StepReported]
    milliseconds: float
    reading_milliseconds: float


class TokenEvent(BaseModel):
    """Words of a text that is being written, once they are checked; `step` names the flow's step that writes."""

    text: str
    step: str | None = None


class StepEvent(BaseModel):
    """A step of a flow begins or ended; `answer` has its answers by name."""

    name: str
    state: Literal["running", "done", "skipped", "failed", "fallback"]
    reason: str | None = None
    milliseconds: float | None = None
    answer: dict[str, Any] | None = None
