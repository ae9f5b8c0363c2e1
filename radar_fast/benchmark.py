"""What is to be scored: a reader's samples, selected, under conditions, surveyed once before anything is scored."""

import hashlib
import os
import time
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from radar_fast.conditions import Conditions
from radar_fast.config import RunConfig
from radar_fast.errors import DataError
from radar_fast.oddities import OddCounter
from radar_fast.readers import Reader, Selection, open_reader
from radar_fast.results.witness import ImageWitness, stat_of
from radar_fast.sample import ReasonKind, Sample
from radar_fast.terminal.progress import Progress

__all__ = ["Benchmark", "Survey", "benchmark_name", "open_benchmark", "survey"]

_LOOKED_AT = 1024
"""Pictures whose headers are read at a run's start, to say whether some are read oddly: a tenth of a second for JPEG
files on one CPU core."""
_LOOKED_AT_OF_TASK = 64
"""Of each task, so that the first tasks do not take all."""
_ALPHA_PIXELS = 16_000_000
"""Decoded at a run's start, of pictures with an alpha channel: at most a second or two, for PNG files of noise."""


@dataclass(frozen=True)
class Benchmark:
    """What is to be scored, the same for every checkpoint."""

    name: str
    """The data folder's own name, without the ending of a single file."""
    reader: Reader
    """Samples as they are on disk."""
    selection: Selection
    """Which of them."""
    conditions: Conditions
    """How they are asked."""
    survey: "Survey"
    """Of the data as they are: runs under different conditions are of the same data."""
    seconds: float
    """That the survey took."""
    state: str | None = None
    """How its files were before they were surveyed: :func:`radar_fast.finished.data_state`; None: not known."""

    def identity(self) -> dict[str, Any]:
        """Its part of a run's identity: which data these are, and how they are asked where that is not the usual way.
        Nested, of text and whole numbers: it goes to other processes as it is."""
        found = self.survey
        data = {"format": self.reader.format, "samples": found.samples, "sha256": found.digest}
        settings = self.conditions.settings()
        return {"data": data, **({"conditions": settings} if settings else {})}

    def samples(self) -> Iterator[Sample]:
        """All of them, each time anew.

        Raises:
            DataError: on the way, where the data are not what they were when they were surveyed.
        """
        return self.conditions.apply(self.survey.watched(self.selection.apply(self.reader)))

    def mended(self, keys: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """Of the samples with these (task, id): those whose images are all there by now."""
        if not keys:
            return set()
        samples = (sample for sample in self.selection.apply(self.reader) if sample.key in keys)
        return {sample.key for sample in samples if all(image.size >= 0 for image in sample.images)}


@dataclass(frozen=True)
class Survey:
    """What one pass over a benchmark finds, before anything is scored."""

    samples: int
    """All of them, unfit ones included."""
    tasks: Counter[str]
    """Samples a task."""
    unfit: Counter[ReasonKind]
    """Samples that the reader already knows cannot be scored."""
    digest: str
    """SHA-256 over all that the samples say, and the names of their images; the content of those that lie inside a data
    file."""
    images: ImageWitness
    """What the other images were."""
    marks: "array[int]" = field(repr=False)
    """64 bits a sample, in their order, of what it says."""

    def watched(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        """The same samples, as they are read once more.

        Raises:
            DataError: a sample, or a file of its images, is not what it was, before that sample is given away; or there
                are fewer, or more, of them.
        """
        count = 0
        for sample in samples:
            if count == len(self.marks) or _mark(_said(sample, self.images.root)) != self.marks[count]:
                raise self._changed(
                    f"sample {sample.id!r} of task {sample.task!r} is not where it was, or not what it was"
                )
            for image in sample.images:
                before, now = self.images.stats.get(image.key), stat_of(image)
                if before is not None and before != now:
                    raise self._changed(f"image {image.name} has been replaced or removed")
            count += 1
            yield sample
        if count < len(self.marks):
            raise self._changed(f"only {count} of {len(self.marks)} samples are left")

    def _changed(self, what: str) -> DataError:
        return DataError(
            f"{self.images.root}: the data have changed since this run has surveyed them: {what}. What was scored "
            "before is of the data as they were; leave them alone while a run reads them",
            path=self.images.root,
        )


def survey(samples: Iterable[Sample], root: Path) -> Survey:
    """Read everything once: counts, and a digest that tells one benchmark from another.

    Raises:
        DataError: a file cannot be read, or there are no samples.
    """
    tasks: Counter[str] = Counter()
    unfit: Counter[ReasonKind] = Counter()
    digest = hashlib.sha256()
    images, marks = ImageWitness(root), array("Q")
    for sample in samples:
        tasks[sample.task] += 1
        if sample.reason is not None:
            unfit[sample.reason.kind] += 1
        said = _said(sample, root)
        digest.update(said)
        marks.append(_mark(said))
        images.show(sample.images)
    if not tasks:
        raise DataError(f"{root}: no samples to score; check --tasks and --format", path=root)
    return Survey(tasks.total(), tasks, unfit, digest.hexdigest(), images, marks)


def _said(sample: Sample, root: Path) -> bytes:
    """All that a sample says, and which images it has, wherever the data folder lies."""
    inside = f"{os.path.abspath(root)}/"  # noqa: PTH100 - as readers make image paths
    texts = [part if isinstance(part, str) else part.key.removeprefix(inside) for part in sample.parts]
    # A directory that is called as the data folder says where the data lie, and nothing of them.
    directory = "" if sample.directory == root.absolute().name else sample.directory
    said = (*sample.key, directory, sample.ability, *texts, *sample.candidates, str(sample.answer))
    if hint := sample.metadata.get("hint"):  # read by a prompt that lists the options
        said = (*said, str(hint))
    if letters := sample.metadata.get("letters"):  # and so are these
        said = (*said, str(letters))
    return "\0".join(said).encode("utf-8", "surrogatepass") + b"\n"


def _mark(said: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(said, digest_size=8).digest(), "big")


def _settled(data: Path) -> Path:
    """The same place without links and dots on the way, so that nothing is called after a link; a file keeps its own
    name, which links give it in a cache."""
    return data.resolve() if data.is_dir() else data.parent.resolve() / data.name


def benchmark_name(data: Path) -> str:
    """What a benchmark is called: the data folder's own name, without the ending of a single file."""
    data = data.resolve()
    return data.name if data.is_dir() else data.stem


def open_benchmark(config: RunConfig, progress: Progress, state: str | None = None) -> Benchmark:
    """Open what the configuration's options name, survey it, and say what it is.

    Args:
        config: what is asked.
        progress: is told.
        state: of the data, asked for before: :func:`radar_fast.finished.data_state`; None: not known.

    Raises:
        UsageError: a wrong option.
        DataError: the data cannot be read, or nothing is selected.
    """
    started = time.perf_counter()
    reader = open_reader(
        _settled(config.data),
        format=config.format,
        fields=config.fields,
        classes=config.classes,
        preset=config.preset,
        fields_file=config.fields_file,
        follow_symlinks=config.follow_symlinks,
    )
    selection = Selection(tasks=config.tasks, limit=config.limit, abilities=config.abilities)
    conditions = Conditions(candidates=config.candidates, without=config.without)
    odd = OddCounter(most=_LOOKED_AT, most_of_task=_LOOKED_AT_OF_TASK, alpha_pixels=_ALPHA_PIXELS)
    found = survey(odd.passing(selection.apply(reader)), reader.root)
    progress.say(f"{config.data}: {found.samples} samples in {len(found.tasks)} tasks ({reader.format})")
    if line := odd.line():
        progress.say(f"{config.data}: {line}; `radar-fast inspect` looks at all")
    seconds = time.perf_counter() - started
    return Benchmark(benchmark_name(config.data), reader, selection, conditions, found, seconds, state)
