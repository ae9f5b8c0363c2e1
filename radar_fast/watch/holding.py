"""A checkpoint held against rotation: its files under names of our own, as hard links, which take no space.

The trainer may remove its folder at any time; what is held stays until it is scored. Where links cannot be made
(another file system, no permission), files are copied, one checkpoint at a time and only where there is room for it.
"""

import contextlib
import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from radar_fast.errors import IncompleteError, ResultsError
from radar_fast.watch.ready import folder_state

__all__ = ["Holding"]

_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EMLINK, errno.EOPNOTSUPP, errno.EROFS)
_RESERVE = 0.05
"""Share of a disk that copies leave free."""


class Holding:
    """The folder in which checkpoints are held: one folder each, under its own name."""

    def __init__(self, path: Path) -> None:
        """``path``: made when the first one is held; on the file system of the checkpoints, if it can be."""
        self.path = path

    def names(self) -> list[str]:
        """What is held, whole."""
        if not self.path.is_dir():
            return []
        return sorted(entry.name for entry in self.path.iterdir() if entry.is_dir() and not entry.name.startswith("."))

    def folder(self, name: str) -> Path:
        """Where it is held."""
        return self.path / name

    def hold(self, source: Path, name: str, *, may_copy: bool = True) -> Path | None:
        """Hold the folder ``source``; nothing is done for a name that is held already.

        Returns:
            Where it is held; None where only a copy could be made, and ``may_copy`` is False.

        Raises:
            IncompleteError: it changed, or went, meanwhile.
            ResultsError: there is no room for a copy, or it cannot be written.
        """
        held = self.folder(name)
        if held.is_dir():
            return held
        before = folder_state(source)
        temporary = self.path / f".{secrets.token_hex(6)}"
        try:
            _require_regular(source)
            temporary.mkdir(parents=True)
            if not _linked(source, temporary):
                if not may_copy:
                    return None
                _require_room(source, self.path)
                shutil.rmtree(temporary)
                shutil.copytree(source, temporary, ignore=_linked_folders)
            if before is None or before != folder_state(source) or before != folder_state(temporary):
                raise IncompleteError(f"{source}: changed while it was being held; still being written?", path=source)
            temporary.rename(held)
        except FileNotFoundError:
            raise IncompleteError(f"{source}: went while it was being held", path=source) from None
        except (OSError, shutil.Error) as error:
            raise ResultsError(f"{self.path}: {source.name} cannot be held there: {error}", path=self.path) from None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return held

    def release(self, name: str) -> None:
        """Let go of one; and of the folder itself, with the last."""
        shutil.rmtree(self.folder(name), ignore_errors=True)
        with contextlib.suppress(OSError):
            self.path.rmdir()

    def clear_torn(self) -> None:
        """Remove what a killed process left half-made."""
        if self.path.is_dir():
            for entry in self.path.iterdir():
                if entry.name.startswith("."):
                    shutil.rmtree(entry, ignore_errors=True)


def _linked(source: Path, target: Path) -> bool:
    """Link every file of a folder into another; whether that can be done here."""
    try:
        for file in _files(source):
            place = target / file.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.link(file.resolve(), place)
    except OSError as error:
        if error.errno in _NO_LINKS:
            return False
        raise
    return True


def _require_regular(source: Path) -> None:
    """Raise ResultsError for a device, of which a copy would fill the disk, or a pipe. Raises OSError."""
    for file in _files(source):
        if not stat.S_ISREG(file.stat().st_mode):
            raise ResultsError(f"{file}: is no regular file, and cannot be held; take it away", path=file)


def _linked_folders(place: str, names: list[str]) -> set[str]:
    """Links to folders are not followed, as they are not where a folder is looked at: they may lead in a circle."""
    return {name for name in names if Path(place, name).is_symlink() and Path(place, name).is_dir()}


def _files(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):
        for name in names:
            yield Path(place, name)


def _require_room(source: Path, target: Path) -> None:
    size = sum(file.stat().st_size for file in _files(source))
    disk = shutil.disk_usage(target)
    if size > disk.free - _RESERVE * disk.total:
        raise ResultsError(
            f"{target}: no room to copy {source.name}, of {size / 1e9:.1f} GB, which cannot be linked there; name an "
            "--out on the file system of the checkpoints",
            path=target,
        )
