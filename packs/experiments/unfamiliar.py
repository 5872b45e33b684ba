"""Measures how sure a choice among labels that were not trained may be: no set is used that packs leave out.

    python packs/experiments/unfamiliar.py [--rows 12000] [--out packs/experiments/runs/unfamiliar] [--threads 2]

For each group of labelled tasks of base.yaml, large ones by subject and small ones that leave like tasks in, a model
learns questions about all the others, from the untouched backbone, and is asked choices on dev rows of the group. A
choice's logits are divided by its model's temperature and by `umbel.novelty.doubt`, whose two numbers are fitted to the
likelihood of all groups' answers, each group counting the same; for the errors below, to those of the groups that
share no task with this one.

Figures go to unfamiliar.json beside this file. What is trained resumes in `--out`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize  # type: ignore[import-untyped]
from sequences import SPEC, Trained, _Told, questions_alone

from umbel import metrics
from umbel.asking import Asker, read_templates
from umbel.calibrate import fit_temperature
from umbel.catalogue import load_backbone
from umbel.data import Data, load
from umbel.errors import UmbelError
from umbel.evaluate import spread
from umbel.novelty import doubt
from umbel.questions import Choice
from umbel.spec import PackSpec, load_spec
from umbel.train import Trainer

HERE = Path(__file__).parent
FIGURES = HERE / "unfamiliar.json"
GROUPS = {
    "feelings": ("sentiment", "sentiment-intensity", "emotion-zh", "emotions", "aspect-categories"),
    "messages": ("news-topic", "offensive", "offensive-target", "hate", "dialogue-act"),
    "requests": (
        "request-domain",
        "request-intent",
        "assistant-domain",
        "assistant-intent",
        "service-category",
        "service-intent",
        "command-intent",
    ),
    "polarity": ("sentiment", "sentiment-intensity"),
    "emotions": ("emotion-zh", "emotions"),
    "aspects-news": ("aspect-categories", "news-topic"),
    "acts-commands": ("dialogue-act", "command-intent"),
    "service-requests": ("service-category", "service-intent", "request-domain", "request-intent"),
}
TASKS = tuple(dict.fromkeys(task for tasks in GROUPS.values() for task in tasks))
ASKED = 300  # dev rows of a file, at most

NONE = (1.0, 0.0)  # numbers with which nothing is doubted

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Said:
    """Answers of one model to choices about one group: logits by answer, golds, what doubts hang on, its temperature.

    `new` are each choice's newness and how much nearer the likeliest option is `[answers, 2]` (`umbel.novelty`).
    """

    logits: list[Floats]
    golds: NDArray[np.int64]
    new: Floats
    temperature: float

    def loss(self, numbers: Sequence[float] = NONE) -> float:
        """Return the mean negative log likelihood of the golds, with doubt's two numbers."""
        given = [shares[gold] for shares, gold in zip(self.shares(numbers), self.golds, strict=True)]
        return float(-np.mean(np.log(np.maximum(given, 1e-9))))

    def error(self, numbers: Sequence[float] = NONE) -> float:
        """Return the calibration error."""
        shares = self.shares(numbers)
        right = np.array([p.argmax() for p in shares]) == self.golds
        return metrics.calibration_error(np.array([p.max() for p in shares]), right)

    def shares(self, numbers: Sequence[float]) -> list[Floats]:
        """Return each answer's probabilities."""
        found = []
        for logits, (newness, nearer) in zip(self.logits, self.new.tolist(), strict=True):
            scaled = logits / (self.temperature * doubt(newness, nearer, *numbers))
            shifted = np.exp(scaled - scaled.max())
            found.append(shifted / shifted.sum())
        return found


def only(spec: PackSpec, data: Data, tasks: Sequence[str]) -> tuple[PackSpec, Data]:
    """Return the declaration and rows of some tasks."""

    def kept(files: Any) -> dict[str, Any]:
        rows = {
            source: [
                replace(row, golds={t: gold for t, gold in row.golds.items() if t in tasks})
                for row in some
                if not row.golds.keys().isdisjoint(tasks)
            ]
            for source, some in files.items()
        }
        return {source: some for source, some in rows.items() if some}

    chosen = tuple(task for task in spec.tasks if task.name in tasks)
    shown = {name: task for name, task in data.tasks.items() if name in tasks}
    return spec.model_copy(update={"tasks": chosen}), replace(
        data, tasks=shown, train=kept(data.train), dev=kept(data.dev)
    )


@torch.no_grad()
def vectors(trained: Trained, texts: Sequence[str]) -> Floats:
    """Return the vectors of texts `[texts, hidden]`, of length 1."""
    found = []
    for at in range(0, len(texts), 64):
        windows = [cut[0] for cut in trained.quiz.tokenizer.windows_many(list(texts[at : at + 64]))]
        ids, mask = trained.model.pad_windows(windows)
        with torch.autocast("cpu", torch.bfloat16):
            hidden = trained.model.encoder(ids, mask).float()
        found.append((hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))
    return torch.nn.functional.normalize(torch.cat(found), dim=-1).numpy()


