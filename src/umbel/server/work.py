"""How much work a request is, in tokens: exact enough to admit and to batch, and as good as free to know."""

from __future__ import annotations

from umbel.inquiries import Inquiry
from umbel.questions import Choice, Extract, Mentions, Predicate, Question, Score

BYTES_PER_TOKEN = 4  # in UTF-8, of Chinese as of English, nearly
SPECIAL_TOKENS = 2


def tokens_of(text: str) -> int:
    """Return about how many tokens a text has."""
    return len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN + SPECIAL_TOKENS


def work_of(inquiry: Inquiry) -> int:
    """Return an inquiry's work in tokens: of the text, and of its questions."""
    return tokens_of(inquiry.text) + sum(tokens_of(words) for each in inquiry.questions for words in _words(each))


def _words(question: Question) -> list[str]:
    match question:
        case Choice(instruction, options) | Score(instruction, options):
            return [instruction, *(option.words for option in options)]
        case Predicate(words) | Extract(words):
            return [words]
        case Mentions(types):
            return [option.words for option in types]
