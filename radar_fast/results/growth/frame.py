"""A series as a table: one row for each task, directory or ability at each step; CSV, parquet, pandas, polars."""

import csv
import importlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radar_fast.errors import UsageError
from radar_fast.results import measures
from radar_fast.results.difference import Difference
from radar_fast.results.growth.curves import Curve, Growth
from radar_fast.util.atomic import write_bytes_atomic

if TYPE_CHECKING:
    import pandas
    import polars

__all__ = ["columns", "frame_rows", "to_pandas", "to_polars", "write_csv", "write_parquet"]

Cell = str | int | float | bool | None


def columns() -> tuple[str, ...]:
    """The columns, in their order; docs/growth.md says what each holds."""
    ends = {name: (f"{name}_low", f"{name}_high") for name in measures.compared()}
    means = [each for name in measures.names() for each in (name, *ends.get(name, ()))]
    changes = [
        f"{kind}_{name}{end}"
        for kind in ("gain", "image")
        for name in measures.compared()
        for end in ("", "_low", "_high", "_p", "_p_holm", "_detectable")
    ]
    counts = ("chance", "scored", "unscored", "clusters", "aggregation", "onset")
    return ("benchmark", "section", "name", "place", "step", "checkpoint", *means, *counts, *changes)


def frame_rows(series: Sequence[Growth]) -> Iterator[dict[str, Cell]]:
    """The rows, each with all of :func:`columns`; a step that has none of a curve's samples has no row."""
    blank: dict[str, Cell] = dict.fromkeys(columns())
    for grown in series:
        for section, name, curve in grown.curves():
            for place, step in enumerate(grown.steps):
                if curve.entries[place] is not None:
                    where: dict[str, Cell] = {"benchmark": grown.benchmark, "section": section, "name": name}
                    where |= {"place": place, "step": step.number, "checkpoint": step.name}
                    yield blank | where | _numbers(curve, place)


def _numbers(curve: Curve, place: int) -> dict[str, Cell]:
    entry = curve.entries[place]
    if entry is None:
        return {}
    numbers: dict[str, Cell] = {}
    for name, estimate in entry.estimates.items():
        numbers[name] = estimate.value
        if name in measures.compared():
            numbers |= {f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    onset = curve.trend.onset
    numbers |= {
        "chance": entry.chance,
        "scored": entry.scored,
        "unscored": entry.unscored,
        "clusters": entry.clusters,
        "aggregation": entry.aggregation,
        "onset": None if onset is None else place >= onset,
    }
    return numbers | _changes("gain", curve.gains[place]) | _changes("image", curve.image_gains[place])


def _changes(kind: str, difference: Difference | None) -> dict[str, Cell]:
    if difference is None:
        return {}
    return {
        f"{kind}_{name}{end}": value
        for name, change in difference.changes.items()
        for end, value in (
            ("", change.value),
            ("_low", change.low),
            ("_high", change.high),
            ("_p", change.p),
            ("_p_holm", change.p_holm),
            ("_detectable", change.detectable),
        )
    }


def to_pandas(series: Sequence[Growth]) -> "pandas.DataFrame":
    """A pandas frame. Raises UsageError where pandas is not installed."""
    frame: pandas.DataFrame = _library("pandas").DataFrame(list(frame_rows(series)), columns=list(columns()))
    return frame


def to_polars(series: Sequence[Growth]) -> "polars.DataFrame":
    """A polars frame. Raises UsageError where polars is not installed."""
    library = _library("polars")
    text = ("benchmark", "section", "name", "checkpoint", "aggregation")
    whole = ("place", "step", "scored", "unscored", "clusters")
    kinds = dict.fromkeys(columns(), library.Float64) | dict.fromkeys(text, library.String)
    kinds |= dict.fromkeys(whole, library.Int64) | {"onset": library.Boolean}
    frame: polars.DataFrame = library.DataFrame(list(frame_rows(series)), schema=kinds)
    return frame


def write_csv(series: Sequence[Growth], path: Path) -> None:
    """A CSV with a header; empty where there is no number. Raises ResultsError where it cannot be written."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(frame_rows(series))
    write_bytes_atomic(path, text.getvalue().encode("utf-8", "surrogatepass"))


def write_parquet(series: Sequence[Growth], path: Path) -> None:
    """A parquet file, with types as :func:`to_polars` has them.

    Raises:
        UsageError: pyarrow is not installed.
        ResultsError: it cannot be written.
    """
    arrow = _library("pyarrow", "parquet")
    text = ("benchmark", "section", "name", "checkpoint", "aggregation")
    whole = ("place", "step", "scored", "unscored", "clusters")
    kinds = dict.fromkeys(columns(), arrow.float64()) | dict.fromkeys(text, arrow.string())
    kinds |= dict.fromkeys(whole, arrow.int64()) | {"onset": arrow.bool_()}
    table = arrow.Table.from_pylist(list(frame_rows(series)), schema=arrow.schema(list(kinds.items())))
    data = io.BytesIO()
    importlib.import_module("pyarrow.parquet").write_table(table, data)
    write_bytes_atomic(path, data.getvalue())


def _library(name: str, extra: str | None = None) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        need = f"'.[{extra}]'" if extra else name
        raise UsageError(f"{name} is not installed: pip install {need}") from None
