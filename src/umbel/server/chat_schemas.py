"""The bodies of OpenAI's chat completions, as its clients write and read them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from umbel.decoding.base import Message
from umbel.errors import InputError
from umbel.server.generate_schemas import MOST_MESSAGES, MOST_STOPS, MOST_TOKENS, UsageShown
from umbel.server.openai_schemas import Given
from umbel.server.schemas import Text

MOST_TEXTS = 8
REFUSED = (
    *("tools", "functions", "function_call", "logprobs", "top_logprobs", "logit_bias", "audio", "prediction"),
    *("web_search_options", "frequency_penalty", "presence_penalty"),
)  # what would change the answer, and cannot be done; `tool_choice` means nothing without tools
SEEDS = 2**63


class ChatPart(Given):
    """A part of a message; only text is read."""

    type: Literal["text"]
    text: str


class ChatMessage(Given):
    """One turn; `developer` is what newer clients call `system`."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[ChatPart], Field(min_length=1, max_length=64)]

    def message(self) -> Message:
        """Return it as the library has it."""
        text = self.content if isinstance(self.content, str) else "\n".join(each.text for each in self.content)
        return Message("system" if self.role == "developer" else self.role, text)


class StreamOptions(Given):
    """What else a stream tells."""

    include_usage: bool = False


class SchemaGiven(Given):
    """A JSON schema; the text keeps to it, `strict` or not."""

    name: str = "answer"
    schema_: dict[str, Any] = Field(alias="schema")


class ResponseFormat(Given):
    """What the text is to be: any, some JSON object, or JSON of a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: SchemaGiven | None = None

    @model_validator(mode="after")
    def _has_its_schema(self) -> ResponseFormat:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("json_schema is given with type json_schema, and with no other")
        return self

    @property
    def schema_of(self) -> dict[str, Any] | None:
        """The schema to keep to."""
        if self.json_schema:
            return self.json_schema.schema_
        return {"type": "object"} if self.type == "json_object" else None


class ChatRequest(Given):
    """A conversation, and how to go on with it. Numbers are Umbel's where they are not given: temperature 0."""

    model_config = ConfigDict(
        frozen=True,
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "model": "base",
                    "messages": [{"role": "user", "content": "Why is the sky blue?"}],
                    "max_completion_tokens": 64,
                }
            ]
        },
    )

    model: str = Field(description="A decoder, a pack, or PACK/TASK.")
    messages: list[ChatMessage] = Field(min_length=1, max_length=MOST_MESSAGES)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1, le=MOST_TOKENS)
    max_completion_tokens: int | None = Field(None, ge=1, le=MOST_TOKENS, description="The newer name of `max_tokens`.")
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    stop: Text | Annotated[list[Text], Field(max_length=MOST_STOPS)] | None = None
    seed: int | None = Field(None, ge=-SEEDS, lt=SEEDS, description="Without one each answer is drawn anew.")
    n: int | None = Field(1, ge=1, le=MOST_TEXTS)
    response_format: ResponseFormat | None = None

    def check(self) -> None:
        """Refuse what would change the answer and cannot be done.

        Raises:
            InputError: with the first such field.
        """
        for name in REFUSED:
            if (self.model_extra or {}).get(name):
                raise InputError(f"{name} is not supported", "leave it out", field=name)
        if (self.model_extra or {}).get("modalities") not in (None, ["text"]):
            raise InputError("only text is written", "leave it out", field="modalities")
        if not self.messages[-1].message().content.strip():
            raise InputError("the last message is blank", "say what to answer", field="messages")

    @property
    def most(self) -> int | None:
        """How many tokens an answer may have."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def changes(self) -> dict[str, Any]:
        """What is to be otherwise than by default, by the names of `Writing`."""
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        given = {"temperature": self.temperature, "top_p": self.top_p, "stop": stop or None}
        return {name: value for name, value in given.items() if value is not None}


Finish = Literal["stop", "length", "content_filter"]


class AnswerMessage(BaseModel):
    """What was written."""

    role: Literal["assistant"]
    content: str
    refusal: None = None


class ChatChoice(BaseModel):
    """One of the texts; `content_filter` means that a pack replaced it by its fallback."""

    index: int
    message: AnswerMessage
    logprobs: None = None
    finish_reason: Finish


class ChatAnswer(BaseModel):
    """All texts, and what they took."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: UsageShown
