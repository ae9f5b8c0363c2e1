"""Samples -> a benchmark on disk in another format; one file for each format, the way back of the reader of its name.

Nothing is written before every sample has been looked at: what does not fit the format is listed first, with why, and
left out. What is written reads back as the same samples: parts, candidates, answer, task, id and ability.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from radar_fast.errors import DataError, ResultsError
from radar_fast.sample import Sample
from radar_fast.util.atomic import new_folder
from radar_fast.util.choices import check_one_of
from radar_fast.writers.base import Item, Misfit, Writer, item_of
from radar_fast.writers.jsonl import JsonlWriter
from radar_fast.writers.m3 import M3Writer
from radar_fast.writers.parquet import ParquetWriter
from radar_fast.writers.vlmevalkit import VLMEvalKitWriter

__all__ = ["FORMATS", "Plan", "plan_export"]

_WRITERS: dict[str, Callable[[], Writer]] = {
    "m3": M3Writer,
    "jsonl": JsonlWriter,
    "vlmevalkit": VLMEvalKitWriter,
    "parquet": ParquetWriter,
}
FORMATS = tuple(_WRITERS)
"""What can be written."""


@dataclass(frozen=True, slots=True)
class Plan:
    """An export that has been checked, and not been written."""

    format: str
    """What is to be written."""
    samples: int
    """All of them."""
    misfits: tuple[tuple[str, str, str], ...]
    """(task, id, why) of the samples that do not fit and will be left out."""
    writer: Writer

    def write(self, samples: Iterable[Sample], out: Path) -> int:
        """Write the samples that fit, the same that were planned, and return how many those are.

        ``out`` is complete or not there. Raises ResultsError where it holds something, cannot be written, or the data
        have changed meanwhile.
        """
        left_out = {(task, name) for task, name, _ in self.misfits}
        planned, written = self.samples - len(left_out), 0

        def items() -> Iterator[Item]:
            nonlocal written
            for sample in samples:
                if sample.key not in left_out:
                    written += 1
                    yield item_of(sample)

        with new_folder(out) as folder:
            try:
                self.writer.write(folder, items())
                if written != planned:
                    raise Misfit(f"{planned} samples were to be written, and {written} are there")
            except Misfit as misfit:
                raise ResultsError(f"nothing was written: the data changed while they were read: {misfit}") from None
        return planned


def plan_export(samples: Iterable[Sample], format: str) -> Plan:  # noqa: A002 - called as the option is
    """Look at every sample, without writing anything.

    Raises UsageError for a format that cannot be written or needs what is not installed, DataError where no sample
    fits.
    """
    check_one_of("to", format, FORMATS)
    writer = _WRITERS[format]()
    misfits: list[tuple[str, str, str]] = []
    count = 0
    for sample in samples:
        count += 1
        try:
            writer.check(item_of(sample))
        except Misfit as misfit:
            misfits.append((*sample.key, str(misfit)))
    if len(misfits) == count:
        why = f"the first: {misfits[0][0]}, {misfits[0][1]}: {misfits[0][2]}" if misfits else "there are none"
        raise DataError(f"none of the {count} samples fits {format}; {why}")
    return Plan(format, count, tuple(misfits), writer)
