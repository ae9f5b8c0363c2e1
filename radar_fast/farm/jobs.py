"""A job while engines work on it: its result folder, and what becomes of windows that come back."""

import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from enum import Enum, auto
from pathlib import Path

from radar_fast.benchmark import Benchmark
from radar_fast.config import RunConfig
from radar_fast.errors import EngineError, RadarError
from radar_fast.farm.messages import Opened, Order, Report, combined
from radar_fast.farm.portions import Portion, Portions
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.recording import Recording, open_recording
from radar_fast.results.record import Record, record_of
from radar_fast.results.summary import Summary
from radar_fast.run import conclude
from radar_fast.sample import Reason, ReasonKind, Scored
from radar_fast.series import Job
from radar_fast.terminal.progress import Progress, SilentProgress
from radar_fast.windows import Window

__all__ = ["FarmJob", "State"]

LOADS = 2
"""Deaths of engines while they load a checkpoint, after which it is given up."""
ROW = 6
"""Engines that may die or fail of a job, one after the other with nothing scored in between, before it is given up."""


class State(Enum):
    """How far a job is."""

    WAITING = auto()
    """No engine has opened it."""
    RUNNING = auto()
    """Its result folder is open."""
    CLOSING = auto()
    """All is recorded; engines are asked what they did."""
    DONE = auto()
    FAILED = auto()


