"""Parts of a forward pass, timed where they run: on a GPU by events in its own stream, without waiting for it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch

from radar_fast.util.clock import Clock

__all__ = ["DeviceTimer", "Timed"]

Timed: TypeAlias = list[tuple[str, Any, Any]]
"""Parts, each with the events of its start and its end; empty on a CPU, where a part is counted as it ends."""


class DeviceTimer:
    """Counts to a clock how long the device takes for parts of a forward pass."""

    def __init__(self, clock: Clock, device: torch.device) -> None:
        self._clock = clock
        self._events = device.type == "cuda"
        self._pending: Timed = []
        self._hooks: list[Any] = []

    @contextmanager
    def measure(self, part: str) -> Iterator[None]:
        """Time a ``with`` block; a block that raises is not counted."""
        started = self._now()
        yield
        self._count(part, started)

    def watch(self, module: torch.nn.Module, part: str) -> None:
        """Time every forward pass of ``module`` from now on."""
        started: list[Any] = []

        def before(*_: Any) -> None:
            started[:] = [self._now()]  # one that raised left its own behind

        def after(*_: Any) -> None:
            self._count(part, started.pop())

        self._hooks += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]

    def unwatch(self) -> None:
        """Leave the modules as they were."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def take(self) -> Timed:
        """What was timed since the last call, for :meth:`collect` once its results were fetched."""
        taken, self._pending = self._pending, []
        return taken

    def collect(self, timed: Timed) -> None:
        """Hand it to the clock. On a GPU: once its results were fetched, so that there is nothing to wait for."""
        for part, started, stopped in timed:
            stopped.synchronize()
            self._clock.add(part, started.elapsed_time(stopped) / 1000)

    def _now(self) -> Any:
        if not self._events:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call] # torch leaves it untyped
        event.record()
        return event

    def _count(self, part: str, started: Any) -> None:
        if self._events:
            self._pending.append((part, started, self._now()))
        else:
            self._clock.add(part, time.perf_counter() - started)
