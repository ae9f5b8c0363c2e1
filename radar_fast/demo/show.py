"""The demo, from nothing to a table of growth, and a page of it."""

import shutil
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from radar_fast.config import RunConfig
from radar_fast.demo.mini_m3 import write_mini_m3
from radar_fast.demo.series import write_checkpoints
from radar_fast.errors import ResultsError
from radar_fast.report.build import write_report
from radar_fast.series import FailedRun, ScoredRun, score_series
from radar_fast.terminal.growth import growth_tables
from radar_fast.terminal.progress import progress_on

__all__ = ["PIXELS", "show"]

PIXELS = 3136
"""Area of every image after the processor's resize, in pixels: what the demo's checkpoints were trained at."""


def show(out: Path, console: Console, *, data_only: bool = False, engine: str = "auto") -> None:
    """Write mini-M3 and the checkpoints under ``out``, score each, and print SDS against training step.

    What an earlier demo left there is taken as it is: the second time only what is missing is made.

    Raises:
        RadarError: ``out`` cannot be written, or the engine fails.
    """
    data, checkpoints, results = out / "mini-m3", out / "checkpoints", out / "results"
    progress = progress_on(console)
    _once(data, write_mini_m3)
    _once(checkpoints, write_checkpoints)
    series = sorted(checkpoints.glob("step-*"), key=lambda folder: int(folder.name.removeprefix("step-")))
    progress.say(f"{data}: the benchmark\n{checkpoints}: {len(series)} checkpoints of one training run")
    if data_only:
        return
    config = RunConfig(
        model=series[-1],
        data=data,
        out=results,
        engine=engine,
        # The checkpoints say so themselves, but for those that an earlier radar-fast has written.
        min_pixels=PIXELS,
        max_pixels=PIXELS,
    )

    runs = score_series(config, series, progress=progress)
    for run in runs:
        if isinstance(run, FailedRun):
            raise run.error
    steps = [(run.name, run.summary) for run in runs if isinstance(run, ScoredRun)]
    for title, table in growth_tables(steps, console.width):
        progress.say(f"\n{title} at training step")
        console.print(table)
    progress.say(f"\nresults in {results}")
    progress.say(f"a page of them: {write_report([results], out / 'report.html', data=data).path}")
    progress.say(f"next: radar-fast score --model {series[-1]} --data {data} --out {out / 'mine'}")


def _once(folder: Path, write: Callable[[Path], object]) -> None:
    """Have ``write`` fill the folder, unless it is there: it gets its name only when it is whole."""
    if folder.exists():
        return
    half = folder.with_name(f"{folder.name}.part")
    try:
        if half.exists():
            shutil.rmtree(half)
        half.mkdir(parents=True)
        write(half)
        half.rename(folder)
    except OSError as error:
        raise ResultsError(f"{folder}: cannot be written: {error.strerror or error}", path=folder) from None
