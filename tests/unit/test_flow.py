"""Flows over a tiny pack: what runs, what does not and why, timeouts, fallbacks, other actions, loading."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from tiny_pack import TASKS, write_tiny_backbone, write_tiny_pack

import umbel
from umbel.errors import DecoderError, InputError, PackError, SpecError
from umbel.flow import Flow, read_flow
from umbel.flow_actions import ACTIONS, Done
from umbel.flow_answers import TEXT_FIELDS, PassagesAnswer, TextAnswer
from umbel.flow_forms import FORMS, Body, Form
from umbel.pack import read_pack
from umbel.packing import write_pack, write_task
from umbel.questions import ExtractAnswer, PredicateAnswer
from umbel.records import LabelPrediction
from umbel.replies import Reply
from umbel.retrieval import Document, Index
from umbel.runtime import Model

GOOD = "good to Paris"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("flow")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UMBEL_CACHE", str(folder / "cache"))
        write_tiny_pack(folder / "pack", write_tiny_backbone(folder / "backbone"), branches=True)
        yield folder


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return umbel.load(folder / "pack")


@pytest.fixture(scope="module")
def index(folder: Path, model: Model) -> Path:
    path = folder / "help.index"
    with Index.create(path, model, tokens=16) as made:
        made.add(
            [
                Document("good to Paris", "paris", metadata={"lang": "en"}),
                Document("这 这 bad", "zh", metadata={"lang": "zh"}),
            ]
        )
    return path


def declared(folder: Path, steps: str) -> Path:
    path = folder / "flow.yaml"
    body = "\n".join(f"  {line}" for line in dedent(steps).strip("\n").splitlines())
    path.write_text(f"flow: test\npack: pack\nsteps:\n{body}\n", encoding="utf-8")
    return path


def flow_of(folder: Path, model: Model, steps: str, **more: Any) -> Flow:
    return Flow.load(declared(folder, steps), model, **more)


class TestRunning:
    def test_steps_answer_and_report(self, folder: Path, model: Model, index: Path) -> None:
        steps = """
        reply: {reply: {en: "{help.source}: {sentiment.label}", zh: "您好"}}
        help: {search: help.index, k: 1}
        asked: {ask: {nice: {predicate: good}, where: {question: "to {message.text}", must-answer: true}}}
        read: {tasks: [sentiment, entities, urgency, topics, vector]}
        """
        with flow_of(folder, model, steps) as flow:
            result = flow(GOOD)
        direct = model(GOOD)
        assert [(step.name, step.action, step.state) for step in result.steps] == [
            ("read", "tasks", "ran"),
            ("asked", "ask", "ran"),
            ("help", "search", "ran"),
            ("reply", "reply", "ran"),
        ]
        assert isinstance(direct["sentiment"], LabelPrediction)
        assert result["sentiment"] == direct["sentiment"]
        assert isinstance(result["nice"], PredicateAnswer)
        assert isinstance(result["where"], ExtractAnswer)
        assert isinstance(result["help"], PassagesAnswer)
        assert result.reply == f"paris: {direct['sentiment'].label}"
        assert list(result) == [
            "reply",
            "help",
            "nice",
            "where",
            "sentiment",
            "entities",
            "urgency",
            "topics",
            "vector",
        ]
        assert all(step.milliseconds >= 0 and step.why == "" for step in result.steps)
        assert result.milliseconds >= sum(step.milliseconds for step in result.steps)
        assert json.loads(json.dumps(result.plain()))["steps"][0]["answers"][0] == "sentiment"

    def test_the_message_is_read_once_for_the_whole_flow(self, folder: Path, model: Model, index: Path) -> None:
        steps = """
        one: {tasks: sentiment}
        two: {tasks: [entities, vector], when: sentiment.answered}
        three: {ask: {nice: {predicate: good}}}
        four: {ask: {where: {question: to}, kind: {choice: which, options: [good, bad]}}}
        help: {search: help.index}
        other: {search: help.index, by: vectors}
        """
        with flow_of(folder, model, steps) as flow:
            text = "bad to Paris good"
            model.means(["good", "bad"])  # the options' own vectors are remembered
            flow("Paris")
            before = replace(model.counters)
            result = flow(text)
        assert {step.state for step in result.steps} == {"ran"}
        assert model.counters.encodings - before.encodings == 1
        assert model.counters.windows - before.windows == 1

    def test_a_message_of_several_windows_is_read_once(self, folder: Path, model: Model) -> None:
        before = replace(model.counters)
        result = flow_of(folder, model, "a: {tasks: entities}\nb: {ask: {q: {types: [place]}}}")("good to Paris " * 60)
        assert {step.state for step in result.steps} == {"ran"}
        assert model.counters.encodings - before.encodings <= 2  # the other is the one of warming up
        assert model.counters.windows - before.windows > 2

    def test_a_step_runs_only_where_its_condition_holds(self, folder: Path, model: Model) -> None:
        steps = """
        read: {tasks: sentiment}
        zh: {reply: 您好, when: message.language == "zh"}
        en: {reply: hello, when: message.language == "en" and sentiment.probability >= 0}
        """
        flow = flow_of(folder, model, steps)
        english, chinese = flow(GOOD), flow("这")
        assert (english.reply, chinese.reply) == ("hello", "您好")
        assert english.step("zh").state == "skipped"
        assert english.step("zh").why == "message.language is en"
        assert "zh" not in english

    def test_what_hangs_on_a_step_that_did_not_run_is_skipped(self, folder: Path, model: Model) -> None:
        steps = """
        first: {reply: x, when: message.length > 1000}
        second: {reply: "{first.text}"}
        third: {reply: y, when: first.text == "x"}
        fourth: {reply: "z{first.text|}"}
        fifth: {reply: w, when: not first.answered}
        """
        result = flow_of(folder, model, steps)(GOOD)
        assert {step.name: step.state for step in result.steps} == {
            "first": "skipped",
            "second": "skipped",
            "third": "skipped",
            "fourth": "ran",
            "fifth": "ran",
        }
        assert result.step("second").why == "needs first, which was skipped"
        assert result.step("third").why == "needs first, which was skipped"
        assert result.reply == "z"

    def test_the_passage_of_a_search_is_read_by_questions(self, folder: Path, model: Model, index: Path) -> None:
        steps = """
        help: {search: help.index, k: 2, where: {lang: "{message.language}"}}
        says: {ask: {what: {question: "{message.text}", must-answer: true}}, of: help}
        none: {search: help.index, where: {lang: fr}}
        empty: {ask: {more: {predicate: x}}, of: none}
        """
        result = flow_of(folder, model, steps)("bad to 这 这 这")
        found, said = result["help"], result["what"]
        assert isinstance(found, PassagesAnswer)
        assert isinstance(said, ExtractAnswer)
        assert [passage.source for passage in found.passages] == ["zh"]
        assert said.span is not None
        assert said.span.text in found.passages[0].text
        assert (result.step("empty").state, result.step("empty").why) == ("skipped", "none found nothing")

    def test_a_very_long_message_in_a_question_is_cut_and_said_so(self, folder: Path, model: Model) -> None:
        result = flow_of(folder, model, 'a: {ask: {q: {question: "{message.text}"}}}')("good " * 600)
        assert (result.step("a").state, result.step("a").why) == ("ran", "a question was too long and was cut")

    @pytest.mark.parametrize("text", ["", "  ", None, 3])
    def test_a_message_that_is_none_is_refused(self, folder: Path, model: Model, text: Any) -> None:
        with pytest.raises(InputError):
            flow_of(folder, model, "a: {tasks: sentiment}")(text)

    @pytest.mark.parametrize("text", ["\x00\x07", "\ud800", "{sentiment.label}", "😀" * 100, "a" * 5000])
    def test_odd_messages_go_through(self, folder: Path, model: Model, index: Path, text: str) -> None:
        steps = 'a: {tasks: sentiment}\nb: {search: help.index}\nc: {reply: "You said {message.text}"}'
        result = flow_of(folder, model, steps)(text)
        assert result.reply == f"You said {text}"
        assert {step.state for step in result.steps} == {"ran"}


class TestTrouble:
    STEPS = """
    read: {tasks: sentiment}
    slow: {shout: slow, timeout: 0.05, fallback: in the meantime}
    broken: {shout: broken, fallback: "never mind, {sentiment.label|}"}
    alone: {shout: broken}
    lost: {search: not-there.index}
    reply: {reply: "{slow.text} / {broken.text} / {alone.text|nothing}"}
    after: {reply: "{alone.text}", fallback: stands in}
    """

    @pytest.fixture
    def flow(self, folder: Path, model: Model) -> Flow:
        def read(name: str, section: Any, tasks: Any) -> Body:
            return Body(section.take("shout"), {name: TEXT_FIELDS}, fallback=section.texts("fallback"))

        def shout(name: str, body: Body, turn: Any, seconds: float | None) -> Done:
            if body.settings == "broken":
                raise ValueError("out of voice")
            time.sleep(0.5)
            return Done({name: TextAnswer("LATE", "en")})

        forms, actions = {**FORMS, "shout": Form(read, 9)}, {**ACTIONS, "shout": shout}
        return flow_of(folder, model, self.STEPS, forms=forms, actions=actions)

    def test_a_step_in_trouble_ends_alone_and_its_fallback_stands_in(self, flow: Flow) -> None:
        result = flow(GOOD)
        states = {step.name: (step.state, step.fallback) for step in result.steps}
        assert states == {
            "read": ("ran", False),
            "lost": ("failed", False),
            "slow": ("timed out", True),
            "broken": ("failed", True),
            "alone": ("failed", False),
            "reply": ("ran", False),
            "after": ("skipped", True),
        }
        label = result["sentiment"].label  # type: ignore[union-attr]
        assert result.step("slow").why == "took longer than 0.05 s"
        assert 50 <= result.step("slow").milliseconds < 450
        assert result.step("broken").why == "ValueError: out of voice"
        assert result.step("after").why == "needs alone, which failed"
        assert result.step("lost").why.startswith("RetrievalError")
        assert result["reply"] == TextAnswer(f"in the meantime / never mind, {label} / nothing", "*")
        assert result["after"] == TextAnswer("stands in", "*")

    def test_a_timeout_of_the_steps_own_is_its_failure(self, folder: Path, model: Model) -> None:
        def fail(*given: Any) -> Done:
            raise TimeoutError("the other side took too long")

        actions = {**ACTIONS, "tasks": fail}
        report = flow_of(folder, model, "a: {tasks: sentiment, timeout: 5}", actions=actions)(GOOD).step("a")
        assert (report.state, report.why) == ("failed", "TimeoutError: the other side took too long")

    def test_what_comes_too_late_changes_nothing(self, flow: Flow) -> None:
        result = flow(GOOD)
        time.sleep(0.6)
        assert result["slow"] == TextAnswer("in the meantime", "*")

    def test_answers_stand_in_for_tasks_and_questions(self, folder: Path, model: Model) -> None:
        def fail(*given: Any) -> Done:
            raise OSError("no")

        steps = """
        read: {tasks: [sentiment, entities], fallback: {sentiment: bad, entities: []}}
        asked: {ask: {nice: {predicate: x}}, fallback: {nice: true}}
        reply: {reply: "{sentiment.label} {nice.holds}"}
        """
        actions = {**ACTIONS, "tasks": fail, "ask": fail}
        result = flow_of(folder, model, steps, actions=actions)(GOOD)
        assert result.reply == "bad yes"
        assert result["sentiment"] == LabelPrediction("bad", 0.0, {"bad": 0.0, "good": 0.0})


class TestLoading:
    def test_a_flow_in_a_pack(self, folder: Path, model: Model) -> None:
        pack = model.pack
        value = {"steps": {"read": {"tasks": "sentiment"}, "reply": {"reply": "{sentiment.label}"}}}
        heads = {name: pack.head(name) for name, entry in pack.manifest.tasks.items() if entry.head}
        manifest = pack.manifest.model_copy(update={"flow": value, "name": "flowing"})
        written = write_pack(folder / "flowing", manifest, heads, {}, branches=pack.branches())
        assert read_pack(folder / "flowing").manifest.format == 4
        flow = Flow.load(folder / "flowing")
        assert flow.spec.name == "flowing"
        assert flow(GOOD).reply == flow(GOOD)["sentiment"].label  # type: ignore[union-attr]
        taught = write_task(written, folder / "taught", "urgency", TASKS["urgency"], pack.head("urgency"))
        assert taught.manifest.flow == value

    def test_a_pack_without_one_says_so(self, folder: Path) -> None:
        assert read_pack(folder / "pack").manifest.format == 2
        assert '"flow"' not in (folder / "pack" / "manifest.json").read_text()
        with pytest.raises(PackError, match="declares no flow"):
            Flow.load(folder / "pack")

    def test_a_flow_that_does_not_fit_its_pack_is_refused(self, folder: Path) -> None:
        write_tiny_pack(folder / "plain", folder / "backbone")
        path = declared(folder, "a: {ask: {q: {predicate: x}}}")
        path.write_text(path.read_text().replace("pack: pack", "pack: plain"))
        with pytest.raises(SpecError, match="was not trained for questions"):
            Flow.load(path)

    def test_a_pack_without_readouts_answers_tasks_and_searches(self, folder: Path, index: Path) -> None:
        write_tiny_pack(folder / "plain", folder / "backbone")
        model = umbel.load(folder / "plain")
        flow = Flow.load(declared(folder, "a: {tasks: [sentiment, entities]}\nb: {search: help.index}"), model)
        before = replace(model.counters)
        result = flow(GOOD)
        assert result["sentiment"] == model(GOOD, ["sentiment"])["sentiment"]
        assert result.step("b").state == "ran"
        assert model.counters.encodings - before.encodings == 2  # one of them is the comparison's

    def test_an_index_may_lie_elsewhere(self, folder: Path, model: Model, index: Path) -> None:
        steps = "a: {search: elsewhere.index, k: 1}"
        for given in (index, Index.open(index, model)):
            result = flow_of(folder, model, steps, indexes={"elsewhere.index": given})(GOOD)
            assert result.step("a").state == "ran"

    def test_without_a_model_the_pack_beside_the_file_is_loaded(self, folder: Path) -> None:
        _, pack, beside = read_flow(declared(folder, "a: {tasks: sentiment}"))
        assert (pack.manifest.name, beside) == ("tiny", folder)
        assert Flow.load(declared(folder, "a: {tasks: sentiment}"))(GOOD)["sentiment"]


class TestWriting:
    STEPS = """
    read: {tasks: sentiment}
    draft: {write: reply, when: "message.length > 3", timeout: 5, fallback: "Later, {message.text}"}
    """

    def test_a_text_is_written_by_the_models_writer(self, folder: Path, model: Model) -> None:
        asked = []

        class Scripted:
            def write(self, text: str, task: str, order: Any) -> list[Reply]:
                asked.append((text, task, order.cancelled()))
                if "Paris" not in text:
                    raise DecoderError("no decoder")
                return [Reply("Hello", task, "en", "scripted", "stop", flags=("offensive",))]

        write = umbel.load(folder / "pack")
        write.opens_writer = lambda model: Scripted()  # type: ignore[assignment, return-value]
        flow = flow_of(folder, write, self.STEPS)
        result = flow(GOOD)
        assert asked == [(GOOD, "reply", False)]
        assert result.reply == "Hello"
        assert result.step("draft").why == "replaced by the task's own fallback: offensive"
        failed = flow("good bad")
        assert (failed.step("draft").state, failed.reply) == ("failed", "Later, good bad")
        assert flow("bad").step("draft").state == "skipped"

    def test_a_text_is_written_from_what_a_search_found(self, folder: Path, model: Model, index: Path) -> None:
        orders: list[Any] = []

        class Scripted:
            def write(self, text: str, task: str, order: Any) -> list[Reply]:
                orders.append(order)
                return [Reply("Hello", task, "en", "scripted", "stop")]

        writing = umbel.load(folder / "pack")
        writing.opens_writer = lambda model: Scripted()  # type: ignore[assignment, return-value]
        steps = """
        help: {search: help.index, where: {lang: en}}
        none: {search: help.index, where: {lang: fr}}
        said: {write: reply, of: help, passages: 1, decoder: gemma-3-270m}
        mute: {write: reply, of: none, fallback: "Nothing on {message.text}"}
        """
        result = flow_of(folder, writing, steps)(GOOD)
        (order,) = orders
        assert [(source.number, source.source, source.text) for source in order.sources] == [(1, "paris", GOOD)]
        assert order.changes == {"decoder": "gemma-3-270m", "passages": 1}
        assert result["said"].text == "Hello"  # type: ignore[union-attr]
        assert (result.step("mute").why, result["mute"].text) == (  # type: ignore[union-attr]
            "none found nothing",
            f"Nothing on {GOOD}",
        )

    def test_what_a_text_is_written_of_is_a_search(self, folder: Path, model: Model) -> None:
        with pytest.raises(SpecError, match="a text is written about the message; name a search"):
            flow_of(folder, model, "a: {write: reply, of: earlier}")
        with pytest.raises(SpecError, match="'b' is no search of this flow"):
            flow_of(folder, model, "a: {write: reply, of: b}\nb: {tasks: sentiment}")

    def test_what_does_not_write_is_told(self, folder: Path, model: Model) -> None:
        with pytest.raises(SpecError, match="'repl' is not a task that writes; did you mean 'reply'"):
            flow_of(folder, model, "a: {write: repl}")
