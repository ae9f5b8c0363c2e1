"""What the driver and its engines say to each other. All of it pickles, and none of it needs torch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from radar_fast.config import RunConfig
from radar_fast.engines import EngineReport

__all__ = ["Opened", "Order", "Report", "Started", "combined"]


@dataclass(frozen=True, slots=True)
class Order:
    """A job, as an engine is told to get ready for it."""

    job: int
    """Which one, counted from 0 in the farm's order."""
    name: str
    """What it is called in messages."""
    config: RunConfig
    """As it was asked for."""
    benchmark: Mapping[str, Any]
    """:meth:`radar_fast.benchmark.Benchmark.identity`."""
    root: Path
    """The data folder: records name images by their paths in it."""
    expected: int
    """How many prompts are to come, at most."""


@dataclass(frozen=True, slots=True)
class Started:
    """An engine's process is there; no model is in it yet."""

    pid: int
    """Its process id on its machine."""
    host: str
    """The machine's name."""
    node: str
    """What the cluster calls the machine."""
    log: str
    """Where what it prints goes."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An engine has a job's checkpoint in it."""

    identity: Mapping[str, Any]
    """Of the job, as this engine's machine has found it."""
    notes: tuple[str, ...]
    """What a person should know before it is scored, a line each."""
    ready: str
    """The engine in a line."""


@dataclass(frozen=True, slots=True)
class Report:
    """What an engine has done for one job."""

    engine: EngineReport
    """What it counted and timed for it."""
    seconds: Mapping[str, float]
    """Part of the work that was not scoring (``libraries``, ``fingerprint``, ``engine``) -> seconds."""


def combined(reports: list[Report]) -> dict[str, object]:
    """What several engines have done for one job, as the manifest has it of one: counts and seconds added up."""
    counts: dict[str, int] = {}
    seconds: dict[str, float] = {}
    others: dict[str, float] = {}
    for report in reports:
        for total, some in ((counts, report.engine.counts), (seconds, report.engine.seconds), (others, report.seconds)):
            for name, value in some.items():
                total[name] = total.get(name, 0) + value  # type: ignore[assignment] # counts are whole
    engine = replace(reports[0].engine, counts=counts, seconds=seconds)
    return {
        **engine.to_dict(),
        **{f"{part}_seconds": round(some, 6) for part, some in others.items()},
        "engines": len(reports),
    }
