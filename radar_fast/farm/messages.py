"""What the driver and its engines say to each other. All of it pickles, and none of it needs torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radar_fast.config import RunConfig
from radar_fast.engines import EngineReport

__all__ = ["Opened", "Order", "Report", "Started"]


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
