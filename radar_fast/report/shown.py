"""One benchmark of a report, as far as it can be had: its series, samples and pictures, and what to know of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radar_fast.errors import DataError
from radar_fast.oddities import OddCounter
from radar_fast.report.document import document_of, task_rows
from radar_fast.report.packing import packed_array, packed_json
from radar_fast.report.pictures import Album, album, data_of
from radar_fast.report.quantise import arranged, quantised
from radar_fast.report.remarks import remarks
from radar_fast.report.samples import Samples, read_samples
from radar_fast.results.folder import ResultFolder
from radar_fast.results.growth import Growth

__all__ = ["Shown", "read_shown"]

Key = tuple[str, str]

_NO_PICTURES = Album((), {}, {}, 0)

_LOOKED_AT = 1024
_ALPHA_PIXELS = 4_000_000
"""Pictures whose headers are read to say whether some are read oddly, and pixels decoded for that."""


@dataclass(frozen=True)
class Shown:
    """What a page shows of one benchmark."""

    growth: Growth
    samples: Samples
    album: Album
    notes: tuple[str, ...]
    """What its reader has to know, one line each."""
    no_pictures: str = ""
    """Why the album is empty; empty where it need not be."""

    @property
    def keys(self) -> list[Key]:
        """(task, id) of each sample, in order."""
        return [row.key for row in self.growth.samples.rows]

    def by_swing(self) -> list[Key]:
        """The samples, those whose answer's probability has moved most first."""
        odds = self.growth.samples.measure("sds")
        seen = ~np.isnan(odds)
        swings = np.where(seen, odds, -1).max(axis=0) - np.where(seen, odds, 2).min(axis=0)  # below 0 if never scored
        keys = self.keys
        return [keys[place] for place in np.argsort(-swings, kind="stable")]

    def document(self, pictures: Mapping[str, object]) -> dict[str, object]:
        """What the page's scripts read of it; ``pictures``: how they find a picture of a number."""
        tasks, _ = task_rows(self.growth)
        return {
            **document_of(self.growth),
            "warnings": list(self.notes),
            "pictures": {**pictures, "why": self.no_pictures or pictures["why"]},
            "samples": {
                "count": len(self.samples.told),
                "tasks": tasks,
                "images_known": self._image_counts() is not None,
                "arrays": {name: f"u{8 * values.itemsize}" for name, values in self._arrays.items()},
            },
        }

    def blocks(self, numbers: Mapping[int, int]) -> dict[str, str]:
        """Its packed samples by name. ``numbers``: number of a picture in the album -> in the page, of those that
        have one there."""
        told = self.samples.told
        return {
            **{name: packed_array(values) for name, values in self._arrays.items()},
            # Texts of one kind together: they are smaller so.
            "names": packed_json([row.id for row in self.growth.samples.rows]),
            "questions": packed_json(
                [each.question or self.album.questions.get(key, "") for key, each in zip(self.keys, told, strict=True)]
            ),
            "candidates": packed_json([each.candidates for each in told]),
            "reasons": packed_json([(place, each.reason) for place, each in enumerate(told) if each.reason]),
            "pictures": packed_json(
                [[numbers[one] for one in self.album.shown.get(key, ()) if one in numbers] for key in self.keys]
            ),
        }

    @cached_property
    def _arrays(self) -> dict[str, NDArray[np.unsignedinteger[Any]]]:
        samples = self.growth.samples
        _, places = task_rows(self.growth)
        forgotten = np.zeros(len(samples.rows), np.uint8)
        forgotten[[samples.places[key] for key in self.growth.forgotten()]] = 1
        numbers = quantised(samples.probabilities, samples.first, samples.answers)
        answers, others = arranged(*numbers, self.samples.state, samples.first)
        amounts = self._image_counts()
        return {
            "state": self.samples.state,
            "answers": answers,
            "others": others,
            "first": samples.first.astype(np.uint32),
            "answer": samples.answers.astype(np.uint16),
            "task": np.array([places[task] for task, _ in self.keys], np.uint16),
            "images": np.zeros(len(samples.rows), np.uint8) if amounts is None else amounts,
            "forgotten": forgotten,
        }

    def _image_counts(self) -> NDArray[np.uint8] | None:
        """(n,): images a sample, at most 255; None where that is not known of all of them."""
        counts = []
        for key, told in zip(self.keys, self.samples.told, strict=True):
            amount = (
                told.images
                if told.images is not None
                else len(self.album.shown[key])
                if key in self.album.shown
                else None
            )
            if amount is None:
                return None
            counts.append(min(255, amount))
        return np.array(counts, np.uint8)


def read_shown(growth: Growth, data: Path | None, *, pictures: bool = True) -> Shown:
    """Read what a page shows of a series beside its numbers.

    Args:
        growth: the series.
        data: where its benchmark lies; None: where its last run has read it. Pictures are left out, and said to be,
            where that is not there or no longer what it was.
        pictures: False: the benchmark is not read at all.

    Raises:
        ResultsError: a journal cannot be read.
        DataError: ``data`` was named, and cannot be read.
    """
    samples = read_samples(growth)
    notes = list(remarks(growth))
    if not pictures:
        return Shown(growth, samples, _NO_PICTURES, tuple(notes), "none were asked for (--pictures 0)")
    configuration = ResultFolder(growth.steps[-1].folder).manifest().configuration
    asked = {row.key: told.question for row, told in zip(growth.samples.rows, samples.told, strict=True)}
    odd = OddCounter(most=_LOOKED_AT, alpha_pixels=_ALPHA_PIXELS)
    try:
        found = album(odd.passing(data_of(configuration, data)), asked)
    except DataError as error:
        if data is not None:
            raise
        return Shown(growth, samples, _NO_PICTURES, tuple(notes), f"{error}; --data says where it lies now")
    if line := odd.line():
        notes.append(line)
    if found.changed:
        asks = "1 sample asks" if found.changed == 1 else f"{found.changed} samples ask"
        where = data or configuration.get("data")
        notes.append(f"{asks} something else in {where} than when scored, and without pictures here")
    return Shown(growth, samples, found, tuple(notes))
