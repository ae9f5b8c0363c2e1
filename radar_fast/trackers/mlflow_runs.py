"""MLflow: an experiment ``radar-fast`` with a run for each series."""

import os
import time
from pathlib import Path
from typing import Any

from radar_fast.trackers.base import Numbers

__all__ = ["open_run"]

_AT_ONCE = 1000
"""Metrics that MLflow takes in one request."""


class _Run:
    def __init__(self, uri: str, run: str) -> None:
        from mlflow.tracking import MlflowClient

        self._client: Any = MlflowClient(tracking_uri=uri)
        named = self._client.get_experiment_by_name("radar-fast")
        experiment = named.experiment_id if named else self._client.create_experiment("radar-fast")
        run = run.replace("'", "")  # which would end the text in the search
        known = self._client.search_runs([experiment], f"tags.`mlflow.runName` = '{run}'")
        found = known[0] if known else self._client.create_run(experiment, run_name=run)
        self._run = found.info.run_id

    def log(self, step: int, numbers: Numbers) -> None:
        """Metrics at the step. MLflow's names hold letters, digits and ``_-. /`` alone."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(_named(key), value, now, step) for key, value in numbers.items()]
        for start in range(0, len(metrics), _AT_ONCE):
            self._client.log_batch(self._run, metrics=metrics[start : start + _AT_ONCE])

    def close(self) -> None:
        """Mark the run as finished."""
        self._client.set_terminated(self._run)


def _named(key: str) -> str:
    return "".join(char if char.isascii() and (char.isalnum() or char in "_-. /") else "_" for char in key)


def open_run(name: str, folder: Path, run: str, *, local: bool) -> _Run:  # noqa: ARG001 - as all trackers
    """A run on the server of ``MLFLOW_TRACKING_URI``; where ``local``, or none is named, in ``folder/mlflow.db``."""
    uri = None if local else os.environ.get("MLFLOW_TRACKING_URI")
    folder.mkdir(parents=True, exist_ok=True)
    return _Run(uri or f"sqlite:///{(folder / 'mlflow.db').absolute()}", run)
