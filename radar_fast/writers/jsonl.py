"""Samples -> ``samples.jsonl`` and ``images/``: an image a file, called by its content."""

from collections.abc import Iterable
from pathlib import Path

import orjson

from radar_fast.writers.base import Item, digest_of
from radar_fast.writers.mapped import check_mapped, record_of

__all__ = ["JsonlWriter", "ending_of"]

_MAGIC = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"GIF8": ".gif", b"BM": ".bmp", b"II*\0": ".tif"}


def ending_of(data: bytes) -> str:
    """What a file of an encoded image is called; readers go by what is in it."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return ".webp"
    return next((ending for magic, ending in _MAGIC.items() if data.startswith(magic)), ".img")


class JsonlWriter:
    """JSON lines under our own field names, so that no ``--field`` is needed to read them."""

    def check(self, item: Item) -> None:
        """Raises Misfit where the text holds what would be taken for an image tag."""
        check_mapped(item)

    def write(self, folder: Path, items: Iterable[Item]) -> None:
        """One file, in the order of the samples. Raises OSError."""
        images = folder / "images"
        images.mkdir()
        with (folder / "samples.jsonl").open("xb") as file:
            for item in items:
                names = [f"{digest_of(data)}{ending_of(data)}" for data in item.data]
                for name, data in zip(names, item.data, strict=True):
                    if not (images / name).exists():
                        (images / name).write_bytes(data)
                record = record_of(item)
                places = record["image"]
                assert isinstance(places, list)
                record["image"] = [f"images/{names[place]}" for place in places]
                file.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