def asked_of(trained: Trained, asker: Asker, data: Data, known: Floats, temperature: float) -> Said:
    """Ask choices about dev rows."""
    trained.quiz.asker = asker
    rows = [row for file in data.dev.values() for row in spread(file, ASKED)]
    with torch.autocast("cpu", torch.bfloat16):
        answers = trained.quiz.ask(trained.model, rows, 1)
    found = [(each.question, each) for each in answers if isinstance(each.question, Choice)]
    names = sorted({option.name for question, _ in found for option in question.options})
    texts = sorted({each.text for _, each in found})
    likeness = dict(zip(names, (vectors(trained, names) @ known.T).max(1).clip(max=1), strict=True))
    of_text = dict(zip(texts, vectors(trained, texts), strict=True))
    logits: list[Floats] = [np.asarray(each.windows[0][1][0], np.float64) for _, each in found]
    new = []
    for (question, each), values in zip(found, logits, strict=True):
        cosines = trained.quiz.option_vectors(question).numpy() @ of_text[each.text]
        newness = 1 - np.mean([likeness[option.name] for option in question.options])
        new.append((newness, cosines[values.argmax()] - cosines.mean()))
    return Said(logits, np.array([each.gold for _, each in found]), np.array(new), temperature)


def measured(spec: PackSpec, data: Data, group: str, rows: int, out: Path) -> tuple[Said, Said]:
    """Train without a group; return what the model says of the group, and of what it was trained on."""
    held = GROUPS[group]
    rest = [name for name in TASKS if name not in held]
    templates = read_templates(spec.folder / spec.train.questions, data.tasks)
    some, few = only(spec, data, rest)
    total = sum(map(len, few.train.values()))
    asker = Asker({name: found for name, found in templates.items() if name in rest}, few.tasks)
    trainer = Trainer(
        questions_alone(some, rows, total, "branches"),
        few,
        load_backbone(spec.backbone),
        out / group,
        _Told(),
        asker=asker,
    )
    trainer.weights = dict.fromkeys(trainer.weights, 0.0)
    assert trainer.quiz
    trained = Trained(trainer.run(), trainer.quiz)
    known = vectors(trained, asker.option_names(row for rows in few.train.values() for row in rows))
    seen = asked_of(trained, asker, few, known, 1.0)
    temperature = fit_temperature(lambda t: replace(seen, temperature=t).loss())
    _, others = only(spec, data, held)
    strange = Asker({name: found for name, found in templates.items() if name in held}, others.tasks)
    return asked_of(trained, strange, others, known, temperature), replace(seen, temperature=temperature)


def fitted(said: Sequence[Said]) -> tuple[float, float]:
    """Return doubt's two numbers that make the answers likeliest, each group counting the same."""

    def loss(found: Floats) -> float:
        return sum(each.loss((float(np.exp(found[0])), float(found[1]))) for each in said)

    logarithm, steep = minimize(loss, np.array([-4.0, 5.0]), method="Nelder-Mead").x
    return float(np.exp(logarithm)), float(steep)


def main() -> None:
    """Train the models and fit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=12_000, help="to train each model on")
    parser.add_argument("--out", type=Path, default=HERE / "runs/unfamiliar", help="where checkpoints are kept")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    spec = load_spec(SPEC)
    data = load(spec)
    held, seen = {}, {}
    for group in GROUPS:
        held[group], seen[group] = measured(spec, data, group, options.rows, options.out)
        print(group, "temperature", held[group].temperature, "error", held[group].error(), flush=True)
    figures: dict[str, Any] = {"rows": options.rows, "numbers": fitted(list(held.values())), "groups": {}}
    for group, tasks in GROUPS.items():
        apart = fitted([held[other] for other, others in GROUPS.items() if not {*others} & {*tasks}])
        figures["groups"][group] = {
            "asked": len(held[group].golds),
            "newness": float(held[group].new[:, 0].mean()),
            "nearer": float(held[group].new[:, 1].mean()),
            "numbers-of-others": apart,
            "ece-before": held[group].error(),
            "ece-after": held[group].error(apart),
            "ece-seen-before": seen[group].error(),
            "ece-seen-after": seen[group].error(apart),
        }
    shown = json.loads(json.dumps(figures), parse_float=lambda number: round(float(number), 4))
    FIGURES.write_text(json.dumps(shown, indent=1) + "\n")
    print(json.dumps(shown))


if __name__ == "__main__":
    try:
        main()
    except UmbelError as error:
        sys.exit(f"Error: {error}")
