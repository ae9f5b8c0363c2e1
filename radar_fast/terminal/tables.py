"""What a summary or a comparison looks like on a terminal."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from radar_fast.results.difference import Change, Comparison, Difference
from radar_fast.results.facets import Classes, Graded, Groups, Versions
from radar_fast.results.summary import Entry, Summary
from radar_fast.terminal.names import shortened
from radar_fast.util.printable import printable

__all__ = ["ORDERS", "WIDE", "comparison_tables", "new_table", "number", "signed", "summary_tables", "telling"]

WIDE = 110
"""Columns of a terminal that has room for the log-probability twins beside a task's name."""

MOST_CLASSES = 20
"""Of a task, that get a row each; summary.json has them all."""

_Row = tuple[str, Any, str]
"""Label, entry and style."""

_SECTIONS = (("tasks", "task"), ("directories", "directory"), ("abilities", "ability"))
"""Of a summary and of a comparison, and what one entry of each is called."""


def new_table(heading: str, columns: Sequence[str], *, gap: int = 2) -> Table:
    """A borderless table whose first column gives way, and whose numbers are never cut.

    Args:
        heading: of the first column.
        columns: headings of the others.
        gap: between two columns, in characters.
    """
    table = Table(header_style="bold", pad_edge=False, box=None, padding=(0, gap, 0, 0))
    table.add_column(Text(printable(heading)), overflow="fold")
    for column in columns:
        table.add_column(Text(printable(column)), justify="right", no_wrap=True)
    return table


def telling(summary: Summary | Comparison) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """The sections that say something new, as (section, heading, entries): tasks always, directories or abilities
    where not every one of them has the numbers of an entry before, as it does where each holds a single task, or there
    is but one."""
    seen = [summary.overall]
    for section, heading in _SECTIONS:
        entries = getattr(summary, section)
        if section == "tasks" or not all(any(_same(entry, other) for other in seen) for entry in entries.values()):
            yield section, heading, entries
        seen += entries.values()


def _same(one: Any, other: Any) -> bool:
    """Whether two entries are over the same samples, as far as their numbers tell."""
    if isinstance(one, Difference):
        return [(change.first, change.second) for change in one.changes.values()] == [
            (change.first, change.second) for change in other.changes.values()
        ] and one.paired == other.paired
    numbers = ("sds", "accuracy", "sds_logprob", "scored", "unscored")
    return all(getattr(one, name) == getattr(other, name) for name in numbers)


def summary_tables(summary: Summary, width: int) -> list[Table]:
    """A table for each section that says something new, the overall row under the last.

    Args:
        summary: of one run.
        width: of the terminal, in characters; below WIDE the log-probability twins are left out.
    """
    twins: tuple[str, ...] = ("SDS logprob", "acc. logprob") if width >= WIDE else ()
    columns = ("SDS", "95% interval", "accuracy", *twins, "scored")

    def cells(entry: Entry, digits: int) -> list[str]:
        interval = "-" if entry.sds_low is None else f"{number(entry.sds_low, digits)}-{number(entry.sds_high, digits)}"
        more = [number(value, digits) for value in (entry.sds_logprob, entry.accuracy_logprob) if twins]
        scored = f"{entry.scored}/{entry.scored + entry.unscored}" if entry.unscored else str(entry.scored)
        return [number(entry.sds, digits), interval, number(entry.accuracy, digits), *more, scored]

    tables = [_fitted(heading, columns, rows, cells, width) for heading, rows in _sections(summary)]
    return [*tables, *_facet_tables(summary)]


ORDERS = ("change", "name")
"""How the rows of a comparison may stand."""


def comparison_tables(comparison: Comparison, width: int, order: str = "change") -> list[Table]:
    """A table for each section of a comparison that says something new, the overall row under the last. A difference
    whose interval holds 0 is marked ``n.s.``, not significant.

    Args:
        comparison: of two runs.
        width: of the terminal, in characters; below WIDE accuracy has its difference only.
        order: one of :data:`ORDERS`: by what SDS has gained, the most first; or by name.
    """
    wide = width >= WIDE
    of_accuracy: tuple[str, ...] = ("accuracy A", "accuracy B", "B - A", "95% interval", "") if wide else ("acc.B-A",)
    only = ("only A", "only B") if wide else ()
    columns = ("SDS A", "SDS B", "B - A", "95% interval", "", *of_accuracy, "pairs", *only)

    def cells(entry: Difference, digits: int) -> list[str]:
        sds = _change(entry.change("sds"), digits)
        accuracy = _change(entry.change("accuracy"), digits) if wide else [signed(entry.accuracy, digits)]
        alone = [str(entry.only_first), str(entry.only_second)] if wide else []
        return [*sds, *accuracy, str(entry.paired), *alone]

    sections = [(heading, _ordered(rows, order)) for heading, rows in _sections(comparison)]
    return [_fitted(heading, columns, rows, cells, width, 3) for heading, rows in sections]


