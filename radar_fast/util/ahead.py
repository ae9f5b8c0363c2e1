"""Work done ahead of whoever consumes it, bounded in number and in bytes, and in order."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["map_ahead"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ahead(
    pool: ThreadPoolExecutor,
    function: Callable[[Item], Result],
    items: Iterable[Item],
    ahead: int,
    *,
    size: Callable[[Result], int] | None = None,
    most: int = 0,
) -> Generator[Result, None, None]:
    """Like ``map``, with up to ``ahead`` items in work or waiting in the pool while the consumer is busy.

    Results come in the order of the items. What ``function`` raises is raised here, at its item's turn; items that
    have not been started by then, or when the consumer stops early, are never run.

    Args:
        pool: runs ``function``.
        function: from an item to its result.
        items: read as they are needed.
        ahead: most items in work or waiting.
        size: bytes of a result; None: they are not counted.
        most: with ``size``: bytes that may wait. A result that is not there yet counts as the largest that ever was,
            and one item is always in work, however large.
    """
    waiting: deque[Future[tuple[Result, int]]] = deque()
    there = _There()

    def work(item: Item) -> tuple[Result, int]:
        result = function(item)
        amount = 0 if size is None else size(result)
        there.add(amount)
        return result, amount

    def take() -> Result:
        result, amount = waiting.popleft().result()
        there.remove(amount)
        return result

    def full() -> bool:
        if size is None or len(waiting) < 2:
            return len(waiting) >= ahead
        return len(waiting) >= ahead or there.expected_bytes(len(waiting)) >= most

    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            while waiting and full():
                yield take()
        while waiting:
            yield take()
    finally:
        for future in waiting:
            future.cancel()


class _There:
    """Results that are there and were not taken yet. Kept count of as they come and go: asking costs nothing."""

    def __init__(self) -> None:
        self._count = self._bytes = self._largest = 0
        self._lock = threading.Lock()

    def add(self, size: int) -> None:
        with self._lock:
            self._count += 1
            self._bytes += size
            self._largest = max(self._largest, size)

    def remove(self, size: int) -> None:
        with self._lock:
            self._count -= 1
            self._bytes -= size

    def expected_bytes(self, waiting: int) -> int:
        """Of ``waiting`` results, when those that are not there yet are as large as the largest that ever was."""
        with self._lock:
            return self._bytes + (waiting - self._count) * self._largest
