"""How far a farm is, at one moment: what is shown to whoever waits, and written to ``farm.json`` for those outside."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from radar_fast.errors import ResultsError, one_line
from radar_fast.util.atomic import write_json_atomic
from radar_fast.util.json_file import read_json

__all__ = ["NAME", "EngineState", "FarmState", "read_state", "write_state"]

NAME = "farm.json"
"""In the farm's ``--out``."""
FORMAT = 1
_MOST = 2**63


@dataclass(frozen=True, slots=True)
class EngineState:
    """One engine. The fields are the keys of farm.json."""

    number: int
    """Counted from 0."""
    state: str
    """``starting`` (also: waits for room), ``idle``, ``loading``, ``scoring``, or ``given up``."""
    host: str
    """The machine's name; empty while it is starting."""
    pid: int
    """Its process there; 0 while it is starting."""
    job: str
    """What it works on; empty where nothing."""
    samples: int
    """That it has scored in this run, whatever process it was."""
    deaths: int
    """Times that its process has died."""
    log: str
    """Where what it prints goes."""


@dataclass(frozen=True, slots=True)
class FarmState:
    """The whole farm. The fields are the keys of farm.json, beside ``format``."""

    state: str
    """``running``, ``done``, or ``stopped``: it ended early, and the same command goes on."""
    pid: int
    """The driver's process, on ``host``."""
    host: str
    """The driver's machine."""
    started: float
    """When: seconds since 1970."""
    updated: float
    """When this was written, likewise. A running farm writes every few seconds."""
    jobs: int
    """All of this run; those that were done before it are not among them."""
    jobs_done: int
    """Whose summary is written."""
    jobs_failed: int
    """That could not be scored."""
    samples: int
    """Of all jobs."""
    done: int
    """Of these: recorded, whether by this run or before."""
    fresh: int
    """Of these: recorded by this run."""
    seconds: float
    """Since the first engine was ready to score."""
    engines: tuple[EngineState, ...]
    """All of them."""

    @property
    def rate(self) -> float:
        """Samples of this run a second."""
        return self.fresh / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """At that rate; None where nothing is known."""
        left = (self.samples - self.done) / self.rate if self.rate > 0 else math.inf
        return left if math.isfinite(left) else None

    @property
    def at_work(self) -> int:
        """Engines that are scoring."""
        return sum(engine.state == "scoring" for engine in self.engines)

    def to_dict(self) -> dict[str, Any]:
        """What farm.json holds: the fields, and what follows from them."""
        rate = {"samples_per_second": round(self.rate, 3), "engines_at_work": self.at_work}
        left = self.seconds_left
        return {"format": FORMAT, **asdict(self), **rate, "seconds_left": None if left is None else round(left, 1)}

    @classmethod
    def from_dict(cls, document: object) -> Self:
        """What :meth:`to_dict` gave. Raises ResultsError for anything else."""
        try:
            if not isinstance(document, Mapping) or document["format"] != FORMAT:
                raise ResultsError(f"not of format {FORMAT}; another version of radar-fast wrote it")
            values = {name: document[name] for name in cls.__dataclass_fields__}
            engines = tuple(EngineState(**engine) for engine in values.pop("engines"))
            state = cls(**values, engines=engines)
            _check(state)
            for engine in state.engines:
                _check(engine)
            return state
        except (KeyError, TypeError) as error:
            raise ResultsError(f"is no state of a farm: {one_line(error)}; it may have been edited") from None


def _check(state: "EngineState | FarmState") -> None:
    """Raise TypeError where a field is of another type, or a number is none that a farm counts to."""
    for each in fields(state):
        value = getattr(state, each.name)
        kinds = (int, float) if each.type is float else (tuple,) if each.name == "engines" else (each.type,)
        if type(value) not in kinds or (isinstance(value, int | float) and not abs(value) < _MOST):
            raise TypeError(f"{each.name} is {value!a:.60}")


def write_state(out: Path, state: FarmState) -> None:
    """Write ``out/farm.json`` in one step. Raises ResultsError."""
    write_json_atomic(out / NAME, state.to_dict())


def read_state(out: Path) -> FarmState | None:
    """What ``out/farm.json`` says; None where there is none.

    Raises:
        ResultsError: it cannot be read.
    """
    path = out / NAME
    try:
        return FarmState.from_dict(read_json(path))
    except FileNotFoundError:
        return None
    except ResultsError as error:
        raise ResultsError(f"{path}: {error}", path=path) from None
    except (OSError, ValueError) as error:
        raise ResultsError(f"{path}: cannot be read: {one_line(error)}", path=path) from None
