"""A report of plain values as a document in English and Chinese; knows nothing of HTML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from umbel.document import Block, Heading, Items, Paragraph, Plot, Said, Table, Text

if TYPE_CHECKING:
    from umbel.report_plots import Drawing

Plain = Mapping[str, Any]


def blocks(report: Plain, draw: Drawing) -> Iterator[Block]:
    """Yield a report from its title to its data."""
    yield Heading(1, f"{report['pack']} {report['version']}")
    if report["description"]:
        yield Paragraph(report["description"])
    yield from _headline(report)
    yield Heading(2, Said("What to do next", "下一步"))
    yield Items([Said(each["en"], each["zh"]) for each in report["advice"]])
    yield from _scores(report)
    yield from _sharing(report, draw)
    yield from _separation(report["training"].get("separation"))
    yield from _study(report["interference"], draw)
    yield from _languages(report)
    yield from _costs(report)
    yield from _tasks(report, draw)
    yield from _data(report)


def _headline(report: Plain) -> Iterator[Block]:
    if not report["mean_change"]:
        return
    value, low, high = report["mean_change"]
    worst, gain, lose = report["worst_change"], len(report["gaining"]), len(report["losing"])
    yield Paragraph(
        Said(
            f"Trained together instead of alone, tasks change by {value:+.2f} points on average (95 % interval over "
            f"tasks {low:+.2f} to {high:+.2f}, median {report['median_change']:+.2f}): {gain} gain, {lose} lose; the "
            f"worst is {worst['task']} at {worst['change']:+.2f}.",
            f"联合训练与单独训练相比，各任务平均变化 {value:+.2f} 分（任务间 95% 区间 {low:+.2f} 至 {high:+.2f}，"
            f"中位数 {report['median_change']:+.2f}）：{gain} 个提高，{lose} 个降低；"
            f"最差的是 {worst['task']}，{worst['change']:+.2f}。",
        )
    )
    few = report["small"]
    if few["tasks"]:
        yield Paragraph(
            Said(
                f"Tasks of fewer than {few['rows_below']:,} train rows change by {few['mean_change']:+.2f}: "
                f"{', '.join(few['tasks'])}.",
                f"训练数据少于 {few['rows_below']:,} 行的任务平均变化 {few['mean_change']:+.2f}："
                f"{'、'.join(few['tasks'])}。",
            )
        )


def _scores(report: Plain) -> Iterator[Block]:
    yield Heading(2, Said("Scores", "得分"))
    if report["measured"]:
        note = Said(
            "Scores are the runtime's on the dev rows read here, with 95 % intervals over resampled rows. `card` "
            "is the pack's own score on all dev rows, which the change to the task trained alone is taken from. "
            "Calibration and thresholds were fitted on dev rows, so scores lean to the good side.",
            "得分为运行时在此处读取的开发数据上的结果，附按行重采样的 95% 区间。"
            "card 为包自身在全部开发数据上的得分，与单独训练的差由此计算。"
            "校准与阈值均在开发数据上拟合，得分略偏乐观。",
        )
    else:
        note = Said("Scores are the pack's own, on its dev rows.", "得分为包自身在开发数据上的结果。")
    yield Paragraph(note)
    head: list[Text] = [
        Said("task", "任务"),
        Said("metric", "指标"),
        Said("score", "得分"),
        Said("95 %", "95% 区间"),
        Said("rows", "行数"),
        "card",
        Said("alone", "单独"),
        Said("change", "变化"),
        Said("published", "已发表"),
    ]
    rows = [_score_row(name, task) for name, task in report["tasks"].items()]
    yield Table(head, rows, (2, 3, 4, 5, 6, 7))
    notes: list[Text] = [
        Said(*[f"{name}: {each['score']} {each.get('metric', task['metric'])} by {each['by']}, {each['on']}"] * 2)
        for name, task in report["tasks"].items()
        for each in task["published"]
    ]
    if notes:
        yield Paragraph(
            Said(
                "Published figures, on the splits named; dev rows here are others, so compare with care:",
                "已发表的数字，所用划分如下；与此处的开发数据不同，比较时须谨慎：",
            )
        )
        yield Items(notes)


def _score_row(name: str, task: Plain) -> list[Text]:
    value, low, high = task["score"]
    rows = task["rows"]["read"] or task["rows"]["dev"]
    best = ", ".join(str(each["score"]) for each in task["published"])
    interval = "" if low is None else f"{low:.1f}–{high:.1f}"
    return [
        name,
        task["metric"],
        number(value),
        interval,
        str(rows or ""),
        number(task["card"]),
        number(task["alone"]),
        number(task["change"], signed=True),
        best,
    ]


def _sharing(report: Plain, draw: Drawing) -> Iterator[Block]:
    changes = {
        name: [task["change"], None, None] for name, task in report["tasks"].items() if task["change"] is not None
    }
    if changes:
        yield Heading(2, Said("Together against alone", "联合与单独"))
        caption = Said(
            "Change of each task by joint training, as the pack records it.", "包中记录的各任务联合训练带来的变化。"
        )
        yield Plot(draw.changes(changes), caption)


def _separation(notes: Plain | None) -> Iterator[Block]:
    """Yield what each task shares and why, where that was decided by measuring (`umbel train --sharing auto`)."""
    if not notes or "tasks" not in notes:
        return
    budget, used = notes["budget"], (notes["megabytes"], notes["latency"])
    yield Heading(2, Said("What tasks share", "各任务共享什么"))
    yield Paragraph(Said(notes["summary"]["en"], notes["summary"]["zh"]))
    whys = {each["why"]["en"]: each["why"]["zh"] for each in notes["tasks"].values()}
    yield Items([Said(english, chinese) for english, chinese in whys.items()])
    yield Paragraph(
        Said(
            f"Own parts take {used[0]:.2f} of {budget['megabytes']:g} MB allowed; a text of which all tasks are asked "
            f"takes {used[1]:.2f} of {budget['latency']:g} encodings allowed.",
            f"专用部分占 {used[0]:.2f} MB（上限 {budget['megabytes']:g} MB）；询问全部任务的文本需 {used[1]:.2f} 次编码"
            f"（上限 {budget['latency']:g}）。",
        )
    )


def _study(study: Plain | None, draw: Drawing) -> Iterator[Block]:
    if not study or not study.get("mean_change"):
        return
    yield Heading(2, Said("Interference", "任务间的影响"))
    yield Paragraph(_design(study))
    value, low, high = study["mean_change"]
    worst = study["worst_change"]
    yield Paragraph(
        Said(
            f"Mean change {value:+.2f} points ({low:+.2f} to {high:+.2f} over seeds); worst {worst['task']} "
            f"{worst['change'][0]:+.2f}. Surely gaining: {_names(study['gaining'], 'none')}. Surely losing: "
            f"{_names(study['losing'], 'none')}.",
            f"平均变化 {value:+.2f} 分（种子间 {low:+.2f} 至 {high:+.2f}）；"
            f"最差为 {worst['task']}，{worst['change'][0]:+.2f}。"
            f"确定提高：{_names(study['gaining'], '无')}。确定降低：{_names(study['losing'], '无')}。",
        )
    )
    yield Plot(
        draw.changes({name: task["change"] for name, task in study["tasks"].items()}),
        Said("Change by sharing in this study, with intervals over seeds.", "本次测量中共享带来的变化及种子间区间。"),
    )
    yield from _transfer(study, draw)
    if study["conflict"]:
        caption = Said(
            "Agreement of the tasks' gradients on the shared parameters through training, by group of layers.",
            "训练过程中各任务在共享参数上梯度的一致程度，按层分组。",
        )
        yield Plot(draw.conflict(study["conflict"]), caption)
        drifted = Said(
            "Drift of the shared encoding: the mean, and each task's rows.", "共享编码的漂移：均值与各任务。"
        )
        yield Plot(draw.drift(study["drift"]), drifted)
    if study["sizes"]:
        head = [Said("rows a task", "每任务行数"), Said("mean change", "平均变化"), Said("95 %", "95% 区间")]
        known = [(each["rows"], each["mean_change"]) for each in study["sizes"]] + [
            (study["budget"]["rows"], study["mean_change"])
        ]
        rows = [[f"{size}", f"{m[0]:+.2f}", f"{m[1]:+.2f}–{m[2]:+.2f}"] for size, m in known if m]
        yield Paragraph(Said("What sharing gives, by the amount of data:", "共享的收益与数据量："))
        yield Table(head, rows, (0, 1, 2))


def _design(study: Plain) -> Said:
    cheap = study["mode"] == "cheap"
    shared = "a small adapter over the frozen backbone (cheap mode)" if cheap else "the whole backbone"
    shared_zh = "冻结骨干上的小适配器（廉价模式）" if cheap else "整个骨干"
    budget, seeds = study["budget"], len(study["seeds"])
    return Said(
        f"{study['trainings']} trainings that share {shared}, each task with at most {budget['rows']} rows, "
        f"{budget['drawn']} drawn, {seeds} seeds. Rows and steps are the same alone and together.",
        f"共 {study['trainings']} 次训练，共享{shared_zh}；"
        f"每任务至多 {budget['rows']} 行、抽取 {budget['drawn']} 行，{seeds} 个种子。"
        "单独与联合训练的行数与步数相同。",
    )


def _transfer(study: Plain, draw: Drawing) -> Iterator[Block]:
    order = study.get("order") or list(study["tasks"])
    places = {task: place for place, task in enumerate(order)}
    exact: list[list[float | None]] = [[None] * len(order) for _ in order]
    for pair in study["pairs"]:
        exact[places[pair["from"]]][places[pair["to"]]] = pair["change"][0]
    if study["pairs"]:
        caption = Said(
            "Transfer, trained pairs: what training on the row's task changes in the column's, in points; grey: "
            "not trained.",
            "迁移（实测任务对）：行任务的训练使列任务变化的分数；灰色：未训练。",
        )
        yield Plot(draw.heat(exact, order, "points"), caption)
    if "estimated" not in study:
        return
    estimate = study["estimated"]["lookahead"]
    shown = [
        [None if row == column else value for column, value in enumerate(values)] for row, values in enumerate(estimate)
    ]
    caption = Said(
        "Transfer, estimated: the share of the column's loss that a step for the row's task takes off "
        "(lookahead, TAG).",
        "迁移（估计）：为行任务走一步，列任务损失减少的比例（前瞻，TAG）。",
    )
    yield Plot(draw.heat(shown, order, "share of loss"), caption)
    yield from _agreement(study["agreement"])


def _agreement(agreement: Plain) -> Iterator[Block]:
    rows: list[list[Text]] = []
    for name, each in agreement.items():
        if isinstance(each, Mapping):
            rho, low, high = each["rank_correlation"]
            rows.append([name, str(each["pairs"]), f"{rho:.2f}", f"{low:.2f}–{high:.2f}"])
        elif each is not None:
            rows.append([Said("one seed against another", "种子之间"), "", f"{each:.2f}", ""])
    if rows:
        yield Paragraph(
            Said(
                "How estimates rank pairs against trained ones (Spearman). Where one seed's trained pairs hardly "
                "rank as another's, no estimate can do well.",
                "估计与实测任务对的秩相关（Spearman）。若不同种子的实测结果本身排序不一致，任何估计都不会好。",
            )
        )
        head = [
            Said("estimate", "估计"),
            Said("values", "数值"),
            Said("rank correlation", "秩相关"),
            Said("95 %", "95% 区间"),
        ]
        yield Table(head, rows, (1, 2, 3))


def _languages(report: Plain) -> Iterator[Block]:
    rows = [
        [name, language, str(each["rows"] or ""), number(each["score"][0]), _range(each["score"])]
        for name, task in report["tasks"].items()
        if len(task["by_language"]) > 1
        for language, each in task["by_language"].items()
    ]
    if rows:
        yield Heading(2, Said("By language", "按语言"))
        head = [
            Said("task", "任务"),
            Said("language", "语言"),
            Said("rows", "行数"),
            Said("score", "得分"),
            Said("95 %", "95% 区间"),
        ]
        yield Table(head, rows, (2, 3, 4))


def _costs(report: Plain) -> Iterator[Block]:
    yield Heading(2, Said("What a task costs", "每个任务的成本"))
    size, costs = report["size"], report["costs"]
    shared = ", ".join(f"{name} {bytes_:,}" for name, bytes_ in size["shared"].items())
    yield Paragraph(
        Said(
            f"Shared by all tasks, bytes: {shared or 'nothing'}."
            + (f" Encoding a text takes {costs['encoding_ms']:.2f} ms, whatever is asked of it." if costs else ""),
            f"所有任务共享（字节）：{shared or '无'}。"
            + (f"编码一条文本需 {costs['encoding_ms']:.2f} 毫秒，与任务数无关。" if costs else ""),
        )
    )
    head = [Said("task", "任务"), Said("ms a text", "毫秒/条"), Said("parameters", "参数"), Said("bytes", "字节")]
    rows = [
        [name, number((costs or {}).get("task_ms", {}).get(name), 3), f"{each['parameters']:,}", f"{each['bytes']:,}"]
        for name, each in size["tasks"].items()
        if each["parameters"] or name in (costs or {}).get("task_ms", {})
    ]
    yield Table(head, rows, (1, 2, 3))


def _tasks(report: Plain, draw: Drawing) -> Iterator[Block]:
    shown = {name: task for name, task in report["tasks"].items() if task["mistakes"] is not None}
    if not shown:
        return
    yield Heading(2, Said("Task by task", "逐个任务"))
    for name, task in shown.items():
        yield Heading(3, name)
        if task["description"]:
            yield Paragraph(task["description"])
        svg = draw.task(task)
        if svg:
            yield Plot(svg, Said("Calibration before and after; risk against coverage.", "校准前后；风险与覆盖率。"))
        yield from _confused(task["confusions"], draw)
        if task["mistakes"]:
            yield Paragraph(Said("The mistakes it was surest of:", "最有把握的错误："))
            head = [Said("text", "文本"), Said("gold", "正确"), Said("given", "给出"), Said("sure", "把握")]
            yield Table(head, [_mistake(each) for each in task["mistakes"]], (3,))


def _confused(table: Plain | None, draw: Drawing) -> Iterator[Block]:
    if not table:
        return
    if table["matrix"] and len(table["labels"]) > 1:
        yield Plot(
            draw.confusion(table),
            Said("Share of each gold label's rows by label given.", "各正确标签被判为各标签的比例。"),
        )
    if table["pairs"]:
        head = [Said("gold", "正确"), Said("given", "给出"), Said("rows", "行数")]
        yield Table(head, [[pair["gold"], pair["given"], str(pair["rows"])] for pair in table["pairs"]], (2,))


def _mistake(each: Plain) -> list[Text]:
    return [each["text"], _listed(each["gold"]), _listed(each["given"]), number(each["probability"], 2)]


def _listed(value: Any) -> str:
    if isinstance(value, list):
        return "; ".join(" ".join(map(str, v)) if isinstance(v, list) else str(v) for v in value) or "∅"
    return number(value, 2) if isinstance(value, float) else str(value)


def _data(report: Plain) -> Iterator[Block]:
    yield Heading(2, Said("Data and licences", "数据与许可"))
    yield Paragraph(
        Said(
            f"Licence of the weights: {report['licence'] or 'not stated'}. Backbone: {report['backbone']['name']}.",
            f"权重许可：{report['licence'] or '未说明'}。骨干：{report['backbone']['name']}。",
        )
    )
    head = [
        Said("task", "任务"),
        Said("source", "来源"),
        Said("licence", "许可"),
        Said("language", "语言"),
        Said("train", "训练"),
        Said("dev", "开发"),
    ]
    rows = [
        [name, note["source"], note["licence"], note["language"], f"{note['train']:,}", f"{note['dev']:,}"]
        for name, notes in report["data"].items()
        for note in notes
    ]
    yield Table(head, rows, (4, 5))


def number(value: object, digits: int = 1, signed: bool = False) -> str:
    """Return a number as shown; nothing of what is none."""
    return f"{value:{'+' if signed else ''}.{digits}f}" if isinstance(value, int | float) else ""


def _range(interval: Sequence[float | None]) -> str:
    return "" if interval[1] is None else f"{interval[1]:.1f}–{interval[2]:.1f}"


def _names(names: Sequence[str], none: str) -> str:
    return ", ".join(names) or none
