"""What reading only the likeliest of many options loses, on a pack of random readouts."""

import gzip
import itertools
import json

import pytest
import shortlist
from tiny_pack import VOCABULARY, write_tiny_backbone, write_tiny_pack
from unseen import Asked

import umbel
from umbel.questions import Choice, Option

WORDS = [word for word in VOCABULARY if not word.startswith("[")]
FEW = tuple(Option(word) for word in WORDS[:3])
MANY = tuple(Option(" ".join(names)) for names in itertools.product(WORDS, repeat=3))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shortlist")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UMBEL_CACHE", str(folder / "cache"))
        yield umbel.load(
            write_tiny_pack(folder / "pack", write_tiny_backbone(folder / "backbone"), branches=True).folder
        )


def test_few_options_are_all_read(model):
    asked = [Asked(text, Choice("to Paris", FEW), gold) for gold, text in enumerate(("good", "bad"))]
    found = shortlist.measure(model, asked)
    assert (found["options"], found["rows"]) == (3, 2)
    assert found["fast"] == found["full"]
    assert found["among those read"] == found["same"] == 100


def test_of_many_options_some_are_not_read(model):
    question = Choice("to Paris", MANY[:33])
    found = shortlist.measure(model, [Asked("good bad to", question, gold) for gold in range(33)])
    assert found["among those read"] == pytest.approx(100 * 16 / 33, abs=0.1)
    assert found["full"] == pytest.approx(100 / 33, abs=0.1)  # one answer, right once


def test_further_options_stand_behind_the_sets_own(tmp_path):
    (tmp_path / "clinc150").mkdir()
    rows = [{"text": name, "intent": name} for name in ("pay_bill", "out_of_scope", "alarm", "pay_bill")]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "clinc150" / "dev.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    asked = shortlist.intents(tmp_path, 10, ["alarm", "other", *map(str, range(300))])
    assert [each.text for each in asked] == ["pay_bill", "alarm", "pay_bill"]
    assert [each.gold for each in asked] == [1, 0, 1]
    assert len(asked[0].question.options) == 255
    assert [option.name for option in asked[0].question.options[:4]] == ["alarm", "pay bill", "other", "0"]
