"""Files of a checkpoint beside its weights, read whole: regular ones, of a size that such files have."""

import stat
from pathlib import Path

from radar_fast.errors import ModelError

__all__ = ["LARGEST", "read_whole"]

LARGEST = 256 * 2**20
"""Bytes. The largest tokenizer.json that is published has 35 MB."""


def read_whole(file: Path, largest: int = LARGEST) -> bytes:
    """What a file holds.

    Raises:
        OSError: it is not there, or cannot be read.
        ModelError: it is a pipe, a device or a folder, or larger than ``largest`` bytes.
    """
    # Before opening: to open a pipe would wait for its writer, and devices have no end.
    state = file.stat()
    if not stat.S_ISREG(state.st_mode) or state.st_size > largest:
        raise ModelError(f"{file}: no regular file of at most {largest} bytes; fetch the checkpoint again", path=file)
    return file.read_bytes()
