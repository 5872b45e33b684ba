"""The runtime over a small random pack: answers, order, long and odd texts, faults."""

import threading
import time
from itertools import pairwise

import numpy as np
import pytest
from tiny_pack import write_tiny_backbone, write_tiny_pack

import umbel
from umbel.errors import InputError, PackError
from umbel.inquiries import Inquiry
from umbel.pack import MANIFEST
from umbel.records import LabelPrediction, LabelsPrediction, ScorePrediction, SpansPrediction, VectorPrediction
from umbel.runtime import Refused

TEXTS = ["good to Paris", "bad", "这 good bad to to Paris good", "unheard words here", "good " * 30, "Paris " * 200]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runtime")


@pytest.fixture(scope="module")
def model(folder):
    pack = write_tiny_pack(folder / "tiny", write_tiny_backbone(folder / "backbone"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UMBEL_CACHE", str(folder / "cache"))
        return umbel.load(pack.folder)


def test_each_kind_answers_in_its_type(model):
    result = model("good to Paris")
    kinds = [LabelPrediction, LabelsPrediction, ScorePrediction, SpansPrediction, VectorPrediction]
    assert [type(prediction) for prediction in result.values()] == kinds
    assert sum(result["sentiment"].probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert np.linalg.norm(result["vector"].vector) == pytest.approx(1, abs=1e-5)
    for span in result["entities"]:
        assert "good to Paris"[span.start : span.end] == span.text


def test_one_text_gives_a_result_and_a_list_gives_a_list(model):
    assert model("bad").text == "bad"
    assert [result.text for result in model(TEXTS)] == TEXTS
    assert model([]) == []


def test_only_the_asked_tasks_are_answered_in_that_order(model):
    assert list(model("bad", tasks=["vector", "sentiment", "vector"])) == ["vector", "sentiment"]


def test_every_text_is_encoded_once_however_many_tasks(model, monkeypatch):
    rows = []
    encode = model.engine.encode
    monkeypatch.setattr(model.engine, "encode", lambda x, lengths: rows.append(len(x)) or encode(x, lengths))
    before = model.counters.encodings
    model(TEXTS[:5])
    assert sum(rows) == 5
    assert model.counters.encodings - before == 5


def test_a_result_tells_what_each_task_took(model):
    text = "good to Paris, bad to Paris"
    both = model.inquire([Inquiry(text, ["sentiment", "entities"]), Inquiry(text, ["topics"])])
    for reply, names in zip(both, [{"sentiment", "entities"}, {"topics"}], strict=True):
        cost = reply.result.cost
        assert cost.tokens > 0
        assert cost.encoding > 0
        assert all(cost.tasks[name] > 0 for name in names)
    alone = model(text, ["topics"])
    assert set(alone.cost.tasks) == {"topics"}
    assert alone == both[1].result  # whatever it took


def test_long_texts_are_read_in_windows_and_no_span_leaves_the_text(model):
    text = "good to Paris " * 400
    before = model.counters.windows
    spans = model(text)["entities"].spans
    assert model.counters.windows - before > 10
    assert all(text[span.start : span.end] == span.text for span in spans)
    assert all(first.end <= second.start for first, second in pairwise(spans))


@pytest.mark.parametrize(
    "text",
    [
        "\ud800 good",
        "\x00\x01\x02 bad \x7f",
        "👨‍👩‍👧‍👦🇨🇳 Paris 👍🏽",
        "مرحبا good שלום",
        "a\u0301\u0302 \u200b\u200f\u202e bad",
        "good " * 50_000,
        "这" * 20_000,
    ],
)
def test_odd_texts_are_answered(model, text):
    for span in model(text)["entities"]:
        assert text[span.start : span.end] == span.text


@pytest.mark.parametrize("text", ["", "  ", "\n\t", "\u3000"])
def test_blank_texts_are_refused(model, text):
    with pytest.raises(InputError, match=r"texts\[1\]: the text is blank"):
        model(["good", text])


def test_what_is_no_text_is_refused(model):
    with pytest.raises(InputError, match=r"texts\[0\]: found int, expected a text"):
        model([1])


def test_an_unknown_task_is_told_with_a_suggestion(model):
    with pytest.raises(InputError, match="'sentimant' is not a task of pack tiny; did you mean 'sentiment'"):
        model("good", tasks=["sentimant"])


def test_a_stream_keeps_its_order_and_refuses_bad_texts_alone(model):
    texts = [TEXTS[n % 5] if n % 7 else "" for n in range(600)]
    answers = list(model.stream(iter(texts), tasks=["sentiment"]))
    assert [answer.text for answer in answers] == texts
    assert [isinstance(answer, Refused) for answer in answers] == [n % 7 == 0 for n in range(600)]


def test_a_stream_of_slow_texts_answers_each_before_the_next_is_drawn(model):
    drawn = []

    def slow():
        for text in TEXTS[:3]:
            drawn.append(text)
            time.sleep(0.1)
            yield text

    for number, answer in enumerate(model.stream(slow(), tasks=["sentiment"])):
        assert answer.text == drawn[number]
        assert len(drawn) == number + 1


def test_a_stream_tells_an_unknown_task_at_once(model):
    with pytest.raises(InputError):
        model.stream(iter([]), tasks=["nothing"])


def test_threads_get_their_own_answers(model):
    expected = [model(text) for text in TEXTS]
    found = {}

    def ask(number):
        found[number] = [model(text) for text in TEXTS]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for answers in found.values():
        for answer, wanted in zip(answers, expected, strict=True):
            assert answer["sentiment"] == wanted["sentiment"]


def test_the_second_load_takes_the_graph_from_the_cache(folder, monkeypatch):
    monkeypatch.setenv("UMBEL_CACHE", str(folder / "cache"))
    monkeypatch.setattr("umbel.compile.build_graph", lambda *_: pytest.fail("built again"))
    assert umbel.load(folder / "tiny")("good")["sentiment"].label in ("good", "bad")


def test_a_cache_that_cannot_be_written_still_answers(folder, tmp_path, monkeypatch, caplog):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "compiled").write_text("in the way")
    monkeypatch.setenv("UMBEL_CACHE", str(tmp_path / "cache"))
    assert umbel.load(folder / "tiny")("good")["sentiment"].label in ("good", "bad")
    assert "stays in memory" in caplog.text


def test_a_pack_of_other_weights_is_refused(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("UMBEL_CACHE", str(tmp_path))
    pack = write_tiny_pack(tmp_path / "other", folder / "backbone")
    path = pack.folder / MANIFEST
    path.write_text(path.read_text().replace(pack.manifest.backbone.sha256, "0" * 64))
    with pytest.raises(PackError, match=r"trained on .* with SHA-256 000"):
        umbel.load(pack.folder)


def test_wrong_kinds_of_texts_and_tasks_are_told(model):
    with pytest.raises(InputError, match="texts: found int, expected a text or a list"):
        model(7)
    with pytest.raises(InputError, match="tasks: found the text 'sentiment', expected a list"):
        model("good", tasks="sentiment")
