"""A journal -> its samples' numbers in arrays: what a series of many runs is computed from.

:class:`ColumnReader` reads a journal of 15 000 samples in a fraction of a second, and those of the same series behind
it faster still (:mod:`radar_fast.results.known_lines`). It looks at no more than it needs, and as soon as a line is not
as it should be, leaves the file to :func:`~radar_fast.results.journal.read_records`, which knows of every case and says
what is wrong.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from radar_fast.errors import ResultsError
from radar_fast.results import measures
from radar_fast.results.clusters import links_of
from radar_fast.results.journal import read_records
from radar_fast.results.judged import Gatherer, Judged
from radar_fast.results.known_lines import KnownLines, OddLineError, Row
from radar_fast.results.outcomes import RecordLike, unusable

__all__ = ["ColumnReader", "Columns", "Row", "columns_of", "read_columns"]

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Columns:
    """The samples of a run, in the order of its journal."""

    rows: tuple[Row, ...]
    """(n,)."""
    values: NDArray[np.float64]
    """(n, measures): the numbers of :data:`~radar_fast.results.measures.MEASURES`; NaN where unscored."""
    candidates: NDArray[np.float64]
    """(n,): how many candidates; NaN where unscored."""
    answers: NDArray[np.intp]
    """(n,): place of the answer among them; 0 where unscored."""
    probabilities: NDArray[np.float32]
    """(C,): of each candidate under the mean raw logits, sample by sample of those that are scored."""
    reasons: tuple[str | None, ...]
    """(n,): the kind of reason why a sample is unscored; None where it is scored."""


def read_columns(path: Path) -> Columns:
    """The columns of one journal, ``samples.jsonl``: see :meth:`ColumnReader.read`."""
    return ColumnReader().read(path)


class ColumnReader:
    """Reads the journals of a series, one after the other. What they say alike of a sample is parsed once, and runs on
    the same samples in the same order have the same :attr:`Columns.rows`, as an object."""

    def __init__(self) -> None:
        self._lines = KnownLines()
        self._rows: tuple[Row, ...] = ()

    def read(self, path: Path) -> Columns:
        """The columns of a journal, ``samples.jsonl``.

        Raises:
            ResultsError: as :func:`~radar_fast.results.journal.read_records`, and for a sample without usable scores.
        """
        columns = self.read_plain(path)
        return columns_of(read_records(path)) if columns is None else columns

    def read_plain(self, path: Path) -> Columns | None:
        """The same of a journal that is as a run that was never disturbed leaves it; None for any other."""
        try:
            return self._fast(path)
        except (OddLineError, ValueError, KeyError, TypeError, AttributeError, OSError, OverflowError):
            return None

    def _fast(self, path: Path) -> Columns:
        if not path.is_file():
            raise OddLineError
        read = self._lines.read(path)
        if read.rows == self._rows:  # tuples compare their elements as objects first: this costs next to nothing
            rows = self._rows
        else:
            rows = self._rows = read.rows
            if len({row.key for row in rows}) < len(rows):
                self._rows = ()
                raise OddLineError
        return _made(rows, read.reasons, read.judged())


def columns_of(records: Iterable[RecordLike]) -> Columns:
    """The columns of records, read once.

    Raises:
        ResultsError: a sample comes twice, or is scored without usable scores.
    """
    rows: list[Row] = []
    reasons: list[str | None] = []
    gathered = Gatherer()
    seen: set[Key] = set()
    for record in records:
        key = (record.task, record.id)
        if key in seen:
            raise ResultsError(
                f"sample {record.id!r} of task {record.task!r} is in the records twice; keep one of them"
            )
        seen.add(key)
        links = links_of(record.task, record.directory, record.id, record.images, record.metadata)
        rows.append(Row(record.task, record.id, record.directory, record.ability, links))
        if record.status == "scored":
            reasons.append(None)
            try:
                gathered.add(record.candidates, record.answer, record.logits, record.logprobs)
            except ValueError as error:
                raise unusable(record.task, record.id, error) from error
        else:
            reasons.append(record.reason_kind or "unknown")
    try:
        judged = gathered.judged()
    except ValueError as error:
        row = [row for row, reason in zip(rows, reasons, strict=True) if reason is None][error.args[1]]
        raise unusable(row.task, row.id, error) from error
    return _made(tuple(rows), tuple(reasons), judged)


def _made(rows: tuple[Row, ...], reasons: tuple[str | None, ...], judged: Judged) -> Columns:
    scored = np.array([place for place, reason in enumerate(reasons) if reason is None], np.intp)
    values = np.full((len(rows), len(measures.MEASURES)), np.nan)
    candidates = np.full(len(rows), np.nan)
    for column, measure in enumerate(measures.MEASURES):
        values[scored, column] = measure.of(judged)
    candidates[scored] = judged.counts
    answers = np.zeros(len(rows), np.intp)
    answers[scored] = judged.answers
    probabilities = judged.probabilities.astype(np.float32)
    return Columns(rows, values, candidates, answers, probabilities, reasons)
