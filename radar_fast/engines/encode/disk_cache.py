"""Preprocessed images on disk, so that the next checkpoint of a series neither decodes nor resizes them again.

A folder of safetensors files, each named by a digest of what is in it: of the images' own bytes, and of everything
that decides what a processor makes of them. A file is written whole or not at all, and carries a checksum; whatever
cannot be read is as good as absent. Several processes may use a folder at once. The store never fails a run.
"""

import contextlib
import hashlib
import json
import logging
import os
import secrets
import stat
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from radar_fast.errors import UsageError
from radar_fast.images import content_digest
from radar_fast.sample import AnyImage

__all__ = ["DiskCache", "settings_digest"]

log = logging.getLogger(__name__)

_LAYOUT = 2
"""Of the files; a change of it makes all earlier ones useless, and they are evicted in time."""
_ABANDONED = 3600.0
"""Seconds after which a temporary file is taken for one whose writer was killed."""

Features = Mapping[str, Any]
"""What an image processor returns: tensors, and perhaps lists of int."""


def settings_digest(settings: Mapping[str, Any]) -> str:
    """A digest of JSON-like settings; what is no JSON counts by its ``str``."""
    text = json.dumps({"layout": _LAYOUT, **settings}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


class DiskCache:
    """A bounded folder of preprocessed images. Safe to use from several threads and processes.

    Raises:
        UsageError: the folder cannot be made or written to, or the bound is not above 0.
    """

    def __init__(self, folder: Path, most_bytes: int, settings: str) -> None:
        """Open or make the folder.

        Args:
            folder: holds the files, in subfolders.
            most_bytes: of all files. Writers look every :attr:`_stride` bytes, so that for a short time there may be
                more by that much a writer.
            settings: digest of whatever else than the images decides what is stored; see :func:`settings_digest`.
        """
        if most_bytes <= 0:
            raise UsageError(f"--preprocess-cache-gb: {most_bytes} bytes; must be above 0")
        self._folder, self._most, self._settings = folder, most_bytes, settings
        self._stride = max(1, most_bytes // 32)
        self._unlooked = self._stride  # the first one written looks what earlier runs have left
        self._broken = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            writable = os.access(folder, os.W_OK | os.X_OK)
        except OSError as error:
            raise UsageError(f"--preprocess-cache {folder}: cannot be made: {error.strerror}") from None
        if not writable:
            raise UsageError(f"--preprocess-cache {folder}: is not writable; name another folder")

    def key(self, images: Sequence[AnyImage]) -> str | None:
        """The name under which what becomes of these images, in this order, is kept; None if one cannot be read."""
        digest = hashlib.sha256(self._settings.encode())
        for image in images:
            try:
                digest.update(bytes.fromhex(content_digest(image)))
            except (OSError, ValueError):
                return None
        return digest.hexdigest()

    def find(self, key: str) -> dict[str, Any] | None:
        """What is kept under ``key``, bit for bit as it was put there; None if there is nothing or it is damaged."""
        path = self._path(key)
        try:
            # Before opening: to open a pipe would wait for its writer.
            if not stat.S_ISREG(path.stat().st_mode):
                raise ValueError("no regular file")
            with safe_open(path, framework="pt") as file:
                known = file.metadata() or {}
                # Copied: the file is mapped only as long as it is open here.
                held = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - no mapping
            if known.get("crc32") != str(_checksum(held, known["names"], known["lists"])):
                raise ValueError("checksum")
            # In their first order: the format has one of its own.
            tensors = {name: held[name] for name in json.loads(known["names"])}
            lists = json.loads(known["lists"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError):
            with contextlib.suppress(OSError):
                path.unlink()  # it would only be found broken again
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # the least recently used go first
        return {name: value.tolist() if name in lists else value for name, value in tensors.items()}

    def put(self, key: str, features: Features) -> None:
        """Keep ``features``, if they are tensors and lists of int and the disk has room; else do nothing."""
        tensors: dict[str, torch.Tensor] = {}
        lists: list[str] = []
        for name, value in features.items():
            if isinstance(value, torch.Tensor):
                tensors[name] = value.contiguous()
            elif isinstance(value, list) and all(type(number) is int for number in value):
                tensors[name] = torch.tensor(value, dtype=torch.int64)
                lists.append(name)
            else:
                return
        if not tensors or self._broken:
            return
        said = {"names": json.dumps(list(tensors)), "lists": json.dumps(lists)}
        data = save(tensors, {"crc32": str(_checksum(tensors, said["names"], said["lists"])), **said})
        if len(data) > self._most:
            return
        path = self._path(key)
        temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
        try:
            path.parent.mkdir(exist_ok=True)
            # Not synced: a file that a power failure tears is found out by its checksum.
            temporary.write_bytes(data)
            temporary.replace(path)
        except OSError as error:
            self._broken = True
            log.warning("%s: cannot be written: %s; going on without it", self._folder, error.strerror)
            with contextlib.suppress(OSError):
                temporary.unlink()
            return
        self._unlooked += len(data)
        if self._unlooked >= self._stride:
            self._unlooked = 0
            self._evict()

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.safetensors"

    def _evict(self) -> None:
        """Remove the least recently used until the folder is within its bound, and what killed writers left."""
        found: list[tuple[float, int, Path]] = []
        for path in self._folder.glob("??/*"):
            with contextlib.suppress(OSError):  # another process may have removed it
                status = path.stat()
                if path.suffix == ".safetensors":
                    found.append((status.st_mtime, status.st_size, path))
                elif path.suffix == ".tmp" and time.time() - status.st_mtime > _ABANDONED:
                    path.unlink()
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self._most - self._stride:
                return
            with contextlib.suppress(OSError):
                path.unlink()
            total -= size


def _checksum(tensors: Mapping[str, torch.Tensor], names: str, lists: str) -> int:
    """Of all that a file says, its own header apart."""
    total = zlib.crc32(f"{names} {lists}".encode("utf-8", "surrogatepass"))
    for name in sorted(tensors):
        some = tensors[name]
        total = zlib.crc32(f"{name} {some.dtype} {tuple(some.shape)}".encode(), total)
        total = zlib.crc32(some.contiguous().reshape(-1).view(torch.uint8).numpy().data, total)
    return total
