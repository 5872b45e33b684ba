"""The compiled graph against the torch encoder, and its independence of the batch."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import openvino as ov
import pytest
import torch

from umbel import quantising
from umbel.backbones.bert import BertEncoder
from umbel.branch_graph import BranchEngine, build_branching_graph
from umbel.engine import GraphBuilder, OpenVinoEngine, build_graph, maps_of, parameter
from umbel.quantised import fitted
from umbel.shapes import EncoderShape
from umbel.weights import tensor_shapes

SHAPE = EncoderShape(50, 64, 3, 4, 128, 40, 2, 1e-12, first_position=2)
WORDS = "embeddings.word_embeddings.weight"


@pytest.fixture(scope="module")
def tensors():
    random = np.random.default_rng(0)
    found = {n: (random.normal(size=s) * 0.3).astype(np.float32) for n, s in tensor_shapes(SHAPE).items()}
    return {n: v + 1 if n.endswith("LayerNorm.weight") else v for n, v in found.items()}


@pytest.fixture(scope="module")
def roundings(tensors):
    """How each precision rounds the encoder's maps: only `int8` does, by what it reads of random tokens."""
    rng = np.random.default_rng(2)
    ids = rng.integers(0, SHAPE.vocabulary, (40, 16))
    batch = tensors[WORDS][ids].astype(np.float32), np.full(40, 16, np.int32)
    builder = quantising._Watched(SHAPE, tensors)
    read = quantising._read(builder, [batch], rng, lambda rows: None)
    found = {}
    for name, each in read.items():
        stretches = 16 if builder.ends(name) else 0
        found[name], _ = fitted(each.rows, each.low, each.high, builder.tensor(f"{name}.weight"), stretches)
    assert {name: (len(set(each.channels.tolist())), len(each.bias)) for name, each in found.items()} == maps_of(SHAPE)
    return {"float32": {}, "bfloat16": {}, "int8": found}


@pytest.fixture(scope="module")
def engine(tensors):
    return OpenVinoEngine(build_graph(SHAPE, tensors), "float32")


def embedded_of(tensors, lengths, padded):
    random = np.random.default_rng(1)
    ids = random.integers(0, SHAPE.vocabulary, (len(lengths), padded))
    return ids, tensors[WORDS][ids].astype(np.float32), np.array(lengths, np.int32)


def test_equals_the_torch_encoder_on_padded_batches(tensors, engine):
    ids, embedded, lengths = embedded_of(tensors, [3, 16, 9], 16)
    encoder = BertEncoder.from_tensors(SHAPE, tensors).eval()
    mask = torch.arange(16) < torch.tensor(lengths)[:, None]
    with torch.no_grad():
        expected = encoder(torch.tensor(ids), mask).numpy()
    found = engine.encode(embedded, lengths)
    for row, length in enumerate(lengths):
        assert np.abs(found[row, :length] - expected[row, :length]).max() < 1e-4


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(("width", "outputs"), [(32, 32), (64, 32), (32, 64), (64, 64)])
def test_a_product_has_the_same_bits_for_few_rows_as_for_many(width, outputs, precision):
    random = np.random.default_rng(0)
    tensors = {"map.weight": random.normal(size=(outputs, width)), "map.bias": random.normal(size=outputs)}
    builder = GraphBuilder(SHAPE, {name: values.astype(np.float32) for name, values in tensors.items()})
    inputs = parameter([-1, -1, width], np.float32, "inputs")
    engine = OpenVinoEngine(ov.Model([builder.dense("map", inputs)], [inputs]), precision)
    rows = random.normal(size=(2048, 8, width)).astype(np.float32)
    together, alone = engine.run([rows], 1)[0].copy(), [engine.run([row[None]], 1)[0].copy() for row in rows]
    assert np.array_equal(np.concatenate(alone), together)
    expected = rows @ tensors["map.weight"].T.astype(np.float32) + tensors["map.bias"]
    assert np.allclose(together, expected, atol=0.3 if precision == "bfloat16" else 1e-4)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_a_row_is_bit_identical_in_any_batch_of_its_padded_length(tensors, roundings, precision):
    engine = OpenVinoEngine(build_graph(SHAPE, tensors, roundings=roundings[precision]), precision)
    _, embedded, lengths = embedded_of(tensors, [16, 3, 9, 12, 16, 1, 7, 16, 5], 16)
    together = engine.encode(embedded, lengths)
    for row, length in enumerate(lengths):
        alone = engine.encode(embedded[row : row + 1], lengths[row : row + 1])
        assert np.array_equal(alone[0, :length], together[row, :length])
    turned = engine.encode(np.ascontiguousarray(embedded[::-1]), lengths[::-1].copy())[::-1]
    for row, length in enumerate(lengths):
        assert np.array_equal(turned[row, :length], together[row, :length])


