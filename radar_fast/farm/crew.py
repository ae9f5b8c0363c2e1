"""The seam between the driver and whatever runs engines in other processes: :class:`Crew`, and the answers it gives."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from radar_fast.errors import RadarError
from radar_fast.farm.messages import Opened, Order, Report, Started
from radar_fast.results.record import Record
from radar_fast.windows import Window

__all__ = ["Answer", "Crew", "EngineDied", "Ticket"]

Ticket = int
"""Names a question that was put to an engine."""


@dataclass(frozen=True, slots=True)
class EngineDied:
    """An engine's process is gone."""

    why: str
    """In a line."""
    node_lost: bool
    """Its whole machine is gone, or was taken away: nothing that it worked on is to blame."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a question."""

    ticket: Ticket
    """Of which one."""
    said: Started | Opened | list[Record] | Report | RadarError | EngineDied
    """The answer, an error that the engine outlives, or its death: of that every ticket of the engine tells."""


class Crew(ABC):
    """Engines, numbered from 0. Every method but ``wait`` and ``close`` returns at once."""

    size: int
    """How many engines there are at most."""

    @abstractmethod
    def start(self, engine: int) -> Ticket:
        """Start an engine's process, also in place of one that has died: :class:`Started`, as soon as there is room."""

    @abstractmethod
    def open(self, engine: int, order: Order) -> Ticket:
        """:meth:`radar_fast.farm.host.EngineHost.open`: :class:`Opened`."""

    @abstractmethod
    def score(self, engine: int, job: int, window: Window) -> Ticket:
        """:meth:`radar_fast.farm.host.EngineHost.score`: records."""

    @abstractmethod
    def report(self, engine: int, job: int) -> Ticket:
        """:meth:`radar_fast.farm.host.EngineHost.report`: :class:`Report`."""

    @abstractmethod
    def wait(self, seconds: float) -> list[Answer]:
        """Answers that have come, each once; waits at most so long for the first of them."""

    @abstractmethod
    def end(self, engine: int) -> None:
        """End an engine's process, whatever it does; its questions are not answered any more."""

    @abstractmethod
    def close(self) -> None:
        """End all of them, and what was started for them. Calling it twice is fine."""
