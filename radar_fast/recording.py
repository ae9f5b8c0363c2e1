"""A job's result folder while it is being filled, by one process: what is done already, and where records go."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from radar_fast.benchmark import Benchmark
from radar_fast.config import RunConfig
from radar_fast.errors import UsageError
from radar_fast.results.folder import ResultFolder
from radar_fast.results.journal import Journal
from radar_fast.results.record import Key, Record
from radar_fast.shard import Shard, shard_folders
from radar_fast.steps import step_of
from radar_fast.terminal.progress import Progress
from radar_fast.windows import Window, windows

__all__ = ["Recording", "open_recording", "refuse_series"]


@dataclass(frozen=True)
class Recording:
    """A result folder that is this run's own, with its journal open and locked."""

    name: str
    """What progress calls it."""
    benchmark: Benchmark
    """What it is of."""
    folder: ResultFolder
    """Claimed."""
    journal: Journal
    """Locked."""
    done: frozenset[Key]
    """(task, id) of what is not to be scored, as it was at the start: windows must not depend on how far this run has
    come."""
    samples: int
    """All that this run is to record, those that are done among them."""
    shard: Shard | None
    """Which part of the benchmark; None: all of it."""

    @property
    def left(self) -> int:
        """How many were to be recorded at the start."""
        return self.samples - len(self.done)

    def windows(self) -> Iterator[Window]:
        """What is left to score, read anew from the data."""
        return windows(self.benchmark.samples(), self.done, self.shard)

    def append(self, records: Iterable[Record]) -> int:
        """Write down those of a window that were not done at the start; how many these are.

        Raises:
            BusyError, ResultsError: as :meth:`radar_fast.results.journal.Journal.append`.
        """
        fresh = [record for record in records if record.key not in self.done]
        self.journal.append(fresh)
        return len(fresh)


@contextlib.contextmanager
def open_recording(
    config: RunConfig, benchmark: Benchmark, identity: Mapping[str, Any], progress: Progress, name: str
) -> Iterator[Recording]:
    """Make the result folder this run's own, and hold its journal open. If it fails with nothing recorded, nothing is
    left behind.

    Args:
        config: as it was asked for.
        benchmark: that of ``config.data``, surveyed.
        identity: what whoever runs the engine has found: :attr:`radar_fast.prepare.Prepared.identity`.
        progress: is told what is there already.
        name: what progress calls it.

    Raises:
        UsageError: ``config.step_from`` finds no step.
        BusyError: another process writes to it.
        ResultsError: it holds results of another configuration, or cannot be written.
    """
    shard, samples = config.shard, benchmark.survey.samples
    if shard is not None:
        samples = sum(len(one.samples) + len(one.unfit) for one in windows(benchmark.samples(), shard=shard))
    step = None if config.model is None else step_of(config.model, config.step_from)
    folder = ResultFolder(config.folder)
    folder.make()
    with Journal.open(folder.samples) as journal, folder.nothing_left_by_failures():
        if not journal.locked:
            progress.say(f"{folder.samples}: the file system has no locks; see that no other run writes to this folder")
        empty = not journal.done and not journal.passing
        folder.claim(
            identity,
            config.to_dict(),
            empty=empty,
            images=benchmark.survey.images,
            step=step,
            shard=None if shard is None else {"index": shard.index, "count": shard.count, "samples": samples},
        )
        if journal.repaired_bytes:
            progress.say(
                f"{folder.samples}: cut off a torn end of {journal.repaired_bytes} bytes, left by a killed run"
            )
        # What may pass is tried again, but for images that are still missing.
        done = journal.done | (journal.passing.keys() - benchmark.mended(journal.passing))
        recording = Recording(name, benchmark, folder, journal, frozenset(done), samples, shard)
        if done:
            tell = progress.say if recording.left > 0 else progress.detail
            tell(f"{name}: {len(done)} samples are scored already, {recording.left} are left")
        yield recording


def refuse_series(out: Path) -> None:
    """Raise UsageError where ``out`` holds other runs' result folders: one amid them would be taken for theirs."""
    if (out / "run.json").exists():
        return
    if out.is_dir() and (shards := shard_folders(out)):
        raise UsageError(
            f"--out {out}: holds shards ({next(iter(shards.values())).name} is one of them); `radar-fast merge {out}` "
            "puts them together"
        )
    if found := next(chain(out.glob("*/run.json"), out.glob("*/*/run.json")), None):
        raise UsageError(
            f"--out {out}: holds the results of a series ({found.parent.relative_to(out)} is one of them), and is not "
            "made a run's own; name a new folder in it"
        )
