"""What all writers do with a sample: its images' bytes, its question as text, and whether it would be read back."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from radar_fast.errors import one_line
from radar_fast.images import MAX_ENCODED
from radar_fast.readers.extras import PLACE
from radar_fast.sample import AnyImage, Sample

__all__ = [
    "Item",
    "Misfit",
    "Writer",
    "check_name",
    "compare",
    "digest_of",
    "item_of",
    "metadata_of",
    "plain",
    "tagged",
]


class Misfit(Exception):  # noqa: N818 - not an error: a sample's way out of a format that has no place for it
    """Why a sample does not fit a format. Never leaves the writers."""


@dataclass(frozen=True, slots=True)
class Item:
    """A sample with the bytes of its images."""

    sample: Sample
    data: tuple[bytes, ...]
    """The images that differ, encoded, in order of appearance."""
    order: tuple[int, ...]
    """For each image of the question, in reading order, its place in ``data``."""


class Writer(Protocol):
    """One format. A writer is for one export: it learns from ``check`` what ``write`` needs to know."""

    def check(self, item: Item) -> None:
        """Raises Misfit unless the format has a place for all of the sample. Called for every sample, in order."""

    def write(self, folder: Path, items: Iterable[Item]) -> None:
        """Write what passed ``check``, in the same order, into an empty folder.

        Raises OSError, and Misfit for what did not pass ``check``.
        """


def item_of(sample: Sample) -> Item:
    """The sample with its images read. Raises Misfit where it is unscored, or an image cannot be had."""
    if sample.reason is not None:
        raise Misfit(f"it cannot be scored ({sample.reason})")
    said = (sample.id, sample.task, sample.directory, sample.ability, *sample.candidates)
    try:
        "".join((*said, *(part for part in sample.parts if isinstance(part, str)))).encode()
    except UnicodeEncodeError:
        raise Misfit("it holds half a surrogate pair, which no file in UTF-8 can") from None
    places: dict[bytes, int] = {}
    order = tuple(places.setdefault(_bytes_of(image), len(places)) for image in sample.images)
    return Item(sample, tuple(places), order)


def _bytes_of(image: AnyImage) -> bytes:
    try:
        with image.open() as file:
            data = file.read(MAX_ENCODED + 1)
    except (OSError, ValueError) as error:
        raise Misfit(f"image {image.name} cannot be opened ({one_line(error, 120)})") from None
    if not data:
        raise Misfit(f"image {image.name} is empty (0 bytes)")
    if len(data) > MAX_ENCODED:
        raise Misfit(f"image {image.name} is larger than {MAX_ENCODED} bytes")
    return data


def digest_of(data: bytes) -> str:
    """What tells encoded images apart."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def plain(item: Item) -> str | None:
    """The question where it is one text after all of its images; None where it is blank, or laid out otherwise."""
    *before, text = item.sample.parts
    if isinstance(text, str) and text.strip() and not any(isinstance(part, str) for part in before):
        return text
    return None


def tagged(item: Item) -> str:
    """The question with ``<image n>`` for each of its images; n is the place in ``data``, from 1."""
    order = iter(item.order)
    return "".join(part if isinstance(part, str) else f"<image {next(order) + 1}>" for part in item.sample.parts)


def metadata_of(sample: Sample) -> dict[str, str | int]:
    """The metadata that prompts and metrics need, to be carried in the field ``radar_fast``."""
    return {name: value for name, value in sample.metadata.items() if name not in PLACE}


def check_name(what: str, name: str) -> None:
    """Raises Misfit unless a task, id or directory can be part of a file's name."""
    if "/" in name or "\0" in name or name.startswith("."):
        raise Misfit(f"its {what} {name!a} makes no file name: it holds a slash, or begins with a dot")
    if len(name.encode()) > 180:
        raise Misfit(f"its {what} {name[:40]!a}... makes no file name: it is longer than 180 bytes")


def compare(item: Item, back: Sample, number: Callable[[AnyImage], int]) -> None:
    """Raises Misfit unless ``back``, as the reader of the format makes it, is the item's sample.

    ``number`` gives the place in the item's ``data`` of an image of ``back``.
    """
    if back.reason is not None:
        raise Misfit(back.reason.detail)
    sample, order = item.sample, iter(item.order)
    own = [part if isinstance(part, str) else next(order) for part in sample.parts]
    theirs = [part if isinstance(part, str) else number(part) for part in back.parts]
    for what, ours, read in (
        ("text, or other images in it", own, theirs),
        ("candidates", sample.candidates, back.candidates),
        ("answer", sample.answer, back.answer),
        ("id", sample.id, back.id),
        ("task", sample.task, back.task),
        ("ability", sample.ability, back.ability),
        ("order of candidates", sample.ordered, back.ordered),
    ):
        if ours != read:
            raise Misfit(f"it would be read back with another {what}")
