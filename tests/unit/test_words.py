"""Text becomes words for full-text search: words and numbers, and pairs of Han characters."""

import pytest

from umbel.retrieval.words import words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Order No. A-1042, paid!", ["order", "no", "a", "1042", "paid"]),
        ("人工智能", ["人工", "工智", "智能"]),
        ("买iPhone15手机", ["买", "iphone15", "手机"]),
        ("ＡＢＣ１２３", ["abc123"]),
        ("snake_case", ["snake", "case"]),
        ("Straße café", ["strasse", "café"]),
        ("，。!?", []),
    ],
)
def test_words(text, words):
    assert words_of(text) == words
