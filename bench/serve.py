"""What does HTTP cost, what happens under load, and how do other ways to serve compare?

    python bench/serve.py [--pack base] [--threads 2] [--rounds 9] [--seconds 4] [--minutes 0.5] [--quick] [--write F]

Theory: in-process a batch of 32 texts of 32 tokens is tokenised, encoded on all cores, read by 12 heads and decoded, in
turn. Served, the next batch is encoded while the last is decoded, which gains some of what HTTP, JSON and pipes cost.
A bound to what a request may wait bounds its time: at twice the load that can be served, half is refused and the rest
waits no longer than the bound.

Messages of 32 tokens, all different, one a request, 12 tasks. The load comes from a process of its own, which has no
core of its own on two. In every round each side has its turn: the runtime in-process, Umbel's server with 64
connections that always ask (saturation), at 70 and at 200 % of what it just served, with requests that leave at random
times whatever the answers do, and LitServe around the same runtime. Figures are medians over rounds of the ratios
within a round. `cpu_ms` are the processor's milliseconds for a request, which other programs change least.

Then 200 % is held for `--minutes`, and the memory looked at that all processes filled themselves: `grown_mb` is the
mean of its last fifth over that of its second fifth. A server of 12 fine-tuned transformers models in fp32 comes last.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from _common import HERE, ROOT, finish, machine, options_of
from _sides import InProcess, Messages, Server, Slice, ask, free_port, running

TASKS, TOKENS, TEXTS = 12, 32, 2048
CONNECTIONS, MANY, FEW = 64, 512, 8
MODELS_ROUNDS = 3
SAMPLE_SECONDS = 1.0
WORDS = "order parcel refund money card account phone please help today late broken where when why room clean good bad"
HAN = "我昨天在你们店里买的手机充电麻烦帮换一台新或者尽快把钱退给谢谢房间干净但是服务员态度很差"

Round = dict[str, Slice]


def messages_of(pack: str, folder: Path) -> Messages:
    """Return different texts of exactly `TOKENS` tokens, Chinese and English in turn, and the tasks to answer."""
    import umbel

    model = umbel.load(pack)
    trained = [name for name, task in model.tasks.items() if task.kind not in ("feature-extraction", "asked")]
    tasks = list(dict.fromkeys(trained[place * len(trained) // TASKS] for place in range(TASKS)))
    chance, found = random.Random(0), dict[str, None]()
    while len(found) < TEXTS:
        english = " ".join(chance.choices(WORDS.split(), k=chance.randint(26, 30)))
        chinese = "".join(chance.choices(HAN, k=chance.randint(26, 34)))
        for text in (english, chinese):
            if len(model.tokenizer.windows(text)[0].ids) == TOKENS:
                found[text] = None
    texts = list(found)[:TEXTS]
    listed, bodies = folder / "texts.json", folder / "bodies.jsonl"
    listed.write_text(json.dumps(texts))
    bodies.write_text("\n".join(json.dumps({"texts": [t], "tasks": tasks}, ensure_ascii=False) for t in texts) + "\n")
    return Messages(texts, tasks, listed, bodies)


class Bench:
    """Starts what is compared, and lets each side have its turn."""

    def __init__(self, pack: str, threads: int, seconds: float, folder: Path) -> None:
        self.pack, self.threads, self.seconds = pack, threads, seconds
        self.messages = messages_of(pack, folder)

    def umbel(self, stack: ExitStack) -> Server:
        """Serve the pack until the stack is closed."""
        port = free_port()
        arguments = ["serve", self.pack, "--port", str(port), "--threads", str(self.threads)]
        return self._server(stack, [sys.executable, "-m", "umbel", *arguments], port)

    def rival(self, stack: ExitStack, name: str) -> Server:
        """Serve by a rival until the stack is closed."""
        port = free_port()
        arguments = [name, str(port), str(self.threads), self.pack, *self.messages.tasks]
        return self._server(stack, [sys.executable, str(HERE / "_servers.py"), *arguments], port)

    def _server(self, stack: ExitStack, command: Sequence[str], port: int) -> Server:
        server = stack.enter_context(running(command, port, self.messages.bodies))
        server.slice(self.seconds / 4, CONNECTIONS)  # warms up
        return server

    def rounds(self, count: int, inside: InProcess, served: Server, lit: Server | None) -> list[Round]:
        """Let each side have its turn, `count` times."""
        found = []
        for number in range(count):
            turn = {"in_process": inside.slice(self.seconds), "saturated": served.slice(self.seconds, CONNECTIONS)}
            rate = turn["saturated"].per_second
            turn["at_70"] = served.slice(self.seconds, MANY, 0.7 * rate)
            turn["at_200"] = served.slice(self.seconds, MANY, 2 * rate)
            if lit:
                turn["litserve"] = lit.slice(self.seconds, CONNECTIONS)
            for name, each in turn.items():
                print(f"{number + 1} {name:12}{each.per_second:8.1f}/s {json.dumps(each.seen)}", file=sys.stderr)
            found.append(turn)
        return found

    def held(self, served: Server, rate: float, minutes: float) -> dict[str, Any]:
        """Hold a rate, and return what was seen, and how memory went."""
        memory = [served.own_megabytes()]
        with served.loaded(60 * minutes / 1.2, MANY, rate) as load:
            while load.poll() is None:
                time.sleep(SAMPLE_SECONDS)
                memory.append(served.own_megabytes())
            seen = dict(json.loads(load.communicate()[0]))
        fifth = max(len(memory) // 5, 1)
        grown = statistics.mean(memory[-fifth:]) - statistics.mean(memory[fifth : 2 * fifth] or memory)
        return {
            "minutes": minutes,
            "memory_mb": [round(each) for each in memory[:: max(len(memory) // 10, 1)]],
            "grown_mb": round(grown, 1),
            **{name: seen[name] for name in ("statuses", "lost", "untold")},
        }

    def difference(self, port: int) -> float:
        """Return by how much a number in an answer differs, the text alone and sent together with 63 others."""
        texts, tasks, found = self.messages.texts[:64], self.messages.tasks, 0.0
        together = ask(port, texts, tasks)
        for text, among in zip(texts[::8], together[::8], strict=True):
            (alone,) = ask(port, [text], tasks)
            found = max(found, *(abs(a - b) for a, b in zip(_numbers(alone), _numbers(among), strict=True)))
        return found

    def models_speedup(self, served: Server) -> float | None:
        """Return requests a second over those of a server of many models, by turns."""
        with ExitStack() as stack:
            models, found = self.rival(stack, "models"), []
            for _ in range(MODELS_ROUNDS):
                found.append(_over(served.slice(self.seconds, CONNECTIONS), models.slice(self.seconds, FEW)))
        return median_of(found)


def _numbers(value: Any) -> list[float]:
    """Return all numbers in JSON, in an order of their own."""
    if isinstance(value, dict):
        return [number for name in sorted(value) for number in _numbers(value[name])]
    if isinstance(value, list):
        return [number for each in value for number in _numbers(each)]
    return [float(value)] if isinstance(value, int | float) else []


def _over(one: Slice, other: Slice) -> float | None:
    return one.per_second / other.per_second if other.per_second else None


def median_of(values: Sequence[float | None], digits: int = 3) -> float | None:
    """Return the median of what could be measured."""
    found = [value for value in values if value is not None]
    return round(statistics.median(found), digits) if found else None


def ratios_of(rounds: Sequence[Round], first: tuple[str, str], second: tuple[str, str]) -> float | None:
    """Return the median over rounds of what a turn's client saw over what another's did."""
    pairs = [(turn[first[0]].seen[first[1]], turn[second[0]].seen[second[1]]) for turn in rounds]
    return median_of([one / other if one and other else None for one, other in pairs])


def _cpu(rounds: Sequence[Round]) -> dict[str, list[float]]:
    """Return each side's milliseconds of the processor for a request, by process, the largest first."""
    found = {}
    for name in ("in_process", "saturated", "litserve"):
        slices = [turn[name] for turn in rounds if name in turn]
        pids = {pid for each in slices for pid in each.cpu}
        spent = [median_of([each.cpu.get(pid, 0.0) for each in slices], 2) or 0.0 for pid in pids]
        found[name] = sorted((each for each in spent if each), reverse=True)
    return found


