"""Draws a flow: steps, what they wait for, and the conditions on which they run; as Mermaid, or as plain values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from umbel.conditions import written_as
from umbel.flow_answers import MESSAGE
from umbel.flow_forms import Searching
from umbel.flow_spec import FlowSpec, Step

_SHAPES = {"tasks": ("[", "]"), "ask": ("([", "])"), "search": ("[(", ")]"), "reply": ("[/", "/]"), "write": (">", "]")}
_OTHER = ("[[", "]]")
LONGEST = 6  # answers named in a box


def mermaid(spec: FlowSpec) -> str:
    """Return the flow as a Mermaid flowchart; a dotted arrow leads to what can do without.

    >>> print(mermaid(spec))
    flowchart TD
        message(["message"])
        message --> read["<b>read</b><br/>sentiment"]
    """
    lines = ["flowchart TD", f'    {MESSAGE}(["message"])']
    for step in spec.steps:
        lines.append(f"    {_id(step.name)}{_box(spec, step)}")
    for step in spec.steps:
        lines += [f"    {arrow}" for arrow in _arrows(spec, step)]
    return "\n".join(lines)


def plain_drawing(spec: FlowSpec) -> dict[str, Any]:
    """Return the same as plain values, for who draws it otherwise.

    Steps stand in the order they run. What one comes `after` is named by step: `message` where nothing else is waited
    for, `needed` false where it can do without, `condition` true where its condition asks it.
    """
    steps = [
        {
            "name": step.name,
            "action": step.action,
            "answers": list(step.body.gives),
            "when": step.when.text if step.when else None,
            "timeout": step.timeout,
            "fallback": step.body.fallback is not None,
            "after": [_after(spec, step, source) for source in _sources(spec, step)],
        }
        for step in spec.order
    ]
    return {"name": spec.name, "description": spec.description, "steps": steps}


def _after(spec: FlowSpec, step: Step, source: str) -> dict[str, Any]:
    conditional = bool(step.when) and source in _asked(spec, step)
    needed = source in {MESSAGE, *(spec.makers[name].name for name in step.needs)}
    return {"step": source, "needed": conditional or needed, "condition": conditional}


def _id(name: str) -> str:
    """Return a name for a box; Mermaid takes some words for its own."""
    return f"step_{written_as(name)}"


def _box(spec: FlowSpec, step: Step) -> str:
    left, right = _SHAPES.get(step.action, _OTHER)
    names = [name for name in step.body.gives if name != step.name]
    listed = ", ".join(names[:LONGEST]) + (", …" if len(names) > LONGEST else "")
    if isinstance(step.body.settings, Searching):
        listed = step.body.settings.index
    lines = [f"<b>{_plain(step.name)}</b>"] + ([_plain(listed)] if listed else [])
    lines += [f"<i>if {_plain(step.when.text)}</i>"] if step.when and len(_asked(spec, step)) > 1 else []
    lines += [f"at most {step.timeout:g} s"] if step.timeout else []
    lines += ["has a fallback"] if step.body.fallback else []
    return f'{left}"{"<br/>".join(lines)}"{right}'


def _asked(spec: FlowSpec, step: Step) -> list[str]:
    """Return the steps that a step's condition asks, by name; the message where it asks none."""
    names = [reference.name for reference in step.when.references] if step.when else []
    makers = [spec.makers[name].name for name in names if name in spec.makers]
    return list(dict.fromkeys(makers)) or [MESSAGE]


def _arrows(spec: FlowSpec, step: Step) -> Iterator[str]:
    """Yield what leads to a step; the condition stands at its arrow where there is one, else in the box."""
    single = step.when and len(_asked(spec, step)) == 1
    label = f'|"{_plain(step.when.text)}"|' if step.when and single else ""
    for source in _sources(spec, step):
        after = _after(spec, step, source)
        arrow = "-->" if after["needed"] else "-.->"
        told = label if after["condition"] or source == MESSAGE else ""
        yield f"{MESSAGE if source == MESSAGE else _id(source)} {arrow}{told} {_id(step.name)}"


def _sources(spec: FlowSpec, step: Step) -> list[str]:
    """Return what leads to a step: the message where it asks nothing else, and the steps whose answers it looks at."""
    found = list(dict.fromkeys(spec.makers[name].name for name in sorted(step.uses)))
    alone = not found or (step.when and _asked(spec, step) == [MESSAGE])
    return [MESSAGE, *found] if alone else found


def _plain(text: str) -> str:
    """Return a text as Mermaid shows it in quotes; texts in conditions get single ones."""
    return re.sub(r"[<>#`]", lambda found: f"#{ord(found[0])};", " ".join(text.replace('"', "'").split()))
