"""Draws a flow as Mermaid: steps, what they wait for, and the conditions on which they run."""

from __future__ import annotations

import re
from collections.abc import Iterator

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
    asked = _asked(spec, step)
    label = f'|"{_plain(step.when.text)}"|' if step.when and len(asked) == 1 else ""
    needed = {spec.makers[name].name for name in step.needs}
    sources = dict.fromkeys(spec.makers[name].name for name in sorted(step.uses))
    if not sources or (step.when and asked == [MESSAGE]):
        yield f"{MESSAGE} -->{label} {_id(step.name)}"
    for source in sources:
        conditional = bool(step.when) and source in asked
        arrow = "-->" if conditional or source in needed else "-.->"
        yield f"{_id(source)} {arrow}{label if conditional else ''} {_id(step.name)}"


def _plain(text: str) -> str:
    """Return a text as Mermaid shows it in quotes; texts in conditions get single ones."""
    return re.sub(r"[<>#`]", lambda found: f"#{ord(found[0])};", " ".join(text.replace('"', "'").split()))
