"""The pages keep up with the code: modules, defaults, fields of records; the Chinese README with the English one."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from umbel import records
from umbel.pack import Manifest, TaskEntry
from umbel.records import Counters
from umbel.spec import DataSpec, PackSpec, SeparationSpec, TaskSpec, TrainSpec

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "umbel"
PREDICTIONS = [
    found
    for name, found in vars(records).items()
    if is_dataclass(found) and (name.endswith("Prediction") or name in ("Span", "Result"))
]


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def test_the_architecture_names_every_module() -> None:
    text = read("ARCHITECTURE.md")
    modules = [path.name for path in SOURCE.rglob("*.py") if path.name != "__init__.py"]
    assert [name for name in sorted(modules) if f"{name}`" not in text] == []


def test_the_architecture_names_no_module_that_is_gone() -> None:
    named = set(re.findall(r"`(?:\w+/)*(\w+\.py)`", read("ARCHITECTURE.md")))
    assert named - {path.name for path in SOURCE.rglob("*.py")} == set()


SECTIONS = {
    PackSpec: "The pack",
    TaskSpec: "A task",
    DataSpec: "Data of a task",
    TrainSpec: "`train`",
    SeparationSpec: "`separation`",
}


@pytest.mark.parametrize("model", SECTIONS)
def test_the_declaration_page_tells_the_defaults(model: type[PackSpec]) -> None:
    _, _, after = read("docs/reference/declaration.md").partition(f"\n## {SECTIONS[model]}\n")
    rows = re.findall(r"^\| (`[^|]+) \| ([^|]+) \|", after.partition("\n## ")[0], re.M)
    told = {key: default for keys, default in rows for key in re.findall(r"`([\w-]+)`", keys)}
    for name, info in model.model_fields.items():
        plain = info.default
        if plain not in ((), "", ...) and isinstance(plain, str | int | float):
            shown = told[info.alias or name].split("`")[1]
            wanted = plain if isinstance(plain, str) else float(plain)
            assert (shown if isinstance(plain, str) else float({"false": 0}.get(shown, shown))) == wanted, name


def test_the_python_page_names_every_field_of_results() -> None:
    text = read("docs/reference/python.md")
    wanted = {field.name for record in (*PREDICTIONS, Counters) for field in fields(record)}
    assert [name for name in sorted(wanted) if f"`{name}`" not in text] == []


def test_the_format_page_names_every_key_of_a_manifest() -> None:
    text = read("docs/reference/pack-format.md")
    wanted = {*Manifest.model_fields, *TaskEntry.model_fields}
    assert [name for name in sorted(wanted) if f"`{name}`" not in text] == []


def test_the_chinese_readme_follows_the_english_one() -> None:
    english, chinese = read("README.md"), read("README.zh.md")
    for pattern in (r"^#+ ", r"^- \*\*", r"<!-- [\w:/]+ -->", r"^```(?:python|console)\n.*?^```"):
        marks = [re.findall(pattern, text, re.M | re.S) for text in (english, chinese)]
        assert marks[0] == marks[1], pattern


@pytest.mark.parametrize("name", ["README.md", "README.zh.md"])
def test_the_first_screen_is_short(name: str) -> None:
    sessions = re.findall(r"^```(?:console|text)\n(.*?)^```", read(name).partition("<!-- /figures -->")[0], re.M | re.S)
    commands, session = sessions[0], "".join(sessions[1:])
    assert len(commands.splitlines()) == 2
    assert len(session.splitlines()) <= 10


def test_tests_named_in_pages_exist() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    named = {
        path
        for page in pages
        for path in re.findall(r"`((?:tests|bench|packs|scripts|src)/[\w./-]+)`", page.read_text("utf-8"))
    }
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
