"""Writes a pack of every kind over a random encoder of two small layers: loads in a moment, answers nonsense."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from umbel.adapters import merge
from umbel.catalogue import load_backbone
from umbel.kinds.base import kind_of
from umbel.ngrams import Ngrams, Vocabulary, as_stored, counted
from umbel.pack import BackboneName, BranchesFile, Manifest, NgramsFile, Pack, TaskEntry
from umbel.packing import write_pack, write_roundings
from umbel.quantising import fit
from umbel.readouts import shapes_of
from umbel.shapes import EncoderShape
from umbel.weights import tensor_shapes

HIDDEN = 32
SHAPE = EncoderShape(9, HIDDEN, 2, 2, 64, 64, 2, 1e-5)
VOCABULARY = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "good": 4, "bad": 5, "Paris": 6, "to": 7, "这": 8}
CONFIG = {
    "model_type": "bert",
    "vocab_size": SHAPE.vocabulary,
    "hidden_size": SHAPE.hidden,
    "num_hidden_layers": SHAPE.layers,
    "num_attention_heads": SHAPE.heads,
    "intermediate_size": SHAPE.intermediate,
    "max_position_embeddings": SHAPE.positions,
    "type_vocab_size": SHAPE.types,
    "layer_norm_eps": SHAPE.epsilon,
    "hidden_act": "gelu",
    "pad_token_id": 0,
}
TASKS = {
    "sentiment": TaskEntry(
        kind="text-classification",
        labels=("bad", "good"),
        metric="accuracy",
        languages=("zh", "en"),
        scores={"metric": "accuracy", "score": 81.25},
    ),
    "topics": TaskEntry(
        kind="text-classification",
        labels=("food", "place", "price"),
        multi_label=True,
        metric="macro-f1",
    ),
    "urgency": TaskEntry(kind="regression", metric="spearman"),
    "entities": TaskEntry(kind="token-classification", labels=("place",), metric="f1"),
    "vector": TaskEntry(kind="feature-extraction"),
}


def write_tiny_backbone(folder: Path) -> Path:
    """Write an encoder of random weights as a folder of the hub's form."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(4)
    tensors = {
        name: (random.normal(size=shape) * 0.1).astype(np.float32) for name, shape in tensor_shapes(SHAPE).items()
    }
    tensors |= {name: values + 1 for name, values in tensors.items() if name.endswith("LayerNorm.weight")}
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    tokenizer = Tokenizer(models.WordLevel(VOCABULARY, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def write_tiny_pack(
    folder: Path,
    backbone: Path,
    version: str = "0.1.0",
    seed: int = 1,
    branches: bool = False,
    blank: float = 0.0,
    ngrams: bool = False,
    rounded: bool = False,
    **entries: TaskEntry,
) -> Pack:
    """Write a pack of random heads, with `branches` of random readouts, too; `entries` replace or add tasks.

    `blank` is the readouts' `Calibration.blank`. With `ngrams` the task `topics` reads random character n-grams. With
    `rounded` the encoder can be run in 8 bits.
    """
    loaded = load_backbone(backbone)
    random = np.random.default_rng(seed)
    tasks = TASKS | entries
    if ngrams:
        read = NgramsFile(file="", sha256="", longest=3, without=20.0, score=25.0)
        tasks |= {"topics": tasks["topics"].model_copy(update={"ngrams": read})}
    heads = {}
    for name, entry in tasks.items():
        kind = kind_of(entry.kind)
        if kind.trained:
            width = kind.width(entry.task(name))
            shapes = {"weight": (width, HIDDEN), "bias": (width,)}
            shapes |= {"query": (HIDDEN,)} if kind.reads == "pooled" else {}
            heads[name] = {key: random.normal(size=shape).astype(np.float32) for key, shape in shapes.items()}
    manifest = Manifest(
        name="tiny",
        version=version,
        licence="CC0-1.0",
        description="A pack that answers nonsense.",
        backbone=BackboneName(name=str(backbone), sha256=loaded.sha256),
        tasks=tasks,
        branches=BranchesFile(file="", sha256="", blank=blank) if branches else None,
    )
    shapes = shapes_of(HIDDEN) if branches else {}
    read_off = {"topics": _ngrams(len(tasks["topics"].labels))} if ngrams else {}
    readouts = {name: (random.normal(size=shape) * 0.3).astype(np.float32) for name, shape in shapes.items()}
    pack = write_pack(folder, manifest, heads, {}, branches=readouts, ngrams=read_off)
    if not rounded:
        return pack
    words = np.random.default_rng(seed)  # the same, whatever heads were drawn
    texts = [" ".join(words.choice(list(VOCABULARY)[4:], size)) for size in range(1, 50)]
    windows = [found[0] for found in loaded.tokenizer.windows_many(texts)]
    roundings = fit(loaded, merge(loaded.tensors, {}), windows, readouts.get("roles"))
    return write_roundings(pack, folder, roundings, {}, version, lambda _: "")


def _ngrams(labels: int) -> Ngrams:
    """Return n-grams of the vocabulary's words, of random weights."""
    keys = np.unique(np.concatenate([counted(word, 3)[0] for word in VOCABULARY]))
    random = np.random.default_rng(len(keys))
    vocabulary = Vocabulary(keys, as_stored(random.uniform(1, 4, len(keys))))
    weight = as_stored(random.normal(size=(len(keys), labels)))
    return Ngrams(3, vocabulary, weight, random.normal(size=labels).astype(np.float32))
