"""Moderation: what a message is guilty of, how bad, by which words, and what is done about it.

    python examples/moderation/run.py [--queue FILE] [MESSAGE ...]

Without messages it takes those of messages.txt. The flow is in flow.yaml. What a person has to look at is appended to
the queue, review.jsonl beside this file unless another is named.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from review_queue import ReviewQueue

from umbel import Flow
from umbel.errors import UmbelError
from umbel.flow import FlowResult
from umbel.flow_answers import plain_flow_answer
from umbel.loading import ready_model
from umbel.questions import ExtractAnswer, PredicateAnswer, ScoreAnswer

HERE = Path(__file__).parent
CATEGORIES = ("insult", "hatred", "threat", "advertising")


def load() -> Flow:
    """Load the flow."""
    return Flow.load(HERE / "flow.yaml", ready_model("base"))


def decision(result: FlowResult) -> str:
    """Return allow, review or remove; review where no decision came about."""
    return next((name for name in ("remove", "review", "allow") if name in result), "review")


def categories(result: FlowResult) -> list[str]:
    """Return the categories whose statement holds, the likeliest first."""
    found = {name: answer for name in CATEGORIES if isinstance(answer := result.get(name), PredicateAnswer)}
    held = [name for name, answer in found.items() if answer.holds]
    return sorted(held, key=lambda name: -found[name].probability)


def entry(result: FlowResult) -> dict[str, Any]:
    """Return what a reviewer needs to know."""
    shown = ("offensive", *CATEGORIES, "harm", "words")
    answers = {name: plain_flow_answer(result[name], 3) for name in shown if name in result}
    return {"text": result.text, "language": result.language, "categories": categories(result), "answers": answers}


def show(result: FlowResult) -> None:
    """Print the decision, and where it is not to allow: categories, severity, evidence."""
    print(f"{decision(result):8}{result.text}")
    harm, words = result.get("harm"), result.get("words")
    if isinstance(harm, ScoreAnswer) and isinstance(words, ExtractAnswer) and words.span:
        named = ", ".join(categories(result)) or "unclear"
        print(f"        {named}; {harm.level}; {words.span.start}-{words.span.end}: {words.span.text}")


def main() -> None:
    """Decide on the messages and queue what is for review."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("messages", nargs="*", metavar="MESSAGE")
    parser.add_argument("--queue", type=Path, default=HERE / "review.jsonl", metavar="FILE")
    arguments = parser.parse_args()
    flow, queue = load(), ReviewQueue(arguments.queue)
    for text in arguments.messages or (HERE / "messages.txt").read_text("utf-8").splitlines():
        result = flow(text)
        show(result)
        if decision(result) == "review":
            queue.add(entry(result))
    print(f"waiting in {arguments.queue.name}: {sum(1 for _ in queue)}")


if __name__ == "__main__":
    try:
        main()
    except UmbelError as error:
        sys.exit(f"Error: {error}")
