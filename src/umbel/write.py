"""Writes texts from the command line: as they come, with their sources, what was found in them, and what it cost."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from umbel.answers import DIGITS, json_line
from umbel.catalogue import CATALOGUE
from umbel.decoding.load import is_decoder
from umbel.errors import MissingExtraError
from umbel.loading import fetched, ready_model
from umbel.replies import Order
from umbel.terminal import errors, output, visible

if TYPE_CHECKING:
    from umbel.replies import Reply, ReplyStream


def order_of(changes: Mapping[str, Any], texts: int, seed: int) -> Order:
    """Return what is wanted beside the message."""
    return Order(texts=texts, seed=seed, changes=dict(changes))


def write(pack: str, text: str, task: str, order: Order, as_json: bool, threads: int = 0) -> None:
    """Write texts about a message and show them."""
    model = ready_model(pack)
    model.writer.threads = threads
    known = model.writer.tasks().get(task)
    decoder = order.changes.get("decoder") or (known.decoder if known else "")
    if decoder in CATALOGUE and is_decoder(decoder):
        fetched(decoder)
    stream = model.writer.stream(text, task, order)
    if as_json:
        for _ in stream:
            pass
        for reply in stream.replies:
            sys.stdout.buffer.write(json_line(plain(reply)))
        sys.stdout.buffer.flush()
    elif order.texts == 1:
        _show_as_it_comes(stream)
    else:
        for _ in stream:
            pass
        for number, reply in enumerate(stream.replies, 1):
            output().print(Text(f"{number}", "dim"))
            output().print(Text(visible_lines(reply.text)), soft_wrap=True)
            _notes(reply)
    (errors() if as_json else output()).print(cost(stream.replies), soft_wrap=True)


def _show_as_it_comes(stream: ReplyStream) -> None:
    shown = False
    for _, sentences in stream:
        output().print(Text(visible_lines(sentences)), end="", soft_wrap=True)
        shown = True
    if shown:
        output().print()
    (reply,) = stream.replies
    if reply.replaced:
        output().print(Text(visible_lines(reply.text)), soft_wrap=True)
    _notes(reply)


def _notes(reply: Reply) -> None:
    """Show what else there is to say of a text."""
    for flag in reply.flags:
        output().print(Text(f"replaced by the fallback: {flag}", "yellow"), soft_wrap=True)
    for source in reply.sources:
        output().print(
            Text(f"[{source.number}] {visible(source.source)} {source.start}–{source.end}", "dim"), soft_wrap=True
        )
    if reply.dropped_turns or reply.cut_tokens:
        left_out = f"left out: {reply.dropped_turns} turns, {reply.cut_tokens} tokens of the message"
        output().print(Text(left_out, "yellow"), soft_wrap=True)
    if reply.finish in ("length", "time"):
        output().print(Text(f"ended by its limit of {reply.finish}", "dim"), soft_wrap=True)


def cost(replies: list[Reply]) -> str:
    """Return what texts cost, in words."""
    tokens, seconds = sum(reply.tokens for reply in replies), max(reply.seconds for reply in replies)
    rate = tokens / seconds if seconds else 0.0
    first = replies[0]
    checks = ", ".join(first.checks) or "nothing in this pack"
    return (
        f"{tokens} tokens by {first.decoder} in {seconds:.1f} s, the first after {first.first_seconds:.1f} s, "
        f"{rate:.0f} a second; checked by {checks}"
    )


def plain(reply: Reply) -> dict[str, Any]:
    """Return a text and what is known of it as plain values."""
    found = asdict(reply)
    times = {name: round(found[name], DIGITS) for name in ("seconds", "first_seconds")}
    return found | times | {"replaced": reply.replaced}


def visible_lines(text: str) -> str:
    """Return a text with its lines kept and control characters made visible."""
    return "\n".join(visible(line) for line in text.split("\n"))


def tune(data: Path, out: Path, task: str, backbone: str, numbers: tuple[int, int, int]) -> None:
    """Train an adapter and show how its loss falls; `numbers` are epochs, rank and seed.

    Raises:
        MissingExtraError: torch is not installed.
        UmbelError: as `tuning.tune` raises them.
    """
    if find_spec("torch") is None:
        raise MissingExtraError("torch", "train")
    from umbel import tuning

    fetched(backbone)
    epochs, rank, seed = numbers
    settings = tuning.Tuning(rank=rank, epochs=epochs, seed=seed)

    def progress(done: int, total: int, loss: float) -> None:
        errors().print(f"{done} of {total} rows, loss {loss:.3f}", soft_wrap=True)

    losses = tuning.tune(backbone, data, out, task, settings, progress)
    output().print(
        f"{out}: learnt from {losses['rows']:.0f} rows, loss {losses['first']:.3f} in the first epoch, "
        f"{losses['last']:.3f} in the last",
        soft_wrap=True,
    )
