"""Samples -> ``samples.parquet``, images in it as ``{bytes, path}``: what Hugging Face's datasets library reads."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import orjson

from radar_fast.errors import one_line
from radar_fast.readers.extras import FIELD
from radar_fast.readers.parquet import load_pyarrow
from radar_fast.writers.base import Item, Misfit
from radar_fast.writers.mapped import check_mapped, record_of

__all__ = ["ParquetWriter"]

_GROUP_BYTES = 32 * 2**20
_GROUP_ROWS = 1000


class ParquetWriter:
    """Our own field names as columns, so that no ``--field`` is needed to read them.

    Raises UsageError at birth where pyarrow is not installed.
    """

    def __init__(self) -> None:
        arrow = load_pyarrow()
        image = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
        texts = arrow.list_(arrow.string())
        columns = dict.fromkeys(("id", "task", "ability", "question", "answer", FIELD), arrow.string())
        columns |= {"image": arrow.list_(image), "options": texts, "distractors": texts}
        self._arrow, self._schema = arrow, arrow.schema(list(columns.items()))

    def check(self, item: Item) -> None:
        """Raises Misfit where the text holds what would be taken for an image tag."""
        check_mapped(item)

    def write(self, folder: Path, items: Iterable[Item]) -> None:
        """One file, in the order of the samples. Raises OSError, and Misfit for what pyarrow refuses."""
        with self._arrow.parquet.ParquetWriter(folder / "samples.parquet", self._schema) as file:
            for rows in _groups(items):
                try:
                    file.write_table(self._arrow.Table.from_pylist(rows, self._schema))
                except self._arrow.ArrowException as error:
                    raise Misfit(f"pyarrow refused {len(rows)} rows ({one_line(error, 200)})") from error


def _groups(items: Iterable[Item]) -> Iterator[list[dict[str, object]]]:
    """Rows that are written together, and are all that is in memory."""
    rows: list[dict[str, object]] = []
    size = 0
    for item in items:
        rows.append(_row(item))
        size += sum(map(len, item.data))
        if size >= _GROUP_BYTES or len(rows) == _GROUP_ROWS:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


def _row(item: Item) -> dict[str, object]:
    record = record_of(item)
    places = record["image"]
    assert isinstance(places, list)
    record["image"] = [{"bytes": item.data[place], "path": None} for place in places]
    if FIELD in record:
        record[FIELD] = orjson.dumps(record[FIELD]).decode()
    return record
