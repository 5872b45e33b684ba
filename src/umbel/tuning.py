"""Trains a low-rank adapter of a decoder for one task, on a processor: rows of a text and the answer to write.

The adapter acts from the first token of the answer's turn on (activated LoRA, Greenewald et al. 2025): what stands
before it is read by the backbone alone, so all adapters share one kept prefix and no other task changes. Written as
PEFT writes it, and as GGUF for llama.cpp. Needs torch.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import Tensor
from torch.nn import functional

from umbel.backbones.llama import LlamaDecoder
from umbel.cache import atomic_write
from umbel.catalogue import CATALOGUE, pull
from umbel.decoderfile import DecoderWeights, hub_names, pairs, read_decoder
from umbel.decoding.chat import Chat
from umbel.decoding.engine import LlamaCpp
from umbel.decoding.load import load_decoder
from umbel.errors import DataError, InputError
from umbel.records import language_of
from umbel.replies import instructed, opening
from umbel.rows import read_rows
from umbel.writings import TASKS, Writing

TARGETS = ("self_attn.q_proj", "self_attn.v_proj")
PEFT_WEIGHTS, PEFT_CONFIG, GGUF = "adapter_model.safetensors", "adapter_config.json", "adapter.gguf"
MOST_TOKENS = 512  # of a conversation with its answer; longer rows are left out and counted

log = logging.getLogger(__name__)
Progress = Callable[[int, int, float], None]
"""Called with the rows done, the rows in all, and the mean loss of the last rows."""


@dataclass(frozen=True)
class Tuning:
    """How an adapter is trained."""

    rank: int = 8
    alpha: float = 16.0
    epochs: int = 3
    rows: int = 4  # of a step
    learning_rate: float = 1e-3
    seed: int = 1


@dataclass(frozen=True)
class Turn:
    """One row as tokens: the conversation, the header that opens the answer's turn, and the answer with its end."""

    prefix: list[int]
    header: list[int]
    answer: list[int]


def tune(
    backbone: str,
    data: Path,
    out: Path,
    task: str = "reply",
    settings: Tuning = Tuning(),
    progress: Progress | None = None,
    writing: Writing | None = None,
) -> dict[str, float]:
    """Train an adapter on rows of `text` and `answer`, write it to the folder `out`, and return losses.

    `writing` is the task as a pack declares it, where it has an instruction of its own.

    Raises:
        DataError: rows are missing or not as they should be.
        InputError: the task is none that writes.
        UmbelError: as `load_decoder` and `read_decoder` raise them.
    """
    if task not in TASKS:
        raise InputError(f"task: found {task!r}, expected one of {', '.join(TASKS)}")
    decoder = load_decoder(backbone, threads=1)
    try:
        turns = read_turns(decoder, data, writing or Writing(task=task))  # type: ignore[arg-type]
        header = turns[0].header
    finally:
        decoder.close()
    weights = read_decoder(pull(backbone) if backbone in CATALOGUE else backbone)
    model = LlamaDecoder.from_tensors(weights.shape, weights.tensors).requires_grad_(False)
    adapter, losses = train(model, turns, settings, progress)
    write_adapter(out, weights, adapter, settings, backbone, header)
    return losses


def read_turns(decoder: LlamaCpp, data: Path, writing: Writing) -> list[Turn]:
    """Return the rows of a file as tokens, asked as `replies` asks them."""
    chat, turns, faults = Chat(decoder), [], []
    for line, row in read_rows(data):
        text, answer = row.get("text"), row.get("answer")
        if not isinstance(text, str) or not isinstance(answer, str) or not text.strip() or not answer.strip():
            faults.append(f"{data.name}:{line}: expected `text` and `answer`, both texts that are not blank")
            continue
        language = language_of(text)
        messages = [*opening(writing, language), instructed(writing, language, text)]
        tokens, header = chat.tokens(messages), chat.around("", "x")[1]
        said = [*decoder.tokens(answer.strip()), decoder.end]
        if len(tokens) + len(said) <= MOST_TOKENS:
            turns.append(Turn(tokens[: len(tokens) - len(header)], header, said))
    if faults or not turns:
        raise DataError(str(data), faults or ["no row of a length that can be learnt"])
    return turns


Pair = tuple[Tensor, Tensor]


