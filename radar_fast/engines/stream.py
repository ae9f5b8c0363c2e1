"""An engine's scores for a caller that waits for other things too: asyncio's way to ask one."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor

from radar_fast.sample import Scored

__all__ = ["streamed"]


async def streamed(scores: Iterator[Scored]) -> AsyncGenerator[Scored, None]:
    """What ``scores`` yields, computed in a thread of its own, so that the event loop goes on meanwhile.

    Nothing is computed ahead of who asks, beyond what the engine itself reads ahead. Where the caller stops early or is
    cancelled, the pass that is under way is waited for, and then the iterator is closed in its own thread: the engine
    can be used again.
    """
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1, thread_name_prefix="stream") as thread:
        try:
            while (scored := await loop.run_in_executor(thread, next, scores, None)) is not None:
                yield scored
        finally:
            close = getattr(scores, "close", None)
            if close is not None:
                await loop.run_in_executor(thread, close)
