"""Pictures that the published rule, ``Image.open(path).convert("RGB")``, reads otherwise than a person sees them.

They are scored as published all the same: a picture that EXIF turns stays unturned, grey of 16 bits is clipped at 255,
floats between 0 and 1 come out black, what is transparent is composited or loses its alpha, and of an animation the
first frame counts. So it is only counted how many there are. Headers tell, but for transparency: a picture that has an
alpha channel is decoded to see whether it is opaque.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from PIL import Image

from radar_fast.images import open_image, why_too_large
from radar_fast.sample import AnyImage, Sample

__all__ = ["Odd", "OddCounter", "Oddity", "oddities_of"]

_ORIENTATION = 0x0112
_MAX_TAGS = 1024
"""Of an EXIF directory that are looked at."""


class Oddity(StrEnum):
    """What is odd about a picture; the value is what messages call it."""

    ROTATED = "turned by EXIF"
    DEEP = "16-bit or 32-bit grey"
    FLOAT = "floating point"
    TRANSPARENT = "transparent"
    ANIMATED = "animated or of several pages"


@dataclass(frozen=True, slots=True)
class Odd:
    """Pictures of a kind."""

    count: int
    """How many there are; one that several samples show counts once."""
    first: str
    """The first of them, as messages call it."""


@dataclass
class OddCounter:
    """Counts odd pictures on their way past. With bounds it looks at some only, so that a run's start stays quick."""

    most: int | None = None
    """How many pictures are looked at in all; None: all of them."""
    most_of_task: int | None = None
    """How many pictures of each task."""
    alpha_pixels: int | None = None
    """How many pixels are decoded in all to see whether pictures with an alpha channel are opaque; None: any number."""
    looked_at: int = 0
    """How many have been."""
    passed_over: int = 0
    """How many have not, for the bounds."""
    found: dict[Oddity, Odd] = field(default_factory=dict)
    """By kind, in the order of :class:`Oddity`."""
    _seen: set[str] = field(default_factory=set)
    _of_task: dict[str, int] = field(default_factory=dict)

    def passing(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        """The samples as they are, their pictures looked at."""
        for sample in samples:
            for image in sample.images if sample.reason is None else ():
                if self.wants(sample.task, image):
                    kinds, decoded = _look(image, self.alpha_pixels)
                    self.add(image, kinds)
                    if self.alpha_pixels is not None:
                        self.alpha_pixels -= decoded
            yield sample

    def wants(self, task: str, image: AnyImage) -> bool:
        """Whether a picture is to be looked at: it was not before, and is within bounds."""
        of_task = self._of_task.get(task, 0)
        if (self.most is not None and self.looked_at >= self.most) or of_task == self.most_of_task:
            self.passed_over += 1
            return False
        if image.key in self._seen:
            return False
        self._seen.add(image.key)
        self._of_task[task] = of_task + 1
        self.looked_at += 1
        return True

    def add(self, image: AnyImage, kinds: Iterable[Oddity]) -> None:
        """Count a picture that was looked at."""
        for kind in kinds:
            old = self.found.get(kind)
            self.found[kind] = Odd(1, image.name) if old is None else Odd(old.count + 1, old.first)

    def line(self) -> str | None:
        """What was found, in one line; None where nothing was."""
        if not self.found:
            return None
        kinds = "; ".join(
            f"{self.found[kind].count} {kind} (first: {self.found[kind].first})"
            for kind in Oddity
            if kind in self.found
        )
        some = f", of {self.looked_at} looked at" if self.passed_over else ""
        return f"pictures that are scored as published but look otherwise to a person{some}: {kinds}"


def oddities_of(image: AnyImage) -> tuple[Oddity, ...]:
    """What is odd about a picture; nothing where it cannot be read, which is told elsewhere. Raises nothing."""
    return _look(image, None)[0]


def _look(image: AnyImage, alpha_pixels: int | None) -> tuple[tuple[Oddity, ...], int]:
    """The same, and how many pixels were decoded to find out: at most ``alpha_pixels``, else its alpha is not known."""
    try:
        with image.open() as file:
            opened = open_image(file)
            if opened is None:
                return (), 0
            kinds, pixels = _by_header(opened), opened.width * opened.height
            alpha = "A" in opened.getbands() or "transparency" in opened.info
            allowed = alpha_pixels is None or pixels <= alpha_pixels
            if not (alpha and allowed) or why_too_large(opened, image.size) is not None:
                return kinds, 0
            return (*kinds, Oddity.TRANSPARENT) if _is_transparent(opened) else kinds, pixels
    except Exception:  # decoders raise anything
        return (), 0


def _by_header(opened: Image.Image) -> tuple[Oddity, ...]:
    kinds = {
        Oddity.ROTATED: _orientation(opened) not in (None, 0, 1),
        Oddity.FLOAT: opened.mode == "F",
        Oddity.DEEP: opened.mode.startswith("I"),
        Oddity.ANIMATED: _moves(opened),
    }
    return tuple(kind for kind, is_so in kinds.items() if is_so)


def _moves(opened: Image.Image) -> bool:
    if opened.format == "TIFF":
        return bool(getattr(opened, "tag_v2").next)  # noqa: B009 - only this plugin's images have it
    # In MPO, which phones write, the further pictures are previews and depth maps.
    return opened.format != "MPO" and bool(getattr(opened, "is_animated", False))


def _is_transparent(opened: Image.Image) -> bool:
    """Whether any pixel is not opaque. Decodes the picture."""
    opened.load()
    mode = "RGBA" if "transparency" in opened.info else opened.mode
    least, _ = opened.convert(mode).getchannel("A").getextrema()
    return isinstance(least, int | float) and least < 255


def _orientation(opened: Image.Image) -> int | None:
    """EXIF's orientation tag; None without one. Pillow would read all tags, however many bytes they claim."""
    if opened.format == "TIFF":
        value = getattr(opened, "tag_v2").get(_ORIENTATION)  # noqa: B009 - as above
        return value if isinstance(value, int) else None
    exif = opened.info.get("exif")
    if not isinstance(exif, bytes):
        return None
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    try:
        if order is None:
            return None
        (at,) = struct.unpack_from(f"{order}L", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, at)
        for number in range(min(count, _MAX_TAGS)):
            tag, kind = struct.unpack_from(f"{order}HH", exif, at + 2 + 12 * number)
            if tag == _ORIENTATION:
                code = "H" if kind == 3 else "L"
                return int(struct.unpack_from(order + code, exif, at + 10 + 12 * number)[0])
    except struct.error:
        pass
    return None
