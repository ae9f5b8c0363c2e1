"""The demo, from nothing to a table of growth."""

from pathlib import Path

from rich.console import Console

from radar_fast.config import RunConfig
from radar_fast.demo.mini_m3 import write_mini_m3
from radar_fast.demo.series import write_checkpoints
from radar_fast.progress import watch_on
from radar_fast.run import score
from radar_fast.tables import growth_table

__all__ = ["PIXELS", "show"]

PIXELS = 3136
"""Area of every image after the processor's resize, in pixels: what the demo's checkpoints were trained at."""


def show(out: Path, console: Console, *, data_only: bool = False, engine: str = "auto") -> None:
    """Write mini-M3 and the checkpoints under ``out``, score each, and print SDS by ability against training step.

    Raises:
        RadarError: ``out`` cannot be written, or the engine fails.
    """
    data, checkpoints, results = out / "mini-m3", out / "checkpoints", out / "results"
    say = watch_on(console).say
    write_mini_m3(data)
    series = write_checkpoints(checkpoints)
    say(f"{data}: the benchmark; {checkpoints}: {len(series)} checkpoints")
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
        steps.append((checkpoint.name, score(config, watch_on(console))))
    wide = console if console.is_terminal else Console(width=160)
    for section, heading in (("directories", "SDS by directory"), ("abilities", "SDS by ability")):
        wide.print()
        wide.print(growth_table(steps, section, heading))
    say(f"\nresults in {results}; look closer with: radar-fast summarize {results / series[-1].name}")