def figures_of(rounds: Sequence[Round]) -> dict[str, Any]:
    """Return the figures of all rounds."""
    lit = [turn for turn in rounds if "litserve" in turn]
    refused = [turn["at_200"].seen["statuses"].get("429", 0) for turn in rounds]
    asked = [sum(turn["at_200"].seen["statuses"].values()) for turn in rounds]
    return {
        "http_over_inprocess": median_of([_over(turn["saturated"], turn["in_process"]) for turn in rounds]),
        "p99_over_p50_at_70": ratios_of(rounds, ("at_70", "p99"), ("at_70", "p50")),
        "overload_p99_over_p50": ratios_of(rounds, ("at_200", "p99"), ("at_200", "p50")),
        "litserve_speedup": median_of([_over(turn["saturated"], turn["litserve"]) for turn in lit]),
        "in_process_per_second": median_of([turn["in_process"].per_second for turn in rounds], 1),
        "http_per_second": median_of([turn["saturated"].per_second for turn in rounds], 1),
        "milliseconds_at_70": [
            median_of([_ms(turn["at_70"], share) for turn in rounds], 1) for share in ("p50", "p99")
        ],
        "milliseconds_at_200": [
            median_of([_ms(turn["at_200"], share) for turn in rounds], 1) for share in ("p50", "p99")
        ],
        "overload_offered_over_saturated": ratios_of(rounds, ("at_200", "offered"), ("saturated", "per_second")),
        "overload_answered_over_saturated": ratios_of(rounds, ("at_200", "per_second"), ("saturated", "per_second")),
        "overload_refused": median_of(
            [some / all_ if all_ else None for some, all_ in zip(refused, asked, strict=True)]
        ),
        "overload_lost": sum(turn["at_200"].seen["lost"] for turn in rounds),
        "overload_refused_without_retry_after": sum(turn["at_200"].seen["untold"] for turn in rounds),
        "cpu_ms": _cpu(rounds),
    }


