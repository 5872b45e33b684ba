"""The studio's words: both languages have the same, all of them are used, and none that is used is missing."""

from __future__ import annotations

import re

import pytest

from umbel.server.pages import FOLDER

WORDS = {name: (FOLDER / f"words_{name}.js").read_text("utf-8") for name in ("en", "zh")}
KEY = re.compile(r"^  (\w+): (?=[\"(])", re.MULTILINE)
BY_NAME = {  # names that are put together: `state_${state}`
    "kind_": ("choice", "predicate", "score", "mentions"),
    "words_": ("choice", "predicate", "score"),
    "options_": ("choice", "score", "mentions"),
    "write_": ("reply", "summary", "plan", "free"),
    "step_": ("tasks", "ask", "search", "reply", "write"),
    "state_": ("waiting", "running", "done", "skipped", "failed", "fallback"),
    "status": ("401", "403", "413", "429", "500", "503"),
}


def keys(language: str) -> list[str]:
    return KEY.findall(WORDS[language])


def sources() -> str:
    files = [each for each in FOLDER.iterdir() if each.suffix in (".js", ".html") and "words_" not in each.name]
    return "\n".join(each.read_text("utf-8") for each in files)


def test_both_languages_have_the_same_words() -> None:
    assert keys("en") == keys("zh")
    assert len(set(keys("en"))) == len(keys("en")) > 200


@pytest.mark.parametrize("language", WORDS)
def test_every_line_is_a_word_or_goes_on(language: str) -> None:
    inner = WORDS[language].partition("{\n")[2].rpartition("\n};")[0]
    lines = [line for line in inner.splitlines() if line and not line.startswith("    ")]
    assert [line for line in lines if not KEY.match(line)] == []


def test_chinese_is_chinese() -> None:
    same = {"reportOf"}  # figures and names alone
    entries = re.split(KEY, WORDS["zh"])[1:]
    for name, words in zip(entries[::2], entries[1::2], strict=True):
        assert name in same or re.search(r"[\u4e00-\u9fff]", words), name


def test_no_word_is_missing_and_none_is_idle() -> None:
    text = sources()
    called = set(re.findall(r"say\(\"(\w+)\"", text)) | set(re.findall(r"data-(?:word|name|hint)=\"(\w+)\"", text))
    assert called - set(keys("en")) == set()
    made = {beginning + end for beginning, ends in BY_NAME.items() for end in ends}
    assert made - set(keys("en")) == set()
    quoted = set(re.findall(r"\"(\w+)\"", text))  # told by name to what says them
    assert set(keys("en")) - called - made - quoted == set()


def test_markup_has_no_words_of_its_own() -> None:
    page = (FOLDER / "index.html").read_text("utf-8").partition("<body>")[2]
    page = re.sub(r"<noscript>.*?</noscript>|<option.*?</option>", "", page)
    marked = re.sub(r"<(\w+)([^>]*data-word=\"\w+\"[^>]*)>[^<]*</\1>", "", page)
    assert re.sub(r"<[^>]*>", "", marked).split() == ["Umbel"]
    for tag in re.findall(r"<[^>]*(?:aria-label|placeholder)=[^>]*>", page):
        assert "data-name=" in tag or "data-hint=" in tag, tag


def test_scripts_have_no_words_of_their_own() -> None:
    for file in FOLDER.glob("*.js"):
        if file.name in ("words_en.js", "words_zh.js", "examples.js", "asking.js", "reading.js"):
            continue  # the last three hold texts to try, in both languages
        code = re.sub(r"//.*", "", file.read_text("utf-8"))
        assert re.findall(r"[\"`][A-Z][a-z]+ [a-z ]+[\"`]", code) == [], file.name
        assert not re.search(r"[\u4e00-\u9fff]", code.replace("\\u4e00-\\u9fff", "")), file.name
