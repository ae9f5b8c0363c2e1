"""A warm engine in a process of its own: opens jobs as it is told, and scores windows as they come.

The engine belongs to one thread, which takes commands from a queue; whoever gives a command waits for its answer. While
windows of one job follow each other, the engine sees one stream of prompts, so that it reads ahead across windows as it
does in a single process. A stream ends when no next window has come for a moment: then all that the engine holds comes
out, and nobody waits for anybody for ever.
"""

import queue
import threading
import traceback
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from radar_fast.engines import Engine, EngineReport
from radar_fast.engines.session import EngineSession
from radar_fast.errors import EngineError, RadarError, one_line
from radar_fast.farm.messages import Opened, Order, Report
from radar_fast.prepare import Prepared, prepare
from radar_fast.results.record import Key, Record, record_of
from radar_fast.run import open_prepared, ready_line
from radar_fast.sample import Prompt
from radar_fast.util.clock import Clock
from radar_fast.util.closing import Closing
from radar_fast.windows import Window

__all__ = ["EngineHost"]

PATIENCE = 0.25
"""Seconds that a stream waits for its next window. The driver keeps more windows here than an engine reads ahead, so
that this passes only where there are no more."""


@dataclass(frozen=True, slots=True)
class _Open:
    order: Order


@dataclass(slots=True)
class _Score:
    job: int
    window: Window
    records: list[Record] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Report:
    job: int


@dataclass(slots=True)
class _Loaded:
    """The job that is open."""

    order: Order
    prepared: Prepared
    engine: Engine | None
    """None after it has failed: it is opened anew for the next window."""
    before: EngineReport | None
    """What it had counted for other jobs of this checkpoint."""
    clock: Clock

    def report(self) -> Report:
        engine = self.engine
        if engine is None:
            raise EngineError(f"{self.order.name}: the engine has failed, and counts nothing")
        report = engine.describe()
        return Report(report if self.before is None else report.since(self.before), self.clock.seconds())


_Asked = tuple[_Open | _Score | _Report | None, "Future[Any]"]


