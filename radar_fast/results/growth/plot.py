"""A series as a picture: SDS by step with bands, abilities beside directories, and the line of chance."""

import importlib.util
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from radar_fast.errors import UsageError
from radar_fast.results.growth.curves import Curve, Growth
from radar_fast.util.atomic import write_bytes_atomic

__all__ = ["check_plot", "write_plot"]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#7f7f7f", "#56708a", "#a05a2c")
"""Those of M. Okabe and K. Ito, which people with any colour vision can tell apart, and three more."""

MOST = 12
"""Curves that one panel shows; of more, those that have risen most."""


def check_plot(path: Path | None) -> None:
    """Raise UsageError where no picture can be written there."""
    if path is None:
        return
    if path.suffix not in (".svg", ".png"):
        raise UsageError(f"--plot {path}: an SVG or a PNG is written; give a name that ends in .svg or .png")
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError("--plot: matplotlib is not installed; pip install '.[plot]', or leave it out")


def write_plot(series: Sequence[Growth], path: Path) -> None:
    """Draw each benchmark as a row of two panels. Raises ResultsError where it cannot be written."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "radar-fast", "svg.fonttype": "none", "font.size": 10}):
        figure = Figure(figsize=(11, 4.2 * len(series)), layout="constrained")
        panels = figure.subplots(len(series), 2, squeeze=False, sharey=True)
        for grown, (left, right) in zip(series, panels, strict=True):
            _panel(left, grown, {**grown.abilities, "overall": grown.overall}, f"{grown.benchmark}: abilities")
            _panel(right, grown, grown.directories, f"{grown.benchmark}: directories")
        data = io.BytesIO()
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(data, format=path.suffix[1:], facecolor="white", dpi=150, metadata=metadata)
    write_bytes_atomic(path, data.getvalue())


def _panel(axes: Any, grown: Growth, curves: Mapping[str, Curve], title: str) -> None:
    numbered = all(step.number is not None for step in grown.steps)
    places = [step.number if numbered else place for place, step in enumerate(grown.steps)]
    shown = sorted(curves, key=lambda name: -_risen(curves[name]))[:MOST]
    for number, name in enumerate(name for name in curves if name in shown):
        curve, colour = curves[name], COLOURS[number % len(COLOURS)]
        seen = [(place, entry) for place, entry in zip(places, curve.entries, strict=True) if entry and entry.sds]
        steps = [place for place, _ in seen]
        style = "--" if name == "overall" else ("-", "-.", ":")[number // len(COLOURS) % 3]
        axes.plot(steps, [entry.sds for _, entry in seen], style, color=colour, lw=1.8, label=name)
        ends = [(place, entry.sds_low, entry.sds_high) for place, entry in seen if entry.sds_low is not None]
        if ends:
            axes.fill_between(*zip(*ends, strict=True), color=colour, alpha=0.12, lw=0)
    if grown.overall.chance is not None:
        axes.axhline(grown.overall.chance, color="#666666", lw=1, ls=(0, (2, 3)))
        axes.annotate("chance", (places[0], grown.overall.chance), (0, 3), textcoords="offset points", color="#666666")
    if not numbered:
        axes.set_xticks(places, [step.label for step in grown.steps], rotation=45)
    left_out = f" ({len(shown)} of {len(curves)})" if len(shown) < len(curves) else ""
    axes.set_title(title + left_out, loc="left", fontsize=10)
    axes.set_xlabel("training step")
    axes.set_ylabel("Soft Discrimination Score")
    axes.grid(axis="y", color="#dddddd", lw=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, frameon=False)


def _risen(curve: Curve) -> float:
    known = [value for value in curve.values() if value is not None]
    return known[-1] - known[0] if known else 0.0
