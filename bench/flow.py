"""What does one reading for a whole flow save, and does a long conversation cost the same at every turn?

    python bench/flow.py [--threads 2] [--rounds 9] [--quick] [--write FILE]

Theory: the heads, questions and the search of the customer service example take their vectors from one reading of the
message; asked one by one, as separate calls do it, each reads the message again. The rest, branches and the reading of
the passage, is the same for both. Of a conversation six turns are kept: from the seventh on, every turn asks as many
readings, so neither time nor memory grows. Both sides of a ratio run in turn in one process; nothing is remembered of
one message from round to round.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from _common import ROOT, finish, machine, options_of

import umbel
from umbel import Conversation, Flow, Index
from umbel.encodings import EncodingCache
from umbel.retrieval.documents import Documents
from umbel.runtime import Model

EXAMPLES = ROOT / "examples"
MESSAGE = "I sent the jacket back two weeks ago, order 10432. When do I get my money back?"
TURN = "What will the weather be like there on day {}?"
TURNS, KEPT = 50, 6


def flow_of(name: str, model: Model, folder: Path) -> Flow:
    """Load an example's flow with its index."""
    rows, index = {"customer_service": ("help.jsonl", "help.index"), "assistant": ("guide.jsonl", "guide.index")}[name]
    made = Index.create(folder / index, model)
    made.add(Documents([EXAMPLES / name / rows]))
    return Flow.load(EXAMPLES / name / "flow.yaml", model, {index: made})


def one_by_one(flow: Flow) -> Callable[[], object]:
    """Return a function that does what the flow does for MESSAGE by separate calls."""
    steps = {step.name: step.body for step in flow.spec.steps}
    asked = [asking.question for asking in steps["asked"].settings]
    said = steps["said"].settings[0].question
    index = flow._named["help.index"]
    assert isinstance(index, Index)

    def run() -> object:
        flow.model(MESSAGE, list(steps["read"].settings))
        flow.model.ask(MESSAGE, asked)
        (passage, *_) = index.search(MESSAGE, 5, {"lang": "en"})
        return flow.model.ask(passage.text, [type(said)(MESSAGE)])

    return run


def seconds_of(operations: Sequence[Callable[[], object]], rounds: int) -> list[list[float]]:
    """Return each operation's seconds, all in turn in every round, the first of which warms up."""
    seconds: list[list[float]] = [[] for _ in operations]
    for number in range(rounds + 1):
        for place, operation in enumerate(operations):
            began = time.perf_counter()
            operation()
            if number:
                seconds[place].append(time.perf_counter() - began)
    return seconds


def conversation(flow: Flow) -> tuple[list[float], list[int]]:
    """Return the seconds of each turn, and the bytes kept after it."""
    talk, seconds, sizes = Conversation(flow, turns=KEPT), [], []
    for number in range(TURNS):
        began = time.perf_counter()
        talk(TURN.format(number))
        seconds.append(time.perf_counter() - began)
        sizes.append(talk.nbytes)
    return seconds, sizes


def main() -> None:
    """Measure and print."""
    options = options_of(__doc__)
    model = umbel.load("base", threads=options.threads)
    with tempfile.TemporaryDirectory() as folder:
        service, assistant = (flow_of(name, model, Path(folder)) for name in ("customer_service", "assistant"))
        remembered, model.forward.encodings = model.encodings, EncodingCache(0)
        rounds = options.rounds if options.quick else 5 * options.rounds
        flow, separate = seconds_of([lambda: service(MESSAGE), one_by_one(service)], rounds)
        model.forward.encodings = remembered
        seconds, sizes = conversation(assistant)
    early, late = (statistics.median(seconds[at - 5 : at + 5]) for at in (15, 45))
    figures = {
        "flow_ms": round(1000 * statistics.median(flow), 1),
        "separate_calls_ms": round(1000 * statistics.median(separate), 1),
        "flow_over_separate_calls": round(statistics.median(a / b for a, b in zip(flow, separate, strict=True)), 3),
        "turn_ms": round(1000 * early, 1),
        "late_turns_over_early": round(late / early, 3),
        "kept_mb": round(sizes[-1] / 1e6, 1),
        "kept_late_over_early": round(sizes[-1] / sizes[14], 3),
        "machine": machine(),
    }
    for key, value in figures.items():
        print(f"{key:32}{value}")
    finish(figures, options.write)


if __name__ == "__main__":
    main()
