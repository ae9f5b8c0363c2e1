"""What an image processor made of a prompt's images, kept for the next prompt with the same ones, and on disk.

Encoding asks the checkpoint's processor, which asks its image processor. :class:`ImageTap` stands between the two, so
that what the image processor made can be taken out, and put in again later instead of pixels: the processor's own code
then does with it what it did the first time.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from radar_fast.engines.encode.disk_cache import DiskCache
from radar_fast.sample import AnyImage

__all__ = ["KEPT_BYTES", "ImageCache", "ImageReuse", "ImageTap", "stand_in"]

KEPT_BYTES = 64 * 2**20
"""Most memory for what is kept for other prompts with the same images, an encoder."""

_LOCKS = 256


@dataclass(frozen=True, slots=True)
class ImageReuse:
    """Where preprocessed images are kept beyond an encoder's memory."""

    folder: Path | None = None
    """On disk, across runs; None: nowhere."""
    most_bytes: int = 0
    """Of the folder."""


class ImageTap:
    """An image processor that remembers, a thread, what it made last, or returns what it is given instead."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self._asked: tuple[tuple[Any, ...], dict[str, Any]] | None = None
        self._local = threading.local()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        given = getattr(self._local, "given", None)
        if given is not None:
            from transformers import BatchFeature

            self._local.taken = True
            return BatchFeature(dict(given))
        made = self.inner(*arguments, **options)
        self._local.made = dict(made)
        if arguments:  # else the images have a name, and nobody here knows which
            self._asked = arguments[1:], options
        return made

    @property
    def can_repeat(self) -> bool:
        """Whether :meth:`repeat` knows how the processor asks."""
        return self._asked is not None

    def repeat(self, images: list[Any]) -> dict[str, Any]:
        """What the image processor makes of ``images``, asked as the processor asked it last."""
        assert self._asked is not None
        more, options = self._asked
        self._local.made = dict(self.inner(images, *more, **options))
        made: dict[str, Any] = self._local.made
        return made

    @property
    def last(self) -> dict[str, Any] | None:
        """What this thread's last call made; it stays for :meth:`take`."""
        return getattr(self._local, "made", None)

    @contextmanager
    def giving(self, features: dict[str, Any] | None) -> Iterator[None]:
        """Within this context, this thread's calls return ``features``; None changes nothing.

        Raises:
            LookupError: nobody asked: the processor has another way to its images.
        """
        if features is None:
            yield
            return
        self._local.given, self._local.taken = features, False
        try:
            yield
        finally:
            self._local.given = None
        if not self._local.taken:
            raise LookupError("the processor did not ask its image processor")

    def take(self) -> dict[str, Any] | None:
        """What this thread's last call made; None if there was none since."""
        made = getattr(self._local, "made", None)
        self._local.made = None
        return made


class ImageCache:
    """Features by the images they were made of: the last few in memory, and all that fit on disk. Thread-safe."""

    def __init__(self, store: DiskCache | None, dtype: torch.dtype, most_bytes: int = KEPT_BYTES) -> None:
        """Keep at most ``most_bytes`` in memory, and in ``store``, if there is one, pixels of ``dtype``."""
        self._store, self._dtype, self._most = store, dtype, most_bytes
        self._kept: OrderedDict[tuple[str, ...], tuple[dict[str, Any], int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        self._turns = [threading.Lock() for _ in range(_LOCKS)]

    @contextmanager
    def turn(self, images: Sequence[AnyImage]) -> Iterator[tuple[str, ...]]:
        """The images' key, while nobody else makes what belongs to it: who comes second finds what the first made."""
        key = tuple(image.key for image in images)
        with self._turns[hash(key) % _LOCKS]:
            yield key

    def find(self, key: tuple[str, ...], images: Sequence[AnyImage]) -> dict[str, Any] | None:
        """What was made of these images before; floating tensors may have another dtype than when they were put."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key][0]
        if self._store is None:
            return None
        name = self._store.key(images)
        found = self._store.find(name) if name is not None else None
        if found is None:
            return None
        # The processor may want numpy, which has no bfloat16. Nothing is lost: the dtype is that of the pixels anyway.
        features = {name: value.float() if _is_floating(value) else value for name, value in found.items()}
        self._keep(key, features)
        return features

    def put(self, key: tuple[str, ...], images: Sequence[AnyImage], features: dict[str, Any]) -> None:
        """Keep what was made of ``images``."""
        self._keep(key, features)
        if self._store is not None and (name := self._store.key(images)) is not None:
            self._store.put(
                name,
                {name: value.to(self._dtype) if _is_floating(value) else value for name, value in features.items()},
            )

    def _keep(self, key: tuple[str, ...], features: dict[str, Any]) -> None:
        size = sum(value.nbytes for value in features.values() if isinstance(value, torch.Tensor))
        with self._lock:
            if key in self._kept or size > self._most:
                return
            self._kept[key] = (features, size)
            self._bytes += size
            while self._bytes > self._most:
                _, (_, least) = self._kept.popitem(last=False)
                self._bytes -= least


def stand_in() -> Image.Image:
    """What a processor gets in place of an image that it will not look at."""
    return Image.new("RGB", (28, 28))


def _is_floating(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()
