"""Reads a YAML file into plain values that remember their lines; knows nothing of what they mean.

The ruamel loader stops at the first duplicate key and drops lines in its plain mode, so values are built here from
its node graph, and faults are collected.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

Place = tuple[str | int, ...]


@dataclass
class Document:
    """A file's value, the line of every place in it, and its faults as (line, place, message)."""

    value: Any = None
    lines: dict[Place, int] = field(default_factory=dict)
    faults: list[tuple[int, Place, str]] = field(default_factory=list)

    def line(self, place: Place) -> int:
        """Return the line of a place, or of the nearest one around it."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)


def written(place: Place) -> str:
    """Write a place as `tasks.intent.labels[2]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.removeprefix(".")


def read_yaml(path: Path) -> Document:
    """Read one file. A syntax error or an unreadable file is a fault of the document, at its line."""
    document = Document()
    try:
        text = path.read_text(encoding="utf-8")
        node = YAML(typ="safe", pure=True).compose(text)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        document.faults.append((1, (), f"cannot be read: {reason}"))
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        document.faults.append((line, (), f"not YAML: {error.problem}"))
    except YAMLError as error:
        document.faults.append((1, (), f"not YAML: {' '.join(str(error).split())}"))
    else:
        document.lines[()] = 1
        document.value = None if node is None else _Builder(document).build(node, (), ())
    return document


class _Builder:
    """Turns nodes into values, noting lines and faults in the document."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.constructor = YAML(typ="safe", pure=True).constructor

    def build(self, node: Node, place: Place, around: tuple[int, ...]) -> Any:
        """Return a node's value; `around` names the nodes that hold it, so that an alias to one of them is found."""
        line = self.document.lines.setdefault(place, node.start_mark.line + 1)
        if id(node) in around:
            self.document.faults.append((line, place, "an alias to a value that contains it"))
            return None
        around = (*around, id(node))
        if isinstance(node, MappingNode):
            return self._mapping(node, place, around)
        if isinstance(node, SequenceNode):
            return [self.build(item, (*place, number), around) for number, item in enumerate(node.value)]
        return self._scalar(node, place)

    def _mapping(self, node: MappingNode, place: Place, around: tuple[int, ...]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, ScalarNode):
                self.document.faults.append((line, place, "found a list or mapping as a key, expected text"))
                continue
            key = str(key_node.value)
            if key in values:
                first = self.document.lines[*place, key]
                self.document.faults.append((line, (*place, key), f"given twice, first in line {first}"))
                continue
            self.document.lines[*place, key] = line
            values[key] = self.build(value_node, (*place, key), around)
        return values

    def _scalar(self, node: Node, place: Place) -> Any:
        """Return a scalar's value; its text where it has none, so that one fault does not bring a second."""
        try:
            return self.constructor.construct_object(node, deep=True)
        except (
            YAMLError,
            ValueError,
        ) as error:  # an unknown tag; a date or number that matches its pattern but is none
            reason = error.problem if isinstance(error, MarkedYAMLError) else error
            self.document.faults.append((node.start_mark.line + 1, place, f"not a plain value: {reason}; quote it"))
        return node.value
