"""A whole farm: the jobs of a series on every engine that there is room for."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from radar_fast.config import RunConfig
from radar_fast.errors import UsageError
from radar_fast.farm.driver import Driver
from radar_fast.farm.jobs import FarmJob
from radar_fast.farm.options import FarmOptions
from radar_fast.farm.room import Placing, place
from radar_fast.farm.state import FarmState
from radar_fast.recording import refuse_series
from radar_fast.series import NAME, FailedRun, ScoredRun, planned
from radar_fast.terminal.progress import Progress, SilentProgress

__all__ = ["LOGS", "on_ray", "require_ray", "score_farm"]

LOGS = "logs"
"""The folder in ``out`` for what engines print."""


def score_farm(
    config: RunConfig,
    models: Sequence[str | Path] = (),
    data: Sequence[str | Path] = (),
    *,
    farm: FarmOptions | None = None,
    name: str = NAME,
    progress: Progress | None = None,
    watch: Callable[[FarmState], None] = lambda _: None,
) -> list[ScoredRun | FailedRun]:
    """Score checkpoints on benchmarks with many engines at once, on Ray. What it leaves is what
    :func:`radar_fast.series.score_series` leaves of the same arguments, so that either goes on with the other's.

    An engine that dies is replaced; what it had is given to others. A window that kills whoever takes it is cut down
    to the sample, which becomes unscored with the reason. A checkpoint that cannot be scored is left out.

    Args:
        config: for all of them. Data, checkpoints and ``out`` must have the same paths on every machine.
        models: checkpoint folders; empty: ``config.model``.
        data: benchmark folders; empty: ``config.data``.
        farm: how many engines, and where; None: as many as there is room for.
        name: how result folders are named.
        progress: told the news, and of samples as those of one run that is called ``farm``.
        watch: told how far the farm is, several times a second.

    Returns:
        As score_series.

    Raises:
        UsageError: as score_series; Ray is not installed; or no machine has room for an engine.
        RadarError: as score_series. What was scored before stays in the journals, and the same call goes on.
    """
    require_ray("radar-fast farm")
    farm, progress = farm or FarmOptions(), progress or SilentProgress()
    if config.shard is not None:
        raise UsageError("--shard: a farm gives out windows by itself; leave the option out")
    with planned(config, models, data, name, progress) as series:
        if not series.jobs:
            return series.results({})
        for job in series.jobs:
            refuse_series(series.config(job).folder)
        with on_ray(farm, config, progress, watch) as (driver, workers):
            jobs = [
                FarmJob(number, job, series.config(job), series.benchmark(job), series.label(job), workers=workers)
                for number, job in enumerate(series.jobs)
            ]
            driver.run(jobs, single=series.single)
    return series.results({job.job: _run(job) for job in jobs})


def require_ray(what: str) -> None:
    """Raise UsageError, in the name of ``what``, where Ray is not installed."""
    if find_spec("ray") is None:
        raise UsageError(f"{what}: needs Ray, which is not installed: pip install '.[ray]'")


@contextlib.contextmanager
def on_ray(
    farm: FarmOptions, config: RunConfig, progress: Progress, watch: Callable[[FarmState], None]
) -> Iterator[tuple[Driver, int | None]]:
    """A driver whose engines are on Ray until the context ends, and how many workers each of them is to have.

    Args:
        farm: how many engines, and where.
        config: what engines are to run; logs and farm.json go to its ``out``, which is made.
        progress: told the news.
        watch: told how far the farm is.

    Raises:
        UsageError: there is no cluster, or no machine of it has room for an engine.
        ResultsError: ``out`` cannot be made.
    """
    from radar_fast.farm.ray_crew import RayCrew, cluster, machines

    asked = (farm.cpus_per_engine or 1) * (farm.engines or 1)
    with cluster(farm.address, cpus=asked, say=progress.say):
        placing = place(farm, config.options, machines())
        progress.say(_placed(placing))
        crew = RayCrew(placing, config.out / LOGS)
        try:
            # An engine's share of its machine's cores is for its workers.
            yield Driver(crew, config.out, progress, watch), min(8, int(placing.cpus)) or None
        finally:
            crew.close()


def _run(job: FarmJob) -> ScoredRun | FailedRun:
    name, out = job.benchmark.name, job.config.folder
    if job.summary is not None:
        return ScoredRun(name, job.job.name, out, job.summary)
    if job.error is None:
        raise AssertionError(f"{job.label} is neither done nor failed")
    return FailedRun(name, job.job.name, out, job.error)


def _placed(placing: Placing) -> str:
    """In a line."""
    each = " and ".join(
        f"{value:g} {'GPUs' if name == 'GPU' else 'CPU cores'}" for name, value in sorted(placing.bundles[0].items())
    )
    engines = f"{placing.engines} engine{'s' if placing.engines > 1 else ''}"
    bundles = f"{len(placing.bundles)} times " if len(placing.bundles) > 1 else ""
    return f"{engines}, {bundles}{each or 'no resources'} for each"
