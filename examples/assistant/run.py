"""An assistant: a conversation whose turns are kept as readings, a plan for each message, a small city guide.

    python examples/assistant/run.py [--talk]

Plays the conversations of dialogue.txt (a blank line begins another), or with --talk takes lines from the terminal. The
flow is in flow.yaml, the guide in guide.jsonl.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from umbel import Conversation, Flow, Index
from umbel.errors import RetrievalError, UmbelError
from umbel.flow import FlowResult
from umbel.flow_answers import TextAnswer
from umbel.loading import ready_model
from umbel.retrieval.documents import Documents
from umbel.runtime import Model

HERE = Path(__file__).parent
TURNS = 8  # of a conversation are kept


def guide(model: Model) -> Index:
    """Return the index of the guide, up to date."""
    path = HERE / "guide.index"
    try:
        index = Index.open(path, model)
    except RetrievalError:  # there is none, or another pack made it
        path.unlink(missing_ok=True)
        index = Index.create(path, model)
    index.add(Documents([HERE / "guide.jsonl"]), covers=lambda source: True)
    return index


def load() -> Flow:
    """Load the flow with its guide."""
    model = ready_model("base")
    return Flow.load(HERE / "flow.yaml", model, {"guide.index": guide(model)})


def plan(result: FlowResult) -> list[str]:
    """Return the steps of the plan, each with its details filled in."""
    return [answer.text for answer in result.values() if isinstance(answer, TextAnswer)]


def converse(flow: Flow, messages: Iterable[str]) -> None:
    """Take messages through one conversation after the other; a blank line begins the next."""
    talk = Conversation(flow, turns=TURNS)
    for message in messages:
        if not message.strip():
            talk = Conversation(flow, turns=TURNS)
            print()
            continue
        before = flow.model.counters.encodings
        result = talk(message)
        read = flow.model.counters.encodings - before
        print(f"> {message.strip()}")
        for number, step in enumerate(plan(result), 1):
            print(f"  {number}. {step}")
        print(f"  ({len(talk.turns)} turns kept, {read} texts read)")


def main() -> None:
    """Play the conversations, or talk."""
    flow = load()
    converse(flow, sys.stdin if "--talk" in sys.argv[1:] else (HERE / "dialogue.txt").read_text("utf-8").splitlines())


if __name__ == "__main__":
    try:
        main()
    except UmbelError as error:
        sys.exit(f"Error: {error}")
