"""``radar-fast farm``: checkpoints on benchmarks, on every GPU of a machine or a cluster."""

from typing import Any

import rich_click as click

from radar_fast.cli.config_file import ConfiguredCommand
from radar_fast.cli.config_file import print_config as print_options
from radar_fast.cli.scoring import STATUSES, configured, scoring_options, show
from radar_fast.cli.status import INTERRUPTED, leave

__all__ = ["farm"]

FARM = "Farm"

_OPTIONS = (
    click.option(
        "--address",
        metavar="ADDRESS",
        panel=FARM,
        help="The Ray cluster: auto (the one that runs here or that RAY_ADDRESS names, else local), local (started for "
        "this alone, on this machine), or HOST:PORT.",
    ),
    click.option(
        "--engines", type=int, metavar="N", panel=FARM, help="How many.  [default: as many as there is room for]"
    ),
    click.option(
        "--gpus-per-engine",
        type=float,
        metavar="N",
        panel=FARM,
        help="GPUs of each; 0.5: two share one.  [default: what its tensor_parallel_size asks for; none where there is "
        "no GPU]",
    ),
    click.option(
        "--cpus-per-engine",
        type=float,
        metavar="N",
        panel=FARM,
        help="CPU cores of each, and its workers.  [default: its share of the machine, at most 8 beside a GPU]",
    ),
)


@click.command(cls=ConfiguredCommand, epilog=STATUSES)
@scoring_options(*_OPTIONS, shards=False)
def farm(
    models: tuple[str, ...],
    data: tuple[str, ...],
    name: str | None,
    verbose: bool,
    events: str | None,
    print_config: bool,
    address: str | None,
    engines: int | None,
    gpus_per_engine: float | None,
    cpus_per_engine: float | None,
    **options: Any,
) -> None:
    """Score checkpoints on benchmarks with many engines at once, on Ray.

    Every GPU of this machine, two GPUs an engine, and a cluster that runs elsewhere:
      radar-fast farm --model 'ckpt/step-*' --data M3-Bench --out results
      radar-fast farm --model big --data M3-Bench --out big --gpus-per-engine 2
      radar-fast farm --model big --data M3-Bench --out big --address head:6379

    Any engine that dies is replaced, and any result folder can be finished by score, and the reverse.
    """
    if print_config:
        print_options()
        return
    from radar_fast.farm.console import console_for
    from radar_fast.farm.options import FarmOptions
    from radar_fast.farm.scoring import score_farm
    from radar_fast.series import NAME
    from radar_fast.terminal.events import EventProgress
    from radar_fast.terminal.output import standard_output

    config, folders, benchmarks = configured(models, data, options)
    placed = FarmOptions(
        address=address or "auto",
        engines=engines,
        gpus_per_engine=gpus_per_engine,
        cpus_per_engine=cpus_per_engine,
    )
    console = standard_output(for_events=events == "-")
    watcher = console_for(console, verbose=verbose)
    teller = EventProgress(events, watcher)
    try:
        runs = score_farm(
            config, folders, benchmarks, farm=placed, name=name or NAME, progress=teller, watch=watcher.watch
        )
    except KeyboardInterrupt:
        click.echo(f"\nradar-fast: {watcher.kept()}; run the same command again", err=True)  # below the ^C
        leave(INTERRUPTED)
    finally:
        teller.close()
        watcher.stop()
    show(console, runs, config.out, watcher.pace(), verbose=verbose, several=len(benchmarks) > 1)
