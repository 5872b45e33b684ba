"""The plots of a report as SVG text, drawn by matplotlib, which the extra `report` installs; knows nothing of packs.

The same figures give the same bytes. Text stays text, so that a plot is small and searchable.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from umbel.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "umbel",
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.family": "sans-serif",
}
GREEN, RED, BLUE, GREY = "#1b7f4d", "#b3382c", "#2b5d9b", "#8a8a8a"


def need_matplotlib() -> None:
    """Check that the plotting library is there before anything long is begun.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("matplotlib", "report") from error


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    found = text.getvalue()
    return found[found.index("<svg") :]


def _figure(width: float, height: float, columns: int = 1) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    return figure, figure.subplots(1, columns, squeeze=False)[0]


class Drawing:
    """Draws every plot in one style; a context, for matplotlib's settings are its process's."""

    def __enter__(self) -> Drawing:
        import matplotlib

        self._settings = matplotlib.rc_context(STYLE)  # type: ignore[arg-type]
        self._settings.__enter__()
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the reader's own font shows Chinese
        return self

    def __exit__(self, *error: object) -> None:
        self._warnings.__exit__(*error)  # type: ignore[arg-type]
        self._settings.__exit__(*error)  # type: ignore[arg-type]

    def changes(self, changes: Mapping[str, Sequence[float | None]]) -> str:
        """Draw each task's change by sharing, with its interval where there is one, the largest gain on top."""
        ordered = sorted(changes, key=lambda task: changes[task][0] or 0.0)
        figure, (axes,) = _figure(6.5, 0.6 + 0.19 * len(ordered))
        for place, task in enumerate(ordered):
            value, low, high = (float(each if each is not None else changes[task][0] or 0) for each in changes[task])
            axes.barh(place, value, color=GREEN if value >= 0 else RED, height=0.7)
            if high > low:
                axes.plot([low, high], [place, place], color="black", linewidth=0.8)
        axes.axvline(0, color="black", linewidth=0.6)
        axes.set_yticks(range(len(ordered)), ordered)
        axes.set_xlabel("together − alone, points")
        return _svg(figure)

    def heat(self, matrix: Sequence[Sequence[float | None]], names: Sequence[str], label: str) -> str:
        """Draw a matrix of tasks: rows give, columns take; grey where nothing is known."""
        values = np.array([[np.nan if v is None else v for v in row] for row in matrix], float)
        size = 2.2 + 0.22 * len(names)
        figure, (axes,) = _figure(size + 0.6, size)
        _grid(axes, values, names, label, figure)
        axes.set_ylabel("training on …")
        axes.set_xlabel("… changes")
        return _svg(figure)

    def conflict(self, moments: Sequence[Mapping[str, Any]]) -> str:
        """Draw by group of layers the mean cosine of gradients, and the share of pairs that conflict, over time."""
        figure, (left, right) = _figure(6.5, 2.2, 2)
        fractions = [100 * moment["fraction"] for moment in moments]
        for group in moments[0]["groups"]:
            left.plot(fractions, [m["groups"][group]["mean"] for m in moments], marker="o", markersize=3, label=group)
            share = [100 * m["groups"][group]["conflicting"] for m in moments]
            right.plot(fractions, share, marker="o", markersize=3)
        left.axhline(0, color="black", linewidth=0.6)
        left.set_ylabel("mean cosine of gradients")
        right.set_ylabel("% of pairs that conflict")
        right.set_ylim(0, 100)
        for axes in (left, right):
            axes.set_xlabel("% of the training")
        left.legend(fontsize=6, frameon=False)
        figure.tight_layout()
        return _svg(figure)

    def drift(self, moments: Sequence[Mapping[str, Any]]) -> str:
        """Draw how far the shared encoding has moved over time, one thin line a task, the mean thick."""
        figure, (axes,) = _figure(3.6, 2.2)
        fractions = [100 * moment["fraction"] for moment in moments]
        for task in moments[0]["tasks"]:
            axes.plot(fractions, [moment["tasks"][task] for moment in moments], color=GREY, linewidth=0.5)
        axes.plot(fractions, [moment["mean"] for moment in moments], color=BLUE, marker="o", markersize=3)
        axes.set_xlabel("% of the training")
        axes.set_ylabel("1 − cosine to the start")
        return _svg(figure)

    def task(self, found: Mapping[str, Any]) -> str:
        """Draw one task's calibration before and after, and its risk against coverage; empty where it has neither."""
        curves, risk = found.get("calibration"), found.get("risk")
        if not curves and not risk:
            return ""
        figure, (left, right) = _figure(5.2, 2.0, 2)
        for name, colour in (("before", GREY), ("after", BLUE)):
            if curves and name in curves:
                points = curves[name]["points"]
                label = f"{name}, ECE {curves[name]['ece']:.3f}"
                left.plot(
                    [p["confidence"] for p in points],
                    [p["right"] for p in points],
                    "o-",
                    color=colour,
                    markersize=3,
                    linewidth=1,
                    label=label,
                )
        left.plot([0, 1], [0, 1], color="black", linewidth=0.5, linestyle=":")
        left.set_xlabel("confidence")
        left.set_ylabel("share right")
        if curves:
            left.legend(fontsize=6, frameon=False)
        if risk:
            right.plot(
                [100 * p["coverage"] for p in risk],
                [100 * p["risk"] for p in risk],
                "o-",
                color=RED,
                markersize=3,
                linewidth=1,
            )
        right.set_ylim(bottom=0)
        right.set_xlabel("% of rows answered, surest first")
        right.set_ylabel("% wrong")
        figure.tight_layout()
        return _svg(figure)

    def confusion(self, found: Mapping[str, Any]) -> str:
        """Draw a confusion matrix as shares of each gold label's rows."""
        counts = np.array(found["matrix"], float)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        size = 1.4 + 0.2 * len(counts)
        figure, (axes,) = _figure(size, size)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(range(len(counts)), found["labels"], rotation=90, fontsize=6)
        axes.set_yticks(range(len(counts)), found["labels"], fontsize=6)
        axes.set_xlabel("given")
        axes.set_ylabel("gold")
        return _svg(figure)


def _grid(axes: Axes, values: Any, names: Sequence[str], label: str, figure: Figure) -> None:
    import matplotlib

    colours = matplotlib.colormaps["RdBu"].with_extremes(bad="#dddddd")
    most = float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else 1.0
    image = axes.imshow(np.ma.masked_invalid(values), cmap=colours, vmin=-most, vmax=most)
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
    axes.set_yticks(range(len(names)), names, fontsize=6)
    figure.colorbar(image, ax=axes, shrink=0.6, label=label)
