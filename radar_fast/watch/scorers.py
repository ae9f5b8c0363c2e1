"""What scores the checkpoints of a watch: one engine in this process, or several on Ray. Either stays warm."""

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from radar_fast.benchmark import Benchmark
from radar_fast.config import RunConfig
from radar_fast.engines.session import EngineSession
from radar_fast.errors import EngineError, ModelError, RadarError, ResultsError, UsageError
from radar_fast.farm.driver import Driver
from radar_fast.farm.jobs import FarmJob
from radar_fast.farm.options import FarmOptions
from radar_fast.farm.scoring import on_ray, require_ray
from radar_fast.farm.state import FarmState
from radar_fast.recording import refuse_series
from radar_fast.results.summary import Summary
from radar_fast.run import score_checkpoint
from radar_fast.series import Job, told
from radar_fast.terminal.progress import HandingOn, Progress

__all__ = ["Scorer", "Task", "Timed", "opened_scorer"]


@dataclass(frozen=True)
class Task:
    """A checkpoint on a benchmark."""

    name: str
    """The checkpoint's."""
    label: str
    """What progress calls it."""
    config: RunConfig
    """Of this checkpoint and this benchmark."""
    benchmark: Benchmark
    """Surveyed."""
    held: Path
    """Where the checkpoint is read from."""


class Scorer(ABC):
    """Scores checkpoints, as they come."""

    at_once: int
    """How many checkpoints it can score at a time."""
    tells_failures: bool
    """Whether progress is told of a checkpoint that was not scored."""

    @abstractmethod
    def score(self, tasks: Sequence[Task], proven: bool) -> list[Summary | RadarError]:
        """What came of each: its summary, or why it was not scored.

        Args:
            tasks: of at most ``at_once`` checkpoints, those of one checkpoint after each other.
            proven: whether something has been scored with these options before.

        Raises:
            RadarError: what no other checkpoint could escape: the options, while they are not proven, or the data.
        """


class Timed(HandingOn):
    """Says when it was said: a watch may go on for weeks."""

    def say(self, text: str) -> None:
        """With the time in front."""
        super().say(f"{time.strftime('%H:%M:%S')} {text}")


@contextlib.contextmanager
def opened_scorer(
    farm: FarmOptions | None, config: RunConfig, progress: Progress, watch: Callable[[FarmState], None]
) -> Iterator[Scorer]:
    """A scorer, whose engines are closed when the context ends.

    Args:
        farm: how many engines on Ray, and where; None: one in this process.
        config: what all runs share; its ``out`` is there.
        progress: told what goes on.
        watch: told how far the engines on Ray are.

    Raises:
        UsageError: Ray is not installed, there is no cluster, or no room in it.
    """
    if farm is None:
        with EngineSession() as session:
            yield _InThisProcess(session, progress)
        return
    require_ray("radar-fast watch --engines")
    with on_ray(farm, config, progress, watch) as (driver, workers):
        yield _OnRay(driver, workers)


class _InThisProcess(Scorer):
    at_once = 1
    tells_failures = False

    def __init__(self, session: EngineSession, progress: Progress) -> None:
        self._session, self._progress = session, progress

    def score(self, tasks: Sequence[Task], proven: bool) -> list[Summary | RadarError]:
        results: list[Summary | RadarError] = []
        failed: dict[str, RadarError] = {}
        for task in tasks:
            if task.name in failed:  # on another benchmark: it is the checkpoint, as a rule
                results.append(failed[task.name])
                continue
            started = time.monotonic()
            try:
                summary = score_checkpoint(
                    task.config, task.benchmark, self._session, self._progress, task.label, held=task.held
                )
            except (ModelError, EngineError, ResultsError, UsageError) as error:
                if isinstance(error, UsageError) and not (proven or any(isinstance(each, Summary) for each in results)):
                    raise  # then it is the options
                if isinstance(error, EngineError):
                    self._session.close()  # whatever state it is in
                failed[task.name] = error
                results.append(error)
            else:
                results.append(summary)
                self._progress.say(told(task.label, summary, time.monotonic() - started))
        return results


class _OnRay(Scorer):
    tells_failures = True

    def __init__(self, driver: Driver, workers: int | None) -> None:
        self.at_once = driver.size
        self._driver, self._workers = driver, workers
        self._numbers = count()

    def score(self, tasks: Sequence[Task], proven: bool) -> list[Summary | RadarError]:  # noqa: ARG002 - it remembers
        for task in tasks:
            refuse_series(task.config.folder)
        jobs = [self._job(task) for task in tasks]
        self._driver.run(jobs)
        return [_result(job) for job in jobs]

    def _job(self, task: Task) -> FarmJob:
        number = next(self._numbers)
        job = Job(task.config.model, task.name, 0, number, task.config.out)
        return FarmJob(number, job, task.config, task.benchmark, task.label, workers=self._workers, held=task.held)


def _result(job: FarmJob) -> Summary | RadarError:
    result = job.summary or job.error
    if result is None:
        raise AssertionError(f"{job.label} is neither done nor failed")
    return result
