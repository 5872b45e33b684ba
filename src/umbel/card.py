"""Writes a pack's card: what it does, what it learnt from, how well it does it and where its limits are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from umbel.manifest import VECTORS
from umbel.pack import Manifest, TaskEntry

SCORE_COLUMNS = (
    "task",
    "kind",
    "languages",
    "labels",
    "metric",
    "dev score",
    "alone",
    "rows",
    "ECE before",
    "ECE after",
)
ALONE = """\
`alone` is the dev score of the same backbone trained on that task only, on as many of its rows (in smaller batches
where else there were few steps); empty where it was not measured. ECE is the expected calibration error before and
after the fitting of temperatures.
"""
WENT_ON = """\
The joint training went on from {pack} {version}, so that jointly a task has seen more rows than alone.
"""
NGRAMS = """\
These tasks add to what their head reads off the encoding what a linear map reads off the text's character n-grams. Both
scores are of dev rows whose other half fitted how much that counts.
"""
MAPPED_SCORES = {
    "nearest": "texts whose nearest other text is the one that the untouched backbone says",
    "found": "questions whose nearest passage is their own",
}
MAPPED = """\
Vectors are the mean of the hidden states through a linear map, learnt on the sealed encoder. Both figures are of train
texts held back from it, with their passages and questions. No other task reads it.
"""
ROUNDED = """\
On processors with instructions for it the encoder multiplies 8-bit numbers, brought there by fixed scales. Cosines of
its hidden states to those without: {mean:.4f} in the mean, {least:.3f} at least.
"""
BRANCHES = """\
Questions made of dev rows of the training sets, with instructions and names that training has seen. The score is the
share of right answers; of mentions it is F1 of exact spans. Sets that training has not seen are harder.
"""
PASSAGES = """\
Dev questions of the sets that reading was trained on, on their whole texts. `free`: the pack may say that the text
holds no answer, which is never so here; else the likeliest words are taken.
"""
UNSEEN = """\
Dev rows of sets that training has not seen, answered from instructions and descriptions alone. `cosine` takes the
option whose vector is nearest to the text's, by the untouched backbone.
"""
ASKED_LIMITS = """\
- A statement is to be worded as one: an English question in its place ("Is it late?") is answered worse.
- Instructions, statements and options are read whole up to 256 tokens, longer ones refused; training asks in few words.
- Of more than 32 options the 16 nearest by their vectors are read closely, unless all are wanted.
- Probabilities were calibrated on questions of the training sets. On sets unlike them they may be too sure.
"""
LIMITS = """\
- Scores are on dev rows. Calibration and thresholds were fitted on the same rows, so their figures lean to the good
  side.
- Official test splits were not used.
- Texts unlike the training data (other domains, languages other than those listed, long documents) are answered too,
  and less well. A label's probability says how sure the model is among its own labels, not whether the question fits.
