"""An index: documents in, passages out; updates by content, all at once; filters; damage and other packs are told."""

import multiprocessing
import os
import signal
import sqlite3
import threading

import numpy as np
import pytest
from toy_encoder import ToyEncoder

from umbel.errors import InputError, RetrievalError
from umbel.retrieval import Changes, Document, Index, index, ranking, store

HOURS = Document("We are open from nine to five. On Sunday we are closed.", "hours.txt")
MONEY = Document("You get your money back within ten days.", "money.md", metadata={"lang": "en", "year": 2024})
CHINESE = Document("十天之内可以退款。", "faq.csv", 2, {"lang": "zh", "public": True})
ALL = [HOURS, MONEY, CHINESE]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "my.index"


@pytest.fixture
def made(path):
    with Index.create(path, ToyEncoder()) as made:
        made.add(ALL)
    return path


def opened(path, encoder=None):
    return Index.open(path, encoder or ToyEncoder())


def sources(hits):
    return [hit.source for hit in hits]


def test_a_hit_says_what_was_found_and_where(made):
    hit = opened(made).search("money back", k=1)[0]
    assert (hit.text, hit.source, hit.line, hit.metadata) == (MONEY.text, "money.md", 0, MONEY.metadata)
    assert MONEY.text[hit.start : hit.end] == hit.text
    assert 0 < hit.words < 1
    assert 0 < hit.cosine < hit.score
    assert opened(made).search("怎么退款", by="words")[0].line == 2


def test_vectors_are_compared_exactly(made):
    found = opened(made)
    query = ToyEncoder().vectors(["open on Sunday"])[0]
    expected = {doc.source: float(ToyEncoder().vectors([doc.text])[0] @ query) for doc in ALL}
    hits = found.search("open on Sunday", by="vectors")
    assert {hit.source: hit.cosine for hit in hits} == pytest.approx(expected, abs=1e-6)
    assert sources(hits) == sorted(expected, key=expected.get, reverse=True)


def test_words_add_to_the_cosine_and_either_can_be_had_alone(made):
    found = opened(made)
    (hit,) = found.search("Sunday", by="words")
    assert (hit.source, hit.score) == ("hours.txt", hit.words)
    by_vectors, both = found.search("Sunday", by="vectors"), found.search("Sunday")
    assert [hit.score for hit in by_vectors] == [hit.cosine for hit in by_vectors]
    spread = np.std([hit.cosine for hit in both])
    for hit in both:
        assert (hit.words > 0) == (hit.source == "hours.txt")
        assert hit.score == pytest.approx(hit.cosine + ranking.WORDS_WEIGHT * spread * hit.words**2)


def test_a_share_is_that_of_all_words_weighed_by_rarity(path):
    texts = ["apple banana", "apple cherry", "apple", "other words here"]
    with Index.create(path, ToyEncoder()) as found:
        found.add(Document(text, text) for text in texts)
        shares = {hit.source: hit.words for hit in found.search("apple banana durian", by="words")}
        assert list(shares) == ["apple banana", "apple", "apple cherry"]  # the shorter, the denser
        assert shares["apple banana"] > 5 * shares["apple"] > 0
        assert found.search("banana " * 9, by="words")[0].words == found.search("Banana!", by="words")[0].words < 1


def test_k_bounds_the_hits(made):
    assert len(opened(made).search("open", k=2)) == 2
    assert len(opened(made).search("open", k=50)) == 3


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"source": "money.md"}, {"money.md"}),
        ({"lang": "zh"}, {"faq.csv"}),
        ({"year": 2024}, {"money.md"}),
        ({"year": "2024"}, {"money.md"}),
        ({"public": True}, {"faq.csv"}),
        ({"lang": "en", "year": "1999"}, set()),
        ({"nothing": "such"}, set()),
    ],
)
def test_search_within(made, where, expected):
    for by in ("both", "vectors", "words"):
        hits = opened(made).search("open money 退款", where=where, by=by)
        assert set(sources(hits)) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"query": "  "}, "the query is blank"),
        ({"query": None}, "the query is blank"),
        ({"query": "x", "k": 0}, "k: found 0, expected 1 or more"),
        ({"query": "x", "by": "word"}, "by: 'word' is not a way to search; did you mean 'words'?"),
        ({"query": "x", "where": {"source": "hour.txt"}}, "the source 'hour.txt'; did you mean 'hours.txt'?"),
    ],
)
def test_mistakes_in_a_query_are_told(made, arguments, message):
    with pytest.raises(InputError) as caught:
        opened(made).search(**arguments)
    assert message in caught.value.message


ODD = ['"', "a AND b", "NEAR(", "*", "!?", "x" * 5000, " ".join(map(str, range(5000))), "\ud800", "NOT 退款 OR"]


@pytest.mark.parametrize("query", ODD)
def test_any_other_text_is_a_query(made, query):
    opened(made).search(query)


