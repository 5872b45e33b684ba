"""A flow: a message is read once, then steps answer, ask, search and reply, each only where its condition holds.

Cheap steps run first. A step that fails or takes too long ends alone: its fallback stands in, and the rest go on. Knows
nothing of how a step does its work (`flow_actions`) nor of how a flow is declared (`flow_spec`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from umbel.conditions import Condition, written_as
from umbel.errors import SpecError
from umbel.fill import Texts, shown
from umbel.flow_actions import ACTIONS, Action, Done, Turn, Watch, filled_in
from umbel.flow_answers import MESSAGE, FlowAnswer, TextAnswer, plain_flow_answer, values_of
from umbel.flow_forms import FORMS, WRITING_KIND, Form, Tasks
from umbel.flow_spec import FlowSpec, Step, flow_of_file, flow_of_pack, read_flow_file
from umbel.manifest import VECTORS
from umbel.pack import Manifest, Pack, read_pack
from umbel.questions import Predicate
from umbel.records import language_of
from umbel.retrieval import Index

if TYPE_CHECKING:
    from umbel.encodings import Encoding
    from umbel.runtime import Model

logger = logging.getLogger(__name__)

State = Literal["ran", "skipped", "failed", "timed out"]
FILES = (".yaml", ".yml")
WARM_UP = "ready"
MOST_AT_ONCE = 64  # steps with a timeout, of all messages; what is over waits, and its time runs
LONGEST_SHOWN = 60  # characters of a value in a report


@dataclass(frozen=True)
class StepReport:
    """What became of a step, and why; `fallback` tells whether what stands in for its answers was used."""

    name: str
    action: str
    state: State
    why: str = ""
    milliseconds: float = 0.0
    fallback: bool = False
    answers: tuple[str, ...] = ()


@dataclass(frozen=True)
class FlowResult(Mapping[str, FlowAnswer]):
    """The answers of all steps that gave any, by name, and what became of every step, in the order they ran.

    `reading_milliseconds` is what it took to read the message, `milliseconds` all of it.
    """

    text: str
    language: str
    answers: Mapping[str, FlowAnswer]
    steps: tuple[StepReport, ...]
    reply: str | None
    milliseconds: float
    reading_milliseconds: float

    def __getitem__(self, name: str) -> FlowAnswer:
        return self.answers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.answers)

    def __len__(self) -> int:
        return len(self.answers)

    def step(self, name: str) -> StepReport:
        """Return the report of a step."""
        return next(report for report in self.steps if report.name == name)

    def plain(self, most: int | None = None) -> dict[str, Any]:
        """Return everything as plain values, ready for JSON; of probabilities only the `most` highest."""
        answers = {name: plain_flow_answer(answer, most) for name, answer in self.answers.items()}
        steps = [
            {**vars(report), "milliseconds": round(report.milliseconds, 1), "answers": list(report.answers)}
            for report in self.steps
        ]
        times = {name: round(getattr(self, name), 1) for name in ("milliseconds", "reading_milliseconds")}
        head = {"text": self.text, "language": self.language, "reply": self.reply}
        return head | {"answers": answers, "steps": steps} | times


class Onlooker(Watch, Protocol):
    """Is told of each step as it begins and ends, and of the sentences that steps write.

    What it raises when a step begins or ends ends the run.
    """

    def begins(self, step: str) -> None:
        """A step's condition holds, and it is about to run."""

    def ended(self, report: StepReport, answers: Mapping[str, FlowAnswer]) -> None:
        """A step ended, or was skipped; these are its answers."""


