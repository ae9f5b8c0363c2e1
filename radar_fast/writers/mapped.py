"""Samples -> records under our own field names: what JSON lines and parquet files have in common."""

from radar_fast.readers.extras import FIELD
from radar_fast.readers.layout import Layout
from radar_fast.readers.mapping import MappedRecord, Place
from radar_fast.readers.records import UniqueIds
from radar_fast.sample import AnyImage, EmbeddedImage
from radar_fast.writers.base import Item, compare, metadata_of, plain, tagged

__all__ = ["check_mapped", "record_of"]


def record_of(item: Item) -> dict[str, object]:
    """The fields; ``image`` holds places in ``item.data``, to be put in the format's own way."""
    sample = item.sample
    text = plain(item)
    record: dict[str, object] = {
        "id": sample.id,
        "task": sample.task,
        "ability": sample.ability,
        "question": tagged(item) if text is None else text,
        "image": list(range(len(item.data)) if text is None else item.order),
        "answer": sample.candidates[sample.answer],
    }
    if sample.ordered or sample.answer:
        record["options"] = list(sample.candidates)
    else:
        record["distractors"] = list(sample.candidates[1:])
    said: dict[str, object] = {}
    if sample.answer and not sample.ordered:
        said["ordered"] = False
    if metadata := metadata_of(sample):
        said["metadata"] = metadata
    return {**record, FIELD: said} if said else record


def check_mapped(item: Item) -> None:
    """Raises Misfit unless the record reads back as the sample."""

    def image(entry: object, _: str) -> AnyImage:
        return EmbeddedImage(str(entry), b"")

    place = Place("as written", "", "", item.sample.directory, {})
    back = MappedRecord(Layout(), record_of(item), image).sample(place, UniqueIds())
    compare(item, back, lambda read: int(read.name))