def test_an_update_reads_only_what_is_new(made):
    encoder = ToyEncoder()
    with opened(made, encoder) as found:
        changed = Document(HOURS.text + "\n\nOn Monday, too.", "hours.txt")
        again = found.add([changed, MONEY, Document("Brand new.", "new.txt")], lambda source: source == "faq.csv")
        assert again == Changes(added=1, changed=1, removed=1, unchanged=1, vectors=2)
        assert "退款" not in "".join(hit.text for hit in found.search("退款"))
        assert found.search("退款", by="words") == []
        assert found.sources() == ["hours.txt", "money.md", "new.txt"]
        assert found.add([MONEY]) == Changes(unchanged=1)
    assert MONEY.text not in encoder.made


def test_changed_metadata_changes_a_document_without_a_new_vector(made):
    with opened(made) as found:
        assert found.add([Document(MONEY.text, "money.md", metadata={"year": 2025})]) == Changes(changed=1)
        assert found.search("money", where={"year": 2025})[0].metadata == {"year": 2025}
        assert found.search("money", where={"year": 2024}) == []


def test_equal_passages_share_a_vector_and_are_one_hit(made):
    encoder = ToyEncoder()
    with opened(made, encoder) as found:
        copies = [Document(MONEY.text, f"copy{n}.txt", metadata={"n": n}) for n in range(3)]
        assert found.add(copies).vectors == 0
        assert (encoder.made, len(found)) == ([], 3)
        hits = found.search("money back")
        assert sources(hits).count("money.md") == 1
        assert hits[0].also == ("copy0.txt", "copy1.txt", "copy2.txt")
        assert sources(found.search("money", where={"n": 1})) == ["copy1.txt"]
        found.remove("money.md")
        assert found.search("money back")[0].source == "copy0.txt"


def test_the_same_document_twice_counts_once(path):
    with Index.create(path, ToyEncoder()) as found:
        changes = found.add([Document("First.", "a"), Document("Second.", "a")])
        assert changes == Changes(added=1, vectors=1)
        assert found.search("Second")[0].text == "Second."


def test_a_source_is_removed(made):
    with opened(made) as found:
        assert found.remove("money.md") == 1
        assert found.counts() == (2, 2)
        with pytest.raises(InputError, match=r"did you mean 'hours\.txt'"):
            found.remove("hour.txt")


def test_an_empty_index_finds_nothing(path):
    with Index.create(path, ToyEncoder()) as found:
        assert found.add([]) == Changes()
        assert found.search("anything") == []
        assert len(found) == 0


def test_long_documents_become_several_passages_with_their_places(path):
    text = "\n\n".join(f"Chapter {n} tells of word{n}. " * 5 for n in range(30))
    with Index.create(path, ToyEncoder(), tokens=40) as found:
        found.add([Document(text, "book.txt")])
        assert len(found) >= 30
        hit = found.search("word17", k=1)[0]
        assert "word17" in hit.text == text[hit.start : hit.end]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("text", "found str, expected a Document"),
        (Document(" \n", "a"), "document 'a': the text is blank"),
        (Document("x", "a", metadata={"source": "b"}), "metadata cannot have the name 'source'"),
        (Document("x", "a", metadata={"tags": ["b"]}), "metadata 'tags': found ['b']"),
    ],
)
def test_documents_that_cannot_be_added(made, document, message):
    with opened(made) as found, pytest.raises(InputError) as caught:
        found.add([MONEY, Document("kept out", "new"), document])
    assert message in caught.value.message
    assert opened(made).sources() == ["faq.csv", "hours.txt", "money.md"]


def test_lone_surrogates_and_nul_are_kept_as_far_as_they_can_be(path):
    with Index.create(path, ToyEncoder()) as found:
        found.add([Document("bad \ud83d here\0 end", "na\udcffme", metadata={"x": "\ud800"})])
        hit = found.search("bad here")[0]
    assert (hit.text, hit.source, hit.metadata) == ("bad \ufffd here\0 end", "na\ufffdme", {"x": "\ufffd"})


@pytest.mark.parametrize("tokens", [0, 15, 101])
def test_passages_must_fit_the_encoder(path, tokens):
    with pytest.raises(InputError, match="expected 16 to 100"):
        Index.create(path, ToyEncoder(), tokens)
    assert not path.exists()


def test_another_pack_is_refused(made):
    with pytest.raises(RetrievalError) as caught:
        opened(made, ToyEncoder(adapter="d" * 64))
    assert "come from pack toy 1.0 (backbone bbbbbbbb, adapter aaaaaaaa" in caught.value.message
    assert "found pack toy 1.0 (backbone bbbbbbbb, adapter dddddddd" in caught.value.message


def test_a_file_that_is_there_is_not_overwritten(path):
    path.write_text("precious")
    with pytest.raises(RetrievalError, match="a file is there already"):
        Index.create(path, ToyEncoder())
    with pytest.raises(RetrievalError, match="this file is no index"):
        Index.open(path)
    assert path.read_text() == "precious"


def test_another_database_is_no_index(path):
    sqlite3.connect(path).execute("CREATE TABLE t (x)").connection.close()
    with pytest.raises(RetrievalError, match="found another file, expected an index"):
        Index.open(path)


