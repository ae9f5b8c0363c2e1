"""What a series comes to: :class:`Growth`, made by :func:`radar_fast.results.growth.build.growth`.

Everything is by step: the entries of a curve, its gains and the rows of the samples' arrays stand in the order of
:attr:`Growth.steps`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from radar_fast.errors import UsageError
from radar_fast.results import measures
from radar_fast.results.columns import Row
from radar_fast.results.difference import Change, Difference
from radar_fast.results.summary import Entry

__all__ = ["FORMAT", "SECTIONS", "Curve", "Flips", "Growth", "SampleTable", "Step", "Trend"]

FORMAT = 1
"""Of :meth:`Growth.to_dict`; raised when an older reader could misread it."""

SECTIONS = ("tasks", "directories", "abilities")
"""Of a :class:`Growth`, beside ``overall``."""

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Step:
    """A checkpoint of the series, scored on the benchmark."""

    name: str
    """What it is called: its result folder's name."""
    number: int | None
    """The training step; None where nothing says it."""
    folder: Path
    """Its result folder."""
    blind: Path | None
    """The result folder of the same checkpoint asked without images; None where there is none."""
    missing: int | None
    """How many samples of the benchmark are not in yet; None where that is not known."""
    created: str = ""
    """When its run was started: ISO 8601, UTC."""

    @property
    def label(self) -> str:
        """The training step as text, or the name."""
        return self.name if self.number is None else str(self.number)


@dataclass(frozen=True, slots=True)
class Trend:
    """What a curve's SDS says as a whole; formulas in :mod:`radar_fast.results.growth.trend`."""

    onset: int | None
    """The first step, by its place, from which the interval stays above chance to the end; None if none does."""
    onset_above_first: int | None
    """The first from which the paired gain since the first step stays above 0."""
    monotonicity: float | None
    """Spearman's rank correlation of step and SDS, -1..1; None below three steps or without any change."""
    signal: float | None
    """Highest less lowest SDS of all steps, divided by their mean."""
    noise: float | None
    """Standard deviation of the last steps, divided by their mean; None below three steps."""
    signal_to_noise: float | None
    """One divided by the other; None where the noise is 0."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A task, directory or ability over the steps, or everything."""

    name: str
    entries: tuple[Entry | None, ...]
    """Its numbers at each step; None where a step has none of its samples."""
    gains: tuple[Difference | None, ...]
    """What has changed since the step before, over the samples that both have scored; None for the first."""
    since_first: tuple[Change | None, ...]
    """What SDS has changed since the first step, likewise."""
    image_gains: tuple[Difference | None, ...]
    """What the images are worth: the numbers with them less those without; None where there is no such run."""
    chance: float | None
    """What guessing would have: the mean of 1 over the number of candidates."""
    trend: Trend

    def values(self, measure: str = "sds") -> tuple[float | None, ...]:
        """The mean of a measure at each step. Raises UsageError for a name that is none."""
        return tuple(None if entry is None else entry.estimate(measure).value for entry in self.entries)

    def to_dict(self) -> dict[str, object]:
        """For JSON; the keys are the fields."""
        return {
            "chance": self.chance,
            "trend": asdict(self.trend),
            "entries": [None if entry is None else entry.to_dict() for entry in self.entries],
            "gains": [None if gain is None else gain.to_dict() for gain in self.gains],
            "since_first": [None if change is None else asdict(change) for change in self.since_first],
            "image_gains": [None if gain is None else gain.to_dict() for gain in self.image_gains],
        }


@dataclass(frozen=True, slots=True)
class Flips:
    """What became of the samples between two steps, as (task, id)."""

    gained: tuple[Key, ...]
    """Wrong at the first, right at the second."""
    lost: tuple[Key, ...]
    """The reverse."""
    right: int
    """How many are right at both."""
    wrong: int
    """And wrong at both."""


@dataclass(frozen=True)
class SampleTable:
    """Every sample at every step, as arrays."""

    rows: tuple[Row, ...]
    """What the n samples are, in the order of task and id."""
    values: NDArray[np.float64] = field(repr=False)
    """(steps, n, measures): the numbers of :data:`~radar_fast.results.measures.MEASURES`; NaN where unscored."""
    candidates: NDArray[np.float64] = field(repr=False)
    """(n,): how many candidates; NaN for a sample that no step has scored."""
    answers: NDArray[np.intp] = field(repr=False)
    """(n,): place of the answer among the sample's candidates; 0 for a sample that no step has scored."""
    probabilities: NDArray[np.float32] = field(repr=False)
    """(C, steps): of every candidate under the mean raw logits, sample by sample; NaN where unscored."""
    reasons: tuple[Mapping[int, str], ...] = field(repr=False)
    """For each step, place of an unscored sample -> kind of reason."""

    def measure(self, name: str = "sds") -> NDArray[np.float64]:
        """(steps, n): a measure of each sample, NaN where unscored. Raises UsageError for a name that is none."""
        names = [measure.name for measure in measures.MEASURES]
        if name not in names:
            raise UsageError(f"measure {name!r}: no number of a sample; it is one of {', '.join(names)}")
        return self.values[:, :, names.index(name)]

    @cached_property
    def first(self) -> NDArray[np.intp]:
        """(n + 1,): where each sample's candidates begin in :attr:`probabilities`."""
        return np.concatenate([[0], np.cumsum(np.nan_to_num(self.candidates))]).astype(np.intp)

    @cached_property
    def places(self) -> Mapping[Key, int]:
        """(task, id) -> place."""
        return {row.key: place for place, row in enumerate(self.rows)}