- Labels carry the judgements of those who annotated the data, their errors and their biases.
"""


def card_of(manifest: Manifest) -> str:
    """Return the card in Markdown."""
    parts = [
        f"# {manifest.name} {manifest.version}",
        manifest.description,
        f"Licence of the weights: {manifest.licence or 'not stated'}.",
        f"Backbone: {manifest.backbone.name} (SHA-256 `{manifest.backbone.sha256}`).",
        "## Tasks and dev scores",
        _table(SCORE_COLUMNS, _scores(manifest)),
        ALONE + _went_on(manifest),
        "## By language",
        _table(("task", "language", "metric", "dev score"), _languages(manifest)),
        *_ngrams(manifest),
        *_vectors(manifest),
        *_rounded(manifest),
        *_separation(manifest.training.get("separation")),
        *_branches(manifest),
        "## Data",
        _table(("task", "source", "licence", "language", "train", "dev"), _data(manifest)),
        "## Training",
        _training(manifest),
        "## Limits",
        LIMITS,
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _went_on(manifest: Manifest) -> str:
    began = manifest.training.get("began")
    return WENT_ON.format(**began) if began else ""


def _ngrams(manifest: Manifest) -> list[str]:
    """Return the section on tasks that read character n-grams, too."""
    rows = [
        (name, task.ngrams.longest, task.metric, _number(task.ngrams.without), _number(task.ngrams.score))
        for name, task in manifest.tasks.items()
        if task.ngrams
    ]
    head = ("task", "characters", "metric", "dev score without n-grams", "with them")
    return ["## Character n-grams", _table(head, rows), NGRAMS] if rows else []


def _vectors(manifest: Manifest) -> list[str]:
    """Return the section on the map that vectors are read through."""
    rows = [
        (name, says, _number(task.scores[f"{score}-before"]), _number(task.scores[score]))
        for name, task in manifest.tasks.items()
        if task.kind == VECTORS
        for score, says in MAPPED_SCORES.items()
        if score in task.scores
    ]
    return ["## Vectors", _table(("task", "percent of", "before", "through the map"), rows), MAPPED] if rows else []


def _rounded(manifest: Manifest) -> list[str]:
    """Return the section on what running the encoder in 8 bits costs each task."""
    entry = manifest.roundings
    if entry is None:
        return []
    rows = [(name, _number(before, 2), _number(after, 2)) for name, (before, after) in entry.scores.items()]
    least, mean = entry.cosines
    about = ROUNDED.format(least=least, mean=mean)
    return ["## In 8 bits", _table(("task", "dev score without", "in 8 bits"), rows), about]


def _separation(notes: Mapping[str, Any] | None) -> list[str]:
    """Return the section on what tasks do not share, where that was decided by measuring."""
    if not notes or "tasks" not in notes:
        return []
    budget = notes["budget"]
    lines = dict.fromkeys(f"- {each['why']['en']}" for each in notes["tasks"].values())
    cost = (
        f"Own parts take {notes['megabytes']:.2f} of {budget['megabytes']:g} MB allowed; a text of which all tasks are "
        f"asked takes {notes['latency']:.2f} of {budget['latency']:g} encodings allowed. {notes['summary']['en']}"
    )
    return ["## What tasks share", cost, "\n".join(lines)]


def _branches(manifest: Manifest) -> list[str]:
    """Return the section on questions asked on the spot."""
    if manifest.branches is None:
        return []
    rows = (
        (kind, each["asked"], _number(each["score"]), _number(each.get("ece-before"), 3), _number(each.get("ece"), 3))
        for kind, each in manifest.asked_scores.items()
    )
    table = _table(("kind of question", "asked", "dev score", "ECE before", "ECE after"), rows)
    passages = manifest.reading.scores.get("sets", {}) if manifest.reading else {}
    return [
        "## Questions asked on the spot", table, BRANCHES, *_passages(passages), *_unseen(manifest.branches.unseen),
        "### Limits of questions", ASKED_LIMITS,
    ]  # fmt: skip


def _passages(sets: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return how whole texts of the sets that the reading head was trained on are read."""
    if not sets:
        return []
    rows = (
        (name, each["questions"], _number(each["exact"]), _number(each["f1"]), _number(each["ece"], 3))
        for name, each in sets.items()
    )
    return ["### Passages", _table(("set", "questions", "exact", "F1", "ECE"), rows), PASSAGES]


def _unseen(sets: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return the figures on sets that training has not seen; those of spans are F1."""
    if not sets:
        return []
    rows = (
        (
            name,
            each.get("rows", ""),
            *(_number(each.get(key)) for key in ("accuracy", "macro-f1", "f1")),
            _number(each.get("ece"), 3),
            _number(each.get("cosine")),
        )
        for name, each in sets.items()
    )
    head = ("set", "rows", "accuracy", "macro-F1", "F1 of spans", "ECE", "accuracy of cosine")
    return ["### Sets not seen in training", _table(head, rows), UNSEEN]


def _table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    lines = [list(map(str, row)) for row in rows]
    titles = list(head)
    marks = ["---"] * len(titles)
    return "\n".join("| " + " | ".join(row) + " |" for row in [titles, marks, *lines])


def _number(value: object, digits: int = 1) -> str:
    return f"{value:.{digits}f}" if isinstance(value, int | float) else ""


def _scores(manifest: Manifest) -> Iterable[tuple[Any, ...]]:
    for name, task in manifest.tasks.items():
        scores = task.scores
        yield (
            name,
            task.kind,
            ", ".join(task.languages),
            len(task.labels) or "",
            task.metric,
            _number(scores.get("score")),
            _number(scores.get("alone")),
            scores.get("rows", ""),
            _number(scores.get("ece-before"), 3),
            _number(scores.get("ece-after"), 3),
        )


def _languages(manifest: Manifest) -> Iterable[tuple[Any, ...]]:
    for name, task in manifest.tasks.items():
        found = task.scores.get("languages", {})
        if len(found) > 1:
            yield from ((name, language, task.metric, _number(score)) for language, score in found.items())


def _data(manifest: Manifest) -> Iterable[tuple[Any, ...]]:
    for name, task in manifest.tasks.items():
        yield from _task_data(name, task)


def _task_data(name: str, task: TaskEntry) -> Iterable[tuple[Any, ...]]:
    for note in task.data:
        yield name, note.source, note.licence, note.language, note.train, note.dev


def _training(manifest: Manifest) -> str:
    training = manifest.training
    settings = ", ".join(f"{key} {value}" for key, value in training.get("settings", {}).items())
    return (
        f"{training.get('rows')} rows in {training.get('steps')} steps, {training.get('seconds')} seconds. {settings}."
    )