def test_a_missing_index_is_told(path):
    with pytest.raises(RetrievalError, match="there is no such index"):
        Index.open(path)
    with pytest.raises(RetrievalError, match="unable to open database file"):
        Index.create(path.parent / "none" / "x.index", ToyEncoder())


def test_a_newer_format_is_told(made):
    with sqlite3.connect(made) as database:
        database.execute(f"PRAGMA user_version = {store.FORMAT + 1}")
    with pytest.raises(RetrievalError, match=f"format {store.FORMAT + 1}, expected {store.FORMAT}"):
        Index.open(made)


@pytest.mark.parametrize("kept", [0, 50, 5000])
def test_a_file_cut_short_is_told(made, kept):
    data = made.read_bytes()
    assert len(data) > kept
    made.write_bytes(data[:kept])
    with pytest.raises(RetrievalError):
        opened(made).search("open")


def test_vectors_of_other_lengths_are_damage(made):
    with sqlite3.connect(made) as database:
        database.execute("UPDATE passages SET vector = x'0000' WHERE id = 1")
    with pytest.raises(RetrievalError, match="vectors of different lengths"):
        opened(made).search("open")


def test_an_index_that_cannot_be_written_is_searched_all_the_same(made, monkeypatch):
    made.chmod(0o400)
    if os.access(made, os.W_OK):  # the superuser may write anything; a mode of SQLite stands in for that of the file
        connect = sqlite3.connect
        monkeypatch.setattr(store.sqlite3, "connect", lambda address, **rest: connect(address[:-2] + "ro", **rest))
    found = opened(made)
    assert found.search("money")[0].source == "money.md"
    with pytest.raises(RetrievalError, match="readonly database") as caught:
        found.add([Document("more", "more")])
    assert "make the file and its folder writable" in caught.value.hint


class Dying(ToyEncoder):
    """Kills its process when it makes vectors for the third time."""

    calls = 0

    def vectors(self, texts):
        self.calls += 1
        if self.calls == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().vectors(texts)


MANY = [Document(f"Document number {n} is new.", f"n{n}") for n in range(8)]


def add_many(path, encoder):
    index.AT_ONCE = 2
    opened(path, encoder).add(MANY, lambda source: True)


def die_at_the_end(path):
    store._sweep = lambda database: os.kill(os.getpid(), signal.SIGKILL)
    add_many(path, ToyEncoder())


@pytest.mark.parametrize(("run", "made_before"), [((add_many, Dying()), 4), ((die_at_the_end,), 8)])
def test_a_killed_update_leaves_the_old_index_and_is_taken_up(made, run, made_before):
    target, *rest = run
    process = multiprocessing.get_context("fork").Process(target=target, args=(made, *rest))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with opened(made) as found:
        assert found.counts() == (3, 3)
        assert set(sources(found.search("document new open"))) == {doc.source for doc in ALL}
        assert all(hit.source in {"hours.txt", "money.md", "faq.csv"} for hit in found.search("new", by="words"))
        changes = found.add(MANY, lambda source: True)
        assert changes == Changes(added=8, removed=3, vectors=8 - made_before)
        assert found.counts() == (8, 8)
    rows = sqlite3.connect(made).execute("SELECT count(*) FROM passages").fetchone()
    assert rows == (8,)


def test_an_update_by_another_process_is_seen(made):
    with opened(made) as reader, opened(made) as writer:
        assert reader.search("weather", by="words") == []
        writer.add([Document("The weather is fine.", "weather.txt")])
        assert sources(reader.search("weather", by="words")) == ["weather.txt"]


def test_two_updates_at_once_do_not_mix(made):
    with opened(made) as other:

        class Meddler(ToyEncoder):
            def vectors(self, texts):
                other.add([Document("Something else.", "else.txt")])
                return super().vectors(texts)

        with opened(made, Meddler()) as found, pytest.raises(RetrievalError, match="another run changed the index"):
            found.add([Document("Mine.", "mine.txt")])
        assert other.sources() == ["else.txt", "faq.csv", "hours.txt", "money.md"]


def test_progress_is_told(path, monkeypatch):
    monkeypatch.setattr(index, "AT_ONCE", 3)
    told = []
    with Index.create(path, ToyEncoder()) as found:
        found.add(MANY, progress=lambda done, total: told.append((done, total)))
    assert told == [(3, 8), (6, 8), (8, 8)]


def test_threads_search_one_index(made):
    found = opened(made)
    expected = found.search("open money")
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(found.search("open money"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [expected] * 8


def test_a_score_does_not_depend_on_the_rest_of_the_index(made):
    before = {hit.source: hit.cosine for hit in opened(made).search("open money", by="vectors")}
    with opened(made) as found:
        found.add(Document(f"Filler {n}", f"filler{n}") for n in range(500))
        after = {hit.source: hit.cosine for hit in found.search("open money", k=503, by="vectors")}
    assert len(after) == 503
    assert {source: after[source] for source in before} == before