class FarmJob:
    """A checkpoint on a benchmark, from the first order to its summary."""

    def __init__(
        self,
        number: int,
        job: Job,
        config: RunConfig,
        benchmark: Benchmark,
        label: str,
        *,
        workers: int | None = None,
        held: Path | None = None,
    ) -> None:
        """
        Args:
            number: counted from 0 in the farm's order.
            job: which checkpoint, on which benchmark.
            config: the options of this job alone.
            benchmark: surveyed.
            label: what progress calls it.
            workers: of each engine, where the options name no number; None: as many as one that has its machine alone.
            held: where engines read the checkpoint from, if not where ``config`` says that it is from.
        """
        self.number, self.job, self.config, self.benchmark, self.label = number, job, config, benchmark, label
        self._workers, self._model = workers, held or config.model
        self.state = State.WAITING
        self.summary: Summary | None = None
        """Once it is done."""
        self.error: RadarError | None = None
        """Why it has failed."""
        self.fresh = 0
        """Samples that this run has recorded."""
        self._progress: Progress = SilentProgress()
        self.engines: set[int] = set()
        """Those that have opened it and have not died since."""
        self.died_in: Counter[int] = Counter()
        """Engines that have died while they loaded it, and how often."""
        self.reports: list[Report] = []
        """What they did."""
        self._began = time.perf_counter()
        self._checkpoint: Checkpoint | None = None
        self._stack = contextlib.ExitStack()
        self._recording: Recording | None = None
        self._portions: Portions | None = None
        """Once it is opened."""
        self._row = 0

    # Opening ---------------------------------------------------------------------------------------------------------

    def order(self) -> Order:
        """What an engine is told.

        Raises:
            ModelError: there is no such checkpoint.
        """
        if self._checkpoint is None and self._model is not None:
            self._checkpoint = Checkpoint.open(self._model, trust_remote_code=self.config.trust_remote_code)
            _ = self._checkpoint.state  # as it is before anybody loads it
        expected = self.benchmark.survey.samples if self._recording is None else self._recording.left
        options = self.config.options
        if options.workers is None and self._workers is not None:
            options = replace(options, workers=self._workers)
        config = replace(self.config, model=self._model, options=options)
        return Order(self.number, self.label, config, self.benchmark.identity(), self.benchmark.reader.root, expected)

    @property
    def done_before(self) -> int:
        """Samples that an earlier run has recorded; 0 before it is opened."""
        return 0 if self._recording is None else len(self._recording.done)

    def open(self, opened: Opened, progress: Progress) -> None:
        """An engine is ready: open the result folder, or see that it is of the same as the engine before.

        Raises:
            RadarError: the folder is in use, or of another configuration; or the engines differ.
        """
        if self._recording is None:
            self._recording = self._stack.enter_context(
                open_recording(self.config, self.benchmark, opened.identity, progress, self.label)
            )
            self._identity = opened.identity
            self._portions = Portions(self._windows(self._recording), self._recording.left)
            self._progress = progress
            for _ in range(self.done_before):
                progress.advance()
            self._began = time.perf_counter()
            self.state = State.RUNNING
        elif opened.identity != self._identity:
            raise EngineError(
                f"{self.label}: the engines of this farm differ in what decides a score (the checkpoint's files, dtype "
                "or device), and their numbers may not stand in one journal; see that all machines have the same"
            )

    def died_loading(self, engine: int, why: str, *, others: bool) -> None:
        """An engine has died while it loaded the checkpoint.

        Args:
            engine: which.
            why: how.
            others: whether there are others: then one of them has to die of it too, since it may be this one's machine.

        Raises:
            EngineError: that was once too often.
        """
        self.died_in[engine] += 1
        if self.died_in.total() >= LOADS and (len(self.died_in) > 1 or not others):
            raise EngineError(
                f"{self.label}: engines have died {self.died_in.total()} times while they loaded it ({why}); most "
                "likely the memory is full: see the engines' logs"
            )

    @property
    def elapsed(self) -> float:
        """Seconds since the first engine was ready for it."""
        return time.perf_counter() - self._began

    # Windows ---------------------------------------------------------------------------------------------------------

    @property
    def samples_left(self) -> int:
        """Samples that were given to no engine yet, or have come back; all of them before it is opened."""
        return self.benchmark.survey.samples if self._portions is None else self._portions.samples_left

    @property
    def has_suspects(self) -> bool:
        """Whether anything waits that must be given out alone."""
        return self._portions is not None and self._portions.has_suspects

    @property
    def over(self) -> bool:
        """Whether all is recorded."""
        return self._portions is not None and self._portions.over

    def next_alone(self) -> Portion | None:
        """As :meth:`radar_fast.farm.portions.Portions.next_alone`."""
        return None if self._portions is None else self._portions.next_alone()

    def next(self) -> Portion | None:
        """The next window for an engine; None where there is none now, which a death may change.

        Raises:
            DataError: the data are not what they were.
            ResultsError: as :meth:`append`.
        """
        return None if self._portions is None else self._portions.next()

    def _windows(self, recording: Recording) -> Iterator[Window]:
        """Those that are left; unfit samples are written down on the way."""
        for window in recording.windows():
            if window.unfit:
                self.append([self._record(scored) for scored in window.refused()])
            yield window

    def take(self, records: list[Record]) -> int:
        """A portion is scored: write it down, how many samples that were not there before. Raises as :meth:`append`."""
        if self._portions is not None:
            self._portions.scored()
        self._row = 0
        return self.append(records)

    def append(self, records: list[Record]) -> int:
        """Write records down; how many were not there before.

        Raises:
            BusyError, ResultsError: as :meth:`radar_fast.recording.Recording.append`.
        """
        if self._recording is None:
            raise AssertionError("records of a job that no engine has opened")
        fresh = self._recording.append(records)
        self.fresh += fresh
        for _ in range(fresh):
            self._progress.advance()
        for record in records:
            if record.status == "unscored" and record.key not in self._recording.done:
                self._progress.unscored(record)
        return fresh

    def give_back(self, portion: Portion, why: str | None) -> None:
        """An engine did not score it.

        Args:
            portion: what it had.
            why: how the engine ended, where the portion may be the cause; None where it cannot be.

        Raises:
            EngineError: engines die of this job, whatever they are given.
        """
        if self._portions is None or self._recording is None:
            return
        sample = self._portions.give_back(portion, blamed=why is not None, done=self._recording.done)
        if sample is not None:
            detail = f"engines died or failed of it, at last with nothing else to do ({why})"
            self.append([self._record(Scored(sample, reason=Reason(ReasonKind.ENGINE_DIED, detail)))])

    def failed_once_more(self, why: str) -> None:
        """An engine has died or failed at work on it. Raises EngineError where that was once too often in a row."""
        self._row += 1
        if self._row >= ROW:
            raise EngineError(
                f"{self.label}: {self._row} engines have died or failed one after the other, with nothing scored in "
                f"between; the last: {why}"
            )

    def _record(self, scored: Scored) -> Record:
        return record_of(scored, self.benchmark.reader.root)

    # The end ---------------------------------------------------------------------------------------------------------

    def finish(self) -> Summary:
        """Say in the manifest what the engines did, close the folder, and sum up.

        Raises:
            ResultsError: a file cannot be written.
        """
        if self._recording is None:
            raise AssertionError("a job that no engine has opened cannot be finished")
        if self.reports:
            ours = {"survey_seconds": round(self.benchmark.seconds, 6), "scoring_seconds": round(self.elapsed, 6)}
            self._recording.folder.amend(engine=combined(self.reports) | ours)
        self._stack.close()
        self.summary = conclude(self.config, self.benchmark, self._checkpoint)
        self.state = State.DONE
        return self.summary

    def fail(self, error: RadarError) -> None:
        """Close the folder, with what is in it."""
        self.state, self.error = State.FAILED, error
        self.leave(error)

    def leave(self, error: BaseException) -> None:
        """Close the folder because of an error that is not this job's own."""
        with contextlib.suppress(RadarError):
            self._stack.__exit__(type(error), error, error.__traceback__)
        if self._portions is not None:
            self._portions.clear()
