"""The torch encoder against transformers on the same weights: BERT, RoBERTa and XLM-R, fp32, padded batches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs torch")
transformers = pytest.importorskip("transformers", reason="the reference is transformers")

from tokenizers import Tokenizer, models, pre_tokenizers, processors  # noqa: E402

from umbel.backbones.bert import BertEncoder  # noqa: E402
from umbel.catalogue import load_backbone  # noqa: E402

BOUND = 1e-4
SIZES: dict[str, Any] = {
    "vocab_size": 99,
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 80,
    "max_position_embeddings": 40,
    "initializer_range": 0.2,  # ten times the usual, so that attention is far from uniform
}
FAMILIES = {
    "bert": lambda: transformers.BertModel(transformers.BertConfig(**SIZES, pad_token_id=0)),
    "roberta": lambda: transformers.RobertaModel(transformers.RobertaConfig(**SIZES, type_vocab_size=1)),
    "xlm-roberta": lambda: transformers.XLMRobertaModel(transformers.XLMRobertaConfig(**SIZES, type_vocab_size=1)),
    "xlm-roberta-with-head": lambda: transformers.XLMRobertaForSequenceClassification(
        transformers.XLMRobertaConfig(**SIZES, type_vocab_size=1)
    ),
}
Saved = tuple[Any, Path]


@pytest.fixture(params=FAMILIES)
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> Saved:
    """A small random model of transformers, and the folder it and a tokenizer are saved in."""
    torch.manual_seed(5)
    make: Callable[[], Any] = FAMILIES[request.param]
    model = make().eval()
    model.save_pretrained(tmp_path)
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *(f"w{number}" for number in range(95))]
    tokenizer = Tokenizer(models.WordLevel({piece: place for place, piece in enumerate(pieces)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.BertProcessing(("</s>", 2), ("<s>", 0))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return getattr(model, "roberta", model), tmp_path


def padded_batch(pad: int) -> tuple[Any, Any]:
    """Return random ids and mask `[batch, tokens]` of texts of 38, 17, 5 and 2 tokens, padded on the right."""
    lengths = torch.tensor([38, 17, 5, 2])
    mask = torch.arange(38)[None] < lengths[:, None]  # [batch, tokens]
    ids = torch.randint(4, 99, (4, 38), generator=torch.Generator().manual_seed(6))
    return ids.where(mask, torch.tensor(pad)), mask


def test_a_saved_folder_gives_the_hidden_states_of_transformers(saved: Saved) -> None:
    reference, folder = saved
    backbone = load_backbone(folder)
    encoder = BertEncoder.from_tensors(backbone.shape, backbone.all_tensors()).eval()
    ids, mask = padded_batch(reference.config.pad_token_id)
    with torch.inference_mode():
        expected = reference(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        found = encoder(ids, mask)
    assert (found - expected)[mask].abs().max() <= BOUND
    assert expected[mask].std() > 0.5  # the bound is small against the values


def test_the_training_path_gives_the_same_hidden_states(saved: Saved) -> None:
    """Attention takes another way while gradients are on."""
    reference, folder = saved
    backbone = load_backbone(folder)
    encoder = BertEncoder.from_tensors(backbone.shape, backbone.all_tensors(), dropout=0.0).train()
    ids, mask = padded_batch(reference.config.pad_token_id)
    expected = reference(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    assert (encoder(ids, mask) - expected)[mask].abs().max() <= BOUND


def test_the_longest_text_fits(saved: Saved) -> None:
    reference, folder = saved
    backbone = load_backbone(folder)
    encoder = BertEncoder.from_tensors(backbone.shape, backbone.all_tensors()).eval()
    window = backbone.tokenizer.windows(" ".join(f"w{number}" for number in range(95)))[0]
    assert len(window.ids) == backbone.tokenizer.max_tokens == 40 - backbone.shape.first_position
    ids = torch.tensor(window.ids[None], dtype=torch.long)
    with torch.inference_mode():
        expected = reference(input_ids=ids).last_hidden_state
        assert (encoder(ids, torch.ones_like(ids, dtype=torch.bool)) - expected).abs().max() <= BOUND


def test_the_default_backbone_equals_transformers(default_backbone: str) -> None:
    """On the real weights."""
    backbone = load_backbone(default_backbone)
    shape = backbone.shape
    config = transformers.BertConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.intermediate,
        max_position_embeddings=shape.positions,
        type_vocab_size=shape.types,
        layer_norm_eps=shape.epsilon,
    )
    reference = transformers.BertModel(config, add_pooling_layer=False).eval()
    tensors = backbone.all_tensors()
    missing = reference.load_state_dict({name: torch.tensor(value) for name, value in tensors.items()}, strict=False)
    assert not missing.unexpected_keys
    encoder = BertEncoder.from_tensors(shape, tensors).eval()
    texts = ["这是一个关于AI的多任务处理案例。", "Where is my refund?", "你好"]
    windows = [backbone.tokenizer.windows(text)[0] for text in texts]
    lengths = torch.tensor([len(window.ids) for window in windows])
    ids = torch.full((len(texts), int(lengths.max())), backbone.tokenizer.pad)
    for row, window in enumerate(windows):
        ids[row, : len(window.ids)] = torch.tensor(window.ids)
    mask = torch.arange(ids.shape[1])[None] < lengths[:, None]  # [batch, tokens]
    with torch.inference_mode():
        expected = reference(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        assert (encoder(ids, mask) - expected)[mask].abs().max() <= BOUND
