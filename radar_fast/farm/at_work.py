"""An engine as the driver knows it: what it has to do, and how often its process has died."""

from dataclasses import dataclass, field

from radar_fast.farm.crew import Ticket
from radar_fast.farm.jobs import FarmJob
from radar_fast.farm.messages import Started
from radar_fast.farm.portions import Portion
from radar_fast.farm.state import EngineState

__all__ = ["EngineAtWork"]


@dataclass
class EngineAtWork:
    """Changed by the driver alone."""

    number: int
    """Counted from 0."""
    started: Started | None = None
    """None while it is starting."""
    job: FarmJob | None = None
    """That it has open, or is opening."""
    opening: bool = False
    """Whether it has not answered that it has."""
    flying: dict[Ticket, Portion] = field(default_factory=dict)
    """What it has to score."""
    excused: set[Ticket] = field(default_factory=set)
    """That were with it when it failed: their failures are the same one."""
    samples: int = 0
    """That it has scored, whatever process it was."""
    deaths: int = 0
    """Of its processes."""
    row: int = 0
    """Deaths since it last opened a job."""
    given_up: bool = False
    """No process is started for it any more."""
    unheard: bool = False
    """Whether it was there before this run and has said nothing in it: while nobody asked, it may have died."""

    @property
    def alone(self) -> bool:
        """Whether it has a portion that must have no other beside it."""
        return any(portion.deaths for portion in self.flying.values())

    def state(self) -> EngineState:
        """For those who watch."""
        job = self.job.label if self.job is not None else ""
        if self.given_up:
            name = "given up"
        elif self.started is None:
            name = "starting"
        else:
            name = "loading" if self.opening else "scoring" if self.flying else "idle"
        place = self.started or Started(0, "", "", "")
        return EngineState(self.number, name, place.host, place.pid, job, self.samples, self.deaths, place.log)
