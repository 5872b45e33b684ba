"""Customer service: one reading of each message, its analysis, an answer from a small help centre, one reply.

    python examples/customer_service/run.py [--written] [MESSAGE ...]

Without messages it takes those of messages.txt. The flow is in flow.yaml, the help centre in help.jsonl; its index is
made beside them the first time, and brought up to date when the help centre has changed. With --written a decoder puts
the passage that was found into words (written.yaml).
"""

from __future__ import annotations

import sys
from pathlib import Path

from umbel import Flow, Index
from umbel.errors import RetrievalError, UmbelError
from umbel.flow import FlowResult
from umbel.flowing import one_line
from umbel.loading import ready_model
from umbel.questions import ScoreAnswer
from umbel.retrieval.documents import Documents
from umbel.runtime import Model

HERE = Path(__file__).parent
SHOWN = ("service-category", "sentiment", "urgency", "service-entities")


def help_centre(model: Model) -> Index:
    """Return the index of the help centre, up to date."""
    path = HERE / "help.index"
    try:
        index = Index.open(path, model)
    except RetrievalError:  # there is none, or another pack made it
        path.unlink(missing_ok=True)
        index = Index.create(path, model)
    index.add(Documents([HERE / "help.jsonl"]), covers=lambda source: True)
    return index


def load(name: str = "flow.yaml") -> Flow:
    """Load a flow with its help centre."""
    model = ready_model("base")
    return Flow.load(HERE / name, model, {"help.index": help_centre(model)})


def show(result: FlowResult) -> None:
    """Print a message, what was found out, which steps ran, and the reply."""
    print(f"> {result.text}")
    if all(name in result for name in SHOWN):
        found = {name: one_line(result[name]).rpartition(" ")[0] for name in SHOWN[:2]}
        print(f"  {found['service-category']}, {found['sentiment']}; {_urgency(result)}; {one_line(result[SHOWN[3]])}")
    print(f"  ran: {', '.join(step.name for step in result.steps if step.state == 'ran')}")
    print(f"  {result.reply}\n")


def _urgency(result: FlowResult) -> str:
    urgency = result["urgency"]
    return f"urgency {urgency.score:.1f}" if isinstance(urgency, ScoreAnswer) else one_line(urgency)


def main() -> None:
    """Take the messages through the flow."""
    written, texts = sys.argv[1:2] == ["--written"], sys.argv[1:]
    texts = texts[written:] or (HERE / "messages.txt").read_text("utf-8").splitlines()
    flow = load("written.yaml" if written else "flow.yaml")
    for text in texts:
        show(flow(text))


if __name__ == "__main__":
    try:
        main()
    except UmbelError as error:
        sys.exit(f"Error: {error}")