@dataclass(frozen=True)
class Growth:
    """A series of checkpoints on one benchmark."""

    benchmark: str
    """What it is called."""
    steps: tuple[Step, ...]
    """In the order of training."""
    tasks: Mapping[str, Curve]
    directories: Mapping[str, Curve]
    abilities: Mapping[str, Curve]
    overall: Curve
    samples: SampleTable = field(repr=False)
    """The samples themselves."""
    confidence: float = 0.95
    """Of all intervals."""
    notes: tuple[str, ...] = ()
    """What a reader of the numbers should know, one line each: partial runs, mixed dtypes, folders left out."""

    def curves(self) -> Iterator[tuple[str, str, Curve]]:
        """(section, name, curve) of all; ``overall`` is its own section and name, and the last."""
        for section in SECTIONS:
            for name, curve in getattr(self, section).items():
                yield section, name, curve
        yield "overall", "overall", self.overall

    def flips(self, first: int, second: int, task: str | None = None) -> Flips:
        """The samples that became right or wrong from one step to another, by their places in :attr:`steps`; those of
        one task, or all.

        Raises:
            UsageError: there is no such step.
        """
        for place in (first, second):
            if not -len(self.steps) <= place < len(self.steps):
                raise UsageError(f"step {place}: there are {len(self.steps)}, counted from 0")
        right = self.samples.measure("accuracy")
        before, after = right[first], right[second]
        mine = np.array([task is None or row.task == task for row in self.samples.rows], bool)

        def keys(where: NDArray[np.bool_]) -> tuple[Key, ...]:
            return tuple(self.samples.rows[place].key for place in np.flatnonzero(where & mine))

        return Flips(
            gained=keys((before == 0) & (after == 1)),
            lost=keys((before == 1) & (after == 0)),
            right=int(np.sum(mine & (before == 1) & (after == 1))),
            wrong=int(np.sum(mine & (before == 0) & (after == 0))),
        )

    def forgotten(self, steps: int = 2) -> tuple[Key, ...]:
        """The samples, as (task, id), that were right at this many steps or more, and wrong at each of as many last
        ones: a single flip is rather noise. Steps at which a sample is unscored do not count."""
        found = []
        right = self.samples.measure("accuracy")
        for place in np.flatnonzero(np.nansum(right, axis=0) >= steps):
            seen = right[:, place][~np.isnan(right[:, place])]
            if len(seen) > steps and not seen[-steps:].any():
                found.append(self.samples.rows[place].key)
        return tuple(found)

    def lag(self, first: str, second: str, section: str = "abilities") -> int | None:
        """How many training steps after ``first`` ``second`` sets in: negative where it comes before. Places of
        :attr:`steps` where those have no number; None where either never sets in.

        Raises:
            UsageError: there is no such entry.
        """
        curves = getattr(self, section)
        for name in (first, second):
            if name not in curves:
                raise UsageError(f"{section} {name!r}: not in this series; it has {', '.join(curves)}")
        one, other = curves[first].trend.onset, curves[second].trend.onset
        if one is None or other is None:
            return None
        at_one, at_other = self.steps[one].number, self.steps[other].number
        return int(other - one) if at_one is None or at_other is None else at_other - at_one

    def order(self, section: str = "abilities") -> tuple[str, ...]:
        """The names of a section's curves that set in, the first to do so first."""
        onsets = {name: curve.trend.onset for name, curve in getattr(self, section).items()}
        return tuple(
            sorted((name for name, place in onsets.items() if place is not None), key=lambda name: onsets[name])
        )

    def to_dict(self) -> dict[str, object]:
        """For JSON, without the samples; docs/growth.md describes it."""
        return {
            "format": FORMAT,
            "benchmark": self.benchmark,
            "confidence": self.confidence,
            "steps": [
                asdict(step) | {"folder": str(step.folder), "blind": step.blind and str(step.blind)}
                for step in self.steps
            ],
            **{kind: {name: curve.to_dict() for name, curve in getattr(self, kind).items()} for kind in SECTIONS},
            "overall": self.overall.to_dict(),
            "flips": [self._flips(place) for place in range(1, len(self.steps))],
            "forgotten": [list(key) for key in self.forgotten()],
            "notes": list(self.notes),
        }

    def _flips(self, place: int) -> dict[str, int]:
        flips = self.flips(place - 1, place)
        return {"gained": len(flips.gained), "lost": len(flips.lost), "right": flips.right, "wrong": flips.wrong}
