"""What a safetensors file says of itself in its first bytes: no weight is read.

8 bytes    N, little-endian
N bytes    JSON: name -> {"dtype": "BF16", "shape": [2, 3], "data_offsets": [begin, end]}, beside "__metadata__"
the rest   the tensors' bytes, offsets counted from here
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from radar_fast.errors import IncompleteError, ModelError, one_line

__all__ = ["Stored", "read_header"]

_LONGEST = 100_000_000
"""Bytes of a header, as the safetensors library bounds it."""
_POINTER = b"version https://git-lfs"


@dataclass(frozen=True, slots=True)
class Stored:
    """One tensor in a file."""

    dtype: str
    """As safetensors names it, e.g. ``BF16``."""
    shape: tuple[int, ...]
    begin: int
    """Its first byte, counted from the start of the file."""
    end: int
    """One past its last byte."""


def read_header(file: Path) -> dict[str, Stored]:
    """Name -> where and what each tensor of a safetensors file is, in the file's order.

    Raises:
        IncompleteError: the file is shorter than its header says.
        ModelError: it is longer, is no safetensors file, or cannot be read.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            first = stream.read(8)
            length = int.from_bytes(first, "little")
            if first + stream.read(len(_POINTER) - 8) == _POINTER:
                raise ModelError(
                    f"{file}: a pointer of Git LFS in place of the weights; run `git lfs pull` in its folder", path=file
                )
            if size < 8 or (length <= _LONGEST and size < 8 + length):
                raise _cut_short(file, size, 8 + length)
            if length > _LONGEST:
                raise ModelError(f"{file}: its header would be {length} bytes; this is no safetensors file", path=file)
            stream.seek(8)
            document = orjson.loads(stream.read(length))
        tensors = {name: _stored(entry, 8 + length) for name, entry in document.items() if name != "__metadata__"}
    except OSError as error:
        raise ModelError(f"{file}: cannot be read: {one_line(error)}", path=file) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(
            f"{file}: its header cannot be read: {one_line(error)}; fetch the file again", path=file
        ) from None
    wanted = max((tensor.end for tensor in tensors.values()), default=8 + length)
    if size < wanted:
        raise _cut_short(file, size, wanted)
    if size > wanted:
        raise ModelError(f"{file}: {size} bytes, and its header speaks of {wanted}; fetch the file again", path=file)
    return tensors


def _stored(entry: Any, start: int) -> Stored:
    begin, end = entry["data_offsets"]
    shape = tuple(entry["shape"])
    if not all(type(number) is int and number >= 0 for number in (begin, end, *shape)) or end < begin:
        raise ValueError(f"offsets {begin}, {end} and shape {list(shape)} cannot be")
    return Stored(str(entry["dtype"]), shape, start + begin, start + end)


def _cut_short(file: Path, size: int, wanted: int) -> IncompleteError:
    of = f"{size} of {wanted} bytes are there" if size >= 8 else f"{size} bytes are there"
    return IncompleteError(
        f"{file}: incomplete; still being written? {of}. Wait until it is, or fetch it again", path=file
    )
