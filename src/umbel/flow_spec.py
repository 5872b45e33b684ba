"""A flow's declaration: steps, which of them run when, and everything that can be wrong with that before anything runs.

    flow: customer-service
    pack: base
    steps:
      read: {tasks: [service-category, sentiment]}
      reply:
        when: service_category.label == "REFUND"
        reply: {en: We have seen to your refund., zh: 您的退款已在处理。}

Knows nothing of models: a pack's tasks come in as records.
"""

from __future__ import annotations

import graphlib
import keyword
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from umbel import conditions, scopes
from umbel.conditions import ANSWERED, Condition, written_as
from umbel.errors import SpecError, suggest
from umbel.flow_answers import MESSAGE, MESSAGE_FIELDS, PASSAGES_FIELDS
from umbel.flow_forms import EARLIER, FORMS, Body, Form, Tasks
from umbel.possible import can_hold
from umbel.scopes import Scope, Truth, Type
from umbel.sections import Fault, Section, positive, words
from umbel.yamlfile import Document, Place, read_yaml, written

COMMON = ("when", "timeout", "fallback")


@dataclass(frozen=True)
class Step:
    """One step: what it does (`action` names the form), when it runs, the seconds it may take, and its fallback."""

    name: str
    action: str
    body: Body
    when: Condition | None = None
    timeout: float | None = None
    cost: int = 0

    @property
    def uses(self) -> set[str]:
        """Every answer (with underscores) that it looks at, whether or not it can do without."""
        when = {reference.name for reference in self.when.references} if self.when else set()
        return (when | {reference.name for place in self.body.places for reference in place.references} | self.of) - {
            MESSAGE
        }

    @property
    def needs(self) -> set[str]:
        """The answers without which it cannot run, but for those that its condition asks for."""
        return self.body.needs | self.of

    @property
    def of(self) -> set[str]:
        """The search that it reads, if any."""
        return {written_as(self.body.of)} - {"", EARLIER}


@dataclass(frozen=True)
class FlowSpec:
    """A flow that is sound; `steps` are as declared, `order` as they run: cheap ones before dear ones."""

    name: str
    description: str
    steps: tuple[Step, ...]
    order: tuple[Step, ...]

    @property
    def makers(self) -> dict[str, Step]:
        """The step that gives each answer, the answers' names with underscores."""
        return {written_as(name): step for step in self.steps for name in step.body.gives}


def read_flow_file(path: Path) -> tuple[Document, str]:
    """Read a file that declares a flow, and the name of the pack it is for (`base` where nothing is said).

    Raises:
        SpecError: it is not YAML, or no mapping.
    """
    document = read_yaml(path)
    if not document.faults and not isinstance(document.value, dict):
        document.faults.append((1, (), "found no mapping, expected keys like `flow:` and `steps:`"))
    if document.faults:
        raise _error(path, document, [])
    pack = document.value.get("pack", "base")
    return document, pack if isinstance(pack, str) else "base"


def flow_of_file(path: Path, document: Document, tasks: Tasks, forms: Mapping[str, Form] = FORMS) -> FlowSpec:
    """Return the flow of a file that was read.

    Raises:
        SpecError: with every fault of the file, each with its line.
    """
    faults: list[Fault] = []
    section = Section(document.value, (), faults)
    section.read("pack", words, "")
    if "flow" not in section:
        section.fault("", "flow: missing; give the flow a name")
    name = section.read("flow", words, "")
    spec = _read(section, name, tasks, forms)
    if faults or spec is None:
        raise _error(path, document, faults)
    return spec


def flow_of_pack(value: object, name: str, tasks: Tasks, forms: Mapping[str, Form] = FORMS) -> FlowSpec:
    """Return the flow that a pack's manifest holds.

    Raises:
        SpecError: it does not fit the pack, for instance because a task is gone or has other labels.
    """
    faults: list[Fault] = []
    spec = _read(Section(value, (), faults), name, tasks, forms)
    if faults or spec is None:
        raise SpecError(f"the flow of {name}", [f"{written(place)}: {message}" for place, message in faults])
    return spec


def faults_of(value: object, place: Place, tasks: Tasks) -> list[Fault]:
    """Return what is wrong with a flow inside another declaration."""
    faults: list[Fault] = []
    _read(Section(value, place, faults), "", tasks, FORMS)
    return faults


def _error(path: Path, document: Document, faults: Sequence[Fault]) -> SpecError:
    found = [*document.faults, *((document.line(_known(place)), place, message) for place, message in faults)]
    lines = sorted({(line, written(place), message) for line, place, message in found})
    return SpecError(
        str(path),
        [f"{path.name}:{line}: {at}: {text}" if at else f"{path.name}:{line}: {text}" for line, at, text in lines],
    )


def _known(place: Place) -> Place:
    """Return a place whose keys are single ones: `reply.zh` is `reply`, `zh`."""
    return tuple(part for key in place for part in (key.split(".") if isinstance(key, str) else [key]))


def _read(section: Section, name: str, tasks: Tasks, forms: Mapping[str, Form]) -> FlowSpec | None:
    description = section.read("description", words, "")
    if "steps" not in section:
        section.fault("", "steps: missing; a flow has at least one")
    inner = section.section("steps")
    section.end()
    if "steps" in section and not inner.values:
        section.fault("steps", "found no step, expected at least one")
    steps = [step for key in inner.values if (step := _step(key, inner.section(key), tasks, forms))]
    faults = section.faults
    before = len(faults)
    faults += [((*inner.place, *place), message) for place, message in _faults(steps)]
    if len(faults) > before or len(steps) < len(inner.values):
        return None
    return FlowSpec(name, description, tuple(steps), tuple(_ordered(steps)))


