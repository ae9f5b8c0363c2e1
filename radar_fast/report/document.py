"""A series -> what a page says of it: the numbers of :class:`~radar_fast.results.growth.curves.Growth` under the names
that the page's scripts know. Nothing is computed here; what is not known is null."""

from collections.abc import Mapping, Sequence

from radar_fast.errors import ResultsError
from radar_fast.results.difference import Change
from radar_fast.results.folder import ResultFolder
from radar_fast.results.growth import Curve, Growth, Step
from radar_fast.results.summary import EngineTotals, Estimate
from radar_fast.terminal.names import shortened, step_labels

__all__ = ["document_of", "task_rows"]

_KINDS = {"overall": "overall", "abilities": "ability", "directories": "directory", "tasks": "task"}
"""Section of a series -> what an entry of the page is called."""

_MEASURES = ("sds", "accuracy")
"""What can be drawn; ``curves.js`` names them."""


def document_of(growth: Growth) -> dict[str, object]:
    """The numbers of one benchmark, but for its samples."""
    labels = step_labels([step.label for step in growth.steps])
    curves = {section: [curve for each, _, curve in growth.curves() if each == section] for section in _KINDS}
    shorts = {section: shortened([curve.name for curve in found]) for section, found in curves.items()}
    return {
        "benchmark": growth.benchmark,
        "steps": [
            _step(step, label, growth, place)
            for place, (step, label) in enumerate(zip(growth.steps, labels, strict=True))
        ],
        "runs": [_run(step, label) for step, label in zip(growth.steps, labels, strict=True)],
        "entries": [
            _entry(_KINDS[section], curve, _said(shorts[section][curve.name]))
            for section, found in curves.items()
            for curve in found
        ],
        "image_worth": _image_worth([growth.overall, *curves["abilities"]]),
        "confidence": growth.confidence,
        "significance": f"its p-value, corrected for the number of rows (Holm), is below {1 - growth.confidence:.2g}",
    }


def task_rows(growth: Growth) -> tuple[list[dict[str, str]], dict[str, int]]:
    """The tasks as the samples name them, and task -> its place in that list."""
    short = shortened(list(growth.tasks))
    found = {row.task: row for row in growth.samples.rows}
    rows = [
        {"task": task, "name": task, "short": _said(short[task]), "directory": row.directory, "ability": row.ability}
        for task, row in sorted(found.items())
    ]
    return rows, {row["task"]: place for place, row in enumerate(rows)}


def _said(name: str) -> str:
    return name.replace("_", " ").strip() or name


def _entry(kind: str, curve: Curve, short: str) -> dict[str, object]:
    return {
        "kind": kind,
        "name": curve.name,
        "short": short,
        "chance": _rounded(curve.chance),
        "measures": {name: _line(curve, name) for name in _MEASURES},
        "gains": _gains(curve),
        "onset": {"chance": curve.trend.onset, "first": curve.trend.onset_above_first},
        "trend": curve.trend.monotonicity,
        "signal_to_noise": curve.trend.signal_to_noise,
    }


def _line(curve: Curve, name: str) -> dict[str, list[float | None]]:
    return _columns([None if entry is None else entry.estimate(name) for entry in curve.entries])


def _gains(curve: Curve) -> dict[str, object]:
    changes = [None if gain is None else gain.change("sds") for gain in curve.gains]
    return {**_columns(changes), "significant": [None if change is None else change.significant for change in changes]}


def _columns(found: Sequence[Estimate | Change | None]) -> dict[str, list[float | None]]:
    """``value``, ``low`` and ``high``, each by step."""
    return {
        end: [None if each is None else _rounded(getattr(each, end)) for each in found]
        for end in ("value", "low", "high")
    }


def _rounded(value: float | None) -> float | None:
    """More places than the page shows: the rest would be most of its bytes."""
    return None if value is None else round(value, 5)


def _image_worth(curves: Sequence[Curve]) -> list[dict[str, object]]:
    """By overall and ability; empty without runs that saw no images."""
    return [
        {
            "kind": "overall" if curve.name == "overall" else "ability",
            "name": curve.name,
            **_columns([None if gain is None else gain.change("sds") for gain in curve.image_gains]),
        }
        for curve in curves
        if any(curve.image_gains)
    ]


def _step(step: Step, label: str, growth: Growth, place: int) -> dict[str, object]:
    entry = growth.overall.entries[place]
    totals = _totals(step)
    return {
        "label": label,
        "step": step.number,
        "scored": 0 if entry is None else entry.scored,
        "unscored": 0 if entry is None else entry.unscored,
        "samples_per_second": None if totals is None else totals.samples_per_second,
        "seconds": None if totals is None else totals.seconds,
        "tokens_computed": None if totals is None else totals.tokens_computed,
        "tokens_minimal": None if totals is None else totals.tokens_minimal,
    }


def _run(step: Step, label: str) -> dict[str, object]:
    manifest = ResultFolder(step.folder).manifest()
    engine: Mapping[str, object] = manifest.engine
    identity = manifest.identity.get("engine")
    known: Mapping[str, object] = {**(identity if isinstance(identity, Mapping) else {}), **engine}
    return {
        "label": label,
        "folder": str(step.folder),
        "without_images": None if step.blind is None else str(step.blind),
        "missing": step.missing,
        "model": manifest.model,
        "created": manifest.created[:16].replace("T", " "),
        **{name: known.get(name) for name in ("name", "version", "dtype", "device_name")},
    }


def _totals(step: Step) -> EngineTotals | None:
    """What the scoring cost, as ``summary.json`` says; None where it does not."""
    try:
        return ResultFolder(step.folder).read_summary().engine
    except ResultsError:
        return None
