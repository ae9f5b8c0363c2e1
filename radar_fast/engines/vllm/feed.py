"""Samples on their way to vLLM: how many are read ahead and how many it holds, and who is woken when that changes.

Both numbers follow from an engine step: vLLM holds two steps' samples, so that one is being computed and the next lies
ready, and another step's are read meanwhile. All within a number of bytes.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from itertools import islice
from typing import Any

from radar_fast.engines.vllm.prepare import Ready
from radar_fast.sample import Prompt, Scored

__all__ = ["Arrivals", "Feed", "Pace"]

FIRST = 64
"""Samples that a step is taken to hold before any is known."""
LEAST, MOST = 16, 512
"""Samples that a step is taken to hold, at the least and at the most."""
HELD_BYTES = 4 * 2**30
"""Of images that wait for vLLM or are with it, from where on no more are read."""


class Pace:
    """How many samples an engine step holds, from those that were submitted so far."""

    def __init__(self, tokens: int, requests: int) -> None:
        """``tokens``, ``requests``: that a step takes at the most."""
        self._tokens, self._requests = tokens, requests
        self._samples = self._sum_tokens = self._sum_requests = 0

    def note(self, tokens: int, requests: int) -> None:
        """A sample was submitted, of so many tokens in so many requests."""
        self._samples += 1
        self._sum_tokens += tokens
        self._sum_requests += requests

    @property
    def step(self) -> int:
        """Samples a step."""
        if not self._samples:
            return FIRST
        by_tokens = self._tokens * self._samples // max(1, self._sum_tokens)
        by_requests = self._requests * self._samples // max(1, self._sum_requests)
        return max(LEAST, min(MOST, by_tokens, by_requests))


class Arrivals:
    """Wakes whoever waits when a sample is ready or vLLM has finished a step."""

    def __init__(self, engine: Any) -> None:
        self._event = threading.Event()
        self._outputs = getattr(engine.engine_core, "outputs_queue", None)
        if self._outputs is not None:
            self._outputs.put_nowait = self._then_wake(self._outputs.put_nowait)

    @property
    def step_is_there(self) -> bool:
        """Whether ``engine.step()`` would not wait; in this very process it computes, and waits for nobody."""
        return self._outputs is None or not self._outputs.empty()

    def forget(self) -> None:
        """What has come so far is seen to now: from here on wait for more."""
        self._event.clear()

    def wait(self) -> None:
        """Until something has come since :meth:`forget`."""
        self._event.wait()

    def wake(self, *_: object) -> None:
        """Something has come."""
        self._event.set()

    def _then_wake(self, put: Callable[[Any], None]) -> Callable[[Any], None]:
        def put_nowait(item: Any) -> None:
            put(item)
            self.wake()

        return put_nowait


class Feed:
    """The samples of one :meth:`score`, in order, read ahead. For one thread."""

    def __init__(
        self, prompts: Iterator[Prompt], submit: Callable[[Prompt], "Future[Ready | Scored]"], arrivals: Arrivals
    ) -> None:
        """``submit``: has a prompt made ready."""
        self._prompts, self._submit, self._arrivals = prompts, submit, arrivals
        self._waiting: deque[Future[Ready | Scored]] = deque()
        self._bytes = 0
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        """Whether any waits."""
        return bool(self._waiting)

    @property
    def ready(self) -> bool:
        """Whether :meth:`take` would not wait."""
        return bool(self._waiting) and self._waiting[0].done()

    def read(self, ahead: int) -> None:
        """Have more made ready, until ``ahead`` of them wait, or their images and those with vLLM take HELD_BYTES."""
        if self._waiting and self._bytes >= HELD_BYTES:
            return
        for prompt in islice(self._prompts, max(0, ahead - len(self._waiting))):
            future = self._submit(prompt)
            self._waiting.append(future)
            future.add_done_callback(self._count)
            future.add_done_callback(self._arrivals.wake)

    def take(self) -> Ready | Scored:
        """The next sample."""
        return self._waiting.popleft().result()

    def done(self, ready: Ready) -> None:
        """A sample that was taken is with vLLM no longer."""
        with self._lock:
            self._bytes -= ready.nbytes

    def cancel(self) -> None:
        """Have none made ready that has not been begun."""
        for future in self._waiting:
            future.cancel()

    def _count(self, future: "Future[Ready | Scored]") -> None:
        if not future.cancelled() and future.exception() is None and isinstance(made := future.result(), Ready):
            with self._lock:
                self._bytes += made.nbytes
