"""Adapters trained on a random decoder of two layers: what is learnt, what stays, and the files it is kept in."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from safetensors.numpy import load_file
from toy_decoder import ToyDecoder

from umbel.backbones.llama import LlamaDecoder
from umbel.decoderfile import DecoderWeights, halves
from umbel.errors import DataError, InputError
from umbel.shapes import DecoderShape
from umbel.tuning import GGUF, PEFT_CONFIG, PEFT_WEIGHTS, Tuning, Turn, read_turns, train, tune, write_adapter
from umbel.writings import Writing

SHAPE = DecoderShape(40, 32, 2, 4, 2, 8, 48, 64, 1e-5, 10000.0)
TURNS = [Turn([1, 2, 3, number], [4, 5], [6, 7, 8, 9]) for number in (10, 11, 12, 13)]


@pytest.fixture
def model() -> LlamaDecoder:
    torch.manual_seed(0)
    made = LlamaDecoder(SHAPE)
    for name, parameter in made.named_parameters():
        torch.nn.init.normal_(parameter, 1.0 if "norm" in name else 0.0, 0.2)
    return made.eval().requires_grad_(False)


def test_a_task_is_learnt_and_the_backbone_stays(model: LlamaDecoder) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    steps: list[tuple[int, int, float]] = []
    settings = Tuning(epochs=12, learning_rate=0.02)
    adapter, losses = train(model, TURNS, settings, lambda *step: steps.append(step))
    assert losses["last"] < 0.6 * losses["first"]
    assert steps[-1][:2] == (48, 48)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    again, _ = train(model, TURNS, settings)
    assert all(
        torch.equal(one, other) for name in adapter for one, other in zip(adapter[name], again[name], strict=True)
    )


def test_an_adapter_acts_on_branches_alone(model: LlamaDecoder) -> None:
    adapter, _ = train(model, TURNS, Tuning(epochs=2, learning_rate=0.02))
    ids = torch.tensor([[1, 2, 3]])
    encoding = model.encode(ids, torch.ones_like(ids, dtype=torch.bool))
    rows, positions = torch.tensor([[4, 5]]), torch.tensor([[3, 4]])
    attends = torch.ones(1, 2, 2, dtype=torch.bool).tril()
    plain = model.branch(encoding, torch.tensor([0]), rows, positions, attends)
    adapted = model.branch(encoding, torch.tensor([0]), rows, positions, attends, adapter)
    assert not torch.allclose(plain, adapted, atol=1e-4)
    assert torch.equal(plain, model.branch(encoding, torch.tensor([0]), rows, positions, attends))


def test_it_is_kept_as_peft_and_llamacpp_read_it(model: LlamaDecoder, tmp_path: Path) -> None:
    adapter, _ = train(model, TURNS, Tuning(epochs=1))
    write_adapter(tmp_path, DecoderWeights("llama", SHAPE, {}), adapter, Tuning(), "toy", [4, 5])
    config = json.loads((tmp_path / PEFT_CONFIG).read_text())
    assert (config["peft_type"], config["r"], config["alora_invocation_tokens"]) == ("LORA", 8, [4, 5])
    stored = load_file(tmp_path / PEFT_WEIGHTS)
    name = "model.layers.1.self_attn.q_proj"
    up = stored[f"base_model.model.{name}.lora_B.weight"]
    assert np.array_equal(up, adapter[name][1].numpy())
    reader = GGUFReader(tmp_path / GGUF)
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert len(tensors) == 2 * 2 * 2
    assert np.array_equal(halves(tensors["blk.1.attn_q.weight.lora_b"].data, SHAPE.heads), up)
    assert np.array_equal(
        tensors["blk.1.attn_v.weight.lora_a"].data, adapter["model.layers.1.self_attn.v_proj"][0].numpy()
    )
    assert reader.fields["adapter.lora.alpha"].contents() == 16.0


def test_rows_become_turns_as_replies_are_asked(tmp_path: Path) -> None:
    decoder = ToyDecoder(context=10_000)
    decoder.end = 257  # type: ignore[attr-defined]
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "Hi", "answer": "Hello"}\n' + json.dumps({"text": "x" * 600, "answer": "y"}) + "\n")
    (turn,) = read_turns(decoder, rows, Writing())  # type: ignore[arg-type]
    said = bytes(token for token in turn.prefix if token < 256).decode()
    assert said.startswith("system\n")
    assert "user\nHi\n\nThe text above is a customer's message." in said
    assert bytes(token for token in turn.header if token < 256) == b"\nassistant\n"
    assert turn.answer == [*b"Hello", 257]


def test_a_task_with_an_instruction_of_its_own_is_learnt_with_it(tmp_path: Path) -> None:
    decoder = ToyDecoder(context=10_000)
    decoder.end = 257  # type: ignore[attr-defined]
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "Hi", "answer": "Hello"}\n')
    (turn,) = read_turns(decoder, rows, Writing(instruction={"en": "Greet them."}))  # type: ignore[arg-type]
    assert b"user\nHi\n\nGreet them." in bytes(token for token in turn.prefix if token < 256)


def test_bad_rows_and_tasks_are_told(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "Hi"}\n{"text": " ", "answer": "x"}\n')
    with pytest.raises(DataError, match=r"rows\.jsonl:1: expected `text` and `answer`(.|\n)*rows\.jsonl:2"):
        read_turns(ToyDecoder(), rows, Writing())  # type: ignore[arg-type]
    with pytest.raises(InputError, match="task: found 'repply'"):
        tune("smollm2-135m-instruct", rows, tmp_path / "out", "repply")
