"""Result folders -> :class:`~radar_fast.results.growth.curves.Growth`, one for each benchmark, read aloud."""

from collections.abc import Sequence
from dataclasses import replace
from operator import attrgetter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from radar_fast.errors import UsageError
from radar_fast.results import measures
from radar_fast.results.columns import Columns, Row
from radar_fast.results.entries import is_macro
from radar_fast.results.folder import ResultFolder
from radar_fast.results.growth.curves import Curve, Growth, SampleTable, Step
from radar_fast.results.growth.folders import Run, find_runs
from radar_fast.results.growth.members import Members, with_holm
from radar_fast.results.growth.reading import read_series
from radar_fast.results.intervals import check_confidence

__all__ = ["growth"]


def growth(*results: str | Path, confidence: float = 0.95) -> tuple[Growth, ...]:
    """How a series of checkpoints grows, from its result folders: one :class:`Growth` for each benchmark.

    Args:
        results: result folders, or folders that hold them, up to three levels down.
        confidence: of the intervals, in 0..1.

    Raises:
        UsageError: no folder, a confidence out of range, or the same step of a benchmark twice.
        ResultsError: a folder is not there, holds no run, or cannot be read.
    """
    check_confidence("growth", confidence)
    found = find_runs(results)
    by_questions: dict[tuple[str, str], list[Run]] = {}
    for run in found.runs:
        by_questions.setdefault(run.questions, []).append(run)
    series = sorted(by_questions.values(), key=lambda runs: runs[0].benchmark)
    names = [_called(runs, series) for runs in series]
    return tuple(
        _with_notes(_growth_of(name, runs, confidence), [*found.notes, *_notes(runs)])
        for name, runs in zip(names, series, strict=True)
    )


def _with_notes(grown: Growth, notes: Sequence[str]) -> Growth:
    partial = [f"{step.name}: {step.missing} samples are missing" for step in grown.steps if step.missing]
    return replace(grown, notes=(*partial, *notes))


def _called(runs: Sequence[Run], series: Sequence[Sequence[Run]]) -> str:
    """The benchmark's name, with what tells it from another of the same name."""
    name, conditions = runs[0].benchmark, dict(runs[0].conditions)
    if all(not run.blind for run in runs) and conditions:
        name += f" ({', '.join(f'{key} {value}' for key, value in sorted(conditions.items()))})"
    if sum(other[0].benchmark == runs[0].benchmark and other[0].conditions == conditions for other in series) > 1:
        name += f" ({runs[0].manifest.samples} samples)"
    return name


def _growth_of(name: str, runs: Sequence[Run], confidence: float) -> Growth:
    seeing = [run for run in runs if not run.blind] or list(runs)
    blind = {_at(run): run for run in runs if run.blind and run not in seeing}
    _require_once(name, seeing)
    samples = _read(seeing)
    without = [_read([blind[_at(run)]], samples.rows).values[0] if _at(run) in blind else None for run in seeing]

    def curve(each: str, places: NDArray[np.intp], by: str) -> Curve:
        macro = by == "directory" and is_macro(samples.rows[place].task for place in places)
        return Members(each, samples, without, places, "macro" if macro else "micro", confidence).curve()

    def curves(by: str) -> dict[str, Curve]:
        return with_holm({each: curve(each, places, by) for each, places in _places(samples.rows, by)})

    return Growth(
        benchmark=name,
        steps=tuple(_step(run, blind.get(_at(run)), samples, place) for place, run in enumerate(seeing)),
        tasks=curves("task"),
        directories=curves("directory"),
        abilities=curves("ability"),
        overall=with_holm({"overall": curve("overall", np.arange(len(samples.rows)), "overall")})["overall"],
        samples=samples,
        confidence=confidence,
    )


def _require_once(name: str, runs: Sequence[Run]) -> None:
    seen: dict[str, Run] = {}
    for run in runs:
        if other := seen.get(_at(run)):
            raise UsageError(
                f"{other.folder} and {run.folder}: both are step {_at(run)} on {name}; name the folders of one "
                "training run"
            )
        seen[_at(run)] = run


def _at(run: Run) -> str:
    return run.name if run.number is None else str(run.number)