class Flow:
    """A flow ready to run; safe to use from several threads.

    >>> flow = umbel.Flow.load("examples/customer_service/flow.yaml")
    >>> flow("Where is my order 10432?").reply
    """

    def __init__(
        self,
        spec: FlowSpec,
        model: Model,
        folder: Path = Path(),
        indexes: Mapping[str, Index | Path] = MappingProxyType({}),
        actions: Mapping[str, Action] = ACTIONS,
    ) -> None:
        self.spec, self.model, self.folder = spec, model, folder
        self._actions = actions
        self._named = dict(indexes)
        self._opened: dict[str, Index] = {}
        self._lock = threading.Lock()
        # Kept threads: the engine holds a request for each, and one that dies while the program ends can take it along.
        self._pool = ThreadPoolExecutor(MOST_AT_ONCE, thread_name_prefix="umbel-flow")
        self._vector_task = next((name for name, task in model.tasks.items() if task.kind == VECTORS), "")

    @classmethod
    def load(
        cls,
        source: str | Path,
        model: Model | None = None,
        indexes: Mapping[str, Index | Path] = MappingProxyType({}),
        forms: Mapping[str, Form] = FORMS,
        actions: Mapping[str, Action] = ACTIONS,
    ) -> Self:
        """Load a flow from a YAML file, or the one a pack declares, with the pack it is for unless `model` is given.

        `indexes` says where an index is that a step names, or gives it opened; else it lies beside the file, or in the
        pack's folder. `forms` and `actions` bring further kinds of steps.

        Raises:
            SpecError: the flow has faults, all of which are told, or does not fit the pack.
            PackError: the pack is missing, or declares no flow.
        """
        spec, pack, folder = read_flow(source, model.pack if model else None, forms)
        if model is None:
            from umbel import load

            model = load(pack.folder)
        flow = cls(spec, model, folder, indexes, actions)
        flow._warm()
        return flow

    def __call__(self, text: str, onlooker: Onlooker | None = None) -> FlowResult:
        """Take one message through the flow; it is read once.

        Raises:
            InputError: it is not a string or is blank.
        """
        began = time.perf_counter()
        encoding = self.model.read(text)
        return self.run(encoding, reading=1000 * (time.perf_counter() - began), onlooker=onlooker)

    def run(
        self,
        encoding: Encoding,
        earlier: Sequence[Encoding] = (),
        reading: float = 0.0,
        onlooker: Onlooker | None = None,
    ) -> FlowResult:
        """Take a message that was read through the flow, with the readings of earlier turns, the oldest first.

        `reading` are the milliseconds that reading it took, for the report.
        """
        language = language_of(encoding.text)
        turn = Turn(self.model, encoding, language, self._index, self._vector_task, earlier, onlooker)
        turn.values[MESSAGE] = turn.message()
        began = time.perf_counter()
        reports: dict[str, StepReport] = {}
        for step in self.spec.order:
            report = reports[step.name] = self._step(step, turn, reports, onlooker)
            if onlooker:
                onlooker.ended(report, {name: turn.answers[name] for name in report.answers})
        spent = 1000 * (time.perf_counter() - began) + reading
        replies = (turn.answers.get(name) for step in self.spec.steps for name in step.body.gives)
        reply = next((found.text for found in replies if isinstance(found, TextAnswer)), None)
        answers = {
            name: turn.answers[name] for step in self.spec.steps for name in step.body.gives if name in turn.answers
        }
        return FlowResult(encoding.text, language, answers, tuple(reports.values()), reply, spent, reading)

    def mermaid(self) -> str:
        """Return the flow as a picture in Mermaid's language."""
        from umbel.flow_drawing import mermaid

        return mermaid(self.spec)

    def close(self) -> None:
        """Close the indexes that the flow opened."""
        with self._lock:
            for index in self._opened.values():
                index.close()
            self._opened.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _warm(self) -> None:
        """Run the engine's graphs once: they are compiled when first used, which must not count as a step's time."""
        reading = self.model.read(WARM_UP)
        if any(step.action == "ask" for step in self.spec.steps):
            self.model.ask(reading, [Predicate(WARM_UP)])

    def _step(self, step: Step, turn: Turn, reports: Mapping[str, StepReport], onlooker: Onlooker | None) -> StepReport:
        """Run a step if its condition holds, add its answers to the turn, and report."""
        holds = step.when.evaluate(turn.lookup) if step.when else True
        if step.when and not holds:
            why = _unmet(step.when, turn) if holds is False else self._lacking(_asked(step.when), turn, reports)
            return StepReport(step.name, step.action, "skipped", why)
        lacking = self._lacking(step.needs, turn, reports)
        began = time.perf_counter()
        state: State = "skipped"
        done = Done({}, lacking)
        if not lacking:
            if onlooker:
                onlooker.begins(step.name)
            state, done = self._run(step, turn)
        stood_in = {} if done.answers else _stand_in(step, turn)
        answers = done.answers or stood_in
        turn.answers |= answers
        turn.values |= {written_as(name): values_of(answer) for name, answer in answers.items()}
        spent = 1000 * (time.perf_counter() - began)
        return StepReport(step.name, step.action, state, done.note, spent, bool(stood_in), tuple(answers))

    def _run(self, step: Step, turn: Turn) -> tuple[State, Done]:
        """Do what a step says within its time."""
        action = self._actions[step.action]
        try:
            done = _within(self._pool, step.timeout, lambda: action(step.name, step.body, turn, step.timeout))
        except Exception as error:  # whatever goes wrong in a step must not end the others
            logger.warning("step %s failed: %s", step.name, error, exc_info=logger.isEnabledFor(logging.DEBUG))
            return "failed", Done({}, f"{type(error).__name__}: {error}".partition("\n")[0])
        if done is None:
            return "timed out", Done({}, f"took longer than {step.timeout:g} s")
        return ("ran" if done.answers else "skipped"), done

    def _lacking(self, names: set[str], turn: Turn, reports: Mapping[str, StepReport]) -> str:
        """Say which of these answers are missing and what became of their steps; nothing where all are there."""
        missing = [name for name in sorted(names) if name not in turn.values]
        return "; ".join(_needs(name, reports[self.spec.makers[name].name]) for name in missing)

    def _index(self, name: str) -> Index:
        """Return an index by the name that a step gives it, opened once."""
        given = self._named.get(name, self.folder / name)
        if isinstance(given, Index):
            return given
        with self._lock:
            if name not in self._opened:
                self._opened[name] = Index.open(given, self.model)
            return self._opened[name]


