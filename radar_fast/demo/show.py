"""The demo, from nothing to a table of growth."""

import shutil
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from radar_fast.config import RunConfig
from radar_fast.demo.mini_m3 import write_mini_m3
from radar_fast.demo.series import write_checkpoints
from radar_fast.errors import ResultsError
from radar_fast.run import score
from radar_fast.terminal.progress import progress_on
from radar_fast.terminal.tables import growth_table

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
    say = progress_on(console).say
    _once(data, write_mini_m3)
    _once(checkpoints, write_checkpoints)
    series = sorted(checkpoints.glob("step-*"), key=lambda folder: int(folder.name.removeprefix("step-")))
    say(f"{data}: the benchmark\n{checkpoints}: {len(series)} checkpoints of one training run")
    if data_only:
        return
    steps = []
    for checkpoint in series:
        say(f"\n{checkpoint.name}")
        config = RunConfig(
            model=checkpoint,
            data=data,
            out=results / checkpoint.name,
            engine=engine,
            min_pixels=PIXELS,
            max_pixels=PIXELS,
        )
        steps.append((checkpoint.name.removeprefix("step-"), score(config, progress_on(console)).to_dict()))
    for section, heading in (("tasks", "task"), ("directories", "directory"), ("abilities", "ability")):
        say(f"\nSDS by {heading} at training step")
        console.print(growth_table(steps, section, heading))
    say(f"\nresults in {results}; look closer with: radar-fast summarize {results / series[-1].name}")


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
        raise ResultsError(f"{folder}: cannot be written: {error.strerror or error}") from None