def test_a_graph_in_8_bits_comes_near_the_exact_one_and_holds_bytes(tensors, roundings, engine):
    graph = build_graph(SHAPE, tensors, roundings=roundings["int8"])
    _, embedded, lengths = embedded_of(tensors, [16, 16, 16], 16)
    found, wanted = OpenVinoEngine(graph, "int8").encode(embedded, lengths), engine.encode(embedded, lengths)
    assert not np.array_equal(found, wanted)
    cosines = (found * wanted).sum(-1) / np.linalg.norm(found, axis=-1) / np.linalg.norm(wanted, axis=-1)
    assert cosines.min() > 0.99
    stored = [node.get_element_type() for node in graph.get_ops() if node.get_type_name() == "Constant"]
    assert stored.count(ov.Type.i8) == len(maps_of(SHAPE))


def test_what_stands_in_the_padding_does_not_matter(tensors, engine):
    _, embedded, lengths = embedded_of(tensors, [4, 11], 12)
    other = embedded.copy()
    other[0, 4:], other[1, 11:] = 7.0, -3.0
    first, second = engine.encode(embedded, lengths), engine.encode(other, lengths)
    assert np.array_equal(first[0, :4], second[0, :4])
    assert np.array_equal(first[1, :11], second[1, :11])


def test_the_answer_is_the_callers_own(tensors, engine):
    _, embedded, lengths = embedded_of(tensors, [5], 8)
    first = engine.encode(embedded, lengths)
    kept = first.copy()
    engine.encode(embedded * 2, lengths)
    assert np.array_equal(first, kept)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_callers_that_come_at_once_get_the_bits_of_one_alone(tensors, roundings, precision):
    """Whoever comes while another is at work reads with other threads, on another copy of the weights."""
    graph = build_graph(SHAPE, tensors, roundings=roundings[precision])
    engine = OpenVinoEngine(graph, precision, threads=2, callers=2)
    _, embedded, lengths = embedded_of(tensors, [16, 3, 9, 12, 16, 1, 7, 16, 5], 16)
    alone = engine.encode(embedded, lengths)
    engine._running += 1  # somebody is at work
    beside = engine.encode(embedded, lengths)
    engine._running -= 1
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: engine.encode(embedded, lengths), range(100)))
    assert len(engine._local.requests) == 2, "both ways were taken"
    assert engine._running == 0
    for each in (beside, *found):
        for row, length in enumerate(lengths):
            assert np.array_equal(each[row, :length], alone[row, :length])


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_hidden_states_are_the_same_whether_keys_and_values_are_given_out_or_not(tensors, roundings, precision):
    rounded = roundings[precision]
    plain = OpenVinoEngine(build_graph(SHAPE, tensors, roundings=rounded), precision)
    keeping = BranchEngine(build_branching_graph(SHAPE, tensors, roundings=rounded), SHAPE, precision)
    _, embedded, lengths = embedded_of(tensors, [16, 3, 9, 16], 16)
    without, beside, kept = (
        plain.encode(embedded, lengths),
        keeping.encode(embedded, lengths),
        keeping.keep(embedded, lengths),
    )
    for row, length in enumerate(lengths):
        assert np.array_equal(without[row, :length], beside[row, :length])
        assert np.array_equal(without[row, :length], kept[row].hidden)


SIGNALLED = """
import signal, sys
import numpy as np
from openvino import opset13 as ops
import openvino as ov
from umbel.engine import OpenVinoEngine

def engine():
    given = ops.parameter([-1, 4], np.float32)
    return OpenVinoEngine(ov.Model([ops.relu(given)], [given], "small"), "float32", 1)

first, second = engine(), engine()
del first
del second
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("stopped")
"""


def test_a_signal_finds_its_stack_after_engines_are_gone():
    done = subprocess.run([sys.executable, "-c", SIGNALLED], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "stopped\n")
