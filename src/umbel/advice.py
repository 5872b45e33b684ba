"""What to do next, in sentences that follow from a report's figures, in English and in Chinese.

Each rule names the figure it rests on; where none applies it says so. Knows nothing of how figures came about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

Plain = Mapping[str, Any]
Sentence = dict[str, str]  # by language: en, zh

LOSS = 1.0  # points by which a task must lose to be told
SMALL = 2000  # train rows
MISCALIBRATED = 0.05
ENOUGH = 300  # dev rows, from which a calibration error is more than chance
GAP = 10.0  # points between two languages
WIDE = 2.5  # points: half an interval that says little
CONFUSED = 0.1  # of a gold label's rows
CUT = 0.5  # withholding pays where it leaves at most so much of the error
MOST = 3  # sentences of one rule


def advice(report: Plain) -> list[Sentence]:
    """Return what to do next, the most telling first."""
    rules: list[Callable[[Plain], Iterator[Sentence]]] = [
        _losing,
        _untaught,
        _miscalibrated,
        _gaps,
        _confused,
        _withhold,
        _unsure,
        _estimates,
    ]
    found = [sentence for rule in rules for sentence in list(rule(report))[:MOST]]
    nothing = "Nothing stands out: no rule for this section applies to these figures."
    return found or [_said(nothing, "没有突出的问题：没有一条规则适用于这些数字。")]


def _said(english: str, chinese: str) -> Sentence:
    return {"en": english, "zh": chinese}


def _losing(report: Plain) -> Iterator[Sentence]:
    losing = [(task["change"], name) for name, task in report["tasks"].items() if (task["change"] or 0) <= -LOSS]
    for change, name in sorted(losing):
        yield _said(
            f"{name} is {-change:.1f} points worse together than alone: give it more weight or rows in the mix, or "
            f"layers of its own (`umbel detach`).",
            f"{name} 联合训练比单独训练低 {-change:.1f} 分："
            "在混合中增加其权重或数据，或给它自己的上层（`umbel detach`）。",
        )


def _untaught(report: Plain) -> Iterator[Sentence]:
    small = [
        (task["rows"]["train"], name)
        for name, task in report["tasks"].items()
        if 0 < task["rows"]["train"] < SMALL and task["score"][0] is not None and task["score"][0] < 80
    ]
    for rows, name in sorted(small):
        yield _said(
            f"{name} learns from {rows} rows only and scores {report['tasks'][name]['score'][0]:.1f}: label more of it "
            "before anything else.",
            f"{name} 只有 {rows} 条训练数据，得分 {report['tasks'][name]['score'][0]:.1f}：先为它标注更多数据。",
        )


def _miscalibrated(report: Plain) -> Iterator[Sentence]:
    for name, task in report["tasks"].items():
        curves = task["calibration"] or {}
        error = curves.get("after", {}).get("ece")
        if error is not None and error > MISCALIBRATED and task["rows"]["read"] >= ENOUGH:
            yield _said(
                f"The probabilities of {name} are off by {error:.3f} on average even when calibrated: do not put "
                "thresholds on them without checking on rows of your own.",
                f"{name} 的概率校准后平均仍偏差 {error:.3f}：使用阈值之前请用自己的数据检验。",
            )


def _gaps(report: Plain) -> Iterator[Sentence]:
    for name, task in report["tasks"].items():
        scores = {language: each["score"][0] for language, each in task["by_language"].items()}
        known = {language: score for language, score in scores.items() if score is not None}
        if len(known) < 2:
            continue
        low, high = min(known, key=known.__getitem__), max(known, key=known.__getitem__)
        if known[high] - known[low] > GAP:
            yield _said(
                f"{name} scores {known[low]:.1f} in {low} and {known[high]:.1f} in {high}: rows in {low} will help "
                "most, if the two sets are equally hard.",
                f"{name} 在 {low} 上得分 {known[low]:.1f}，在 {high} 上 {known[high]:.1f}："
                f"若两者难度相当，补充 {low} 数据最有效。",
            )


def _confused(report: Plain) -> Iterator[Sentence]:
    found = []
    for name, task in report["tasks"].items():
        table = task["confusions"] or {}
        if not table.get("matrix") or not table["pairs"]:
            continue
        rows = {label: sum(counts) for label, counts in zip(table["labels"], table["matrix"], strict=True)}
        for pair in table["pairs"]:
            share = pair["rows"] / max(rows[pair["gold"]], 1)
            if share >= CONFUSED and pair["rows"] >= 10:
                found.append((-pair["rows"], name, pair, share))
                break
    for _, name, pair, share in sorted(found, key=lambda each: each[:2]):
        yield _said(
            f"{name} takes {pair['gold']} for {pair['given']} in {pair['rows']} rows ({share:.0%} of its rows): read "
            "them, and sharpen the two labels or merge them.",
            f"{name} 有 {pair['rows']} 条把 {pair['gold']} 判为 {pair['given']}（占 {share:.0%}）："
            "检查这些数据，明确或合并这两个标签。",
        )


def _withhold(report: Plain) -> Iterator[Sentence]:
    found = []
    for name, task in report["tasks"].items():
        curve = {point["coverage"]: point for point in task["risk"] or []}
        if not curve or task["labels"] < 2 or not task["confusions"]:
            continue
        whole, kept = curve[1.0], curve[0.8]
        if whole["risk"] >= 0.05 and kept["risk"] <= CUT * whole["risk"]:
            found.append((kept["risk"] / whole["risk"], name, whole["risk"], kept))
    for _, name, risk, kept in sorted(found, key=lambda each: each[:2]):
        yield _said(
            f"Withholding the least sure fifth of the answers of {name} brings its errors from {risk:.1%} to "
            f"{kept['risk']:.1%}: set `abstain-below: {kept['least_sure']:.2f}`.",
            f"{name} 若不回答最没把握的五分之一，错误率由 {risk:.1%} 降至 {kept['risk']:.1%}："
            f"设置 `abstain-below: {kept['least_sure']:.2f}`。",
        )


def _unsure(report: Plain) -> Iterator[Sentence]:
    found = []
    for name, task in report["tasks"].items():
        value, low, high = task["score"]
        if low is not None and value is not None and (high - low) / 2 > WIDE:
            found.append(((low - high) / 2, name, task["rows"]["read"]))
    for half, name, rows in sorted(found):
        yield _said(
            f"The score of {name} is known to ±{-half:.1f} points only, from {rows} dev rows: more of them would tell "
            "small changes from chance.",
            f"{name} 的得分仅由 {rows} 条开发数据得出，误差 ±{-half:.1f} 分：更多开发数据才能区分小的变化与偶然。",
        )


def _estimates(report: Plain) -> Iterator[Sentence]:
    agreement = (report["interference"] or {}).get("agreement", {})
    known = {name: each for name, each in agreement.items() if isinstance(each, Mapping)}
    if not known:
        return
    best = max(known, key=lambda name: known[name]["rank_correlation"][0])
    rho, low, _ = known[best]["rank_correlation"]
    if rho >= 0.6 and low > 0:
        yield _said(
            f"The estimated transfer ({best}) ranks pairs as trained ones do (rank correlation {rho:.2f}): it may "
            "guide what shares with what.",
            f"迁移估计（{best}）与实测排序一致（秩相关 {rho:.2f}）：可用于决定哪些任务共享。",
        )
    else:
        yield _said(
            f"Do not trust the estimated transfer here: the best estimate ({best}) ranks pairs with a correlation of "
            f"{rho:.2f} only to trained ones; train the pairs you care about (`--pairs`).",
            f"此处的迁移估计不可信：最好的估计（{best}）与实测的秩相关仅 {rho:.2f}；"
            "请实际训练所关心的任务对（`--pairs`）。",
        )