class EngineHost(Closing):
    """To be called from several threads: one for each window that waits here, and one more."""

    def __init__(self) -> None:
        self._session = EngineSession()
        self._asked: queue.SimpleQueue[_Asked] = queue.SimpleQueue()
        self._held: _Asked | None = None
        self._loaded: _Loaded | None = None
        self._reports: dict[int, Report] = {}
        self._thread = threading.Thread(target=self._serve, name="engine", daemon=True)
        self._thread.start()

    def open(self, order: Order) -> Opened:
        """Get ready for a job; its checkpoint takes the place of the one before, in the same engine where it can.

        Raises:
            RadarError: as :func:`radar_fast.prepare.prepare` and :func:`radar_fast.run.open_prepared`.
        """
        opened: Opened = self._ask(_Open(order))
        return opened

    def score(self, job: int, window: Window) -> list[Record]:
        """Score the window's samples, of the job that is open; a record for each of ``window.samples``, in any order.

        Raises:
            EngineError: the engine failed while it had this window. It is loaded anew for the next one.
            ResultsError: the engine gave what no record can say.
        """
        records: list[Record] = self._ask(_Score(job, window))
        return records

    def report(self, job: int) -> Report:
        """What was done here for a job, whether it is still open or not.

        Raises:
            EngineError: nothing is known of it.
        """
        report: Report = self._ask(_Report(job))
        return report

    def close(self) -> None:
        """Close the engine when what was asked before is done, and end its thread. Calling it twice is fine."""
        if self._thread.is_alive():
            self._ask(None)
            self._thread.join()

    def _ask(self, command: _Open | _Score | _Report | None) -> Any:
        answer: Future[Any] = Future()
        self._asked.put((command, answer))
        return answer.result()

    # The engine's thread ---------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        while True:
            command, answer = self._held or self._asked.get()
            self._held = None
            try:
                if isinstance(command, _Score):
                    self._stream(command, answer)
                elif command is None:
                    self._session.close()
                    answer.set_result(None)
                    return
                else:
                    answer.set_result(self._open(command.order) if isinstance(command, _Open) else self._said(command))
            except BaseException as error:
                answer.set_exception(_told(error))

    def _open(self, order: Order) -> Opened:
        self._keep_report()
        self._loaded = None
        clock = Clock()
        prepared = prepare(order.config, order.benchmark, clock, order.name)
        self._loaded = _Loaded(order, prepared, None, None, clock)
        try:
            engine = self._ready_engine(self._loaded)
        except BaseException:
            self._loaded = None
            raise
        return Opened(
            prepared.identity, prepared.notes, ready_line(prepared, engine.describe(), clock.seconds()["engine"])
        )

    def _ready_engine(self, loaded: _Loaded) -> Engine:
        if loaded.engine is None:
            with loaded.clock.measure("engine"):
                loaded.engine = open_prepared(loaded.prepared, self._session, expected=loaded.order.expected)
            loaded.before = self._session.kept
        return loaded.engine

    def _keep_report(self) -> None:
        """Of the job that is about to be closed: the driver may ask for it later."""
        if self._loaded is not None and self._loaded.engine is not None:
            self._reports[self._loaded.order.job] = self._loaded.report()

    def _said(self, command: _Report) -> Report:
        if self._loaded is not None and self._loaded.order.job == command.job:
            self._keep_report()
        if command.job not in self._reports:
            raise EngineError(f"nothing is known here of job {command.job}")
        return self._reports.pop(command.job)

    def _stream(self, first: _Score, answer: "Future[Any]") -> None:
        """Score ``first``, and what comes after it of the same job, as one stream."""
        flying: dict[int, tuple[_Score, Future[Any]]] = {}
        owners: dict[Key, deque[int]] = {}

        def prompts(prepared: Prepared) -> Iterator[Prompt]:
            asked: tuple[_Score, Future[Any]] | None = (first, answer)
            while asked is not None:
                number = id(asked[0])
                flying[number] = asked
                for sample in asked[0].window.samples:
                    owners.setdefault(sample.key, deque()).append(number)
                yield from map(prepared.protocol.prompt, asked[0].window.samples)
                asked = self._next_of(first.job)

        try:
            loaded = self._loaded
            if loaded is None or loaded.order.job != first.job:
                raise EngineError(f"job {first.job} is not open here")
            for scored in self._ready_engine(loaded).score(prompts(loaded.prepared)):
                number = owners[scored.sample.key].popleft()
                command, future = flying[number]
                command.records.append(record_of(scored, loaded.order.root))
                if len(command.records) == len(command.window.samples):
                    del flying[number]
                    future.set_result(command.records)
            if flying:
                raise EngineError(f"the engine gave no score for {sum(map(_missing, flying.values()))} prompts")
        except BaseException as error:
            self._session.close()  # whatever state it is in
            if self._loaded is not None:
                self._loaded.engine = None
            told = _told(error)
            for future in {answer, *(future for _, future in flying.values())}:
                if not future.done():
                    future.set_exception(told)

    def _next_of(self, job: int) -> "tuple[_Score, Future[Any]] | None":
        """The next window of the same job, if one comes soon and before anything else is asked."""
        try:
            command, answer = self._asked.get(timeout=PATIENCE)
        except queue.Empty:
            return None
        if isinstance(command, _Score) and command.job == job:
            return command, answer
        self._held = command, answer
        return None


def _missing(asked: "tuple[_Score, Future[Any]]") -> int:
    return len(asked[0].window.samples) - len(asked[0].records)


def _told(error: BaseException) -> RadarError:
    """One of our errors, in a line; of any other, the whole account goes to the engine's log."""
    if isinstance(error, RadarError):
        return error
    traceback.print_exception(error)
    return EngineError(f"the engine failed: {type(error).__name__}: {one_line(error)}; its log has the whole account")
