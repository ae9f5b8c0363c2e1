"""Files that will be read soon, read into the operating system's page cache while something else goes on."""

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ["available_memory", "reading_ahead"]

SHARE = 0.5
"""Of the memory that is available, for files that are read ahead: what does not fit would push out what is in use."""

PIECE = 16 * 2**20
"""Bytes that are asked for at a time."""


@contextlib.contextmanager
def reading_ahead(files: Sequence[Path]) -> Iterator[None]:
    """Have ``files`` read into the page cache for as long as the block runs, where they fit into SHARE of the memory.

    A thread does it, and stops at the end of the block, done or not. Files that cannot be opened are passed over, and
    nothing is done where the system has no such call: it is a hint, and nothing depends on it.
    """
    stop = threading.Event()
    reader = threading.Thread(target=_read, args=(tuple(files), stop), name="read-ahead", daemon=True)
    reader.start()
    try:
        yield
    finally:
        stop.set()
        reader.join()


def available_memory() -> int:
    """Bytes that can be had without swapping (proc(5), ``MemAvailable``); 0 where the system does not say."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 0


def _read(files: Sequence[Path], stop: threading.Event) -> None:
    if not hasattr(os, "posix_fadvise"):
        return
    sizes: dict[Path, int] = {}
    for file in files:
        with contextlib.suppress(OSError):
            sizes[file] = file.stat().st_size
    if sum(sizes.values()) > SHARE * available_memory():
        return
    for file, size in sizes.items():
        with contextlib.suppress(OSError), file.open("rb", buffering=0) as stream:
            for start in range(0, size, PIECE):
                if stop.is_set():
                    return
                os.posix_fadvise(stream.fileno(), start, PIECE, os.POSIX_FADV_WILLNEED)
