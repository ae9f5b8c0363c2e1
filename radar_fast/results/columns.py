"""A journal -> its samples' numbers in arrays: what a series of many runs is computed from.

:func:`read_columns` reads a journal of 15 000 samples in a fraction of a second. It looks at no more than it needs, and
as soon as a line is not as it should be, leaves the file to :func:`~radar_fast.results.journal.read_records`, which
knows of every case and says what is wrong.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from radar_fast.errors import ResultsError
from radar_fast.results import measures
from radar_fast.results.clusters import Links, links_of
from radar_fast.results.journal import LONGEST, read_records
from radar_fast.results.judged import Gatherer
from radar_fast.results.outcomes import RecordLike, unusable

__all__ = ["Columns", "Row", "columns_of", "read_columns"]

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Row:
    """What a sample is, whichever checkpoint has scored it."""

    task: str
    id: str
    directory: str
    ability: str
    links: Links
    """What puts it into a cluster with others: see :mod:`radar_fast.results.clusters`."""

    @property
    def key(self) -> Key:
        """(task, id): unique in a run."""
        return self.task, self.id


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


class _OddError(Exception):
    """A line is not as the fast way expects it."""


def read_columns(path: Path) -> Columns:
    """The columns of a journal, ``samples.jsonl``.

    Raises:
        ResultsError: as :func:`~radar_fast.results.journal.read_records`, and for a sample without usable scores.
    """
    try:
        return _fast(path)
    except (_OddError, ValueError, KeyError, TypeError, AttributeError, OSError, OverflowError):
        return columns_of(read_records(path))


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
    return _made(rows, reasons, gathered)


def _fast(path: Path) -> Columns:
    rows: list[Row] = []
    reasons: list[str | None] = []
    gathered = Gatherer()
    seen: set[Key] = set()
    if not path.is_file():
        raise _OddError
    with path.open("rb") as file:
        while line := file.readline(LONGEST + 1):
            if not line.endswith(b"\n"):
                raise _OddError
            value = orjson.loads(line)
            if value.get("format", 1) != 1:
                raise _OddError
            task, name, directory = value["task"], value["id"], value["directory"]
            key, ability = (task, name), value["ability"]
            if key in seen or not type(task) is type(name) is type(directory) is type(ability) is str:
                raise _OddError
            seen.add(key)
            links = links_of(task, directory, name, value.get("images"), value["metadata"])
            rows.append(Row(task, name, directory, ability, links))
            if value["status"] == "scored":
                reasons.append(None)
                gathered.add(value["candidates"], value["answer"], value["logits"], value["logprobs"])
            else:
                reasons.append(value["reason_kind"] or "unknown")
    return _made(rows, reasons, gathered)


def _made(rows: list[Row], reasons: list[str | None], gathered: Gatherer) -> Columns:
    scored = np.array([place for place, reason in enumerate(reasons) if reason is None], np.intp)
    try:
        judged = gathered.judged()
    except ValueError as error:
        row = rows[scored[error.args[1]]]
        raise unusable(row.task, row.id, error) from error
    values = np.full((len(rows), len(measures.MEASURES)), np.nan)
    candidates = np.full(len(rows), np.nan)
    for column, measure in enumerate(measures.MEASURES):
        values[scored, column] = measure.of(judged)
    candidates[scored] = judged.counts
    answers = np.zeros(len(rows), np.intp)
    answers[scored] = judged.answers
    probabilities = judged.probabilities.astype(np.float32)
    return Columns(tuple(rows), values, candidates, answers, probabilities, tuple(reasons))
