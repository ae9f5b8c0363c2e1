"""The numbers of a series in experiment trackers, with the training step as the axis.

A tracker is a file here and a row of :data:`TRACKERS`. Whatever it does, no score depends on it: see
:mod:`radar_fast.trackers.progress`.
"""

import importlib
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path

from radar_fast.errors import UsageError
from radar_fast.results.summary import Entry
from radar_fast.trackers.base import Numbers, Tracker
from radar_fast.util.choices import check_one_of

__all__ = ["TRACKERS", "Numbers", "Tracker", "check_tracker", "numbers_of", "open_tracker"]

TRACKERS = ("wandb", "tensorboard", "mlflow", "trackio")
"""Each is also the name of the package that it needs, and of the extra that brings it."""

_HOMES = {"wandb": "wandb_api", "trackio": "wandb_api", "tensorboard": "event_files", "mlflow": "mlflow_runs"}


def check_tracker(option: str, name: str) -> None:
    """Raise UsageError, in the name of ``option`` (without dashes), for what is no tracker or is not installed."""
    check_one_of(option, name, TRACKERS)
    if importlib.util.find_spec(name) is None:
        raise UsageError(f"--{option} {name}: {name} is not installed: pip install '.[{name}]'")


def open_tracker(name: str, folder: Path, run: str, *, local: bool) -> Tracker:
    """A tracker, ready to be told numbers.

    Args:
        name: one of :data:`TRACKERS`.
        folder: where it keeps its files.
        run: what it calls the series; the same name goes on with it.
        local: write files alone, whatever the environment says of servers.
    """
    home = importlib.import_module(f"radar_fast.trackers.{_HOMES[name]}")
    tracker: Tracker = home.open_run(name, folder, run, local=local)
    return tracker


def numbers_of(abilities: Mapping[str, Entry], directories: Mapping[str, Entry], overall: Entry) -> Numbers:
    """Key -> number: ``radar/<ability>/sds`` with ``_low`` and ``_high``, ``accuracy`` likewise, the same for
    ``overall`` and ``directory/<directory>``, and how many samples are scored and unscored. What an entry lacks is left
    out."""
    entries = {**abilities, "overall": overall}
    entries |= {f"directory/{name}": entry for name, entry in directories.items()}
    numbers = {key: value for name, entry in entries.items() for key, value in _of_entry(f"radar/{name}", entry)}
    return numbers | {"radar/scored": float(overall.scored), "radar/unscored": float(overall.unscored)}


def _of_entry(key: str, entry: Entry) -> Iterator[tuple[str, float]]:
    for measure in ("sds", "accuracy"):
        estimate = entry.estimate(measure)
        for end, value in (("", estimate.value), ("_low", estimate.low), ("_high", estimate.high)):
            if value is not None:
                yield f"{key}/{measure}{end}", value
