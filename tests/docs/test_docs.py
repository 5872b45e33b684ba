"""The documents are true: their Python runs; commands, options, kinds, metrics, errors and settings are documented."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from umbel import errors
from umbel.kinds.base import kinds
from umbel.spec import DataSpec, MixingSpec, PackSpec, SeparationSpec, TaskSpec, TrainSpec
from umbel.writings import Writing

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCKS = [
    pytest.param(code, id=f"{page.relative_to(ROOT)}-{number}")
    for page in PAGES
    for number, code in enumerate(re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.S | re.M))
]
SHOWN = re.compile(r"^(?:\$ |- `)(?:[^`\n]*\| )?(umbel [^`\n]+?)(?:`| > .*)?$", re.M)
COMMANDS = [(page, line) for page in PAGES for line in SHOWN.findall(page.read_text("utf-8"))]


def page(name):
    return (ROOT / "docs" / "reference" / name).read_text("utf-8")


@pytest.mark.integration
@pytest.mark.parametrize("code", BLOCKS)
def test_python_blocks_run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("where", "line"), COMMANDS, ids=[f"{p.name}-{line[:40]}" for p, line in COMMANDS])
def test_commands_and_options_in_documents_exist(where, line):
    reference = page("cli.md")
    words = re.sub(r'"[^"]*"', "TEXT", line).split()
    name = " ".join(words[: 3 if f"## `{' '.join(words[:3])}`\n" in reference else 2])
    section = reference.partition(f"## `{name}`\n")[2].partition("\n## ")[0]
    assert section, f"{where.name}: {name} is no command"
    for option in (word for word in words if word.startswith("-") and word not in ("-", "--help")):
        assert f"`{option}`" in section, f"{where.name}: {name} has no {option}"


@pytest.mark.parametrize("script", ["reference.py", "http_reference.py", "figures.py"])
def test_generated_parts_are_up_to_date(script):
    done = subprocess.run([sys.executable, ROOT / "scripts" / script, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_error_is_documented():
    names = [name for name, found in vars(errors).items() if name.endswith("Error")]
    assert [name for name in names if f"`{name}`" not in page("errors.md")] == []


def test_every_kind_and_metric_is_documented():
    text = page("kinds.md")
    wanted = {name for name, kind in kinds().items() if kind.__module__.startswith("umbel.")}
    wanted |= {metric for name in wanted for metric in kinds()[name].metrics}
    assert [name for name in sorted(wanted) if f"`{name}`" not in text] == []


def test_every_setting_is_documented():
    text = page("declaration.md")
    models = (PackSpec, TaskSpec, DataSpec, TrainSpec, MixingSpec, SeparationSpec, Writing)
    keys = {info.alias or name for model in models for name, info in model.model_fields.items()} - {"folder", "name"}
    assert [key for key in sorted(keys - {"by"}) if f"`{key}`" not in text and f"{key}:" not in text] == []


@pytest.mark.parametrize("where", PAGES, ids=lambda found: str(found.relative_to(ROOT)))
def test_links_lead_somewhere(where):
    for target in re.findall(r"\]\(([^)#]+)\)", where.read_text("utf-8")):
        if "://" not in target:
            assert (where.parent / target).exists(), target
