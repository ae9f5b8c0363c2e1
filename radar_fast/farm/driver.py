"""The farm's one loop: give idle engines windows, write down what comes back, and put right what dies.

It alone writes: journals, summaries and ``farm.json``. Engines stay warm from one run to the next.
"""

import contextlib
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from radar_fast.errors import DataError, EngineError, RadarError, UsageError
from radar_fast.farm.at_work import EngineAtWork
from radar_fast.farm.choosing import DEPTH, next_job
from radar_fast.farm.crew import Answer, Crew, EngineDied, Ticket
from radar_fast.farm.jobs import FarmJob, State
from radar_fast.farm.messages import Opened, Report, Started
from radar_fast.farm.portions import Portion
from radar_fast.farm.state import FarmState, write_state
from radar_fast.series import told
from radar_fast.terminal.progress import Progress

__all__ = ["Driver"]

STARTS = 3
"""Times in a row that an engine may die before it has opened anything."""
STATE_SECONDS = 2.0
"""Between two versions of farm.json."""
SILENT_SECONDS = 60.0
"""Without any engine, until that is said."""


class Driver:
    """Runs jobs on a crew until each of them is done or has failed."""

    def __init__(
        self, crew: Crew, out: Path, progress: Progress, watch: Callable[[FarmState], None] = lambda _: None
    ) -> None:
        """
        Args:
            crew: its engines are not started yet.
            out: where farm.json goes; the folder is there.
            progress: is told the news.
            watch: is told how far the farm is, often.
        """
        self._crew, self._out, self._progress, self._watch = crew, out, progress, watch
        self._jobs: list[FarmJob] = []
        self._single = False
        self._engines = [EngineAtWork(number) for number in range(crew.size)]
        self._asked: dict[Ticket, tuple[EngineAtWork, FarmJob | None]] = {}
        self._reports_due: Counter[int] = Counter()
        self._began = time.time()
        self._begun = False
        self._proven = False
        """Whether a run before has scored anything: then the options are not what is wrong."""
        self._scoring_since: float | None = None
        self._written = self._heard = 0.0

    @property
    def size(self) -> int:
        """How many engines there are."""
        return len(self._engines)

    def run(self, jobs: Sequence[FarmJob], *, single: bool = False) -> None:
        """Until each job is done or has failed. Engines are started by the first run, and stay for the next.

        Args:
            jobs: in the order in which they are to be begun; their numbers are those of no run before.
            single: whether it is all about one job, whose error is the farm's.

        Raises:
            RadarError: what no other job could escape: the data have changed, or no engine can be started. What was
                recorded stays, and the same command goes on. There is no run after that.
        """
        self._jobs, self._single, self._scoring_since = list(jobs), single, None
        ended = "stopped"
        try:
            self._heard = time.monotonic()
            self._progress.start("farm", sum(job.benchmark.survey.samples for job in self._jobs), 0)
            for engine in self._engines:
                engine.unheard = engine.started is not None
                if not self._begun:
                    self._start(engine)
            self._begun = True
            while True:
                for engine in self._engines:
                    self._occupy(engine)
                self._close_what_is_over()
                if all(job.state in (State.DONE, State.FAILED) for job in self._jobs):
                    break
                for answer in self._crew.wait(1.0):
                    self._take(answer)
                self._say_if_silent()
                self._tell("running")
            ended = "done"
        except BaseException as error:
            for job in self._jobs:
                if job.state in (State.RUNNING, State.CLOSING):
                    job.leave(error)
            raise
        finally:
            self._proven = self._proven or self._has_scored()
            self._progress.stop()
            with contextlib.suppress(RadarError):  # an error under way says more
                self._tell(ended)

    # Giving ----------------------------------------------------------------------------------------------------------

    def _start(self, engine: EngineAtWork) -> None:
        self._asked[self._crew.start(engine.number)] = (engine, None)

    def _occupy(self, engine: EngineAtWork) -> None:
        """See that an engine has enough to do."""
        if engine.started is None or engine.given_up or engine.opening:
            return
        while engine.job is not None and engine.job.state is State.RUNNING and len(engine.flying) < DEPTH:
            portion = self._portion_for(engine, engine.job)
            if portion is None:
                break
            ticket = self._crew.score(engine.number, engine.job.number, portion.window)
            engine.flying[ticket] = portion
            self._asked[ticket] = (engine, engine.job)
        if not engine.flying and (job := next_job(engine, self._engines, self._jobs)) is not None:
            with self._failing(job):
                self._asked[self._crew.open(engine.number, job.order())] = (engine, job)
                engine.job, engine.opening = job, True

    def _portion_for(self, engine: EngineAtWork, job: FarmJob) -> Portion | None:
        if engine.alone:
            return None
        if not engine.flying and (portion := job.next_alone()) is not None:
            return portion
        with self._failing(job):
            return job.next()
        return None

    # Taking ----------------------------------------------------------------------------------------------------------

    def _take(self, answer: Answer) -> None:
        asked = self._asked.pop(answer.ticket, None)
        if asked is None:
            return  # of an engine whose death is known already
        engine, job = asked
        self._heard = time.monotonic()
        said = answer.said
        if isinstance(said, EngineDied):
            self._bury(engine, said)
            return
        engine.unheard = False
        if isinstance(said, Started):
            engine.started = said
        elif isinstance(said, Report) and job is not None:
            job.reports.append(said)
            self._reports_due[job.number] -= 1
        elif isinstance(said, Opened) and job is not None:
            self._opened(engine, job, said)
        elif isinstance(said, RadarError) and job is not None:
            self._failed(engine, job, said, answer.ticket)
        elif isinstance(said, list) and job is not None:
            self._scored(engine, job, answer)

    def _opened(self, engine: EngineAtWork, job: FarmJob, opened: Opened) -> None:
        engine.opening, engine.row = False, 0
        if job.state is State.FAILED:
            return
        first = job.state is State.WAITING
        with self._failing(job):
            job.open(opened, self._progress)
        if job.state is not State.RUNNING:
            return
        job.engines.add(engine.number)
        for note in opened.notes if first else ():
            self._progress.say(note)
        self._progress.detail(f"engine {engine.number}: {job.label}: {opened.ready}")
        if self._scoring_since is None:
            self._scoring_since = time.monotonic()

    def _scored(self, engine: EngineAtWork, job: FarmJob, answer: Answer) -> None:
        del engine.flying[answer.ticket]
        if job.state is not State.RUNNING or not isinstance(answer.said, list):
            return
        with self._failing(job):
            engine.samples += job.take(answer.said)

    def _failed(self, engine: EngineAtWork, job: FarmJob, error: RadarError, ticket: Ticket) -> None:
        """An engine that is still there could not do what it was asked."""
        if ticket in engine.flying:
            portion = engine.flying.pop(ticket)
            if job.state is not State.RUNNING:
                return
            if isinstance(error, EngineError):  # as after a death, but that the process is there
                self._progress.say(f"engine {engine.number}: {job.label}: {error}")
                self._give_back(job, portion, str(error))
                if ticket not in engine.excused:
                    self._count_failure(job, str(error))
                engine.excused = set(engine.flying)
            else:
                self._fail(job, error)
        elif engine.opening and engine.job is job:
            engine.opening, engine.job = False, None
            if job.state is not State.FAILED:
                self._fail(job, error)
        else:  # a report that it does not have
            self._reports_due[job.number] -= 1

    def _bury(self, engine: EngineAtWork, died: EngineDied) -> None:
        """An engine's process is gone: give back what it had, and start another in its place."""
        job, opening, flying = engine.job, engine.opening, engine.flying
        blameless = died.node_lost or engine.unheard  # it may have died long ago, of nothing that it has now
        name = f"engine {engine.number}" + (f" on {engine.started.host}" if engine.started is not None else "")
        self._progress.say(f"{name} has died ({died.why}){f', with {len(flying)} windows' if flying else ''}")
        for other, (whose, about) in list(self._asked.items()):
            if whose is engine:
                del self._asked[other]
                if about is not None and other not in flying and about.state is State.CLOSING:
                    self._reports_due[about.number] -= 1
        for each in self._jobs:
            each.engines.discard(engine.number)
        engine.job, engine.opening, engine.flying, engine.started = None, False, {}, None
        engine.unheard = False
        engine.deaths += 1
        engine.row += not blameless
        self._crew.end(engine.number)
        if job is not None and job.state is State.RUNNING:
            for portion in flying.values():
                self._give_back(job, portion, None if blameless else died.why)
        if job is not None and not blameless and job.state is not State.FAILED:
            if opening:
                others = sum(not each.given_up for each in self._engines) > 1
                with self._failing(job):
                    job.died_loading(engine.number, died.why, others=others)
            elif flying:
                self._count_failure(job, died.why)
        if engine.row >= STARTS:
            engine.given_up = True
            self._progress.say(f"{name} is given up: it has died {engine.row} times before it could score anything")
            if all(each.given_up for each in self._engines):
                raise EngineError(f"no engine can be started; the last one died so: {died.why}")
        else:
            self._start(engine)

    def _give_back(self, job: FarmJob, portion: Portion, why: str | None) -> None:
        with self._failing(job):
            job.give_back(portion, why)

    def _count_failure(self, job: FarmJob, why: str) -> None:
        with self._failing(job):
            job.failed_once_more(why)

    @contextlib.contextmanager
    def _failing(self, job: FarmJob) -> Iterator[None]:
        """What is wrong with the data is wrong for all; of anything else only this job dies."""
        try:
            yield
        except DataError:
            raise
        except RadarError as error:
            self._fail(job, error)

    # The end of a job ------------------------------------------------------------------------------------------------

    def _close_what_is_over(self) -> None:
        for job in self._jobs:
            if job.state is State.RUNNING and job.over:
                job.state = State.CLOSING
                for number in sorted(job.engines):
                    self._reports_due[job.number] += 1
                    self._asked[self._crew.report(number, job.number)] = (self._engines[number], job)
            if job.state is State.CLOSING and self._reports_due[job.number] <= 0:
                with self._failing(job):
                    summary = job.finish()
                    self._progress.say(told(job.label, summary, job.elapsed))
                    self._progress.done(job.label, job.config.folder, summary)

    def _fail(self, job: FarmJob, error: RadarError) -> None:
        job.fail(error)
        if self._single or (isinstance(error, UsageError) and not self._has_scored()):  # then it is the options
            raise error
        self._progress.say(f"{job.label}: not scored: {error}")
        self._progress.failed(job.label, job.config.folder, error)

    def _has_scored(self) -> bool:
        return self._proven or any(job.state is State.DONE or job.fresh for job in self._jobs)

    # Telling ---------------------------------------------------------------------------------------------------------

    def _say_if_silent(self) -> None:
        now = time.monotonic()
        if any(engine.started for engine in self._engines) or now - self._heard < SILENT_SECONDS:
            return
        self._heard = now
        self._progress.say("no engine has started yet: the cluster has no room for one; waiting")

    def _tell(self, name: str) -> None:
        """To whoever watches, each time; to those outside, every few seconds."""
        now = time.monotonic()
        state = self.state(name)
        self._watch(state)
        if name != "running" or now - self._written >= STATE_SECONDS:
            self._written = now
            write_state(self._out, state)

    def state(self, name: str) -> FarmState:
        """How far it is."""
        fresh = sum(job.fresh for job in self._jobs)
        since = self._scoring_since
        return FarmState(
            state=name,
            pid=os.getpid(),
            host=socket.gethostname(),
            started=self._began,
            updated=time.time(),
            jobs=len(self._jobs),
            jobs_done=sum(job.state is State.DONE for job in self._jobs),
            jobs_failed=sum(job.state is State.FAILED for job in self._jobs),
            samples=sum(job.benchmark.survey.samples for job in self._jobs),
            done=sum(job.done_before for job in self._jobs) + fresh,
            fresh=fresh,
            seconds=0.0 if since is None else time.monotonic() - since,
            engines=tuple(engine.state() for engine in self._engines),
        )
