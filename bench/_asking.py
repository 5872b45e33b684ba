"""What the benchmark of questions asks, of which texts, and who is asked: Umbel's branches, and joint sequences."""

from __future__ import annotations

import itertools
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _rivals import BACKBONE, Floats, Ids, Prepare, backbone, padded, roundings, shipped, tokens_of
from _texts import SAMPLES, calls_of

from umbel.brancher import Brancher
from umbel.questions import Choice, Extract, Mentions, Option, Predicate, PredicateAnswer, Question, Score, ScoreAnswer
from umbel.records import LabelPrediction, Span

TEN = (  # natural ones in both languages, five options each
    ("Which team should handle this?", "billing", "delivery", "technical support", "sales", "accounts"),
    ("What does the customer want?", "a refund", "an exchange", "information", "an apology", "nothing"),
    ("How does the writer feel?", "angry", "disappointed", "neutral", "happy", "worried"),
    ("Which product is it about?", "phone", "laptop", "television", "headphones", "camera"),
    ("How soon must we reply?", "today", "tomorrow", "this week", "this month", "never"),
    ("这条消息是什么语气？", "愤怒", "失望", "平静", "高兴", "着急"),
    ("应该由哪个部门处理？", "财务", "物流", "技术支持", "销售", "客服"),
    ("客户提到了什么问题？", "质量", "价格", "配送", "服务", "其他"),
    ("这条消息属于哪个领域？", "购物", "旅游", "金融", "教育", "健康"),
    ("客户下一步最可能做什么？", "退货", "等待", "投诉", "再次购买", "联系客服"),
)
VERBS = (
    *("cancel", "change", "track", "return", "exchange", "pay for", "review", "complain about", "ask about"),
    *("confirm", "delay", "find", "insure", "pack", "renew"),
)
NOUNS = (
    *("an order", "a parcel", "an invoice", "a subscription", "a ticket", "a booking", "a card", "a password"),
    *("a contract", "an address", "a refund", "a voucher", "a device", "a visit", "a meal", "a policy", "a photo"),
)
MANY = tuple(f"{verb} {noun}" for verb, noun in itertools.product(VERBS, NOUNS))  # 255
MOST_TOKENS = 512  # that the backbone reads in one sequence


def ten(count: int = 10) -> list[Question]:
    """Return so many choices of five options, the ten again and again."""
    return [_choice(*TEN[place % len(TEN)]) for place in range(count)]


def _choice(instruction: str, *names: str) -> Choice:
    return Choice(instruction, tuple(map(Option, names)))


def tokens_asked(questions: Sequence[Question]) -> int:
    """Return how many branch tokens questions are, special ones included and padding left out."""
    brancher = Brancher(backbone().tokenizer)
    return sum(len(branch) for question in questions for branch in brancher.branches(question))


def asking_rival(threads: int, pack: str = "", precision: Any = "auto") -> Prepare:
    """Ask a pack, by default one of random readouts, which cost what trained ones do; encodings are not remembered.

    An operation is what is done, the text's tokens, and how many are asked: `encode 128`, `fresh 128 10`,
    `kept 128 10`, `unseen 128 10` with new options each time, `options 128 255` on a kept text,
    `unseen_options 128 255` with new ones each time, `extract 128 10`, questions whose answers stand in a kept text, or
    `permuted 1000`.
    """
    import umbel
    from umbel.encodings import EncodingCache

    with tempfile.TemporaryDirectory() as folder:
        model = umbel.load(pack or write_random(Path(folder)), precision=precision, threads=threads)
    model.forward.encodings = EncodingCache(0)

    def prepare(operation: str) -> list[Callable[[], Any]]:
        what, number, *more = operation.split()
        if what == "permuted":
            return [lambda: {"difference": permuted(model, int(number))}]
        ((text,),) = calls_of(f"1x{number}")
        if what == "encode":
            ids, lengths = padded(tokens_of([text]))
            return [lambda: model.engine.encode(model.embedding.rows(ids), lengths)]
        count, kept = int(more[0]), model.keep(text)
        if what == "unseen_options":
            numbers = itertools.count()
            return [lambda: model.ask(kept, [_numbered(next(numbers), "What next?", *MANY[:count])])]
        if what.endswith("options"):
            question = _choice("What does the customer want to do?", *MANY[:count])
            return [lambda: model.ask(kept if what == "options" else text, [question])]
        if what == "unseen":
            numbers = itertools.count()
            return [lambda: model.ask(kept, _unseen(count, next(numbers)))]
        if what == "extract":
            sought: list[Question] = [Extract(words) for words, *_ in TEN[:count]]
            return [lambda: model.ask(kept, sought)]
        questions = ten(count)
        return [lambda: model.ask(kept if what == "kept" else text, questions)]

    return prepare


