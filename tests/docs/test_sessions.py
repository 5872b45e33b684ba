"""The pages' consoles are true: their commands run, in order, and print what is shown.

Each page runs in a folder of its own, with the examples in it. A block with `file=PATH` after its language is written
there before the commands that follow it. A command may fail only where an error is shown. Shown lines must be printed;
more may be.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```", re.S | re.M)
DONE = ("pip install ",)  # installed already; tests/integration does it in a clean environment
SECONDS = 600  # a training of the example takes about one minute on two cores


@dataclass(frozen=True)
class File:
    """A block that is written to a file."""

    path: str
    text: str

    def play(self, folder: Path) -> None:
        (folder / self.path).parent.mkdir(parents=True, exist_ok=True)
        (folder / self.path).write_text(self.text, encoding="utf-8")


@dataclass(frozen=True)
class Command:
    """A line behind a prompt, and the lines below it."""

    line: str
    shown: tuple[str, ...]

    def play(self, folder: Path) -> None:
        environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        command = ["bash", "-o", "pipefail", "-c", self.line]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
        done = subprocess.run(command, cwd=folder, env=environment, text=True, timeout=SECONDS, check=False, **streams)
        failing = any(line.startswith("Error:") for line in self.shown)
        assert (done.returncode != 0) == failing, f"{self.line}\n{done.stdout}"
        printed = [line.strip() for line in done.stdout.splitlines()]
        missing = [line for line in self.shown if line.strip() not in printed]
        assert missing == [], f"{self.line}\n{done.stdout}"


def steps(page: Path) -> Iterator[File | Command]:
    for language, path, text in BLOCK.findall(page.read_text("utf-8")):
        if path:
            yield File(path, text)
        elif language == "console":
            for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
                line, *shown = part.splitlines()
                if not line.startswith(DONE):
                    yield Command(line, tuple(shown))


SESSIONS = {tuple(steps(page)): page.relative_to(ROOT).as_posix() for page in reversed(PAGES)}  # what differs, once


@pytest.mark.integration
@pytest.mark.usefixtures("default_backbone")
@pytest.mark.parametrize("session", [pytest.param(found, id=name) for found, name in SESSIONS.items() if found])
def test_a_session_runs_as_shown(session: tuple[File | Command, ...], tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    for step in session:
        step.play(tmp_path)
