"""What a series of checkpoints looks like on a terminal: first, some, last, and what changed from first to last."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from radar_fast.results.difference import Comparison, Difference
from radar_fast.results.summary import Summary
from radar_fast.terminal.names import shortened, step_labels
from radar_fast.terminal.tables import new_table, number, signed, telling
from radar_fast.util.printable import printable

__all__ = ["growth_tables"]

_WIDEST_NAME = 34
"""Characters of a name that a narrow terminal leaves room for before it shows fewer checkpoints; a longer one takes a
second line."""


@dataclass(frozen=True)
class _Layout:
    """How much of a series a table shows."""

    shown: tuple[int, ...]
    """Which checkpoints, counted from 0."""
    digits: int
    """Decimal places."""
    gap: int
    """Between two columns, in characters."""


def growth_tables(
    steps: Sequence[tuple[str, Summary]], width: int, gained: Comparison | None = None
) -> Iterator[tuple[str, Table]]:
    """SDS of every task (a row) at every step (a column), and of directories and abilities where they say something
    new, each with a title. Of a long series first and last and as many between as fit are shown.

    Args:
        steps: (name of the checkpoint, its summary) in order, at least one.
        width: of the terminal, in characters.
        gained: from the first step to the last, over the samples that both have scored; None: not shown.
    """
    labels = step_labels([name for name, _ in steps])
    sections = [(section, heading) for section, heading, _ in telling(steps[-1][1])]
    for section, heading in sections:
        names = _names(steps, section)
        short = shortened(names)
        rows = {short[name]: [_entry(summary, section, name) for _, summary in steps] for name in names}
        changes = None if gained is None else {short[name]: getattr(gained, section).get(name) for name in names}
        widest = max(map(len, (*rows, short.heading(heading))))
        layout = _layout(width - min(widest, _WIDEST_NAME), labels, with_change=gained is not None)
        columns = [labels[step] for step in layout.shown]
        columns += [] if gained is None else ["change", "95% interval"]
        table = new_table(short.heading(heading), columns, gap=layout.gap)
        for name, entries in rows.items():
            table.add_row(Text(printable(name)), *_cells(entries, layout, changes, name))
        if (section, heading) == sections[-1]:
            overall = {"overall": gained.overall} if gained is not None else None
            cells = _cells([summary.overall for _, summary in steps], layout, overall, "overall")
            table.add_row("overall", *cells, style="bold")
        left_out = len(steps) - len(layout.shown)
        yield f"SDS by {heading}" + (f" ({len(layout.shown)} of {len(steps)} checkpoints)" if left_out else ""), table


def _names(steps: Sequence[tuple[str, Summary]], section: str) -> list[str]:
    """Of the section's entries, in any of the steps."""
    return list(dict.fromkeys(name for _, summary in steps for name in getattr(summary, section)))


def _entry(summary: Summary, section: str, name: str) -> Any:
    return getattr(summary, section).get(name)


def _cells(
    entries: Sequence[Any], layout: _Layout, changes: Mapping[str, Difference | None] | None, name: str
) -> list[str]:
    digits = layout.digits
    cells = [number(getattr(entries[step], "sds", None), digits) for step in layout.shown]
    if changes is None:
        return cells
    difference = changes[name]
    if difference is None:
        return [*cells, "-", "-"]
    change = difference.change("sds")
    interval = "-" if change.low is None else f"{signed(change.low, digits)} to {signed(change.high, digits)}"
    return [*cells, signed(change.value, digits), interval]


def _layout(room: int, labels: Sequence[str], *, with_change: bool) -> _Layout:
    """The most that fits: all steps with four decimal places, else some of them with three.

    ``room`` is what the names leave of the terminal.
    """
    for gap in (2, 1):
        layout = _Layout(tuple(range(len(labels))), 4, gap)
        if _needed(layout, labels, with_change=with_change) <= room:
            return layout
    best = _Layout(_spread(2, len(labels)), 3, 1)
    for gap in (2, 1):
        for count in range(len(labels), 2, -1):
            layout = _Layout(_spread(count, len(labels)), 3, gap)
            if _needed(layout, labels, with_change=with_change) <= room:
                return layout
    return best


def _needed(layout: _Layout, labels: Sequence[str], *, with_change: bool) -> int:
    """Characters beside the names."""
    value = layout.digits + 2  # 0.1234
    widths = [max(value, len(labels[step])) for step in layout.shown]
    if with_change:
        widths += [value + 1, 2 * (value + 1) + 4]  # +0.1234, and two of them with " to " between
    return sum(layout.gap + width for width in widths)


def _spread(count: int, total: int) -> tuple[int, ...]:
    """``count`` of ``total`` steps, evenly: the first, the last, and what lies between."""
    if count >= total:
        return tuple(range(total))
    return tuple(round(number * (total - 1) / (count - 1)) for number in range(count))