def read_flow(
    source: str | Path, pack: Pack | None = None, forms: Mapping[str, Form] = FORMS
) -> tuple[FlowSpec, Pack, Path]:
    """Read and check a flow, without loading a model; return it, its pack, and the folder where its indexes lie.

    Raises:
        SpecError: it has faults, or does not fit the pack.
        PackError: the pack is missing, or declares no flow.
    """
    path = Path(source).expanduser()
    if path.suffix in FILES:
        document, name = read_flow_file(path)
        beside = path.parent / name
        pack = pack or read_pack(beside if (beside / "manifest.json").is_file() else name)
        spec, folder = flow_of_file(path, document, _tasks_of(pack), forms), path.parent
    else:
        pack = read_pack(source)
        spec, folder = flow_of_pack(pack.flow(), pack.manifest.name, _tasks_of(pack), forms), pack.folder
    faults = [*_unfit(spec, pack.manifest)]
    if faults:
        raise SpecError(str(source), faults)
    return spec, pack, folder


def _tasks_of(pack: Pack) -> Tasks:
    """Return a pack's tasks, those that write included."""
    entries = pack.manifest.tasks.items()
    return pack.tasks | {name: entry.task(name) for name, entry in entries if entry.kind == WRITING_KIND}


def _unfit(spec: FlowSpec, manifest: Manifest) -> Iterator[str]:
    """Yield what the flow asks of its pack that it cannot do."""
    for step in spec.steps:
        if step.action == "ask" and manifest.branches is None:
            yield f"steps.{step.name}: pack {manifest.name} was not trained for questions"
        if step.action == "search" and all(task.kind != VECTORS for task in manifest.tasks.values()):
            yield f"steps.{step.name}: pack {manifest.name} gives no vectors to search with"


def _within(pool: ThreadPoolExecutor, seconds: float | None, work: Callable[[], Done]) -> Done | None:
    """Return what work gives, or None where it takes longer; it then ends by itself, unheard."""
    if seconds is None:
        return work()
    future = pool.submit(work)
    try:
        return future.result(seconds)
    except TimeoutError:
        if future.done():  # it was the work's own
            raise
        future.cancel()
        return None


def _stand_in(step: Step, turn: Turn) -> Mapping[str, FlowAnswer]:
    fallback = step.body.fallback
    if isinstance(fallback, Texts):
        found = filled_in(fallback, turn)
        return dict.fromkeys(step.body.gives, found) if found else {}
    return fallback or {}


def _asked(when: Condition) -> set[str]:
    return {reference.name for reference in when.references}


def _unmet(when: Condition, turn: Turn) -> str:
    """Say which answers kept a condition from holding."""
    told = [f"{reference} is {_shown(turn.lookup(reference))}" for reference in when.reasons(turn.lookup)]
    return ", ".join(told) or f"{when.text} never holds"


def _shown(value: Any) -> str:
    text = shown(value) or "nothing"
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def _needs(name: str, report: StepReport) -> str:
    was = {"ran": "did not give it", "skipped": "was skipped"}.get(report.state, report.state)
    of = "which" if written_as(report.name) == name else f"of step {report.name}, which"
    return f"needs {name}, {of} {was}"
