"""The samples of one task, directory or ability at every step -> their :class:`Curve`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from radar_fast.results import measures
from radar_fast.results.clusters import cluster_codes
from radar_fast.results.comparison import change_of, corrected
from radar_fast.results.difference import Change, Difference
from radar_fast.results.entries import entry_of
from radar_fast.results.growth.curves import Curve, SampleTable
from radar_fast.results.growth.trend import trend_of
from radar_fast.results.intervals import Design
from radar_fast.results.summary import Aggregation, Entry

__all__ = ["Members", "with_holm"]

Places = NDArray[np.intp]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Members:
    """Some samples of a series."""

    name: str
    samples: SampleTable = field(repr=False)
    """All of the series."""
    blind: Sequence[Floats | None] = field(repr=False)
    """For each step (n, measures) of all samples, asked without images; None where there is no such run."""
    places: Places
    """(m,): which of the samples."""
    aggregation: Aggregation
    confidence: float
    _clusters: Places = field(init=False, repr=False)
    _tasks: Places | None = field(init=False, repr=False)
    _designs: dict[bytes, Design] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        rows = [self.samples.rows[place] for place in self.places]
        object.__setattr__(self, "_clusters", cluster_codes(row.links for row in rows))
        tasks = np.unique([row.task for row in rows], return_inverse=True)[1] if self.aggregation == "macro" else None
        object.__setattr__(self, "_tasks", tasks)

    def curve(self) -> Curve:
        """The curve, without Holm's p-values: those are of many curves, see :func:`with_holm`."""
        values = self.samples.values[:, self.places]
        steps = range(len(values))
        entries = [self._entry(step, values[step]) for step in steps]
        seen = [step for step in steps if entries[step] is not None]
        before = dict(zip(seen[1:], seen, strict=False))
        since_first = [self._change(values[seen[0]], values[step]) if step in before else None for step in steps]
        gains = [self._difference(values[before[step]], values[step]) if step in before else None for step in steps]
        blind = [None if each is None else each[self.places] for each in self.blind]
        worth = [None if each is None else self._difference(each, values[step]) for step, each in enumerate(blind)]
        chances = [entry.chance for entry in entries if entry is not None and entry.chance is not None]
        return Curve(
            name=self.name,
            entries=tuple(entries),
            gains=tuple(gains),
            since_first=tuple(since_first),
            image_gains=tuple(worth),
            chance=chances[-1] if chances else None,
            trend=trend_of(entries, since_first),
        )

    def _entry(self, step: int, values: Floats) -> Entry | None:
        scored = ~np.isnan(values[:, 0])
        unscored = self.samples.reasons[step]
        reasons = [unscored[place] for place in self.places[~scored].tolist() if place in unscored]
        if not scored.any() and not reasons:
            return None
        return entry_of(
            self._design(scored),
            {measure.name: values[scored, column] for column, measure in enumerate(measures.MEASURES)},
            self.samples.candidates[self.places][scored],
            reasons,
            self.aggregation,
            self.confidence,
        )

    def _difference(self, before: Floats, after: Floats) -> Difference:
        had, has = ~np.isnan(before[:, 0]), ~np.isnan(after[:, 0])
        return Difference(
            changes={
                measure.name: self._change(before, after, column)
                for column, measure in enumerate(measures.MEASURES)
                if measure.interval
            },
            paired=int(np.sum(had & has)),
            only_first=int(np.sum(had & ~has)),
            only_second=int(np.sum(has & ~had)),
            aggregation=self.aggregation,
            clusters=self._design(had & has).clusters,
        )

    def _change(self, before: Floats, after: Floats, column: int = 0) -> Change:
        both = ~np.isnan(before[:, 0]) & ~np.isnan(after[:, 0])
        return change_of(self._design(both), before[both, column], after[both, column], self.confidence)

    def _design(self, mask: Mask) -> Design:
        """Of the members in a mask: mostly the same at every step."""
        name = np.packbits(mask).tobytes()
        if name not in self._designs:
            tasks = None if self._tasks is None else self._tasks[mask]
            self._designs[name] = Design.of(self._clusters[mask], tasks)
        return self._designs[name]


def with_holm(curves: Mapping[str, Curve]) -> dict[str, Curve]:
    """The same with p-values corrected, at each step, over all of them."""
    gains = _corrected({name: curve.gains for name, curve in curves.items()})
    worth = _corrected({name: curve.image_gains for name, curve in curves.items()})
    return {name: replace(curve, gains=gains[name], image_gains=worth[name]) for name, curve in curves.items()}


def _corrected(series: Mapping[str, Sequence[Difference | None]]) -> dict[str, tuple[Difference | None, ...]]:
    found: dict[str, list[Difference | None]] = {name: [] for name in series}
    for step in zip(*series.values(), strict=True):
        right = corrected({name: each for name, each in zip(series, step, strict=True) if each is not None})
        for name, differences in found.items():
            differences.append(right.get(name))
    return {name: tuple(differences) for name, differences in found.items()}
