"""Work done ahead of whoever consumes it, bounded in number and in bytes, and in order."""

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
    waiting: deque[Future[Result]] = deque()
    largest = 0

    def full() -> bool:
        nonlocal largest
        if size is None or len(waiting) < 2:
            return len(waiting) >= ahead
        there = [size(future.result()) for future in waiting if future.done() and not future.exception()]
        largest = max(largest, *there, 0)
        return len(waiting) >= ahead or sum(there) + (len(waiting) - len(there)) * largest >= most

    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            while waiting and full():
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
