"""``radar-fast watch``: checkpoints while a training writes them."""

from pathlib import Path
from typing import Any

import rich_click as click

from radar_fast.cli.config_file import ConfiguredCommand, config_options
from radar_fast.cli.config_file import print_config as print_options
from radar_fast.cli.engine import engine_option, engine_options, options_of_engine
from radar_fast.cli.options import (
    ADVANCED,
    OUTPUT,
    WHAT,
    asking_options,
    backend_option,
    condition_options,
    data_options,
    sample_options,
    step_option,
    symlink_option,
    track_option,
)
from radar_fast.cli.placing import placed, placing_options
from radar_fast.cli.scoring import check_trackers, show, telling
from radar_fast.cli.status import INTERRUPTED, leave
from radar_fast.cli.types import PATH, Choice, Many, expanded, given, pairs_of

__all__ = ["watch"]

WHEN = "When"


def _orders() -> tuple[str, ...]:
    from radar_fast.watch.wanted import ORDERS

    return ORDERS


@click.command(cls=ConfiguredCommand)
@click.argument("root", type=PATH)
@click.option("--data", cls=Many, metavar="DIR...", required=True, panel=WHAT, help="Benchmark folders, one or many.")
@click.option(
    "--ready",
    metavar="auto|FILE|stable:SECONDS",
    panel=WHEN,
    help="When a checkpoint is whole: auto (what its writer leaves last, and all weights are there), when FILE is in "
    "it, or when it has stayed as it is for so many seconds.  [default: auto]",
)
@click.option("--every", type=int, metavar="N", panel=WHEN, help="Only steps that N divides.")
@click.option("--steps", metavar="LIST", panel=WHEN, help="Only these: 1000,2000,4000.")
@click.option("--until", type=int, metavar="STEP", panel=WHEN, help="End with this step, or once a later one is there.")
@click.option("--once", is_flag=True, panel=WHEN, help="End when what is there is scored.")
@click.option("--order", type=Choice(_orders), panel=WHEN, help="Which of several is scored first: oldest, or newest.")
@click.option(
    "--poll", type=float, metavar="SECONDS", panel=WHEN, help="Time from one look to the next.  [default: 10]"
)
@click.option(
    "--convert",
    metavar="'CMD {input} {output}'",
    panel=WHAT,
    help="A command that makes a checkpoint in {output} of a trainer's own format in {input}; run by no shell.",
)
@click.option(
    "--convert-timeout",
    type=float,
    metavar="SECONDS",
    panel=ADVANCED,
    help="After which it is ended.  [default: 3600]",
)
@data_options()
@sample_options()
@condition_options()
@asking_options()
@backend_option()
@engine_option()
@engine_options()
@placing_options()
@click.option(
    "--out",
    type=PATH,
    metavar="DIR",
    required=True,
    panel=OUTPUT,
    help="Results go to DIR/CHECKPOINT, of several benchmarks to DIR/BENCHMARK/CHECKPOINT.",
)
@step_option()
@click.option("-v", "--verbose", is_flag=True, panel=OUTPUT, help="Say where the time goes, and what was computed.")
@symlink_option()
@click.option(
    "--trust-remote-code", is_flag=True, panel=ADVANCED, help="Run Python code that lies in the checkpoint folder."
)
@track_option()
@config_options()
@click.help_option("-h", "--help", panel=ADVANCED, help="Show this and exit.")
def watch(
    root: Path,
    data: tuple[str, ...],
    ready: str | None,
    every: int | None,
    steps: str | None,
    until: int | None,
    once: bool,
    order: str | None,
    poll: float | None,
    convert: str | None,
    convert_timeout: float | None,
    verbose: bool,
    print_config: bool,
    track: tuple[str, ...],
    **options: Any,
) -> None:
    """Score each checkpoint that a training writes into a folder of its own in ROOT (step-100, checkpoint-100,
    iter_100/hf), once it is whole, in an engine that stays warm; with --engines in as many of them, on Ray.

    What is done is known by the result folders: ended or killed, the same command goes on. Exit status as for score.
      radar-fast watch run/checkpoints --data M3-Bench --out results --until 20000
      radar-fast watch run --data M3-Bench --out results --convert './to-hf.sh {input} {output}'
    """
    if print_config:
        print_options()
        return
    from radar_fast.config import RunConfig
    from radar_fast.farm.console import console_for
    from radar_fast.terminal.output import standard_output
    from radar_fast.terminal.progress import progress_on
    from radar_fast.watch.conversion import Conversion
    from radar_fast.watch.loop import WatchOptions
    from radar_fast.watch.loop import watch as watched
    from radar_fast.watch.ready import Ready
    from radar_fast.watch.wanted import Wanted, steps_of

    check_trackers(track)
    watching = WatchOptions(
        root=root,
        ready=Ready.parse(ready) if ready is not None else Ready(),
        wanted=Wanted(
            every=every, steps=steps_of(steps) if steps is not None else None, until=until, **given({"order": order})
        ),
        conversion=Conversion(convert, **given({"timeout": convert_timeout})) if convert is not None else None,
        once=once,
        farm=placed(options),
        **given({"poll": poll}),
    )
    benchmarks = expanded("--data", data)
    config = RunConfig(
        model=root,
        data=benchmarks[0],
        fields=dict(pairs_of("--field", options.pop("fields"))),
        abilities=tuple(pairs_of("--ability", options.pop("abilities"), repeats=True)),
        options=options_of_engine(options),
        **given(options),
    )
    console = standard_output()
    farm = console_for(console, verbose=verbose)
    progress = progress_on(console, verbose=verbose) if watching.farm is None else farm
    try:
        with telling(progress, config.out, track=track) as teller:
            runs = watched(watching, config, benchmarks, teller, farm.watch)
    except KeyboardInterrupt:
        click.echo("\nradar-fast: interrupted; the same command goes on", err=True)  # below the ^C
        leave(INTERRUPTED)
    finally:
        farm.stop()
    if not runs:
        click.echo(f"nothing was left to score; results in {config.out}")
    show(console, runs, config.out, "", verbose=verbose, several=len(benchmarks) > 1)
