"""`umbel train --sharing` on a tiny random backbone: each way is trained, taken and answers; the guard; resuming."""

import json

import numpy as np
import pytest
import torch
from tiny_pack import write_tiny_backbone
from typer.testing import CliRunner

import umbel
from umbel import adapters, separation
from umbel.cli import app
from umbel.data import load
from umbel.deciding import Choice, Standing, Trial, decide
from umbel.detaching import HEAD_SHARE, OwnPart
from umbel.frozen import HiddenStates
from umbel.interference import Quiet
from umbel.intervals import Interval
from umbel.loading import backbone_of_pack
from umbel.pack import read_pack
from umbel.packing import write_task
from umbel.parts import Parts
from umbel.spec import load_spec
from umbel.teach import prove
from umbel.ways import GROUP, GROUP_FORK, HEAD, TAUGHT, Cost, Way, cost_of

DECLARATION = """
pack: tiny
backbone: tiny
tasks:
  mood:
    kind: text-classification
    metric: accuracy
    data: [{train: train.jsonl, dev: dev.jsonl, column: mood}]
  city:
    kind: text-classification
    metric: accuracy
    data: [{train: train.jsonl, dev: dev.jsonl, column: city}]
separation: {epochs: 12, rank: 8}
train:
  {sharing: heads, epochs: 12, batch-rows: 8, learning-rate: 3.0e-3, head-learning-rate: 2.0e-2, precision: float32}
"""
NOTHING = Interval(0.0, 0.0, 0.0)
WAYS = [HEAD, Way("adapter", 1), Way("fork", 1), Way("adapter", 0), Way("fork", 0)]