def _unseen(count: int, number: int) -> list[Question]:
    return [_numbered(number, words, *names) for words, *names in itertools.islice(TEN, count)]


def _numbered(number: int, words: str, *names: str) -> Choice:
    return _choice(words, *(f"{name} {number}" for name in names))


def write_random(folder: Path) -> Path:
    """Write a pack of random readouts on the default backbone, without heads."""
    from umbel.decide import BLANK_SHARE
    from umbel.pack import BackboneName, BranchesFile, Manifest, TaskEntry
    from umbel.packing import write_pack, write_roundings
    from umbel.readouts import shapes_of

    drawn, shape = np.random.default_rng(0), backbone().shape
    readouts = {
        name: (drawn.normal(size=size) * 0.05).astype(np.float32) for name, size in shapes_of(shape.hidden).items()
    }
    manifest = Manifest(
        name="asking",
        version="1.0.0",
        backbone=BackboneName(name=BACKBONE, sha256=backbone().sha256),
        tasks={"vector": TaskEntry(kind="feature-extraction")},
        branches=BranchesFile(file="", sha256="", blank=BLANK_SHARE),
    )
    pack = write_pack(folder / "asking", manifest, {}, {}, branches=readouts)
    return write_roundings(pack, pack.folder, roundings(), {}, "1.0.0", lambda _: "").folder


def joint_rival(threads: int, precision: str) -> Prepare:
    """Read question, options and text as one sequence, a call for each question, through Umbel's own encoder.

    An operation is `joint`, the text's tokens and the number of questions. Given token ids, not charged for readouts;
    what is over the tokens that the backbone can read is cut off the text.
    """
    encode = shipped(threads, precision)

    def prepare(operation: str) -> list[Callable[[], Any]]:
        _, tokens, count = operation.split()
        ((text,),) = calls_of(f"1x{tokens}")
        (body,) = tokens_of([text])
        calls = [padded([_joined(question, body)]) for question in ten(int(count))]

        def answer() -> Floats:
            for ids, lengths in calls:
                hidden = encode(backbone().embedding.rows(ids), lengths)
            return hidden

        return [answer]

    return prepare


def _joined(question: Question, text: Ids) -> Ids:
    (branch,) = Brancher(backbone().tokenizer).branches(question)
    whole = np.concatenate([branch.question, *branch.options, text[1:]])
    return whole if len(whole) <= MOST_TOKENS else np.append(whole[: MOST_TOKENS - 1], text[-1])


def permuted(model: Any, cases: int) -> float:
    """Return how far an answer moves at most when questions and options change places and others are added.

    Each case is a sample message, some questions of all kinds, and the same, shuffled, among other questions.
    """
    drawn, moved = random.Random(0), 0.0
    kept = [model.keep(text) for text in SAMPLES]
    for _ in range(cases):
        encoding = drawn.choice(kept)
        asked = [_drawn(drawn) for _ in range(drawn.randint(1, 3))]
        beside = [_drawn(drawn) for _ in range(drawn.randint(0, 3))]
        turned = [*enumerate(_turned(question, drawn) for question in asked), *((None, other) for other in beside)]
        drawn.shuffle(turned)
        first, second = model.ask(encoding, asked), model.ask(encoding, [question for _, question in turned])
        for (place, _), answer in zip(turned, second, strict=True):
            if place is not None:
                moved = max(moved, _apart(_numbers(first[place]), _numbers(answer)))
    return moved


def _drawn(drawn: random.Random) -> Question:
    names = tuple(map(Option, drawn.sample(MANY, drawn.randint(2, 9))))
    words = drawn.choice(TEN)[0]
    kinds = [Choice(words, names), Score(words, names), Predicate(names[0].name), Extract(words), Mentions(names)]
    return drawn.choice(kinds)


def _turned(question: Question, drawn: random.Random) -> Question:
    match question:
        case Choice(words, options):
            return Choice(words, tuple(drawn.sample(options, len(options))))
        case Score(words, levels):
            return Score(words, tuple(drawn.sample(levels, len(levels))))
        case Mentions(types):
            return Mentions(tuple(drawn.sample(types, len(types))))
    return question


def _numbers(answer: Any) -> dict[Any, float]:
    """Return an answer's probabilities by what they are of."""
    match answer:
        case LabelPrediction(probabilities=found) | ScoreAnswer(probabilities=found):
            return dict(found)
        case PredicateAnswer(probability=probability):
            return {"": probability}
    spans: tuple[Span, ...] = answer.spans if hasattr(answer, "spans") else (answer.span,) if answer.span else ()
    return {(span.start, span.end, span.label): span.probability for span in spans}


def _apart(first: dict[Any, float], second: dict[Any, float]) -> float:
    if first.keys() != second.keys():
        return 1.0
    return max((abs(first[key] - second[key]) for key in first), default=0.0)
