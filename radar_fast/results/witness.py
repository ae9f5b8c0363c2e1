"""What the image files of a benchmark were, as a few bytes in ``run.json``: replaced ones are noticed on resume.

The names of images are part of what a run is of, and so is all text; this is about what the files hold. A file of up to
:data:`SMALL` bytes is known by its content, a larger one by its size and modification time, so that no benchmark has to
be read twice. Files that were absent may come later: their samples are then tried again.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from radar_fast.errors import ResultsError
from radar_fast.sample import AnyImage, ImageFile

__all__ = ["SMALL", "ImageWitness", "Stat", "stat_of"]

SMALL = 64 * 2**10
"""Bytes up to which a file's content is read."""

Stat = tuple[int, int]
"""Size in bytes and modification time in nanoseconds."""

_BITS = 128


def stat_of(image: AnyImage) -> Stat | None:
    """Of an image in a file of its own; None where that is not there, and for one inside a data file."""
    if not isinstance(image, ImageFile):
        return None
    try:
        found = image.path.stat()
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns


@dataclass(slots=True)
class ImageWitness:
    """Of the image files that have been shown to it, in any order, each once or many times."""

    root: Path
    """The data folder: names are below it, so that it may be moved."""
    stats: dict[str, Stat] = field(default_factory=dict)
    """Key of an image -> what it was when it was shown."""
    absent: set[str] = field(default_factory=set)
    """Keys of those that are not there."""
    _sum: int = 0
    _marks: dict[str, int] = field(default_factory=dict)

    def show(self, images: Iterable[AnyImage]) -> None:
        """Look at images; those that have been seen before are passed over."""
        for image in images:
            if not isinstance(image, ImageFile) or image.key in self.stats or image.key in self.absent:
                continue
            stat = stat_of(image)
            if stat is None:
                self.absent.add(image.key)
                continue
            self.stats[image.key] = stat
            mark = self._mark(image, stat)
            self._marks[image.key] = mark
            self._sum = (self._sum + mark) % 2**_BITS

    def to_dict(self) -> dict[str, object]:
        """For ``run.json``; empty where there are no image files."""
        if not self.stats and not self.absent:
            return {}
        absent = sorted(map(self._name, self.absent))
        return {"files": len(self.stats), "digest": f"{self._sum:032x}", "absent": absent}

    def require_unchanged(self, before: Mapping[str, object]) -> None:
        """Raises ResultsError where the images are not those that ``before``, from :meth:`to_dict`, is of."""
        files, digest, absent = (before.get(name) for name in ("files", "digest", "absent"))
        if not isinstance(files, int) or not isinstance(digest, str) or not isinstance(absent, list):
            raise ResultsError("images: not as radar-fast writes it; another program has written to it")
        missed = set(map(str, absent))
        come = [mark for key, mark in self._marks.items() if self._name(key) in missed]
        if (len(self._marks) - len(come), f"{(self._sum - sum(come)) % 2**_BITS:032x}") != (files, digest):
            raise ResultsError(
                f"images of the benchmark have been replaced or removed: {files} files were there, and not all of them "
                "are what they were (by content up to 64 KiB, by size and modification time beyond)"
            )

    def _name(self, key: str) -> str:
        return key.removeprefix(f"{self.root}/")

    def _mark(self, image: ImageFile, stat: Stat) -> int:
        said = f"{stat[0]} {stat[1]}".encode()
        if stat[0] <= SMALL:
            try:
                with image.open() as file:
                    said = file.read(SMALL + 1)
            except OSError:
                pass  # whoever scores it will say so
        name = self._name(image.key).encode("utf-8", "surrogatepass")
        whole = hashlib.blake2b(name + b"\0" + said, digest_size=_BITS // 8)
        return int.from_bytes(whole.digest(), "big")
