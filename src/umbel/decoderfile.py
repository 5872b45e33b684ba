"""Reads decoders as numpy arrays, without torch: a GGUF file, or a folder of safetensors as on the hub.

The gguf library, kept by llama.cpp's people, reads GGUF and undoes its quantisation. Tensors carry the hub's names
whatever the file calls them. Knows nothing of engines, tokenizers or the catalogue.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from umbel.errors import BackboneError, MissingExtraError, suggest
from umbel.safefile import StoredMatrix, read_safetensors
from umbel.shapes import DecoderShape

if TYPE_CHECKING:
    from gguf import GGUFReader

Floats = NDArray[np.float32]

FAMILIES = ("llama", "qwen2", "qwen3", "gemma3")
GEMMA_GLOBAL_EVERY = 6  # the files do not say it; llama.cpp and transformers have it as a constant
_HUB_FAMILIES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma3_text": "gemma3"}
_OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_INNER = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
_GEMMA_INNER = {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}


@dataclass(frozen=True)
class DecoderWeights:
    """A decoder as its files hold it. `tensors` carry the hub's names and are read, dequantised, when asked for."""

    family: str
    shape: DecoderShape
    tensors: Mapping[str, Floats]


def read_decoder(path: str | Path) -> DecoderWeights:
    """Read a GGUF file, or a folder with `config.json` and safetensors.

    Raises:
        BackboneError: it is damaged, or of a family that is not supported.
        MissingExtraError: a GGUF file, and the library that reads it is not installed.
    """
    path = Path(path).expanduser()
    return _read_folder(path) if path.is_dir() else _read_gguf(path)


def hub_names(family: str, layers: int) -> dict[str, str]:
    """Return each tensor's name in a GGUF file, without `.weight` or `.bias`, and its name on the hub."""
    inner = _INNER | (_GEMMA_INNER if family == "gemma3" else {})
    return _OUTER | {
        f"blk.{layer}.{short}": f"model.layers.{layer}.{long}"
        for layer in range(layers)
        for short, long in inner.items()
    }


def _read_gguf(path: Path) -> DecoderWeights:
    try:
        import gguf
    except ImportError as error:
        raise MissingExtraError("gguf", "write") from error
    try:
        reader = gguf.GGUFReader(path)
        family = str(reader.fields["general.architecture"].contents())
        _check_family(family, str(path))
        shape = _gguf_shape(reader, family)
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise BackboneError(f"{path}: not a complete GGUF file ({error})", "fetch it again") from error
    return DecoderWeights(family, shape, _GgufTensors(reader, family, shape))


def _check_family(family: str, where: str) -> None:
    if family not in FAMILIES:
        raise BackboneError(f"{where}: found architecture {family!r}{suggest(family, FAMILIES)}", _ELSE)


_ELSE = f"the families read here are {', '.join(FAMILIES)}"


def _gguf_shape(reader: GGUFReader, family: str) -> DecoderShape:
    def value(key: str, default: Any = None) -> Any:
        found = reader.fields.get(f"{family}.{key}")
        if found is None and default is None:
            raise KeyError(f"{family}.{key}")
        return default if found is None else found.contents()

    by_name = {tensor.name: tensor for tensor in reader.tensors}
    heads, hidden = value("attention.head_count"), value("embedding_length")
    factors = by_name.get("rope_freqs.weight")
    gemma = family == "gemma3"
    return DecoderShape(
        vocabulary=int(by_name["token_embd.weight"].shape[1]),
        hidden=hidden,
        layers=value("block_count"),
        heads=heads,
        kv_heads=value("attention.head_count_kv", heads),
        head=value("attention.key_length", hidden // heads),
        intermediate=value("feed_forward_length"),
        positions=value("context_length"),
        epsilon=value("attention.layer_norm_rms_epsilon"),
        theta=value("rope.freq_base", 10000.0),
        biased="blk.0.attn_q.bias" in by_name,
        normed_heads="blk.0.attn_q_norm.weight" in by_name,
        gemma=gemma,
        window=value("attention.sliding_window", 0) if gemma else 0,
        global_every=GEMMA_GLOBAL_EVERY if gemma else 1,
        frequencies=tuple(factors.data.astype(float).tolist()) if factors else (),
    )


class _GgufTensors(Mapping[str, Floats]):
    """The tensors of a GGUF file under the hub's names, each dequantised when asked for."""

    def __init__(self, reader: GGUFReader, family: str, shape: DecoderShape) -> None:
        self._family, self._shape = family, shape
        names = hub_names(family, shape.layers)
        self._stored = {}
        for tensor in reader.tensors:
            stem, _, part = tensor.name.rpartition(".")
            if stem in names:
                self._stored[f"{names[stem]}.{part}"] = tensor

    def __getitem__(self, name: str) -> Floats:
        from gguf import dequantize

        tensor = self._stored[name]
        values: Floats = np.asarray(dequantize(tensor.data, tensor.tensor_type), np.float32)
        values = values.reshape(tuple(reversed(tensor.shape.tolist())))
        if self._family == "gemma3" and name.endswith("norm.weight"):
            return values - 1  # the file's norms multiply by the weight, the hub's by one more
        if self._family == "llama" and ".self_attn.q_proj." in name:
            return halves(values, self._shape.heads)
        if self._family == "llama" and ".self_attn.k_proj." in name:
            return halves(values, self._shape.kv_heads)
        return values

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)


