"""Weights & Biases, and trackio, which speaks its API."""

import hashlib
import importlib
import os
from pathlib import Path
from typing import Any

from radar_fast.trackers.base import Numbers

__all__ = ["open_run"]


class _Wandb:
    def __init__(self, folder: Path, run: str, *, local: bool) -> None:
        library: Any = importlib.import_module("wandb")
        folder.mkdir(parents=True, exist_ok=True)
        options = {"mode": "offline"} if local else {}
        # The same name is the same run, whichever process goes on with it.
        identifier = hashlib.sha256(run.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        self._run: Any = library.init(
            project=os.environ.get("WANDB_PROJECT", "radar-fast"),
            name=run,
            id=identifier,
            resume="allow",
            dir=str(folder),
            settings=library.Settings(silent=True, console="off", disable_git=True, x_disable_stats=True),
            **options,
        )
        # An axis of its own: the steps of a run that is trained at the same time are others.
        self._run.define_metric("radar/step")
        self._run.define_metric("radar/*", step_metric="radar/step")

    def log(self, step: int, numbers: Numbers) -> None:
        """A row of history."""
        self._run.log({"radar/step": step, **numbers})

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


class _Trackio:
    def __init__(self, folder: Path, run: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault("TRACKIO_DIR", str(folder))
        self._library: Any = importlib.import_module("trackio")
        self._library.init(project=os.environ.get("TRACKIO_PROJECT", "radar-fast"), name=run, resume="allow")

    def log(self, step: int, numbers: Numbers) -> None:
        """A row of history."""
        self._library.log({"radar/step": step, **numbers}, step=step)

    def close(self) -> None:
        """Finish the run."""
        self._library.finish()


def open_run(name: str, folder: Path, run: str, *, local: bool) -> _Wandb | _Trackio:
    """A run that keeps its files in ``folder``."""
    return _Trackio(folder, run) if name == "trackio" else _Wandb(folder, run, local=local)
