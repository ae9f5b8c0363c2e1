"""What a summary looks like on a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

__all__ = ["WIDE", "comparison_tables", "growth_table", "new_table", "summary_tables"]

WIDE = 110
"""Columns of a terminal that has room for the log-probability twins beside a task's name."""

MOST_CLASSES = 20
"""Of a task, that get a row each; summary.json has them all."""

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
    return [*tables, *_facet_tables(summary)]


def comparison_tables(comparison: Mapping[str, Any], width: int) -> list[Table]:
    """A table a section of what :func:`radar_fast.results.comparison.compare` found, the overall row under the last.

    Args:
        comparison: as a dictionary.
        width: of the terminal, in characters; below WIDE accuracy has its difference only.
    """
    wide = width >= WIDE
    accuracy = ("accuracy A", "accuracy B", "B - A", "95% interval") if wide else ("acc. B-A",)
    only = ("only A", "only B") if wide else ()
    tables = []
    for section, heading in _SECTIONS:
        table = new_table(heading, ("SDS A", "SDS B", "B - A", "95% interval", *accuracy, "paired", *only))
        rows = [(name, entry, "") for name, entry in comparison[section].items()]
        if section == "abilities":
            rows.append(("overall", comparison["overall"], "bold"))
        for name, entry, style in rows:
            macro = " (macro)" if entry["aggregation"] == "macro" else ""
            table.add_row(Text(name + macro), *_difference_cells(entry, wide=wide), style=style)
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


def _difference_cells(entry: Mapping[str, Any], *, wide: bool) -> list[str]:
    def side(score: str) -> list[str]:
        low, high = entry[f"{score}_low"], entry[f"{score}_high"]
        interval = "-" if low is None else f"{_signed(low)} to {_signed(high)}"
        return [_number(entry[f"first_{score}"]), _number(entry[f"second_{score}"]), _signed(entry[score]), interval]

    accuracy = side("accuracy") if wide else [_signed(entry["accuracy"])]
    only = [str(entry["only_first"]), str(entry["only_second"])] if wide else []
    return [*side("sds"), *accuracy, str(entry["paired"]), *only]


def _facet_tables(summary: Mapping[str, Any]) -> list[Table]:
    """What only some benchmarks have (:mod:`radar_fast.results.facets`), a table a kind that is there."""
    groups = new_table("task: right as a whole", ("accuracy", "groups", "incomplete"))
    graded = new_table("task: grades", ("mean abs. error", "split at", "split accuracy"))
    classes = new_table("task: class", ("accuracy", "scored"))
    versions = new_table("directory: version", ("SDS", "accuracy", "questions"))
    for name, entry in summary["tasks"].items():
        for kind in ("circular", "figures", "questions"):
            if facet := entry.get(kind):
                cells = (_number(facet["accuracy"]), str(facet["groups"]), str(facet["incomplete"]))
                groups.add_row(Text(f"{name}: {kind}"), *cells)
        if facet := entry.get("graded"):
            split = "-" if facet["split_at"] is None else str(facet["split_at"])
            graded.add_row(Text(name), _number(facet["mean_absolute_error"]), split, _number(facet["split_accuracy"]))
        if facet := entry.get("classes"):
            if len(facet["accuracy"]) <= MOST_CLASSES:
                for label, accuracy in facet["accuracy"].items():
                    classes.add_row(Text(f"{name}: {label}"), _number(accuracy), str(facet["scored"][label]))
            total = str(sum(facet["scored"].values()))
            classes.add_row(Text(f"{name}: mean over classes"), _number(facet["mean_accuracy"]), total)
    for name, entry in summary["directories"].items():
        if facet := entry.get("versions"):
            asked = str(facet["questions"])
            for version, sds in facet["sds"].items():
                versions.add_row(Text(f"{name}: {version}"), _number(sds), _number(facet["accuracy"][version]), asked)
            spread = (_number(facet["sds_spread"]), _number(facet["accuracy_spread"]))
            versions.add_row(Text(f"{name}: spread"), *spread, asked, style="bold")
    return [table for table in (groups, graded, classes, versions) if table.row_count]


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.4f}"
