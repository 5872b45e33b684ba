"""Loading encoders from hub-like folders, and the reports on folders that cannot be loaded. No network, no torch."""

from __future__ import annotations

import builtins
import hashlib
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from umbel import hub
from umbel.catalogue import CATALOGUE, DEFAULT, load_backbone, locate
from umbel.errors import BackboneError, DownloadError, MissingExtraError
from umbel.shapes import EncoderShape
from umbel.weights import WORD_EMBEDDINGS, tensor_shapes

CONFIG: dict[str, Any] = {
    "model_type": "bert",
    "vocab_size": 6,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 12,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-5,
    "hidden_act": "gelu",
    "pad_token_id": 1,
}
SHAPE = EncoderShape(6, 8, 2, 2, 16, 12, 2, 1e-5)
VOCABULARY = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4, "b": 5}


def random_tensors() -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    random = np.random.default_rng(4)
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in tensor_shapes(SHAPE).items()}


def write_tokenizer(folder: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel(VOCABULARY, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    save_file(random_tensors(), tmp_path / "model.safetensors")
    write_tokenizer(tmp_path)
    return tmp_path


def reconfigure(folder: Path, **changes: Any) -> None:
    (folder / "config.json").write_text(json.dumps(CONFIG | changes))


def test_a_folder_is_loaded_by_its_path(folder: Path) -> None:
    backbone = load_backbone(folder)
    tensors = random_tensors()
    assert backbone.shape == SHAPE
    assert backbone.name == folder.name  # no path of this machine
    assert backbone.sha256 == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert set(backbone.all_tensors()) == set(tensors)
    assert WORD_EMBEDDINGS not in backbone.tensors
    for name, values in backbone.all_tensors().items():
        np.testing.assert_array_equal(values, tensors[name])
    np.testing.assert_array_equal(backbone.embedding.rows(np.array([[5, 0]])), tensors[WORD_EMBEDDINGS][[[5, 0]]])
    assert backbone.tokenizer.windows("a b")[0].ids.tolist() == [2, 4, 5, 3]
    assert backbone.tokenizer.max_tokens == 12


@pytest.mark.parametrize("prefix", ["bert.", "roberta."])
def test_prefixes_and_old_names_are_understood_and_heads_left_out(folder: Path, prefix: str) -> None:
    tensors = random_tensors()
    old = {prefix + name.replace("LayerNorm.weight", "LayerNorm.gamma"): values for name, values in tensors.items()}
    old = {name.replace("LayerNorm.bias", "LayerNorm.beta"): values for name, values in old.items()}
    save_file({**old, "classifier.weight": np.ones((2, 8), np.float32)}, folder / "model.safetensors")
    loaded = load_backbone(folder).all_tensors()
    assert set(loaded) == set(tensors)
    for name, values in tensors.items():
        np.testing.assert_array_equal(loaded[name], values)


def test_shards_are_joined(folder: Path) -> None:
    tensors = random_tensors()
    names = sorted(tensors)
    shards = {"model-1.safetensors": names[:10], "model-2.safetensors": names[10:]}
    for file, held in shards.items():
        save_file({name: tensors[name] for name in held}, folder / file)
    index = {"weight_map": {name: file for file, held in shards.items() for name in held}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").unlink()
    backbone = load_backbone(folder)
    assert set(backbone.all_tensors()) == set(tensors)
    joined = b"".join((folder / file).read_bytes() for file in sorted(shards))
    assert backbone.sha256 == hashlib.sha256(joined).hexdigest()


@pytest.mark.parametrize("kind", ["roberta", "xlm-roberta"])
def test_the_roberta_family_counts_positions_from_behind_the_padding(folder: Path, kind: str) -> None:
    reconfigure(folder, model_type=kind)
    backbone = load_backbone(folder)
    assert backbone.shape.first_position == 2
    assert backbone.tokenizer.max_tokens == 10


def test_every_fault_of_a_configuration_is_told(folder: Path) -> None:
    reconfigure(folder, model_type="bertt", hidden_size=None, hidden_act="relu", is_decoder=True, pad_token_id="1")
    with pytest.raises(BackboneError) as caught:
        load_backbone(folder)
    for fault in (
        "config.json: not an encoder that can be loaded",
        "model_type: found 'bertt'; did you mean 'bert'?",
        "hidden_size: found None, expected a whole number above 0",
        "hidden_act: found 'relu', expected 'gelu'",
        "is_decoder: found True, expected False",
        "pad_token_id: found '1', expected a number",
    ):
        assert fault in caught.value.message
    assert "roberta" in caught.value.hint


def test_heads_that_do_not_divide_the_width_are_told(folder: Path) -> None:
    reconfigure(folder, num_attention_heads=3)
    with pytest.raises(BackboneError, match="hidden_size: 8 cannot be split among the attention heads"):
        load_backbone(folder)


def test_tensors_that_do_not_fit_are_told(folder: Path) -> None:
    reconfigure(folder, num_hidden_layers=3, vocab_size=7)
    with pytest.raises(BackboneError) as caught:
        load_backbone(folder)
    assert "17 tensors do not fit config.json" in caught.value.message
    assert f"{WORD_EMBEDDINGS}: found (6, 8), expected (7, 8)" in caught.value.message
    assert "and 12 more" in caught.value.message


def test_a_pickle_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(BackboneError, match="pickles and can run code") as caught:
        load_backbone(folder)
    assert "save_pretrained" in caught.value.hint


@pytest.mark.parametrize("name", ["vocab.txt", "sentencepiece.bpe.model"])
def test_a_vocabulary_without_a_tokenizer_says_how_to_make_one(folder: Path, name: str) -> None:
    (folder / "tokenizer.json").rename(folder / name)
    with pytest.raises(BackboneError, match=rf"found {name}, but no tokenizer\.json") as caught:
        load_backbone(folder)
    assert "AutoTokenizer" in caught.value.hint


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(BackboneError, match=name.replace(".", r"\.")):
        load_backbone(folder)


@pytest.mark.parametrize("content", ["{", "[1]", "\xff"])
def test_a_damaged_configuration_is_told(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content, encoding="latin-1")
    with pytest.raises(BackboneError, match=r"config\.json: (cannot be read|found list, expected a JSON object)"):
        load_backbone(folder)


@pytest.mark.parametrize("index", ["{}", '{"weight_map": {}}', '{"weight_map": []}'])
def test_a_damaged_index_of_shards_is_told(folder: Path, index: str) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(BackboneError, match="has no weight_map"):
        load_backbone(folder)


def test_hub_ids_are_told_from_other_names() -> None:
    assert hub.is_hub_id("intfloat/multilingual-e5-small")
    for other in ("e5-small", "./folder", "../folder", "a/b/c", "/a", "a/", "a b/c", ""):
        assert not hub.is_hub_id(other)


def test_a_hub_id_without_the_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "huggingface_hub":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match="no folder 'some/model' here") as caught:
        load_backbone("some/model")
    assert 'umbel[hub]"' in caught.value.hint


class _NotFoundError(Exception):
    pass


def fake_library(answer: str | Exception) -> SimpleNamespace:
    def snapshot_download(hub_id: str, allow_patterns: list[str]) -> str:
        assert hub_id == "some/model"
        assert not any("bin" in pattern for pattern in allow_patterns)
        if isinstance(answer, Exception):
            raise answer
        return answer

    kinds = {name: _NotFoundError for name in ("RepositoryNotFoundError", "HFValidationError")}
    errors = SimpleNamespace(**kinds, HfHubHTTPError=ConnectionError)
    return SimpleNamespace(snapshot_download=snapshot_download, errors=errors)


def test_a_hub_id_is_fetched_and_loaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake_library(str(folder)))
    assert load_backbone("some/model").name == "some/model"


@pytest.mark.parametrize(
    ("answer", "expected", "message"),
    [
        (
            OSError("no connection\nmore"),
            DownloadError,
            r"some/model: cannot be fetched from the hub \(no connection\)",
        ),
        (ConnectionError("502"), DownloadError, "cannot be fetched from the hub"),
        (_NotFoundError(), BackboneError, "neither a folder here nor a model of the hub"),
    ],
)
def test_what_the_hub_refuses_is_told(
    monkeypatch: pytest.MonkeyPatch, answer: Exception, expected: type[Exception], message: str
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake_library(answer))
    with pytest.raises(expected, match=message):
        load_backbone("some/model")


def test_a_folder_is_located_by_name_in_the_folders_named_or_where_it_was_loaded_last(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("UMBEL_CACHE", str(home / "cache"))
    monkeypatch.delenv("UMBEL_WEIGHTS", raising=False)
    sha256 = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    with pytest.raises(BackboneError, match=rf"the folder '{folder.name}' .* is not found here") as caught:
        locate(folder.name, sha256)
    assert "UMBEL_WEIGHTS" in caught.value.hint
    backbone = load_backbone(folder)
    assert locate(backbone.name, backbone.sha256) == str(folder.resolve())
    copy = shutil.copytree(folder, home / "models" / folder.name)
    monkeypatch.setenv("UMBEL_WEIGHTS", str(home / "models"))
    assert locate(backbone.name, backbone.sha256) == str(copy)
    assert load_backbone(copy).name == backbone.name


def test_names_of_the_catalogue_and_hub_ids_are_located_by_themselves(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UMBEL_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.delenv("UMBEL_WEIGHTS", raising=False)
    entry = CATALOGUE[DEFAULT]
    assert locate(entry.name, entry.sha256) == entry.name
    assert locate("some/model", "0" * 64) == "some/model"
    namesake = shutil.copytree(folder, tmp_path_factory.mktemp("models") / entry.name)
    backbone = load_backbone(namesake)  # a folder that is called as the catalogue's, with other weights
    assert locate(backbone.name, backbone.sha256) == str(namesake)
