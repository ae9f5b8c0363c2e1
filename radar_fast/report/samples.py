"""The samples of a series for a page: what each asks, and what became of it at every step.

Numbers are the series' own (:mod:`radar_fast.results.growth`); the texts are read from its journals, mostly the last.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from radar_fast.results.folder import ResultFolder
from radar_fast.results.growth import Growth
from radar_fast.results.journal import read_records
from radar_fast.results.record import Record

__all__ = ["ABSENT", "RIGHT", "UNSCORED", "WRONG", "Samples", "Told", "read_samples"]

WRONG, RIGHT, UNSCORED, ABSENT = 0, 1, 2, 3
"""What a sample is at a step; ``data.js`` has the same numbers."""

_LONGEST = {"question": 4000, "candidate": 1000, "reason": 500}
"""Characters of a text that a page shows."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a journal says of a sample beside its numbers."""

    question: str
    """As published; empty where the journal does not say."""
    candidates: tuple[str, ...]
    reason: str
    """Why it is unscored at the last step that has it; empty where it is scored."""
    images: int | None
    """How many it shows; None where the journal does not say."""


@dataclass(frozen=True)
class Samples:
    """The n samples of a series of s steps, in the order of ``Growth.samples.rows``."""

    told: tuple[Told, ...]
    """(n,)."""
    state: NDArray[np.uint8] = field(repr=False)
    """(n, s): :data:`WRONG`, :data:`RIGHT`, :data:`UNSCORED` or :data:`ABSENT`."""


def read_samples(growth: Growth) -> Samples:
    """The samples of a series. Raises ResultsError where a journal cannot be read."""
    places = growth.samples.places
    told: dict[int, Told] = {}
    for step in reversed(growth.steps):
        if len(told) == len(places):
            break
        for record in read_records(ResultFolder(step.folder).samples):
            if (place := places.get(record.key)) is not None:  # a run that is going on may have more by now
                told.setdefault(place, _told(record))
    return Samples(tuple(told[place] for place in range(len(places))), _states(growth))


def _states(growth: Growth) -> NDArray[np.uint8]:
    right = growth.samples.measure("accuracy").T
    state = np.where(np.isnan(right), ABSENT, right).astype(np.uint8)
    for step, reasons in enumerate(growth.samples.reasons):
        state[list(reasons), step] = UNSCORED
    return state


def _told(record: Record) -> Told:
    question = record.metadata.get("question", "")
    return Told(
        _cut(question if isinstance(question, str) else "", "question"),
        tuple(_cut(text, "candidate") for text in record.candidates),
        _cut(record.reason or "", "reason"),
        None if record.images is None else len(record.images),
    )


def _cut(text: str, what: str) -> str:
    most = _LONGEST[what]
    return text if len(text) <= most else f"{text[:most]}\N{HORIZONTAL ELLIPSIS}"
