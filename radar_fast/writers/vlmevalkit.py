"""Samples -> ``<task>.tsv`` for each task, as VLMEvalKit's own tables are: a row a sample, its images as base64."""

import base64
from collections.abc import Iterable
from pathlib import Path
from string import ascii_uppercase

import orjson

from radar_fast.readers.extras import FIELD
from radar_fast.readers.vlmevalkit import MISSING, interleaves, read_row
from radar_fast.sample import AnyImage, EmbeddedImage
from radar_fast.writers.base import Item, Misfit, check_name, compare, digest_of, metadata_of, plain, tagged

__all__ = ["VLMEvalKitWriter"]

_COLUMNS = ("hint", "category", "l2-category", "split")
"""Metadata that have columns of their own."""
_SHARED = 64
"""Bytes of an index that may stand for an image."""


class VLMEvalKitWriter:
    """Tables that VLMEvalKit and the reader here take; ``radar_fast`` is a column of our own, last."""

    def __init__(self) -> None:
        self._options: dict[str, int] = {}  # task -> the most options of a sample of it

    def check(self, item: Item) -> None:
        """Raises Misfit for more options than letters, cells that would be taken for empty, images within text."""
        sample = item.sample
        check_name("task", sample.task)
        if len(sample.candidates) > len(ascii_uppercase):
            raise Misfit(f"it has {len(sample.candidates)} candidates, and options are called A to Z")
        if empty := MISSING.intersection((sample.id, *sample.candidates)):
            raise Misfit(f"its id or a candidate is {min(empty)!a}, which would be taken for an empty cell")
        if plain(item) is None and not interleaves(sample.task):
            raise Misfit("images stand within its text, which here they do only in tasks with MMMU in their name")
        row = _row(item)
        cells = [text.encode() for text in row.values()]
        back = read_row(Path(f"{sample.task}.tsv"), list(row), cells)

        def number(image: AnyImage) -> int:
            assert isinstance(image, EmbeddedImage)
            return item.data.index(image.data)

        compare(item, back, number)
        self._options[sample.task] = max(self._options.get(sample.task, 0), len(sample.candidates))

    def write(self, folder: Path, items: Iterable[Item]) -> None:
        """One file for each task, its rows in the order of the samples. Raises OSError."""
        headers: dict[str, list[str]] = {}
        rows_with: dict[tuple[str, str], str] = {}
        for item in items:
            task, row = item.sample.task, _row(item)
            if len(item.sample.candidates) > self._options.get(task, 0):
                raise Misfit(f"task {task!a} has more options than before")
            with (folder / f"{task}.tsv").open("ab") as file:
                if task not in headers:
                    letters = ascii_uppercase[: self._options[task]]
                    headers[task] = ["index", "image", "question", *letters, "answer", *_COLUMNS, FIELD]
                    file.write(_line(headers[task]))
                if row["image"] and not row["image"].startswith("["):
                    # An image that an earlier row has is given by that row's index, as in the published tables.
                    first = rows_with.setdefault((task, digest_of(item.data[0])), row["index"])
                    if first != row["index"] and len(first.encode()) <= _SHARED:
                        row["image"] = first
                file.write(_line([row.get(column, "") for column in headers[task]]))


def _row(item: Item) -> dict[str, str]:
    """The cells by column, those of the options that there are."""
    sample, text = item.sample, plain(item)
    images = [base64.b64encode(data).decode() for data in item.data]
    listed = images if text is None else [images[place] for place in item.order]
    metadata = metadata_of(sample)
    named = {column: str(metadata.pop(column, "")) for column in _COLUMNS}
    said: dict[str, object] = {}
    if sample.ability != (named["l2-category"] or named["category"] or "other"):
        said["ability"] = sample.ability
    if not sample.ordered:
        said["ordered"] = False
    if metadata:
        said["metadata"] = metadata
    return {
        "index": sample.id,
        "image": listed[0] if len(listed) == 1 else f"[{', '.join(map(repr, listed))}]" if listed else "",
        "question": tagged(item) if text is None else text,
        **dict(zip(ascii_uppercase, sample.candidates, strict=False)),
        "answer": ascii_uppercase[sample.answer],
        **named,
        FIELD: orjson.dumps(said).decode() if said else "",
    }


def _line(cells: list[str]) -> bytes:
    """As pandas writes it: quotes around cells that need them, doubled within."""
    quoted = ('"' + cell.replace('"', '""') + '"' if set(cell) & set('\t"\r\n') else cell for cell in cells)
    return "\t".join(quoted).encode() + b"\n"
