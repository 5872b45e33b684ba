"""Runs `umbel report`: reads the pack and what goes with it, answers dev rows, and writes the report's files.

Knows nothing of what a report holds.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umbel.cache import atomic_write
from umbel.diagnose import diagnose
from umbel.errors import InputError
from umbel.evaluate import LIMIT, spread
from umbel.loading import ready_model
from umbel.pack import read_pack
from umbel.report import costs_of, read_json, report_of
from umbel.report_blocks import blocks
from umbel.report_pages import Language, html_page, markdown_page
from umbel.report_plots import Drawing, need_matplotlib
from umbel.scoring import dev_data, runtime_predictor, told_in_chunks
from umbel.spec import load_spec
from umbel.terminal import row_bar, spinner

if TYPE_CHECKING:
    from umbel.pack import Pack

TIMED = 64


@dataclass(frozen=True)
class Sources:
    """What a report is made of beside the pack: dev rows, a study of interference, published figures.

    Without `texts` it shows no text of the dev rows.
    """

    data: Path | None = None
    limit: int = 0
    interference: Path | None = None
    published: Path | None = None
    texts: bool = True


def make_report(name: str, sources: Sources) -> dict[str, Any]:
    """Return the report of a pack as plain values.

    Raises:
        PackError: the pack is missing or damaged.
        SpecError, DataError, InputError: what was given beside it has faults.
    """
    pack = read_pack(name)
    study = read_json(sources.interference, "a study of interference") if sources.interference else None
    if study is not None and not (isinstance(study, dict) and {"mean_change", "pairs", "conflict"} <= study.keys()):
        raise InputError(f"{sources.interference}: not the figures of a study", "`umbel interference` writes them")
    published = read_json(sources.published, "published figures") if sources.published else None
    _checked(sources.published, published)
    diagnosed, costs = _measured(pack, sources) if sources.data else (None, None)
    return report_of(pack, diagnosed, costs, study, published)


def _measured(pack: Pack, sources: Sources) -> tuple[dict[str, Any], dict[str, Any]]:
    assert sources.data
    spec = load_spec(sources.data)
    with spinner(f"reading the dev rows of {spec.name}"):
        known, dev = dev_data(spec, pack.tasks)
    model = ready_model(pack.folder)
    with row_bar(f"answering dev rows with {pack.manifest.name}") as told:
        predictor = told_in_chunks(runtime_predictor(model), told)
        diagnosed = diagnose(predictor, known, dev, sources.limit or LIMIT, texts=sources.texts)
    each = -(-TIMED // max(len(dev), 1))
    texts = [example.text for file in dev.values() for example in spread(file, each)]
    return diagnosed, costs_of(model, texts)


def _checked(path: Path | None, published: Any) -> None:
    """Check that published figures are lists of `score`, `by` and `on` by task."""
    if published is None:
        return
    entries = published.values() if isinstance(published, dict) else [None]
    for entry in entries:
        if not isinstance(entry, list) or not all(
            isinstance(e, dict) and {"score", "by", "on"} <= e.keys() for e in entry
        ):
            raise InputError(
                f"{path}: expected by task a list of figures with `score`, `by` and `on`",
                'for instance {"intent": [{"score": 96.9, "by": "Larson et al. 2019, BERT", "on": "test"}]}',
            )


def write_report(report: dict[str, Any], folder: Path, language: Language = "en") -> list[Path]:
    """Write the report as HTML, Markdown and JSON into `folder`; return the files.

    Raises:
        MissingExtraError: the plotting library is not installed.
        CacheError: they cannot be written.
    """
    need_matplotlib()
    with Drawing() as draw:
        parts = list(blocks(report, draw))
    title = f"{report['pack']} {report['version']}"
    files = {
        "report.html": html_page(title, parts, language),
        "report.md": markdown_page(parts, language),
        "report.json": json.dumps(report, ensure_ascii=False, indent=1) + "\n",
    }
    for name, text in files.items():
        with atomic_write(folder / name) as draft:
            draft.write_text(text, encoding="utf-8")
    return [folder / name for name in files]
