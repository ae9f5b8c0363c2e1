"""What a summary looks like on a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

__all__ = ["WIDE", "growth_table", "new_table", "summary_tables"]

WIDE = 110
"""Columns of a terminal that has room for the log-probability twins beside a task's name."""

_SECTIONS = (("tasks", "task"), ("directories", "directory"), ("abilities", "ability"))


def new_table(heading: str, columns: Sequence[str]) -> Table:
    """A borderless table whose first column gives way, and whose numbers are never cut."""
    table = Table(header_style="bold", pad_edge=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(heading, overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def summary_tables(summary: Mapping[str, Any], width: int) -> list[Table]:
    """A table a section, the overall row under the last.

    Args:
        summary: what ``summary.json`` holds.
        width: of the terminal, in characters; below WIDE the log-probability twins are left out.
    """
    twins = ("SDS logprob", "acc. logprob") if width >= WIDE else ()
    tables = []
    for section, heading in _SECTIONS:
        table = new_table(heading, ("SDS", "95% interval", "accuracy", *twins, "scored", "unscored"))
        for name, entry in summary[section].items():
            macro = " (macro)" if entry["aggregation"] == "macro" else ""
            table.add_row(Text(name + macro), *_cells(entry, twins=bool(twins)))
        if section == "abilities":
            table.add_row("overall", *_cells(summary["overall"], twins=bool(twins)), style="bold")
        tables.append(table)
    return tables


def growth_table(steps: Sequence[tuple[str, Mapping[str, Any]]], section: str, heading: str) -> Table:
    """SDS of every entry of ``section`` (a row) at every step (a column).

    Args:
        steps: (step, summary) in order.
        section: ``tasks``, ``directories`` or ``abilities``.
        heading: of the first column.
    """
    table = new_table(heading, [step for step, _ in steps])
    for name in steps[0][1][section]:
        table.add_row(Text(name), *(_number(summary[section][name]["sds"]) for _, summary in steps))
    if section == "abilities":
        table.add_row("overall", *(_number(summary["overall"]["sds"]) for _, summary in steps), style="bold")
    return table


def _cells(entry: Mapping[str, Any], *, twins: bool) -> list[str]:
    interval = "-" if entry["sds_low"] is None else f"{_number(entry['sds_low'])}-{_number(entry['sds_high'])}"
    more = [_number(entry[name]) for name in ("sds_logprob", "accuracy_logprob") if twins]
    return [
        _number(entry["sds"]),
        interval,
        _number(entry["accuracy"]),
        *more,
        str(entry["scored"]),
        str(entry["unscored"]),
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