def _ms(found: Slice, share: str) -> float | None:
    value = found.seen[share]
    return 1000 * value if value else None


def main() -> None:
    """Measure and print."""
    more = (
        ("--pack", {"default": "base", "help": "a shipped pack or a folder"}),
        ("--seconds", {"type": float, "default": 4.0, "help": "of each turn"}),
        ("--minutes", {"type": float, "default": 0.5, "help": "hold 200 %% for so long, and look at memory"}),
        ("--without", {"nargs": "*", "default": [], "choices": ["models", "litserve"], "help": "leave rivals out"}),
    )
    options = options_of(__doc__, *more)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    minutes = min(options.minutes, 0.05) if options.quick else options.minutes
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        bench = Bench(options.pack, options.threads, 1.0 if options.quick else options.seconds, Path(folder))
        served = bench.umbel(stack)
        with ExitStack() as others:
            inside = InProcess(bench.pack, bench.threads, bench.messages)
            others.callback(inside.close)
            lit = None if "litserve" in options.without else bench.rival(others, "litserve")
            figures = figures_of(bench.rounds(options.rounds, inside, served, lit))
        figures["max_difference_alone_vs_batched"] = bench.difference(served.port)
        if minutes:
            figures["held_at_200"] = bench.held(served, 2 * figures["http_per_second"], minutes)
        figures["models_server_speedup"] = None if "models" in options.without else bench.models_speedup(served)
    finish(figures | {"machine": machine()}, options.write)


if __name__ == "__main__":
    main()