def train(
    model: LlamaDecoder, turns: Sequence[Turn], settings: Tuning, progress: Progress | None = None
) -> tuple[dict[str, Pair], dict[str, float]]:
    """Return the adapter by projection, with its scale left out, and the mean losses of the first and last epoch."""
    torch.manual_seed(settings.seed)
    adapter = _fresh(model, settings.rank)
    optimiser = torch.optim.AdamW([each for pair in adapter.values() for each in pair], settings.learning_rate)
    scale = settings.alpha / settings.rank
    total, done, means = settings.epochs * len(turns), 0, []
    for _ in range(settings.epochs):
        order, losses = torch.randperm(len(turns)).tolist(), []
        for start in range(0, len(order), settings.rows):
            some = order[start : start + settings.rows]
            for place in some:
                loss = _loss(model, turns[place], adapter, scale)
                (loss / len(some)).backward()  # type: ignore[no-untyped-call]
                losses.append(loss.item())
            optimiser.step()
            optimiser.zero_grad()
            done += len(some)
            if progress:
                progress(done, total, float(np.mean(losses[-settings.rows :])))
        means.append(float(np.mean(losses)))
    return {name: (down.detach(), up.detach()) for name, (down, up) in adapter.items()}, {
        "rows": len(turns),
        "first": means[0],
        "last": means[-1],
    }


def _fresh(model: LlamaDecoder, rank: int) -> dict[str, Pair]:
    """Return an adapter that changes nothing yet."""
    found = {}
    for name, module in model.named_modules():
        if name.endswith(TARGETS) and isinstance(module, torch.nn.Linear):
            down = torch.randn(rank, module.in_features) / rank**0.5
            found[name] = (down.requires_grad_(), torch.zeros(module.out_features, rank, requires_grad=True))
    return found


def _loss(model: LlamaDecoder, turn: Turn, adapter: Mapping[str, Pair], scale: float) -> Tensor:
    prefix = torch.tensor([turn.prefix])
    with torch.no_grad():
        encoding = model.encode(prefix, torch.ones_like(prefix, dtype=torch.bool))
    ids = torch.tensor([[*turn.header, *turn.answer[:-1]]])
    length = ids.shape[1]
    positions = torch.arange(prefix.shape[1], prefix.shape[1] + length)[None]
    attends = torch.ones(length, length, dtype=torch.bool).tril()[None]
    scaled = {name: (down, up * scale) for name, (down, up) in adapter.items()}
    hidden = model.branch(encoding, torch.tensor([0]), ids, positions, attends, scaled)
    logits = model.logits(hidden[0, len(turn.header) - 1 :])
    return functional.cross_entropy(logits, torch.tensor(turn.answer))


def write_adapter(
    out: Path,
    weights: DecoderWeights,
    adapter: Mapping[str, Pair],
    settings: Tuning,
    backbone: str,
    header: Sequence[int],
) -> None:
    """Write an adapter as PEFT does, and as GGUF beside it.

    Raises:
        CacheError: the folder cannot be written.
    """
    arrays = {name: (down.numpy(), up.numpy()) for name, (down, up) in adapter.items()}
    config: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": backbone,
        "r": settings.rank,
        "lora_alpha": settings.alpha,
        "target_modules": sorted({target.rpartition(".")[2] for target in TARGETS}),
        "alora_invocation_tokens": list(header),
        "bias": "none",
        "inference_mode": True,
    }
    peft = {}
    for name, (down, up) in arrays.items():
        peft[f"base_model.model.{name}.lora_A.weight"] = np.ascontiguousarray(down)
        peft[f"base_model.model.{name}.lora_B.weight"] = np.ascontiguousarray(up)
    with atomic_write(out / PEFT_WEIGHTS) as temporary:
        save_file(peft, temporary)
        temporary.chmod(0o644)  # the library keeps files to their owner
    with atomic_write(out / PEFT_CONFIG) as temporary:
        temporary.write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    with atomic_write(out / GGUF) as temporary:
        _write_gguf(temporary, weights, arrays, settings.alpha, header)


def _write_gguf(
    path: Path,
    weights: DecoderWeights,
    arrays: Mapping[str, tuple[np.ndarray, np.ndarray]],
    alpha: float,
    header: Sequence[int],
) -> None:
    import gguf

    shorts = {long: short for short, long in hub_names(weights.family, weights.shape.layers).items()}
    writer = gguf.GGUFWriter(path, weights.family)
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    kinds = gguf.GGUFValueType
    writer.add_key_value("adapter.alora.invocation_tokens", list(header), kinds.ARRAY, kinds.UINT32)
    for name, (down, up) in arrays.items():
        if weights.family == "llama" and name.endswith("q_proj"):
            up = pairs(up, weights.shape.heads)
        if weights.family == "llama" and name.endswith("k_proj"):
            up = pairs(up, weights.shape.kv_heads)
        writer.add_tensor(f"{shorts[name]}.weight.lora_a", np.ascontiguousarray(down))
        writer.add_tensor(f"{shorts[name]}.weight.lora_b", np.ascontiguousarray(up))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
