"""Where the time goes: seconds per part of the work, added up over whatever threads and processes take part."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

__all__ = ["PARTS", "Clock"]

PARTS = (
    "startup",
    "decode",
    "preprocess",
    "tokenise",
    "lay_out",
    "submit",
    "wait",
    "compute",
    "vision",
    "language",
    "head",
)
"""``startup``: an engine being made. ``decode``, ``preprocess``, ``tokenise``: summed over all who do it, so that they
may exceed the time that passed. ``lay_out``: a sample being made vLLM's input, likewise; ``submit``: samples being
handed to vLLM. ``wait``: the model had nothing to do but wait for those. ``compute``: the model was
at work; ``vision``, ``language`` and ``head`` divide that."""


class Clock:
    """Adds up seconds per part. Safe to use from several threads; an addition costs less than a microsecond or two."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    def add(self, part: str, seconds: float) -> None:
        """Count ``seconds`` to ``part``."""
        with self._lock:
            self._seconds[part] = self._seconds.get(part, 0.0) + seconds

    def add_all(self, seconds: Mapping[str, float]) -> None:
        """Count what another clock has counted, e.g. a worker process's."""
        for part, some in seconds.items():
            self.add(part, some)

    @contextmanager
    def measure(self, part: str) -> Iterator[None]:
        """Count the wall time of a ``with`` block, also where it raises."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(part, time.perf_counter() - started)

    def seconds(self) -> dict[str, float]:
        """Part -> seconds so far, of the parts that anything was counted to."""
        with self._lock:
            return dict(self._seconds)

    def take(self) -> dict[str, float]:
        """The same, and start again at nothing: what to hand to :meth:`add_all` elsewhere."""
        with self._lock:
            taken, self._seconds = self._seconds, {}
        return taken
