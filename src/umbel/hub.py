"""Loads BERT-family encoders from a folder laid out as on the Hugging Face hub, and fetches such folders by hub id.

Reads safetensors only: a pickle can run code. Knows nothing of the catalogue, engines or torch.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from umbel.download import CHUNK
from umbel.errors import BackboneError, DownloadError, MissingExtraError, suggest
from umbel.safefile import StoredMatrix, read_safetensors
from umbel.shapes import EncoderShape
from umbel.tokenize import Tokenizer
from umbel.weights import WORD_EMBEDDINGS, Backbone, Embedding, tensor_shapes

ROBERTA_FAMILY = ("roberta", "xlm-roberta")
MODEL_TYPES = ("bert", *ROBERTA_FAMILY)
WEIGHTS, INDEX, CONFIG, TOKENIZER = "model.safetensors", "model.safetensors.index.json", "config.json", "tokenizer.json"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_SIZES = {
    "vocabulary": "vocab_size",
    "hidden": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "intermediate": "intermediate_size",
    "positions": "max_position_embeddings",
    "types": "type_vocab_size",
}
_OTHER_NUMBERS: dict[str, tuple[type, ...]] = {"pad_token_id": (int,), "layer_norm_eps": (int, float)}
_FIXED = {"hidden_act": "gelu", "position_embedding_type": "absolute", "is_decoder": False}
_PREFIX = re.compile(r"^(bert|roberta)\.")
_OLD_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
SHOWN = 5  # faulty tensors named in a message


def is_hub_id(name: str) -> bool:
    """Tell whether `name` has the form of a hub id, `owner/model`."""
    return _HUB_ID.fullmatch(name) is not None and not name.startswith(".")


def fetch(hub_id: str) -> Path:
    """Return the local folder of a hub model, fetched into the hub's own cache unless it is there.

    Raises:
        MissingExtraError: huggingface_hub is not installed.
        BackboneError: the hub knows no such model, or it is closed to this user.
        DownloadError: the hub cannot be reached, and the model was not fetched before.
    """
    try:
        from huggingface_hub import errors, snapshot_download
    except ImportError as error:
        raise MissingExtraError(f"huggingface_hub (needed as there is no folder {hub_id!r} here)", "hub") from error
    try:
        return Path(snapshot_download(hub_id, allow_patterns=[CONFIG, TOKENIZER, "model*.safetensors", INDEX]))
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        message = f"{hub_id!r} is neither a folder here nor a model of the hub that you may read"
        raise BackboneError(message, "check the name; for a closed model, log in with `hf auth login`") from error
    except (OSError, errors.HfHubHTTPError) as error:
        reason = str(error).partition("\n")[0]
        raise DownloadError(
            f"{hub_id}: cannot be fetched from the hub ({reason})",
            "check the network, name a mirror in HF_ENDPOINT, or give a local folder",
        ) from error


def load_folder(folder: Path, name: str = "") -> Backbone:
    """Load the encoder in `folder`: config.json, model.safetensors (or shards and their index) and tokenizer.json.

    It is called `name`, or as the folder is, without the path: packs name it, and travel.

    Raises:
        BackboneError: a file is missing or damaged, or the model is not of a supported architecture.
    """
    shape = _read_shape(folder / CONFIG)
    files = _weight_files(folder)
    stored = _read_stored(files)
    _check_tensors(folder, stored, shape)
    embedding = cast(Embedding, stored.pop(WORD_EMBEDDINGS))  # a matrix: its shape was checked
    tensors = {tensor: stored[tensor].dense() for tensor in tensor_shapes(shape) if tensor != WORD_EMBEDDINGS}
    tokenizer = _read_tokenizer(folder, shape.positions - shape.first_position)
    return Backbone(name or folder.resolve().name, _sha256_of_all(files), shape, embedding, tensors, tokenizer)


def _read_shape(path: Path) -> EncoderShape:
    config = _read_json(path)
    faults = _faults(config)
    if faults:
        raise BackboneError("\n  ".join([f"{path}: not an encoder that can be loaded", *faults]), _supported())
    first = config.get("pad_token_id", 1) + 1 if config["model_type"] in ROBERTA_FAMILY else 0  # after the padding's
    sizes = {ours: config[theirs] for ours, theirs in _SIZES.items()}
    return EncoderShape(**sizes, epsilon=float(config.get("layer_norm_eps", 1e-12)), first_position=first)


def _supported() -> str:
    return f"supported are encoders of model_type {', '.join(MODEL_TYPES)}"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        hint = "a model's folder holds config.json, model.safetensors and tokenizer.json"
        raise BackboneError(f"{path}: there is no such file", hint) from error
    except (OSError, ValueError) as error:
        raise BackboneError(f"{path}: cannot be read ({error})", "fetch it again") from error
    if not isinstance(content, dict):
        raise BackboneError(f"{path}: found {type(content).__name__}, expected a JSON object", "fetch it again")
    return content


def _faults(config: Mapping[str, Any]) -> list[str]:
    kind = config.get("model_type")
    faults = [] if kind in MODEL_TYPES else [f"model_type: found {kind!r}{suggest(str(kind), MODEL_TYPES)}"]
    for key in _SIZES.values():
        if not isinstance(config.get(key), int) or config[key] < 1:
            faults.append(f"{key}: found {config.get(key)!r}, expected a whole number above 0")
    for key, kinds in _OTHER_NUMBERS.items():
        if not isinstance(config.get(key, 1), kinds):
            faults.append(f"{key}: found {config[key]!r}, expected a number")
    if not faults and config["hidden_size"] % config["num_attention_heads"]:
        faults.append(f"hidden_size: {config['hidden_size']} cannot be split among the attention heads")
    for key, expected in _FIXED.items():
        if config.get(key, expected) != expected:
            faults.append(f"{key}: found {config[key]!r}, expected {expected!r}")
    return faults


def _weight_files(folder: Path) -> list[Path]:
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        shards = _read_json(folder / INDEX).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise BackboneError(f"{folder / INDEX}: has no weight_map", "fetch it again")
        return [folder / Path(name).name for name in sorted(set(shards.values()))]
    if list(folder.glob("pytorch_model*.bin")):
        raise BackboneError(
            f"{folder}: found only .bin weights, which are pickles and can run code; expected {WEIGHTS}",
            f'convert them where you trust them: python -c "from transformers import AutoModel; '
            f"AutoModel.from_pretrained('{folder}').save_pretrained('{folder}')\"",
        )
    raise BackboneError(f"{folder}: there is no {WEIGHTS}", "fetch the model again, or save it with transformers")


def _read_stored(files: list[Path]) -> dict[str, StoredMatrix]:
    stored: dict[str, StoredMatrix] = {}
    for path in files:
        stored |= {_encoder_name(tensor): values for tensor, values in read_safetensors(path).items()}
    return stored


def _encoder_name(name: str) -> str:
    """Return the BertModel name of a tensor saved under a model with heads, or by an old library."""
    name = _PREFIX.sub("", name)
    for old, new in _OLD_NAMES.items():
        name = name.removesuffix(old) + new if name.endswith(old) else name
    return name


def _check_tensors(folder: Path, stored: Mapping[str, StoredMatrix], shape: EncoderShape) -> None:
    faults = []
    for tensor, expected in tensor_shapes(shape).items():
        found = tuple(stored[tensor].shape) if tensor in stored else "nothing"
        if found != expected:
            faults.append(f"{tensor}: found {found}, expected {expected}")
    if faults:
        more = [f"and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        title = f"{folder}: {len(faults)} tensors do not fit {CONFIG}"
        raise BackboneError("\n  ".join([title, *faults[:SHOWN], *more]), _supported())


def _read_tokenizer(folder: Path, max_tokens: int) -> Tokenizer:
    path = folder / TOKENIZER
    if path.is_file():
        return Tokenizer.from_file(path, max_tokens)
    others = [name for name in ("vocab.txt", "sentencepiece.bpe.model", "vocab.json") if (folder / name).is_file()]
    found = f"found {' and '.join(others)}, but no {TOKENIZER}" if others else f"there is no {TOKENIZER}"
    raise BackboneError(
        f"{folder}: {found}",
        f'make it where transformers is installed: python -c "from transformers import AutoTokenizer; '
        f"AutoTokenizer.from_pretrained('{folder}').save_pretrained('{folder}')\"",
    )


def _sha256_of_all(files: list[Path]) -> str:
    """Return the SHA-256 of the files' bytes one after another: for one file, its own."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    return digest.hexdigest()