def _step(name: str, section: Section, tasks: Tasks, forms: Mapping[str, Form]) -> Step | None:
    actions = [key for key in forms if key in section]
    if len(actions) != 1:
        found = " and ".join(actions) or "none of them"
        if section.sound:
            section.fault("", f"found {found}, expected exactly one of {', '.join(forms)}")
        return None
    (action,) = actions
    when = section.read("when", conditions.parse, None) if "when" in section else None
    timeout = section.read("timeout", positive, 0.0) or None
    body = forms[action].read(name, section, tasks)
    section.end((*forms, *COMMON, "of", "query", "k", "where", "by"))
    return Step(name, action, body, when, timeout, forms[action].cost)


def scope_of(steps: Sequence[Step]) -> Scope:
    """Return what conditions may name: the message, and each step's answers with their fields."""
    scope: dict[str, Mapping[str, Type]] = {MESSAGE: MESSAGE_FIELDS}
    for step in steps:
        scope |= {written_as(name): {**fields, ANSWERED: Truth()} for name, fields in step.body.gives.items()}
    return scope


def _faults(steps: Sequence[Step]) -> Iterator[Fault]:
    """Yield what is wrong with steps as a whole."""
    named = [*_name_faults(steps)]
    yield from named
    scope = scope_of(steps)
    wrong = [*_reference_faults(steps, scope)]
    yield from wrong
    circle = _circle(steps)
    if circle:
        yield (circle[0],), f"steps wait for each other: {' -> '.join(circle)}"
    if not (named or wrong or circle):
        yield from _unreachable(steps, scope)


def _name_faults(steps: Sequence[Step]) -> Iterator[Fault]:
    makers: dict[str, str] = {MESSAGE: "the message", EARLIER: "the earlier turns"}
    for step in steps:
        for name in step.body.gives:
            key = written_as(name)
            if not key.isidentifier() or keyword.iskeyword(key):
                yield (step.name,), f"{name!r} cannot be named in a condition; expected letters, digits and hyphens"
            if key in makers:
                yield (
                    (step.name,),
                    f"its answer {name!r} is already that of {makers[key]}; each needs a name of its own",
                )
            makers.setdefault(key, f"step {step.name!r}")


def _reference_faults(steps: Sequence[Step], scope: Scope) -> Iterator[Fault]:
    searches = [name for step in steps for name, fields in step.body.gives.items() if fields is PASSAGES_FIELDS]
    for step in steps:
        if step.when:
            yield from (((step.name, "when"), fault) for fault in scopes.check(step.when, scope))
        for key, template in step.body.templates:
            yield from (((step.name, *key.split(".")), fault) for fault in template.check(scope))
        if step.body.fallback and not isinstance(step.body.fallback, Mapping):
            for template in step.body.fallback.by_language.values():
                yield from (((step.name, "fallback"), fault) for fault in template.check(scope))
        if step.body.of and step.body.of not in (*searches, EARLIER):
            known = suggest(step.body.of, [*searches, EARLIER])
            yield (step.name, "of"), f"{step.body.of!r} is no search of this flow{known}"


def _waits(steps: Sequence[Step]) -> dict[str, list[str]]:
    """Return the steps that each step waits for, by name."""
    makers = {written_as(name): step.name for step in steps for name in step.body.gives}
    return {step.name: sorted({makers[name] for name in step.uses if name in makers}) for step in steps}


def _circle(steps: Sequence[Step]) -> list[str]:
    """Return steps that wait for each other in a circle, the first one again at the end; none where there is none."""
    try:
        graphlib.TopologicalSorter(_waits(steps)).prepare()
    except graphlib.CycleError as error:
        found: list[str] = error.args[1]
        return found[::-1]  # from one that waits to what it waits for
    return []


def _ordered(steps: Sequence[Step]) -> Iterator[Step]:
    """Yield steps so that each comes after those it waits for; of those that are ready the cheapest, then the first."""
    waits, left = _waits(steps), {step.name: (step.cost, place, step) for place, step in enumerate(steps)}
    while left:
        ready = [entry for name, entry in left.items() if not set(waits[name]) & left.keys()]
        step = min(ready, key=lambda entry: entry[:2])[2]
        del left[step.name]
        yield step


def _unreachable(steps: Sequence[Step], scope: Scope) -> Iterator[Fault]:
    """Yield the steps that no answers let run: their conditions contradict themselves, or those of steps they need."""
    makers = {written_as(name): step.name for step in steps for name in step.body.gives}
    before: dict[str, dict[str, Step]] = {}  # of each step, all that must have run before it can
    never: set[str] = set()
    for step in _ordered(steps):
        needed = {makers[name] for name in _needs(step, scope) if name in makers}
        before[step.name] = {name: found for other in needed for name, found in before[other].items()}
        hopeless = sorted(before[step.name].keys() & never)
        together = [each.when for each in (*before[step.name].values(), step) if each.when]
        before[step.name][step.name] = step
        if hopeless:
            never.add(step.name)
            yield (step.name,), f"can never run: it needs {hopeless[0]}, which never does"
        elif not can_hold(together, scope):
            never.add(step.name)
            told = " and ".join(f"`{condition.text}`" for condition in together)
            yield (step.name,), f"can never run: {told} cannot hold{' together' if len(together) > 1 else ''}"


def _needs(step: Step, scope: Scope) -> set[str]:
    """Return the answers that must be there before a step can run, its condition's included."""
    asked = {reference.name for reference in step.when.references} - {MESSAGE} if step.when else set()
    return step.needs | {name for name in asked if step.when and not can_hold([step.when], scope, without=name)}
