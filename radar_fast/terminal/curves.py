"""A whole series on a terminal: a line a task, directory or ability, its curve drawn in block characters."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from rich.table import Table
from rich.text import Text

from radar_fast.results.growth import Curve, Growth, Step
from radar_fast.terminal.names import shortened
from radar_fast.terminal.tables import new_table, number, signed
from radar_fast.util.printable import printable

__all__ = ["curve_tables", "said_of", "sparkline", "trend_tables"]

BLOCKS = "▁▂▃▄▅▆▇█"
_NAME = 20
"""Characters that a name gets before the curve is drawn with fewer blocks than there are steps."""
_SECTIONS = (("tasks", "task"), ("directories", "directory"), ("abilities", "ability"))


def sparkline(values: Sequence[float | None], width: int, low: float, high: float) -> str:
    """The values as blocks between ``low`` and ``high``, a blank where there is none; of more than ``width`` values
    each block is the mean of those that fall together."""
    width = min(width, len(values))
    edges = [round(place * len(values) / width) for place in range(width + 1)]
    drawn = ""
    for start, stop in pairwise(edges):
        known = [value for value in values[start:stop] if value is not None]
        if not known:
            drawn += " "
            continue
        share = (sum(known) / len(known) - low) / (high - low) if high > low else 0.0
        drawn += BLOCKS[min(len(BLOCKS) - 1, max(0, int(share * len(BLOCKS))))]
    return drawn


def curve_tables(grown: Growth, width: int, measure: str = "sds") -> Iterator[tuple[str, Table]]:
    """Each section that says something new, with a title: first and last value, the curve between, when it sets in, and
    what the last step has changed (``*``: more than chance explains, all rows considered).

    Args:
        grown: a series.
        width: of the terminal, in characters.
        measure: one of those that two runs are compared by.
    """
    ends = _ends(grown, measure)
    for heading, curves in _told(grown):
        names = shortened([name for name in curves if name != "overall"])
        labels = {name: names.get(name, name) for name in curves}
        rows = {name: _cells(curve, grown.steps, measure) for name, curve in curves.items()}
        columns = ("first", "last", "onset", "last gain")
        taken = sum(max(len(each) for each in column) + 1 for column in zip(columns, *rows.values(), strict=True))
        widest = max(len(names.heading(heading)), *map(len, labels.values()))
        blocks = max(4, min(len(grown.steps), width - taken - 1 - min(widest, _NAME)))
        table = new_table(names.heading(heading), ("first", "", "last", "onset", "last gain"), gap=1)
        for name, (first, last, onset, gain) in rows.items():
            drawn = sparkline(curves[name].values(measure), blocks, *ends)
            style = "bold" if name == "overall" else ""
            table.add_row(Text(printable(labels[name])), first, Text(drawn), last, onset, gain, style=style)
        yield f"{measure} by {heading}; {BLOCKS[0]} {ends[0]:.3f} to {BLOCKS[-1]} {ends[1]:.3f}", table


def trend_tables(grown: Growth, effect: float) -> Iterator[tuple[str, Table]]:
    """What each curve is worth as a measure of progress.

    Args:
        grown: a series.
        effect: the difference in SDS that is wanted to be found, above 0.
    """
    for heading, curves in _told(grown):
        names = shortened([name for name in curves if name != "overall"])
        table = new_table(names.heading(heading), ("rise", "S/N", "image", "finds", f"for {effect:g}", "scored"), gap=1)
        for name, curve in curves.items():
            trend, gain = curve.trend, next((each for each in reversed(curve.gains) if each is not None), None)
            change = None if gain is None else gain.change("sds")
            needed = None if gain is None or change is None else change.needed(effect, gain.paired)
            image = next((each for each in reversed(curve.image_gains) if each is not None), None)
            entry = next((each for each in reversed(curve.entries) if each is not None), None)
            table.add_row(
                Text(printable(names.get(name, name))),
                number(trend.monotonicity, 2),
                number(trend.signal_to_noise, 1),
                "-" if image is None else signed(image.sds, 3),
                "-" if change is None or change.detectable is None else f"{change.detectable:.3f}",
                "-" if needed is None else str(needed),
                "-" if entry is None else str(entry.scored),
                style="bold" if name == "overall" else "",
            )
        yield (
            f"by {heading}: rise, signal to noise, worth of the image, the gain that a step finds",
            table,
        )


def said_of(grown: Growth) -> Iterator[str]:
    """Lines below the tables: chance, the order of abilities, flips, and what is to be known of the runs."""
    overall = grown.overall
    if overall.chance is not None:
        yield f"chance: {overall.chance:.3f}, the mean of 1 over the number of candidates"
    order = grown.order()
    if order:
        said = []
        for place, name in enumerate(order):
            onset = grown.abilities[name].trend.onset
            lag = grown.lag(order[0], name) if place else 0
            said.append(f"{name} at {grown.steps[onset or 0].label}" + (f" (+{lag})" if lag else ""))
        yield f"above chance to the end from: {', '.join(said)}"
    if len(grown.steps) > 1:
        flips = grown.flips(-2, -1)
        yield (
            f"from step {grown.steps[-2].label} to {grown.steps[-1].label}: {len(flips.gained)} samples gained, "
            f"{len(flips.lost)} lost; {len(grown.forgotten())} forgotten in all"
        )
    yield from (f"note: {note}" for note in grown.notes)


def _ends(grown: Growth, measure: str) -> tuple[float, float]:
    values = [value for _, _, curve in grown.curves() for value in curve.values(measure) if value is not None]
    return (min(values), max(values)) if values else (0.0, 1.0)


def _told(grown: Growth) -> Iterator[tuple[str, Mapping[str, Curve]]]:
    """(heading, curves) of tasks, and of directories and abilities where not each repeats a curve that was shown; the
    overall curve under the last."""
    seen = {grown.overall.values()}
    sections = []
    for section, heading in _SECTIONS:
        curves = getattr(grown, section)
        if section == "tasks" or not all(curve.values() in seen for curve in curves.values()):
            sections.append((heading, dict(curves)))
        seen |= {curve.values() for curve in curves.values()}
    sections[-1][1]["overall"] = grown.overall
    yield from sections


def _cells(curve: Curve, steps: Sequence[Step], measure: str) -> tuple[str, str, str, str]:
    known = [value for value in curve.values(measure) if value is not None]
    onset = curve.trend.onset
    gain = next((each for each in reversed(curve.gains) if each is not None), None)
    change = None if gain is None else gain.change(measure)
    mark = "*" if change is not None and change.significant else " "
    return (
        number(known[0] if known else None, 3),
        number(known[-1] if known else None, 3),
        "-" if onset is None else steps[onset].label,
        "-" if change is None else signed(change.value, 3) + mark,
    )
