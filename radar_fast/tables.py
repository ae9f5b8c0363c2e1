"""What a summary looks like on a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

__all__ = ["growth_table", "summary_tables"]

_SECTIONS = (("tasks", "task"), ("directories", "directory"), ("abilities", "ability"))


def summary_tables(summary: Mapping[str, Any]) -> list[Table]:
    """A table a section, the overall row under the last.

    Args:
        summary: what ``summary.json`` holds.
    """
    tables = []
    for section, heading in _SECTIONS:
        table = Table(title=None, header_style="bold", pad_edge=False, box=None, padding=(0, 2, 0, 0))
        table.add_column(heading, overflow="fold")
        for column in ("SDS", "95% interval", "accuracy", "SDS logprob", "acc. logprob", "scored", "unscored"):
            table.add_column(column, justify="right", no_wrap=True)
        for name, entry in summary[section].items():
            table.add_row(Text(name + (" (macro)" if entry.get("aggregation") == "macro" else "")), *_cells(entry))
        if section == "abilities":
            table.add_row("overall", *_cells(summary["overall"]), style="bold")
        tables.append(table)
    return tables


def growth_table(steps: Sequence[tuple[str, Mapping[str, Any]]], section: str, heading: str) -> Table:
    """SDS of every entry of ``section`` (a row) at every step (a column).

    Args:
        steps: (step, summary) in order.
        section: ``tasks``, ``directories`` or ``abilities``.
        heading: of the first column.
    """
    table = Table(header_style="bold", pad_edge=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(heading, overflow="fold")
    for step, _ in steps:
        table.add_column(step, justify="right", no_wrap=True)
    for name in steps[0][1][section]:
        table.add_row(Text(name), *(_number(summary[section][name]["sds"]) for _, summary in steps))
    if section == "abilities":
        table.add_row("overall", *(_number(summary["overall"]["sds"]) for _, summary in steps), style="bold")
    return table


def _cells(entry: Mapping[str, Any]) -> list[str]:
    interval = "-" if entry["sds_low"] is None else f"{_number(entry['sds_low'])}-{_number(entry['sds_high'])}"
    numbers = [_number(entry[name]) for name in ("accuracy", "sds_logprob", "accuracy_logprob")]
    return [_number(entry["sds"]), interval, *numbers, str(entry["scored"]), str(entry["unscored"])]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
