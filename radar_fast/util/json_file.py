"""A JSON file of ours, read whole: a regular one, of a size that such files have."""

import errno
import os
import stat
from pathlib import Path

from radar_fast.util.codec import decode

__all__ = ["LARGEST", "read_json"]

LARGEST = 256 * 2**20
"""Bytes. A ``run.json`` names every image that was absent, of the largest benchmarks about a million."""


def read_json(path: Path) -> object:
    """What a file says, as :func:`radar_fast.util.codec.decode` has it.

    Raises:
        OSError: it is not there or cannot be read, is a pipe, a device or a folder, or is larger than :data:`LARGEST`.
        ValueError: it is no JSON.
    """
    # Not before opening, as what has a name may be replaced; and without waiting for the writer of a pipe.
    with open(path, "rb", opener=_without_waiting) as file:
        state = os.fstat(file.fileno())
        if not stat.S_ISREG(state.st_mode):
            raise OSError(errno.EINVAL, "is not a regular file", str(path))
        if state.st_size > LARGEST:
            raise OSError(errno.EFBIG, f"is larger than {LARGEST} bytes", str(path))
        return decode(file.read())


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)