def _ordered(rows: list[_Row], order: str) -> list[_Row]:
    """As :data:`ORDERS` say; the overall row stays last, after those without a change."""

    def gained(row: _Row) -> tuple[bool, bool, float]:
        change = row[1].change("sds").value
        return bool(row[2]), change is None, -(change or 0.0)

    return sorted(rows, key=gained) if order == "change" else rows


def _change(change: Change, digits: int) -> list[str]:
    interval = "-" if change.low is None else f"{signed(change.low, digits)} to {signed(change.high, digits)}"
    mark = "n.s." if change.significant is False else ""
    return [number(change.first, digits), number(change.second, digits), signed(change.value, digits), interval, mark]


def _sections(summary: Summary | Comparison) -> list[tuple[str, list[_Row]]]:
    """Of each that says something new its heading and its rows; the overall row under the last."""
    sections = []
    for _, heading, entries in telling(summary):
        names = shortened(list(entries))
        macro = {name: " (macro)" if entry.aggregation == "macro" else "" for name, entry in entries.items()}
        rows = [(names[name] + macro[name], entry, "") for name, entry in entries.items()]
        sections.append((names.heading(heading), rows))
    sections[-1][1].append(("overall", summary.overall, "bold"))
    return sections


def _fitted(
    heading: str,
    columns: Sequence[str],
    rows: Sequence[_Row],
    cells_of: Callable[[Any, int], list[str]],
    width: int,
    least_digits: int = 4,
) -> Table:
    """A table in which every row has a line of its own, if there is a way.

    Args:
        heading: of the first column.
        columns: headings of the others.
        rows: in their order.
        cells_of: an entry and a number of decimal places -> its cells.
        width: of the terminal, in characters.
        least_digits: decimal places that are kept in any case, of 4.
    """
    names = max(len(heading), *(len(label) for label, _, _ in rows))
    for digits in range(4, least_digits - 1, -1):
        cells = [cells_of(entry, digits) for _, entry, _ in rows]
        widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
        gap = next((gap for gap in (2, 1) if names + sum(widths) + gap * len(widths) <= width), None)
        if gap is not None:
            break
    table = new_table(heading, columns, gap=gap or 1)
    for (label, _, style), row in zip(rows, cells, strict=True):
        table.add_row(Text(printable(label)), *row, style=style)
    return table


def number(value: float | None, digits: int = 4) -> str:
    """With so many decimal places; ``-`` for None."""
    return "-" if value is None else f"{value:.{digits}f}"


def signed(value: float | None, digits: int = 4) -> str:
    """The same with its sign."""
    return "-" if value is None else f"{value:+.{digits}f}"


def _facet_tables(summary: Summary) -> list[Table]:
    """What only some benchmarks have (:mod:`radar_fast.results.facets`), a table for each kind that is there."""
    groups = new_table("task: right as a whole", ("accuracy", "groups", "incomplete"))
    graded = new_table("task: grades", ("mean abs. error", "split at", "split accuracy"))
    classes = new_table("task: class", ("accuracy", "scored"))
    versions = new_table("directory: version", ("SDS", "accuracy", "questions"))
    for name, entry in (*summary.tasks.items(), *summary.directories.items()):
        for kind, facet in entry.facets.items():
            if isinstance(facet, Groups):
                groups.add_row(
                    Text(printable(f"{name}: {kind}")), number(facet.accuracy), str(facet.groups), str(facet.incomplete)
                )
            elif isinstance(facet, Graded):
                split = "-" if facet.split_at is None else str(facet.split_at)
                graded.add_row(
                    Text(printable(name)), number(facet.mean_absolute_error), split, number(facet.split_accuracy)
                )
            elif isinstance(facet, Classes):
                if len(facet.accuracy) <= MOST_CLASSES:
                    for label, accuracy in facet.accuracy.items():
                        classes.add_row(Text(printable(f"{name}: {label}")), number(accuracy), str(facet.scored[label]))
                total = str(sum(facet.scored.values()))
                classes.add_row(Text(printable(f"{name}: mean over classes")), number(facet.mean_accuracy), total)
            elif isinstance(facet, Versions):
                asked = str(facet.questions)
                for version, sds in facet.sds.items():
                    versions.add_row(
                        Text(printable(f"{name}: {version}")), number(sds), number(facet.accuracy[version]), asked
                    )
                spread = (number(facet.sds_spread), number(facet.accuracy_spread))
                versions.add_row(Text(printable(f"{name}: spread")), *spread, asked, style="bold")
    return [table for table in (groups, graded, classes, versions) if table.row_count]
