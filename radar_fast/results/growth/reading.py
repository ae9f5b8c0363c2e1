"""The journals of a series, read by several processes: most of what a series takes is parsing.

Processes of our own rather than forks: whoever calls :func:`radar_fast.growth` may have threads, and a ``__main__``
that must not run again. What a process cannot read, for whatever reason, is read again here, where an error is raised
as it is anywhere else.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path

from radar_fast.results import measures
from radar_fast.results.columns import ColumnReader, Columns, Row
from radar_fast.util.closing import Closing

__all__ = ["read_series", "serve"]

_WORTH = 96 * 2**20
"""Bytes for which another process is started: reading them takes longer than starting it."""
_MOST = 8
"""Processes: a series seldom has more steps for each than these."""

_CODE = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from radar_fast.util.orphans import end_when_orphaned; end_when_orphaned(int(sys.argv[2])); "
    "from radar_fast.results.growth.reading import serve; serve(int(sys.argv[3]))"
)


def read_series(paths: Sequence[Path], *, processes: int | None = None) -> Iterator[Columns]:
    """The columns of each journal, in order. Those on the same samples in the same order mostly have the same ``rows``,
    as an object.

    Args:
        paths: of the journals.
        processes: how many read, this one included; None: as many as are worth it.

    Raises:
        ResultsError: as :meth:`~radar_fast.results.columns.ColumnReader.read`.
    """
    count = max(1, min(len(paths), _worth(paths) if processes is None else processes))
    edges = [len(paths) * place // count for place in range(count + 1)]
    shares = [paths[start:stop] for start, stop in pairwise(edges)]
    reader = ColumnReader()
    with contextlib.ExitStack() as stack:
        others = [stack.enter_context(_Process(share)) for share in shares[1:]]
        yield from map(reader.read, shares[0])
        for share, other in zip(shares[1:], others, strict=True):
            for path, columns in zip(share, other.columns(), strict=True):
                yield reader.read(path) if columns is None else columns


def _worth(paths: Sequence[Path]) -> int:
    """Processes that the size of the journals and the cores at hand are worth."""
    size = 0
    for path in paths:
        with contextlib.suppress(OSError):
            size += path.stat().st_size
    return min(_MOST, len(os.sched_getaffinity(0)), 1 + size // _WORTH)


class _Process(Closing):
    """Another process, reading."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._process: subprocess.Popen[bytes] | None = None
        mine, theirs = socket.socketpair()
        self._connection = Connection(mine.detach())
        with theirs, contextlib.suppress(OSError, ValueError):  # without it, all are read here
            arguments = [json.dumps(sys.path), str(os.getpid()), str(theirs.fileno())]
            self._process = subprocess.Popen(  # noqa: S603 # our own interpreter and code
                [sys.executable, "-P", "-c", _CODE, *arguments],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                process_group=0,  # Ctrl-C is for this process, which then ends the other
            )
            self._connection.send([str(path.absolute()) for path in paths])

    def columns(self) -> list[Columns | None]:
        """Of each journal; None where it could not be read there."""
        try:
            names, found = self._connection.recv()
        except (EOFError, OSError):
            return [None] * len(self._paths)
        if names != _names():  # a measure that was added here alone
            return [None] * len(self._paths)
        rows: tuple[Row, ...] = ()
        whole: list[Columns | None] = []
        for columns in found:
            if columns is None:
                whole.append(None)
                continue
            rows = columns.rows or rows
            whole.append(replace(columns, rows=rows))
        return whole

    def close(self) -> None:
        """End it, wherever it is."""
        self._connection.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def _names() -> tuple[str, ...]:
    return tuple(measure.name for measure in measures.MEASURES)


def serve(descriptor: int) -> None:
    """The other process: receive paths, send the names of the measures and each journal's columns, or None. Rows that
    are those of the journal before are left out."""
    reader = ColumnReader()
    with Connection(descriptor) as connection:
        found: list[Columns | None] = []
        rows: tuple[Row, ...] = ()
        for path in connection.recv():
            columns = reader.read_plain(Path(path))
            if columns is not None and columns.rows is rows:
                columns = replace(columns, rows=())
            elif columns is not None:
                rows = columns.rows
            found.append(columns)
        connection.send((_names(), found))
