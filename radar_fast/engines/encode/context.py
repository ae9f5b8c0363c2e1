"""What is known of a run beside its options when an engine is opened: it decides nothing but what pays."""

from dataclasses import dataclass
from pathlib import Path

from radar_fast.engines.encode.fork_server import ForkServer
from radar_fast.engines.options import EngineOptions

__all__ = ["EngineContext", "prefers_processes"]

PROCESSES_PAY = {"workers": 2, "prompts": 1000}
"""From how many workers and prompts on ``auto`` takes processes; docs/notes/pipeline.md has the measurements."""


@dataclass(frozen=True, kw_only=True)
class EngineContext:
    """What is known of a run beside its options. No score depends on it."""

    expected: int | None = None
    """How many prompts are to come; None: not known."""
    fork_server: ForkServer | None = None
    """What worker processes are to be forked from, where it has been started already; the engine does not close it."""
    log: Path | None = None
    """Where the engine is to write a long account of why it does not start."""


def prefers_processes(options: EngineOptions, expected: int | None) -> bool:
    """Whether workers are to be processes, if the protocol can be made in them."""
    if options.worker_kind == "auto":
        enough = (expected or 0) >= PROCESSES_PAY["prompts"]
        return enough and options.worker_count >= PROCESSES_PAY["workers"]
    return options.worker_kind == "processes"
