"""Which tokens may come next so that a text keeps to a JSON schema, or to words of a given text: by llguidance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from umbel.decoding.base import Decoder
from umbel.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer


class Grammars:
    """Makes constraints for one decoder; its vocabulary is prepared when first needed."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder

    @cached_property
    def _tokenizer(self) -> LLTokenizer:
        try:
            from llguidance import LLTokenizer, TokenizerWrapper
        except ImportError as error:
            raise MissingExtraError("llguidance", "write") from error
        return LLTokenizer(TokenizerWrapper(_Vocabulary(self._decoder)))

    def schema(self, schema: Mapping[str, Any]) -> Constraint:
        """Return the constraint that a text is JSON of this schema.

        Raises:
            InputError: the schema is none, or asks for what cannot be kept to.
        """
        tokenizer = self._tokenizer
        from llguidance import LLMatcher

        try:
            grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides={"whitespace_flexible": False})
        except ValueError as error:
            raise InputError(f"the JSON schema cannot be kept to: {error}") from error
        return Constraint(LLMatcher(tokenizer, grammar), self._decoder)

    def words_of(self, text: str, none: str) -> Constraint:
        """Return the constraint that an answer is a stretch of whole words of the text, or `none`."""
        tokenizer = self._tokenizer
        from llguidance import LLMatcher

        grammar = f"start: {json.dumps(none)} | words\nwords: %regex {json.dumps({'substring_chars': text})}\n"
        return Constraint(LLMatcher(tokenizer, LLMatcher.grammar_from_lark(grammar)), self._decoder)


def validates(text: str, schema: Mapping[str, Any]) -> bool:
    """Tell whether a text is JSON of a schema.

    Raises:
        MissingExtraError: llguidance is not installed.
    """
    try:
        from llguidance import LLMatcher, LLTokenizer
    except ImportError as error:
        raise MissingExtraError("llguidance", "write") from error
    matcher = LLMatcher(LLTokenizer("byte"), LLMatcher.grammar_from_json_schema(json.dumps(schema)))
    return bool(matcher.consume_tokens(list(text.encode()))) and bool(matcher.is_accepting())


class Constraint:
    """Follows one text as it grows."""

    def __init__(self, matcher: LLMatcher, decoder: Decoder) -> None:
        self._matcher, self._decoder = matcher, decoder
        if matcher.is_error():
            raise InputError(f"the grammar cannot be kept to: {matcher.get_error()}")

    def allowed(self) -> NDArray[np.bool_]:
        """Return which tokens may come next `[vocabulary]`; an end of text is one where the text may end."""
        bits = np.unpackbits(np.frombuffer(self._matcher.compute_bitmask(), np.uint8), bitorder="little")
        found = np.zeros(self._decoder.vocabulary, bool)
        found[: len(bits)] = bits[: len(found)]
        return found

    def take(self, token: int) -> None:
        """Go on with a token that was allowed."""
        self._matcher.consume_token(token)

    @property
    def ended(self) -> bool:
        """Whether nothing can follow."""
        return bool(self._matcher.is_stopped())


class _Vocabulary:
    """A decoder's vocabulary as llguidance reads it."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self.tokens = [decoder.piece(token) for token in range(decoder.vocabulary)]
        self.special_token_ids = [token for token, piece in enumerate(self.tokens) if not piece]
        self.eos_token_id = min(decoder.ends)
        self.bos_token_id = decoder.begin[0] if decoder.begin else None
        for token in self.special_token_ids:
            self.tokens[token] = f"<|{token}|>".encode()

    def __call__(self, text: bytes | str) -> list[int]:
        return self._decoder.tokens(text.decode("utf-8", "replace") if isinstance(text, bytes) else text)