def invoke(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Train a joint pack that learns next to nothing; mood is the word that comes first, city whether Paris stands."""
    torch.set_num_threads(1)
    home = tmp_path_factory.mktemp("separation")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setenv("UMBEL_CACHE", str(home / "cache"))
        write_tiny_backbone(home / "tiny")
        texts = ["good to bad", "bad to good", "good to Paris bad", "bad to Paris good"]
        rows = [{"text": t, "mood": t.split()[0], "city": "yes" if "Paris" in t else "no"} for t in texts]
        for split, times in (("train", 40), ("dev", 15)):
            (home / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows * times))
        (home / "pack.yaml").write_text(DECLARATION)
        (home / "short.yaml").write_text(DECLARATION.replace("epochs: 12, batch", "epochs: 0.02, batch"))
        done = invoke("train", "short.yaml", "--out", "run")
        assert done.exit_code == 0, done.output
    return home


@pytest.fixture
def home(trained, monkeypatch):
    monkeypatch.chdir(trained)
    monkeypatch.setenv("UMBEL_CACHE", str(trained / "cache"))
    return trained


def worker(home, name, alone=None, declaration="pack.yaml"):
    """Return a separation of the joint pack, which is told of scores alone."""
    joint, spec = read_pack("run/pack"), load_spec(declaration)
    found = separation.Separation(Parts(spec, load(spec), backbone_of_pack(joint), home / name, name), joint, {})
    found.parts.state.alone.update(alone or {})
    return found


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_each_way_is_trained_taken_and_answers(home, way, monkeypatch):
    task = "mood"
    work = worker(home, f"one-{way.name}", {"mood": 100.0, "city": 50.0})
    work.ways = [way]
    pack = work.run()
    notes = pack.manifest.training["separation"]
    assert notes["tasks"][task]["way"] == way.name, notes["tasks"][task]["why"]
    assert notes["sharing"] == "auto"
    assert notes["over_all"][1] > 0
    assert notes["megabytes"] > 0 or not way.own
    if way.own:
        assert (pack.forks[task].layer, pack.forks[task].kind) == (
            way.layer,
            "lora" if way.kind == "adapter" else "full",
        )
        wanted, found = (
            cost_of(way, work.parts.backbone.shape, 8).bytes,
            notes["tasks"][task]["trials"][way.name]["bytes"],
        )
        assert found == pytest.approx(wanted, rel=0.05)
    else:
        assert pack.forks == {}
    before, after = umbel.load("run/pack"), umbel.load(pack.folder)
    assert prove(before, after, task)["answers"] > 0
    score = pack.manifest.tasks[task].scores["score"]
    for engine in ("runtime", "torch"):
        told = json.loads(invoke("evaluate", pack.folder, "--data", "pack.yaml", "--engine", engine, "--json").stdout)
        assert told[task]["score"] == pytest.approx(score)
    card = (pack.folder / "CARD.md").read_text()
    assert notes["tasks"][task]["why"]["en"] in card
    assert notes["summary"]["en"] in card


@pytest.mark.parametrize("way", [GROUP, GROUP_FORK])
def test_tasks_that_lose_are_given_one_part_together(home, monkeypatch, way):
    monkeypatch.setattr("umbel.deciding.TOGETHER", 2)
    monkeypatch.setattr("umbel.deciding.GROUPS", (way,))
    monkeypatch.setattr("umbel.compile.MIN_COSINE", 0.9)  # bfloat16 does to a few random numbers more than to many
    gentle = DECLARATION.replace("rate: 3.0e-3", "rate: 5.0e-4").replace("{epochs: 12, r", "{epochs: 20, r")
    (home / "gentle.yaml").write_text(gentle)
    work = worker(home, f"together-{way.name}", {"mood": 100.0, "city": 100.0}, "gentle.yaml")
    work.ways = []
    pack = work.run()
    notes = pack.manifest.training["separation"]
    assert {each["way"] for each in notes["tasks"].values()} == {way.name}
    assert "together with" in notes["tasks"]["mood"]["why"]["en"]
    assert (notes["latency"], notes["over_all"][1] > 0) == (2, True)
    one, other = pack.forks["mood"], pack.forks["city"]
    assert one == other
    assert [path.name for path in (pack.folder / "forks").iterdir()] == [one.file.removeprefix("forks/")]
    assert (pack.folder / one.file).stat().st_size == pytest.approx(notes["megabytes"] * 1e6, rel=0.25)
    prove(umbel.load("run/pack"), umbel.load(pack.folder), "mood", "city")
    for engine in ("runtime", "torch"):
        told = json.loads(invoke("evaluate", pack.folder, "--data", "pack.yaml", "--engine", engine, "--json").stdout)
        for task in ("mood", "city"):
            assert told[task]["score"] == pytest.approx(pack.manifest.tasks[task].scores["score"])
    monkeypatch.setattr(Parts, "trained", lambda *_, **__: pytest.fail("trained again"))
    again = worker(home, f"together-{way.name}", {}, "gentle.yaml")
    assert again.together(["mood", "city"], way) == work.together(["mood", "city"], way)


def test_layers_trained_anew_begin_at_the_untouched_backbone_and_their_heads_at_random(home, monkeypatch):
    work = worker(home, "anew")
    untouched = work.parts.backbone.tensors
    name = "encoder.layer.0.output.dense.weight"
    joint = adapters.full_difference(untouched, untouched | {name: untouched[name] + 1})
    monkeypatch.setattr(type(work.joint), "adapter", lambda _: joint)
    begun = [
        work.parts._part(work.joint, ["mood", "city"], GROUP_FORK, "part", 1.0, fresh, Quiet())
        for fresh in (True, False)
    ]
    for part, added in zip(begun, (0, 1), strict=True):
        weight = part.upper.layer[0].output.dense.weight.detach().numpy()
        np.testing.assert_allclose(weight, untouched[name] + added, atol=0.01)
    same = [torch.equal(p.heads["mood"].weight, torch.tensor(work.joint.head("mood")["weight"])) for p in begun]
    assert same == [False, True]
    rates = [part.trainer.settings.head_learning_rate for part in begun]
    assert rates[0] == pytest.approx(rates[1] / HEAD_SHARE)


def test_a_part_that_two_tasks_have_together_runs_once_and_goes_with_the_last_of_them(home, monkeypatch):
    work = worker(home, "shared")
    work.parts.trained(work.joint, ["mood", "city"], GROUP, "both", 1.0)
    both = work.parts.put(work.joint, ["mood", "city"], "both")
    model = umbel.load(both.folder)
    runs = []
    (engine,) = {id(engine): engine for engine in model.forward._forks._engines.values()}.values()
    encode = engine.encode
    monkeypatch.setattr(engine, "encode", lambda *given: runs.append(1) or encode(*given))
    together = model("good to Paris bad")
    assert len(runs) == 1
    for task in ("mood", "city"):
        assert model("good to Paris bad", [task])[task] == together[task]
    mood, city = (both.manifest.tasks[task] for task in ("mood", "city"))
    first = write_task(both, home / "first", "mood", mood.model_copy(update={"fork": None}), both.head("mood"))
    assert first.forks.keys() == {"city"}
    assert (first.folder / city.fork.file).is_file()
    second = write_task(first, home / "second", "city", city.model_copy(update={"fork": None}), both.head("city"))
    assert list((second.folder / "forks").iterdir()) == []


def test_a_small_task_is_taught_texts_of_others_by_the_part_together(home, monkeypatch):
    more = [
        {"text": f"{first} or {place} {first}", "city": "no"} for first in ("good", "bad") for place in ("by", "at")
    ]
    (home / "more.jsonl").write_text("".join(json.dumps(row) + "\n" for row in more))
    file = "data: [{train: train.jsonl, dev: dev.jsonl, column: city}"
    (home / "more.yaml").write_text(DECLARATION.replace(file, f"{file}, {{train: more.jsonl, column: city}}"))
    work = worker(home, "taught", {"mood": 100.0, "city": 100.0}, "more.yaml")
    work.together(["mood", "city"], GROUP_FORK)
    began = []
    run = OwnPart.run
    monkeypatch.setattr(OwnPart, "run", lambda part: began.append(part) or run(part))
    trial = work.trial("mood", TAUGHT)
    (part,) = began
    told = {example.text: example.golds["mood"] for example in part.trainer.data.train["taught"]}
    assert told.keys() == {row["text"] for row in more}
    settings, own = part.trainer.settings, 160
    passes = work.parts.passes(["mood"])
    assert settings.epochs * (own + len(more)) == pytest.approx(passes * own + len(more))
    shares = part.trainer.data.shares
    assert (shares["taught"], shares["train.jsonl"]) == (1.0, pytest.approx(passes))
    assert part.fresh
    assert trial.gain.value > 0
    pack, _ = work._composed({"mood": Choice(Standing("mood", "accuracy", NOTHING, 100.0), TAUGHT, (trial,))})
    assert (pack.forks["mood"].layer, pack.forks["mood"].anew) == (0, True)
    monkeypatch.setattr(Parts, "trained", lambda *_, **__: pytest.fail("trained again"))
    assert worker(home, "taught", {}, "more.yaml").trial("mood", TAUGHT) == trial


def test_a_task_that_nothing_can_be_taught_has_layers_of_its_own(home, monkeypatch):
    work = worker(home, "untaught", {"mood": 100.0, "city": 100.0})  # both tasks have the same texts
    work.together(["mood", "city"], GROUP)
    trial = work.trial("mood", TAUGHT)
    assert trial.way == Way("fork", 0)
    monkeypatch.setattr(Parts, "trained", lambda *_, **__: pytest.fail("trained again"))
    assert work.trial("mood", Way("fork", 0)) == trial


def test_parts_above_one_layer_share_what_was_encoded_once(home, monkeypatch):
    work = worker(home, "once", {"mood": 100.0, "city": 100.0})
    first = work.trial("mood", Way("adapter", 1))
    (kept,) = (home / "once/parts/mood").glob("below-*")
    assert kept.name == "below-1.safetensors"
    encode = HiddenStates._encode
    monkeypatch.setattr(HiddenStates, "_encode", lambda *_: pytest.fail("encoded again"))
    assert work.trial("mood", Way("fork", 1)).gain.value > 0
    assert work.trial("mood", Way("adapter", 1)) == first
    monkeypatch.setattr(HiddenStates, "_encode", encode)
    work.trial("mood", HEAD)
    assert [path.name for path in (home / "once/parts/mood").glob("below-*")] == ["below-2.safetensors"]
    work.parts.tidy()
    assert not list((home / "once/parts").glob("*/below-*"))


def test_auto_measures_decides_and_goes_on_where_it_was_stopped(home, monkeypatch):
    put = Parts.put
    monkeypatch.setattr(Parts, "put", lambda *_: pytest.exit("stopped"))
    with pytest.raises(BaseException, match="stopped"):
        separation.share_by_measure(load_spec("pack.yaml"), home / "auto", read_pack("run/pack"))
    monkeypatch.setattr(Parts, "put", put)
    kept = json.loads((home / "auto/separation.json").read_text())
    assert kept["alone"]["mood"] == kept["alone"]["city"] == 100
    assert kept["trials"]["mood"]
    monkeypatch.setattr(Parts, "trained", lambda *_, **__: pytest.fail("trained again"))
    monkeypatch.setattr(Parts, "before", lambda *_: pytest.fail("answered again"))
    done = invoke("train", "pack.yaml", "--sharing", "auto", "--start", "run/pack", "--out", "auto")
    assert done.exit_code == 0, done.output
    assert "mood has its own head alone" in " ".join(done.output.split())
    assert "Mean gain over sharing all" in done.output
    notes = read_pack("auto/pack").manifest.training["separation"]
    assert {each["way"] for each in notes["tasks"].values()} == {"head"}  # the cheapest that recovers
    assert notes["over_nothing"][2] >= 0
    assert not (home / "auto/parts/draft").exists()
    pytest.importorskip("matplotlib")
    shown = invoke("report", "auto/pack", "--out", "shown", "--language", "zh")
    assert shown.exit_code == 0, shown.output
    told, page = (home / "shown/report.md").read_text(), (home / "shown/report.html").read_text()
    assert "## 各任务共享什么" in told
    assert notes["tasks"]["mood"]["why"]["zh"] in told
    assert notes["tasks"]["mood"]["why"]["en"] in page.replace("&#x27;", "'")


def test_auto_trains_together_first_and_not_again(home, monkeypatch):
    arguments = ("train", "pack.yaml", "--sharing", "auto", "--sharing-budget", "0,1", "--out", "whole")
    first = invoke(*arguments)
    assert first.exit_code == 0, first.output
    notes = read_pack("whole/pack").manifest.training["separation"]
    assert {each["way"] for each in notes["tasks"].values()} == {"all"}
    assert (notes["budget"], notes["megabytes"], notes["latency"]) == ({"megabytes": 0.0, "latency": 1.0}, 0, 1)
    assert (home / "whole/pack/heads/mood.safetensors").read_bytes() == (
        home / "whole/joint/heads/mood.safetensors"
    ).read_bytes()
    monkeypatch.setattr("umbel.shared_training.train_pack", lambda *_: pytest.fail("trained again"))
    again = invoke(*arguments)
    assert again.exit_code == 0, again.output
    (home / "other.yaml").write_text(DECLARATION.replace("epochs: 12, b", "epochs: 11, b"))
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        invoke("train", "other.yaml", *arguments[2:])


def test_sharing_nothing_gives_every_task_all_layers(home):
    done = invoke("train", "pack.yaml", "--sharing", "none", "--out", "nothing")
    assert done.exit_code == 0, done.output
    pack = read_pack("nothing/pack")
    assert {name: (fork.layer, fork.anew) for name, fork in pack.forks.items()} == {
        "mood": (0, True),
        "city": (0, True),
    }
    assert pack.manifest.format == 7
    assert pack.manifest.adapter is None
    assert pack.manifest.training["separation"] == {"sharing": "none"}
    told = json.loads(invoke("evaluate", pack.folder, "--data", "pack.yaml", "--json").stdout)
    assert told["mood"]["score"] == told["city"]["score"] == 100


def choices_of(alone=100.0):
    standing = [Standing(task, "accuracy", Interval(50.0, 49.0, 51.0), alone) for task in ("mood", "city")]
    trial = Trial(Way("fork", 1), 60.0, Interval(10.0, 9.0, 11.0), Cost(1, 0.5))
    return decide(standing, [trial.way], {trial.way: trial.cost}, Cost(10, 2.0), lambda *_: trial)


def test_the_guard_takes_sharing_all_where_the_runtime_says_it_is_better(home, monkeypatch):
    work = worker(home, "guard")
    worse = {"mood": Interval(-3.0, -4.0, -2.0), "city": Interval(0.1, 0.0, 0.2)}
    monkeypatch.setattr(work, "_composed", lambda choices: ("composed", worse))
    pack, guard = work.guarded(choices_of())
    assert (pack, guard.took) == (work.joint, "all")
    notes = work._notes(choices_of(), guard)
    assert (notes["sharing"], notes["megabytes"], notes["latency"]) == ("all", 0, 1)
    assert {each["way"] for each in notes["tasks"].values()} == {"all"}
    noisy = {"mood": Interval(-3.0, -9.0, 3.0), "city": Interval(0.1, 0.0, 0.2)}
    monkeypatch.setattr(work, "_composed", lambda choices: ("composed", noisy))
    assert work.guarded(choices_of(60.0)) == ("composed", work.guarded(choices_of(60.0))[1])


def test_the_guard_takes_sharing_nothing_where_that_is_better_and_fits(home, monkeypatch):
    work = worker(home, "guard-none")
    gains = {"mood": Interval(10.0, 9.0, 11.0), "city": Interval(10.0, 9.0, 11.0)}
    monkeypatch.setattr(work, "_composed", lambda choices: ("composed", gains))
    monkeypatch.setattr(work.parts, "nothing_shared", lambda: "nothing shared")
    assert work.guarded(choices_of())[0] == "composed"  # tasks were not trained alone
    work.parts.state.alone.update(mood=100.0, city=100.0)
    work.budget = Cost(10**9, 2.0)
    pack, guard = work.guarded(choices_of())
    assert (pack, guard.took) == ("nothing shared", "none")
    notes = work._notes(choices_of(), guard)
    assert (notes["sharing"], notes["latency"]) == ("none", 3)
    assert {each["way"] for each in notes["tasks"].values()} == {"fork-0"}
    work.budget = Cost(10**9, 1.5)
    assert work.guarded(choices_of())[1].took == "auto"


@pytest.mark.parametrize(
    ("change", "way"), [([-50.0, -60.0, -40.0], "head"), ([-50.0, -99.0, 1.0], "all"), ([3.0, 1.0, 5.0], "all")]
)
def test_a_study_says_which_tasks_lose(home, change, way, monkeypatch):
    figures = {
        "tasks": {"city": {"change": change}, "mood": {"change": [0.0, -1.0, 1.0]}},
        "pairs": [{"from": "mood", "to": "city", "change": [-2.0, -3.0, -1.0]}],
    }
    (home / "study.json").write_text(json.dumps(figures))
    monkeypatch.setattr(Parts, "alone", lambda *_: pytest.fail("trained alone"))
    pack = separation.share_by_measure(
        load_spec("pack.yaml"), home / f"study{change[0]}{change[2]}", read_pack("run/pack"), home / "study.json"
    )
    found = pack.manifest.training["separation"]["tasks"]
    assert (found["city"]["way"], found["mood"]["way"]) == (way, "all")
    assert ("beside mood" in found["city"]["why"]["en"]) is (way == "head")


def test_of_several_processes_one_trains_parts(home, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    for name in ("share_nothing", "share_by_measure"):
        monkeypatch.setattr(separation, name, lambda *_: pytest.fail("trained by more than one"))
    for arguments in (["none"], ["auto", "--start", "run/pack"]):
        done = invoke("train", "pack.yaml", "--out", "second", "--sharing", *arguments)
        assert (done.exit_code, done.output) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--sharing-budget", "4,2"), "--sharing-budget means nothing where tasks share all"),
        (("--sharing", "none", "--start", "run/pack"), "--start means nothing where tasks share none"),
        (("--sharing", "auto", "--sharing-budget", "much"), "found 'much', expected megabytes and encodings"),
        (("--sharing", "auto", "--sharing-budget", "4,0.5"), "1 at least"),
        (("--sharing", "none", "--teach", "t"), "--teach means nothing without a joint training"),
        (("--sharing", "auto", "--start", "base"), "has no task mood"),
        (("--sharing", "auto", "--start", "run/pack", "--interference", "dev.jsonl"), "cannot be read"),
    ],
)
def test_faults_are_told(home, arguments, told):
    done = invoke("train", "pack.yaml", "--out", "faulty", *arguments)
    assert done.exit_code == 1
    assert told in " ".join(done.output.split())


def test_keys_of_separation_are_checked(home):
    (home / "faulty.yaml").write_text(DECLARATION.replace("rank: 8", "rnk: 8, sharing: some"))
    done = invoke("train", "faulty.yaml")
    assert "separation.rnk: unknown key; did you mean 'rank'" in done.output
    assert "separation.sharing: found 'some'" in done.output
