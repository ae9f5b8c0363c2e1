"""A crew without processes: each engine scores with the fake engine when it is asked, and dies when a test says so."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from radar_fast.engines import EngineReport
from radar_fast.engines.fake import FakeEngine
from radar_fast.errors import RadarError
from radar_fast.farm.crew import Answer, Crew, EngineDied, Ticket
from radar_fast.farm.messages import Opened, Order, Report, Started
from radar_fast.prepare import Prepared, prepare
from radar_fast.results.record import record_of
from radar_fast.util.clock import Clock
from radar_fast.windows import Window

__all__ = ["ScriptedCrew"]

Said = RadarError | EngineDied | None
KILLED = EngineDied("killed by a test", node_lost=False)


@dataclass
class _Engine:
    asked: deque[tuple[Ticket, str, Any]] = field(default_factory=deque)
    prepared: dict[int, tuple[Prepared, Path]] = field(default_factory=dict)


class ScriptedCrew(Crew):
    """One question of each engine is answered at each call of ``wait``, the engines in turn."""

    def __init__(
        self,
        size: int,
        *,
        starting: Callable[[int], Said] = lambda _: None,
        opening: Callable[[int, Order], Said | Opened] = lambda *_: None,
        scoring: Callable[[int, int, Window], Said] = lambda *_: None,
    ) -> None:
        """Each of the three may say what comes in place of an answer."""
        self.size = size
        self._starting, self._opening, self._scoring = starting, opening, scoring
        self._engines = [_Engine() for _ in range(size)]
        self._serial = 0
        self.opened: list[tuple[int, str]] = []
        """(engine, job), in the order in which they were opened."""
        self.scored: list[tuple[int, int, tuple[str, ...]]] = []
        """(engine, window's number, its sample ids), in the order in which they were scored."""
        self.most_asked = 0
        """Questions that one engine had at a time."""
        self.starts = 0
        self.closed = False

    def start(self, engine: int) -> Ticket:
        self.starts += 1
        self._engines[engine] = _Engine()
        return self._put(engine, "start", None)

    def open(self, engine: int, order: Order) -> Ticket:
        return self._put(engine, "open", order)

    def score(self, engine: int, job: int, window: Window) -> Ticket:
        return self._put(engine, "score", (job, window))

    def report(self, engine: int, job: int) -> Ticket:
        return self._put(engine, "report", job)

    def wait(self, seconds: float) -> list[Answer]:  # noqa: ARG002 - there is nothing to wait for
        answers: list[Answer] = []
        for number, engine in enumerate(self._engines):
            if not engine.asked:
                continue
            ticket, kind, about = engine.asked.popleft()
            said = self._said(number, engine, kind, about)
            answers.append(Answer(ticket, said))
            if isinstance(said, EngineDied):
                answers += [Answer(other, said) for other, _, _ in engine.asked]
                engine.asked.clear()
        assert answers, "everybody waits for everybody"
        return answers

    def end(self, engine: int) -> None:
        self._engines[engine].asked.clear()

    def close(self) -> None:
        self.closed = True

    def _put(self, engine: int, kind: str, about: Any) -> Ticket:
        self._serial += 1
        asked = self._engines[engine].asked
        asked.append((self._serial, kind, about))
        self.most_asked = max(self.most_asked, len(asked))
        return self._serial

    def _said(self, number: int, engine: _Engine, kind: str, about: Any) -> Any:
        if kind == "start":
            return self._starting(number) or Started(1000 + number, "here", f"node-{number}", "a log")
        if kind == "open":
            if (said := self._opening(number, about)) is not None:
                return said
            prepared = prepare(about.config, about.benchmark, Clock(), about.name)
            engine.prepared[about.job] = prepared, about.root
            self.opened.append((number, about.name))
            return Opened(prepared.identity, (), "ready")
        if kind == "report":
            counts = {"asked": sum(1 for scorer, _, _ in self.scored if scorer == number)}
            report = EngineReport(name="fake", device="none", device_name="none", dtype="none", counts=counts)
            return Report(report, {"engine": 0.5})
        job, window = about
        if (said := self._scoring(number, job, window)) is not None:
            return said
        self.scored.append((number, window.number, tuple(sample.id for sample in window.samples)))
        prepared, root = engine.prepared[job]
        prompts = map(prepared.protocol.prompt, window.samples)
        return [record_of(scored, root) for scored in FakeEngine().score(prompts)]
