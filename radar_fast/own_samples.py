"""Samples of one's own, from anywhere, through the journal: a run whose data are in memory."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from radar_fast.benchmark import Benchmark, benchmark_name, survey
from radar_fast.conditions import Conditions
from radar_fast.config import RunConfig
from radar_fast.engines.session import EngineSession
from radar_fast.readers import Selection
from radar_fast.results.summary import Summary
from radar_fast.run import score_checkpoint
from radar_fast.sample import Sample
from radar_fast.terminal.progress import Progress, SilentProgress

__all__ = ["score_samples"]


@dataclass(frozen=True)
class _Held:
    """A reader of what is there already."""

    samples: tuple[Sample, ...]
    root: Path
    format: str = "samples"
    files: tuple[Path, ...] = ()

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)


def score_samples(samples: Iterable[Sample], config: RunConfig, progress: Progress | None = None) -> Summary:
    """Score samples that no reader of ours has read, as :func:`radar_fast.score` does those of a folder: journal,
    resume, identity and summary are the same.

    Args:
        samples: each (task, id) once; read once and held.
        config: ``data`` names the benchmark, and is the folder that its images are named below; nothing is read there
            but those images. Selection and conditions count, what says how a folder is read does not.
        progress: told what goes on.

    Returns:
        What ``summary.json`` holds.

    Raises:
        RadarError: as :func:`radar_fast.score`.
    """
    progress = progress or SilentProgress()
    reader = _Held(tuple(samples), config.data.absolute())
    selection = Selection(tasks=config.tasks, limit=config.limit, abilities=config.abilities)
    conditions = Conditions(candidates=config.candidates, without=config.without)
    found = survey(selection.apply(reader), reader.root)
    benchmark = Benchmark(benchmark_name(config.data), reader, selection, conditions, found, 0.0, None)
    with EngineSession() as session:
        return score_checkpoint(config, benchmark, session, progress)
