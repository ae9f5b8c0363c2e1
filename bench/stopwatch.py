"""Times calls on a device from a cold L2, by events and by replaying a CUDA graph; and the memory they take."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

__all__ = ["Call", "Prepared", "Stopwatch", "reason_of"]

Call = Callable[[], Any]

FLUSH_BYTES = 512 * 2**20
"""Several times the largest L2 (50 MiB on Hopper, 126 MB on Blackwell)."""

WARM_UPS = 3
"""Calls before a graph is captured, on the stream that captures, as torch asks for."""


@dataclass(frozen=True)
class Prepared:
    """A call that has run, ready to be timed."""

    eager: Call
    """As it was given."""
    timed: Call
    """What is timed: the replay of a graph, or the call itself."""
    ungraphed: str | None = None
    """Why no graph could be made of it; None where one was, or where there is no GPU."""


class Stopwatch:
    """Times calls on one device.

    On a GPU every call is timed by events, with an L2 that holds nothing of its operands and nothing that has yet to be
    written back: what is flushed with is read, not written. A call is captured once and its graph replayed, so that
    launching from Python is no part of its time.
    """

    def __init__(self, device: torch.device, *, graphs: bool = True, flush_bytes: int = FLUSH_BYTES) -> None:
        self.device = device
        self._on_gpu = device.type == "cuda"
        self._graphs = graphs and self._on_gpu
        self._pool: Any = None
        self._flush = torch.ones(flush_bytes // 4 if self._on_gpu else 0, dtype=torch.int32, device=device)

    def prepare(self, call: Call) -> Prepared:
        """Run the call, which compiles it and shows what cannot run at all, and capture it where that can be.

        Raises:
            Exception: whatever the call raises.
        """
        call()
        self.wait()
        if not self._graphs:
            return Prepared(call, call)
        try:
            return Prepared(call, self._captured(call))
        except Exception as error:  # a call that waits for the device, say: it is timed as it is
            self.wait()
            return Prepared(call, call, reason_of(error))

    def seconds(self, prepared: Prepared) -> float:
        """One timed call."""
        if not self._on_gpu:
            started = time.perf_counter()
            prepared.timed()
            return time.perf_counter() - started
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call] # torch's
        self._flush.max()
        start.record()
        prepared.timed()
        stop.record()
        stop.synchronize()
        return float(start.elapsed_time(stop)) / 1e3

    def peak_bytes(self, prepared: Prepared) -> int | None:
        """Most bytes above what was there before, of an eager call; None without a GPU."""
        if not self._on_gpu:
            return None
        self.wait()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        prepared.eager()
        self.wait()
        return int(torch.cuda.max_memory_allocated()) - int(before)

    def wait(self) -> None:
        """Until the device has nothing left to do."""
        if self._on_gpu:
            torch.cuda.synchronize()

    def forget(self) -> None:
        """Give back what failed calls and dropped graphs held."""
        self._pool = None
        if self._on_gpu:
            torch.cuda.empty_cache()

    def _captured(self, call: Call) -> Call:
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call] # torch's
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                call()
        torch.cuda.current_stream().wait_stream(side)
        self.wait()
        if self._pool is None:  # one for all: nobody reads what a replay leaves, so they may overwrite each other's
            self._pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            call()
        graph.replay()
        self.wait()
        replay: Call = graph.replay
        return replay


def reason_of(error: BaseException) -> str:
    """One line: what a contender failed of."""
    if isinstance(error, torch.OutOfMemoryError):
        return "out of memory"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:200].rstrip(": ")
