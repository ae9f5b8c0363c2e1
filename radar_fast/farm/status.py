"""How far jobs are, seen from outside: from result folders, their journals, and what a farm says of itself."""

import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from radar_fast.errors import ResultsError
from radar_fast.farm.state import FarmState, read_state
from radar_fast.results.folder import ResultFolder
from radar_fast.results.journal import read_records
from radar_fast.shard import shard_folders
from radar_fast.util.locks import is_locked

__all__ = ["JobStatus", "Status", "status_of"]

RECENT = 60.0
"""Seconds since a journal's last line up to which somebody is taken to be at work, where locks do not tell."""
_DEEPEST = 6


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A result folder. The fields are the keys of ``radar-fast status --json``."""

    folder: str
    """Below the folder that was asked about; ``.`` for that itself."""
    state: str
    """``done``, ``running``, ``stopped`` (the same command goes on) or ``unreadable``."""
    samples: int | None
    """How many it is to hold; None where nothing says it."""
    done: int
    """How many it holds."""
    shard: str | None
    """``I/N`` where it is a shard."""
    step: int | None
    """The checkpoint's training step."""
    idle_seconds: float | None
    """Since its last sample was written; None without one."""
    problem: str | None = None
    """Why it cannot be read."""


@dataclass(frozen=True, slots=True)
class Status:
    """All result folders at or below one."""

    jobs: tuple[JobStatus, ...]
    """In the order of their training steps, then names."""
    farm: FarmState | None
    """What a farm says of itself; None without one."""

    @property
    def samples(self) -> int:
        """Of all jobs."""
        return sum(job.samples or 0 for job in self.jobs)

    @property
    def done(self) -> int:
        """Samples that are in journals."""
        return sum(job.done for job in self.jobs)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "samples": self.samples,
            "done": self.done,
            "jobs": [asdict(job) for job in self.jobs],
            "farm": self.farm.to_dict() if self.farm is not None else None,
        }


def status_of(root: Path) -> Status:
    """Look at every result folder at or below ``root``; shards that have been merged are not counted again.

    Raises:
        ResultsError: there is none, or what a farm wrote cannot be read.
    """
    jobs = [_job(folder, root) for folder in _result_folders(root, _DEEPEST)]
    farm = read_state(root)
    if not jobs and farm is None:
        raise ResultsError(
            f"{root}: holds no result folder; name the --out of a score, farm or watch command", path=root
        )
    return Status(tuple(sorted(jobs, key=_by_step)), farm)


def _by_step(job: JobStatus) -> tuple[str, int, str]:
    benchmark, _, _ = job.folder.rpartition("/")
    return benchmark, -1 if job.step is None else job.step, job.folder


def _result_folders(folder: Path, deep: int) -> Iterator[Path]:
    try:
        inner = sorted(entry.path for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False))
        shards = set(shard_folders(folder).values())
    except OSError as error:
        raise ResultsError(
            f"{folder}: cannot be read: {error.strerror}; name the --out of a score command", path=folder
        ) from None
    merged = False
    if (folder / "run.json").is_file():
        yield folder
        merged = bool(shards)
    for path in map(Path, inner):
        if deep and not path.name.startswith(".") and not (merged and path in shards):
            yield from _result_folders(path, deep - 1)


def _job(path: Path, root: Path) -> JobStatus:
    folder = ResultFolder(path)
    name = str(path.relative_to(root))
    try:
        manifest = folder.manifest()
        idle = max(0.0, time.time() - folder.samples.stat().st_mtime)
        done = _done(folder)
    except ResultsError as error:
        return JobStatus(name, "unreadable", None, 0, None, None, None, str(error))
    except OSError:  # between run.json and the journal's first line
        return JobStatus(name, "stopped", manifest.expected, 0, manifest.shard_name, manifest.step, None)
    if manifest.expected is not None and done >= manifest.expected:
        state = "done"
    else:
        state = "running" if is_locked(folder.samples) or idle < RECENT else "stopped"
    return JobStatus(name, state, manifest.expected, done, manifest.shard_name, manifest.step, round(idle, 1))


def _done(folder: ResultFolder) -> int:
    """Samples in a journal: as the summary says where that is of all of it, else counted."""
    if folder.summary.is_file() and folder.summary.stat().st_mtime_ns >= folder.samples.stat().st_mtime_ns:
        overall = folder.read_summary().overall
        return overall.scored + overall.unscored
    return sum(1 for _ in read_records(folder.samples))
