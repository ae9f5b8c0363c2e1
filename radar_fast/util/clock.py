"""Where the time goes: seconds a stage, added up over whatever threads and processes take part."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

__all__ = ["STAGES", "Clock"]

STAGES = (
    "startup",
    "decode",
    "preprocess",
    "tokenise",
    "wait",
    "compute",
    "vision",
    "language",
    "head",
)
"""``startup``: an engine being made. ``decode``, ``preprocess``, ``tokenise``: summed over all who do it, so that they
may exceed the time that passed. ``wait``: the model had nothing to do but wait for those. ``compute``: the model was
at work; ``vision``, ``language`` and ``head`` are its parts."""


class Clock:
    """Adds up seconds a stage. Safe to use from several threads; an addition costs less than a microsecond or two."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    def add(self, stage: str, seconds: float) -> None:
        """Count ``seconds`` to ``stage``."""
        with self._lock:
            self._seconds[stage] = self._seconds.get(stage, 0.0) + seconds

    def add_all(self, seconds: Mapping[str, float]) -> None:
        """Count what another clock has counted, e.g. a worker process's."""
        for stage, some in seconds.items():
            self.add(stage, some)

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Count the wall time of a ``with`` block, also where it raises."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - started)

    def seconds(self) -> dict[str, float]:
        """Stage -> seconds so far, of the stages that anything was counted to."""
        with self._lock:
            return dict(self._seconds)

    def take(self) -> dict[str, float]:
        """The same, and start again at nothing: what to hand to :meth:`add_all` elsewhere."""
        with self._lock:
            taken, self._seconds = self._seconds, {}
        return taken

    def describe(self) -> dict[str, float | None]:
        """``<stage>_seconds`` of every stage, rounded to a microsecond; None where nothing was counted."""
        known = self.seconds()
        return {f"{stage}_seconds": round(known[stage], 6) if stage in known else None for stage in STAGES}
