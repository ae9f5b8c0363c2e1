"""One pass over a benchmark before anything is scored: how much there is, and a digest that tells it from another."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from radar_fast.errors import DataError
from radar_fast.sample import AnyImage, ReasonKind, Sample

__all__ = ["Survey", "survey"]


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
    """SHA-256 over all that the samples say, and the names and sizes of their images; the
    content of those that lie inside a data file."""


def survey(samples: Iterable[Sample], root: Path) -> Survey:
    """Read everything once: counts, and a digest that tells one benchmark from another.

    Raises:
        DataError: a file cannot be read, or there are no samples.
    """
    tasks: Counter[str] = Counter()
    unfit: Counter[ReasonKind] = Counter()
    digest = hashlib.sha256()
    for sample in samples:
        tasks[sample.task] += 1
        if sample.reason is not None:
            unfit[sample.reason.kind] += 1
        texts = [part if isinstance(part, str) else _image_line(part, root) for part in sample.parts]
        said = (*sample.key, sample.directory, sample.ability, *texts, *sample.candidates, str(sample.answer))
        if hint := sample.metadata.get("hint"):  # read by a prompt that lists the options
            said = (*said, str(hint))
        digest.update("\0".join(said).encode("utf-8", "surrogatepass") + b"\n")
    if not tasks:
        raise DataError(f"{root}: no samples to score; check --tasks and --format")
    return Survey(tasks.total(), tasks, unfit, digest.hexdigest())


def _image_line(image: AnyImage, root: Path) -> str:
    """What tells an image from another, wherever the data folder lies, without reading files."""
    return f"{image.key.removeprefix(f'{root}/')} {image.size}"
