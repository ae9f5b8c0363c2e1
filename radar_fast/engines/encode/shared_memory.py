"""Tensors handed from one process to another through memory that has no name in the file system."""

import contextlib
import mmap
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

__all__ = ["KEPT_BYTES", "Place", "SharedMemory", "nameless_file"]

KEPT_BYTES = 64 * 2**20
"""Shared memory that a worker keeps between prompts; what a larger prompt took is given back after it."""

_ALIGNED = 64


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor lies in the shared memory."""

    name: str
    of_tokens: bool
    """Whether it is one of ``token_inputs``, else of ``inputs``."""
    dtype: torch.dtype
    shape: tuple[int, ...]
    offset: int


class SharedMemory:
    """A file without a name, mapped by a worker and its engine. Tensors are put into it one after another."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._map: mmap.mmap | None = None

    def write(self, tensors: Sequence[torch.Tensor]) -> tuple[list[int], int]:
        """Lay contiguous CPU tensors into the file; their offsets, and the size in all. Grows the file as needed."""
        offsets, size = [], 0
        for tensor in tensors:
            offsets.append(size)
            size += -(-tensor.nbytes // _ALIGNED) * _ALIGNED
        if size > os.fstat(self.descriptor).st_size:
            os.ftruncate(self.descriptor, size)
        memory = self._mapped(size)
        for offset, tensor in zip(offsets, tensors, strict=True):
            if tensor.nbytes:
                view = torch.frombuffer(memory, dtype=torch.uint8, count=tensor.nbytes, offset=offset)
                view.copy_(tensor.reshape(-1).view(torch.uint8))
                del view  # a mapping cannot be closed while something looks at it
        return offsets, size

    def read(self, places: Iterable[Place], size: int) -> list[tuple[Place, torch.Tensor]]:
        """Copies of the tensors that :meth:`write` has put there, in a file of ``size`` bytes."""
        memory = self._mapped(size)
        found = []
        for place in places:
            tensor = torch.empty(place.shape, dtype=place.dtype)
            if tensor.nbytes:
                view = torch.frombuffer(memory, dtype=place.dtype, count=tensor.numel(), offset=place.offset)
                tensor.copy_(view.view(place.shape))
                del view
            found.append((place, tensor))
        return found

    def shrink(self) -> None:
        """Unmap what is more than a worker keeps. Both sides do so between prompts, the worker cuts the file too."""
        if self._map is not None and len(self._map) > KEPT_BYTES:
            self._map.close()
            self._map = None

    def close(self) -> None:
        """Unmap and close it."""
        if self._map is not None:
            with contextlib.suppress(BufferError):  # a thread is still copying; it is freed when that is done
                self._map.close()
            self._map = None
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def _mapped(self, size: int) -> mmap.mmap:
        if self._map is None or len(self._map) < size:
            if self._map is not None:
                self._map.close()
            self._map = mmap.mmap(self.descriptor, max(size, 1, mmap.PAGESIZE))
        return self._map


def nameless_file() -> int:
    """A descriptor of memory that needs no room in /dev/shm, which containers keep small."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("radar-fast")
    else:
        with tempfile.TemporaryFile() as file:  # has no name either, from the start
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, mmap.PAGESIZE)
    return descriptor
