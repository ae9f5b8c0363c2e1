"""The pictures of a benchmark, for a page: which sample shows which of them, and their thumbnails.

They are decoded within the bounds of :mod:`radar_fast.images` and encoded anew, so that a page shows a picture and
nothing else that a file may hold.
"""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from radar_fast.errors import DataError, UsageError
from radar_fast.images import read_image
from radar_fast.readers import Reader, open_reader
from radar_fast.sample import AnyImage, EmbeddedImage, Reason, Sample

__all__ = ["SIDE", "Album", "album", "data_of", "thumbnail", "thumbnails"]

Key = tuple[str, str]

SIDE = 400
"""Pixels of a thumbnail's longer side, at most."""
_QUALITY = 82
_THREADS = 2
_MOST_EMBEDDED = 512 * 2**20
"""Bytes of pictures that lie inside data files, and so are kept in memory."""


@dataclass(frozen=True)
class Album:
    """Pictures, numbered; equal ones once."""

    images: tuple[AnyImage, ...]
    """The pictures by number."""
    shown: Mapping[Key, tuple[int, ...]]
    """(task, id) -> the numbers of the pictures that the sample shows, in reading order."""
    questions: Mapping[Key, str]
    """(task, id) -> the text of the question, where the benchmark has one."""
    changed: int
    """Samples that ask something else by now than what was scored: they have neither here."""


def data_of(configuration: Mapping[str, Any], data: Path | None) -> Reader:
    """The benchmark that a run was of, by the options in its ``run.json``; ``data``: where it lies now.

    Raises:
        DataError: it is not there, or not as those options say.
    """
    texts = {name: configuration.get(name) for name in ("data", "format", "preset", "fields_file", "classes")}
    fields = configuration.get("fields") or {}
    try:
        return open_reader(
            data if data is not None else Path(str(texts["data"])),
            format=str(texts["format"] or "auto"),
            fields={str(name): str(value) for name, value in fields.items()},
            preset=_text(texts["preset"]),
            fields_file=_text(texts["fields_file"]),
            classes=_text(texts["classes"]),
            follow_symlinks=configuration.get("follow_symlinks") is True,
        )
    except (UsageError, AttributeError) as error:  # an option of the run, not one of the command that asks
        raise DataError(f"{data or texts['data']}: cannot be read as the run has read it: {error}") from None


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def album(samples: Iterable[Sample], asked: Mapping[Key, str]) -> Album:
    """What the samples with these (task, id) show.

    Args:
        samples: the benchmark's, read once.
        asked: (task, id) -> the question that was scored; empty where that is not known.

    Raises:
        DataError: on the way, where a file cannot be read as a whole.
    """
    numbers: dict[str, int] = {}
    images: list[AnyImage] = []
    shown: dict[Key, tuple[int, ...]] = {}
    questions: dict[Key, str] = {}
    changed = embedded = 0
    for sample in samples:
        question = asked.get(sample.key)
        if question is None:
            continue
        if question and question != sample.metadata.get("question"):
            changed += 1
            continue
        text = "".join(part for part in sample.parts if isinstance(part, str)).strip()
        questions[sample.key] = question or text
        found = []
        for image in sample.images:
            if image.key not in numbers:
                if isinstance(image, EmbeddedImage) and (embedded := embedded + image.size) > _MOST_EMBEDDED:
                    continue
                numbers[image.key] = len(images)
                images.append(image)
            found.append(numbers[image.key])
        shown[sample.key] = tuple(found)
    return Album(tuple(images), shown, questions, changed)


def thumbnail(image: AnyImage, side: int = SIDE) -> bytes | None:
    """The picture as a JPEG file of at most ``side`` by ``side`` pixels; None where it cannot be read."""
    picture = read_image(image)
    if isinstance(picture, Reason):
        return None
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_QUALITY, optimize=True)
    return file.getvalue()


def thumbnails(images: Sequence[AnyImage]) -> Iterator[bytes | None]:
    """The thumbnail of each, in order; a few at a time, in threads."""
    with ThreadPoolExecutor(_THREADS) as threads:
        for start in range(0, len(images), 64):  # so that no more than a few are waiting
            yield from threads.map(thumbnail, images[start : start + 64])
