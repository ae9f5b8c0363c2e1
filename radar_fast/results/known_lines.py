"""Lines of the journals of a series: what is the same at every checkpoint is parsed once.

A line that :func:`~radar_fast.results.record.line_of` has written says first what the sample is, then what a checkpoint
made of it, then its metadata and images. Where beginning and end are bytes that another line had, only the middle is
parsed. That gives what parsing the whole line would: all three are whole members of one object, which is seen to when
a beginning and an end come for the first time, and no member of the middle can replace one of the others.
"""

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from radar_fast.results.clusters import Links, links_of
from radar_fast.results.journal import LONGEST
from radar_fast.results.judged import Judged, byte_width, judged_of

__all__ = ["KnownLines", "OddLineError", "Read", "Row"]

_SCORES = ("logits", "logprobs", "sds", "sds_logprob", "correct", "correct_logprob")
_MIDDLE = frozenset((*_SCORES, "tokens_computed", "tokens_minimal", "seconds"))
"""The members that differ from checkpoint to checkpoint, which stand together."""

_MOST = 128 * 2**20
"""Bytes of beginnings and ends that are kept: of 100 000 samples with long questions."""

_BATCH = 1024
"""Samples whose scores are lists of Python's before they become arrays."""

Key = tuple[str, str]
Scores = list[list[float]]


class OddLineError(Exception):
    """A line is not as this module expects it."""


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
class _Known:
    """What beginning and end of a line say."""

    row: Row
    reason: str | None
    """The kind of reason why it is unscored; None where it is scored."""
    answer: int
    widths: tuple[int, ...]
    """Bytes of each candidate's text; empty where it is unscored."""


@dataclass
class Read:
    """What a journal says, sample by sample."""

    rows: tuple[Row, ...]
    reasons: tuple[str | None, ...]
    """Kinds of reason; None for a sample that is scored."""
    _answers: NDArray[np.intp] = field(repr=False)
    _widths: NDArray[np.intp] = field(repr=False)
    _scores: "_Scores" = field(repr=False)

    def judged(self) -> Judged:
        """Those that are scored. Raises OddLineError for scores that cannot be theirs, ValueError for others."""
        counts, lengths, logits, logprobs = self._scores.arrays()
        if len(counts) != len(self._answers) or len(self._widths) != int(counts.sum()):
            raise OddLineError
        return judged_of(counts, self._answers, lengths, logits, logprobs, self._widths)


class _Scores:
    """Takes the token scores of samples one by one, and makes them arrays."""

    def __init__(self) -> None:
        self._waiting: tuple[list[Scores], list[Scores]] = ([], [])
        self._done: list[tuple[NDArray[Any], ...]] = []

    def add(self, logits: Scores, logprobs: Scores) -> None:
        waiting, others = self._waiting
        waiting.append(logits)
        others.append(logprobs)
        if len(waiting) == _BATCH:
            self._flatten()

    def _flatten(self) -> None:
        raw, normalised = self._waiting
        counts, lengths = list(map(len, raw)), list(map(len, chain.from_iterable(raw)))
        if counts != list(map(len, normalised)) or lengths != list(map(len, chain.from_iterable(normalised))):
            raise OddLineError
        if 0 in lengths:
            raise OddLineError
        scores = (
            np.fromiter(chain.from_iterable(chain.from_iterable(each)), np.float64, sum(lengths))
            for each in (raw, normalised)
        )
        self._done.append((np.array(counts, np.intp), np.array(lengths, np.intp), *scores))
        raw.clear()
        normalised.clear()

    def arrays(self) -> list[NDArray[Any]]:
        """Candidates of each sample, tokens of each candidate, and both scores of each token."""
        self._flatten()
        return [np.concatenate(each) for each in zip(*self._done, strict=True)]


class KnownLines:
    """Reads journals. Not for use from several threads at once."""

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, bytes], _Known] = {}
        self._left = _MOST

    def read(self, path: Path) -> Read:
        """What a journal says.

        Raises:
            OddLineError, ValueError, KeyError, TypeError, AttributeError, OSError: it is not as
                :mod:`radar_fast.results.record` writes it, in some way or other.
        """
        found: list[_Known] = []
        scores = _Scores()
        known, loads = self._known, orjson.loads
        with path.open("rb") as file, _no_search_for_cycles():
            while line := file.readline(LONGEST + 1):
                start, end = line.find(b',"logits":'), line.rfind(b',"metadata":')
                each = known.get((line[:start], line[end:])) if 0 < start < end else None
                if each is None:
                    value = loads(line)
                    each = self._first(line, start, end, value)
                else:
                    value = loads(b"{" + line[start + 1 : end] + b"}")
                    if value.keys() != _MIDDLE:
                        raise OddLineError
                found.append(each)
                if each.reason is None:
                    logits = value["logits"]
                    if len(logits) != len(each.widths):
                        raise OddLineError
                    scores.add(logits, value["logprobs"])
        scored = [each for each in found if each.reason is None]
        return Read(
            tuple([each.row for each in found]),
            tuple([each.reason for each in found]),
            np.array([each.answer for each in scored], np.intp),
            np.fromiter(chain.from_iterable(each.widths for each in scored), np.intp),
            scores,
        )

    def _first(self, line: bytes, start: int, end: int, value: Any) -> _Known:
        """What a whole line says beside its scores; kept where its parts are seen to be whole members."""
        if not line.endswith(b"\n") or value.get("format", 1) != 1:
            raise OddLineError
        known = _known(value)
        if 0 < start < end and end - start < len(line) and self._left > 0:
            head, tail = line[:start], line[end:]
            try:
                parts = [
                    orjson.loads(part) for part in (head + b"}", b"{" + line[start + 1 : end] + b"}", b"{" + tail[1:])
                ]
            except ValueError:
                return known
            if parts[1].keys() == _MIDDLE and _disjoint(parts) and {**parts[0], **parts[1], **parts[2]} == value:
                self._known[head, tail] = known
                self._left -= len(head) + len(tail)
        return known


@contextmanager
def _no_search_for_cycles() -> Iterator[None]:
    """A journal is a million lists without a cycle among them: looking for some takes a third of the time."""
    looking = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if looking:
            gc.enable()


def _disjoint(parts: Iterable[dict[str, Any]]) -> bool:
    names = [name for part in parts for name in part]
    return len(set(names)) == len(names)


def _known(value: dict[str, Any]) -> _Known:
    task, name, directory = value["task"], value["id"], value["directory"]
    ability = value["ability"]
    if not type(task) is type(name) is type(directory) is type(ability) is str:
        raise OddLineError
    links = links_of(task, directory, name, value.get("images"), value["metadata"])
    row = Row(task, name, directory, ability, links)
    if value["status"] != "scored":
        return _Known(row, value["reason_kind"] or "unknown", 0, ())
    candidates, answer = value["candidates"], value["answer"]
    if not 0 <= answer < len(candidates):
        raise OddLineError
    return _Known(row, None, answer, tuple(map(byte_width, candidates)))
