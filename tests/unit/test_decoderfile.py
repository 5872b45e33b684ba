"""Decoders of every family, small and random, saved by transformers and read back: the same logits as theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from umbel.backbones.llama import LlamaDecoder
from umbel.decoderfile import halves, pairs, read_decoder
from umbel.errors import BackboneError

SIZES: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 7,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-6,
}
FAMILIES: dict[str, Any] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=False)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES, head_dim=16, tie_word_embeddings=True)),
    "gemma3": lambda: Gemma3ForCausalLM(
        Gemma3TextConfig(**SIZES, head_dim=16, query_pre_attn_scalar=20, sliding_window=6)
    ),
}


@pytest.fixture(params=FAMILIES)
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, Path]:
    torch.manual_seed(3)
    model = FAMILIES[request.param]().eval()
    with torch.no_grad():
        for parameter in model.parameters():  # biases and norms too, so that none is at its start
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(tmp_path)
    return model, tmp_path


@torch.no_grad()
def test_logits_are_those_of_transformers(saved: tuple[Any, Path]) -> None:
    reference, folder = saved
    weights = read_decoder(folder)
    model = LlamaDecoder.from_tensors(weights.shape, weights.tensors)
    ids = torch.randint(0, 96, (2, 24), generator=torch.Generator().manual_seed(1))
    assert torch.allclose(model(ids), reference(ids).logits, atol=1e-4)


@torch.no_grad()
def test_a_branch_reads_as_if_it_followed_its_prefix(saved: tuple[Any, Path]) -> None:
    _, folder = saved
    weights = read_decoder(folder)
    model = LlamaDecoder.from_tensors(weights.shape, weights.tensors)
    ids = torch.randint(0, 96, (2, 20), generator=torch.Generator().manual_seed(2))
    encoding = model.encode(ids[:, :14], torch.ones(2, 14, dtype=torch.bool))
    rows = torch.stack([ids[0, 14:], ids[1, 14:], ids[0, 14:]])
    attends = torch.ones(6, 6, dtype=torch.bool).tril().expand(3, -1, -1)
    hidden = model.branch(encoding, torch.tensor([0, 1, 0]), rows, torch.arange(14, 20).expand(3, -1), attends)
    whole = model(ids)[:, 14:]
    assert torch.allclose(model.logits(hidden[:2]), whole, atol=1e-4)
    assert torch.equal(hidden[0], hidden[2])


def test_rotary_halves_and_pairs_are_each_others_inverse() -> None:
    rows = np.random.default_rng(0).normal(size=(24, 5)).astype(np.float32)
    assert np.array_equal(pairs(halves(rows, 3), 3), rows)
    assert not np.array_equal(halves(rows, 3), rows)


@pytest.mark.parametrize(
    ("config", "message"),
    [("{}", "not the description"), ('{"model_type": "gpt9"}', "found architecture 'gpt9'; expected one of llama")],
)
def test_a_folder_of_something_else_is_told(tmp_path: Path, config: str, message: str) -> None:
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(BackboneError, match=message):
        read_decoder(tmp_path)


def test_a_file_of_something_else_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUFx" * 10)
    with pytest.raises(BackboneError, match=r"x\.gguf: not a complete GGUF file"):
        read_decoder(tmp_path / "x.gguf")
    with pytest.raises(BackboneError, match="not a complete GGUF file"):
        read_decoder(tmp_path / "none.gguf")