def _step(run: Run, blind: Run | None, samples: SampleTable, place: int) -> Step:
    here = int(np.sum(~np.isnan(samples.measure()[place]))) + len(samples.reasons[place])
    total = run.manifest.samples
    return Step(
        name=run.name,
        number=run.number,
        folder=run.folder,
        blind=None if blind is None else blind.folder,
        missing=None if total is None else max(0, total - here),
        created=run.manifest.created,
    )


def _read(runs: Sequence[Run], known: Sequence[Row] = ()) -> SampleTable:
    """The samples of several runs, on one list of them: ``known`` alone, or all that any of them has."""
    rows = list(known)
    places = {row.key: place for place, row in enumerate(rows)}
    steps: list[tuple[NDArray[np.intp], Columns]] = []
    before: tuple[Row, ...] | None = None
    there = np.empty(0, np.intp)
    for columns in read_series([ResultFolder(run.folder).samples for run in runs]):
        if columns.rows is not before:  # most runs of a series are on the same samples in the same order
            before = columns.rows
            if not known:
                for row in before:
                    if row.key not in places:
                        places[row.key] = len(rows)
                        rows.append(row)
            there = np.array([places.get(row.key, -1) for row in before], np.intp)
        steps.append((there, replace(columns, rows=())))  # of 15 000 samples at 40 steps the rows would be 300 MB
    order = sorted(range(len(rows)), key=lambda place: rows[place].key)
    ranks = np.empty(len(rows) + 1, np.intp)
    ranks[order], ranks[-1] = np.arange(len(rows)), -1
    values = np.full((len(runs), len(rows), len(measures.MEASURES)), np.nan)
    candidates = np.full(len(rows), np.nan)
    answers = np.zeros(len(rows), np.intp)
    reasons: list[dict[int, str]] = []
    for step, (there, columns) in enumerate(steps):
        rank = ranks[there]
        kept = np.flatnonzero(rank >= 0)
        values[step, rank[kept]] = columns.values[kept]
        candidates[rank[kept]] = np.fmax(candidates[rank[kept]], columns.candidates[kept])
        answers[rank[kept]] = np.maximum(answers[rank[kept]], columns.answers[kept])
        reasons.append({int(rank[place]): reason for place in kept if (reason := columns.reasons[place]) is not None})
    return SampleTable(
        rows=tuple(rows[place] for place in order),
        values=values,
        candidates=candidates,
        answers=answers,
        probabilities=_probabilities([(ranks[there], columns) for there, columns in steps], candidates),
        reasons=tuple(reasons),
    )


def _probabilities(
    steps: Sequence[tuple[NDArray[np.intp], Columns]], candidates: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Of every candidate at every step, from each step's columns and the places of its samples (-1: none)."""
    sizes = np.nan_to_num(candidates).astype(np.intp)
    first = np.cumsum(sizes) - sizes
    found = np.full((int(sizes.sum()), len(steps)), np.nan, np.float32)
    for step, (places, columns) in enumerate(steps):
        scored = ~np.isnan(columns.candidates)
        counts, at = columns.candidates[scored].astype(np.intp), places[scored]
        fits = np.repeat((at >= 0) & (sizes[at] == counts), counts)  # a candidate more or less: a journal was edited
        within = np.arange(len(columns.probabilities)) - np.repeat(np.cumsum(counts) - counts, counts)
        found[(np.repeat(first[at], counts) + within)[fits], step] = columns.probabilities[fits]
    return found


def _places(rows: Sequence[Row], by: str) -> list[tuple[str, NDArray[np.intp]]]:
    """(name, places) of each task, directory or ability, by name."""
    groups: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        groups.setdefault(attrgetter(by)(row), []).append(place)
    return [(name, np.array(places, np.intp)) for name, places in sorted(groups.items())]


def _notes(runs: Sequence[Run]) -> list[str]:
    """What differs between the runs of a series and should not."""
    notes = []
    for part, name in (("engine", "dtype"), ("engine", "name"), ("protocol", "name"), ("engine", "device")):
        said: dict[str, list[str]] = {}
        for run in runs:
            value = (run.manifest.identity.get(part) or {}).get(name)
            said.setdefault(str(value), []).append(run.name)
        if len(said) > 1:
            parts = ", ".join(f"{value} at {_some(names)}" for value, names in said.items())
            notes.append(
                f"{'protocol' if part == 'protocol' else name.replace('name', 'engine')} is not the same: {parts}"
            )
    return notes


def _some(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) < 4 else f"{names[0]} and {len(names) - 1} more"