def halves(rows: Floats, heads: int) -> Floats:
    """Return rows `[heads * head, ...]` as the hub orders them, each head's halves apart; GGUF's pairs interleave."""
    head = len(rows) // heads
    return rows.reshape(heads, head // 2, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def pairs(rows: Floats, heads: int) -> Floats:
    """Undo `halves`."""
    head = len(rows) // heads
    return rows.reshape(heads, 2, head // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def _read_folder(folder: Path) -> DecoderWeights:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        family = _HUB_FAMILIES.get(config["model_type"], str(config["model_type"]))
        _check_family(family, str(path))
        stored: dict[str, StoredMatrix] = {}
        for file in sorted(folder.glob("model*.safetensors")):
            stored |= read_safetensors(file)
        if not stored:
            raise BackboneError(f"{folder}: there is no model.safetensors", "fetch the model again")
        shape = _folder_shape(config, family, stored)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackboneError(f"{path}: not the description of a decoder ({error!r})", "fetch it again") from error
    if config.get("tie_word_embeddings", family == "gemma3"):
        stored.pop("lm_head.weight", None)
    return DecoderWeights(family, shape, _StoredTensors(stored))


def _folder_shape(config: Mapping[str, Any], family: str, stored: Mapping[str, StoredMatrix]) -> DecoderShape:
    scaling = config.get("rope_scaling") or config.get("rope_parameters") or {}
    gemma = family == "gemma3"
    full, local = (
        (scaling.get("full_attention", scaling), scaling.get("sliding_attention", {})) if gemma else (scaling, {})
    )
    if full.get("rope_type", "default") != "default":
        raise BackboneError(f"rope_type: found {full['rope_type']!r}, expected 'default'", "take the model's GGUF file")
    first = "model.layers.0.self_attn."
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    return DecoderShape(
        vocabulary=config["vocab_size"],
        hidden=hidden,
        layers=config["num_hidden_layers"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads", heads),
        head=config.get("head_dim") or hidden // heads,
        intermediate=config["intermediate_size"],
        positions=config["max_position_embeddings"],
        epsilon=config["rms_norm_eps"],
        theta=full.get("rope_theta") or config.get("rope_theta", 10000.0),
        biased=f"{first}q_proj.bias" in stored,
        normed_heads=f"{first}q_norm.weight" in stored,
        gemma=gemma,
        query_scale=config["query_pre_attn_scalar"] ** -0.5 if gemma else 0.0,
        window=config.get("sliding_window") or 0 if gemma else 0,
        global_every=config.get("sliding_window_pattern", GEMMA_GLOBAL_EVERY) if gemma else 1,
        local_theta=local.get("rope_theta") or config.get("rope_local_base_freq", 10000.0),
    )


class _StoredTensors(Mapping[str, Floats]):
    def __init__(self, stored: Mapping[str, StoredMatrix]) -> None:
        self._stored = stored

    def __getitem__(self, name: str) -> Floats:
        return self._stored[name].dense()

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)
