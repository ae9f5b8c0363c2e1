"""``radar-fast farm``: checkpoints on benchmarks, on every GPU of a machine or a cluster."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from click import get_current_context
from click.core import ParameterSource

from radar_fast.cli.config_file import ConfiguredCommand
from radar_fast.cli.config_file import print_config as print_options
from radar_fast.cli.scoring import STATUSES, configured, scoring_options, show
from radar_fast.cli.status import INTERRUPTED, leave
from radar_fast.errors import UsageError

if TYPE_CHECKING:
    from radar_fast.config import RunConfig

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
    click.option(
        "--slurm",
        metavar="OPTIONS",
        panel=FARM,
        help="Run nothing: print a script for Slurm whose tasks take these options of sbatch. With --engines N each "
        "task scores a shard, and they are merged; without, a checkpoint.",
    ),
)
_NOT_OF_SCORE = ("address", "engines", "gpus_per_engine", "cpus_per_engine", "slurm", "models", "data", "out")
"""Parameters that no task of Slurm gets as they are, and those that only a command line has."""


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
    slurm: str | None,
    **options: Any,
) -> None:
    """Score checkpoints on benchmarks with many engines at once, on Ray; or print a script for Slurm.

    Every GPU of this machine, two GPUs an engine, and a Slurm array of 8 tasks:
      radar-fast farm --model 'ckpt/step-*' --data M3-Bench --out results
      radar-fast farm --model big --data M3-Bench --out big --gpus-per-engine 2
      radar-fast farm --model big --data M3-Bench --out big --engines 8 \\
          --slurm '--partition gpu --gpus 1 --time 1:00:00' > job.sh; bash job.sh

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
    if slurm is not None:
        given = {"--address": address, "--gpus-per-engine": gpus_per_engine, "--cpus-per-engine": cpus_per_engine}
        if wrong := [flag for flag, value in given.items() if value is not None]:
            raise UsageError(f"{wrong[0]}: is for Ray; what a task of Slurm takes is said in --slurm, as --gpus 1")
        click.echo(_script(config, folders, benchmarks, slurm, engines, name or NAME), nl=False)
        return
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


def _script(
    config: "RunConfig", models: list[Path], data: list[Path], slurm: str, engines: int | None, name: str
) -> str:
    from radar_fast.farm.slurm import SlurmFarm, slurm_script

    if engines is not None and config.official_out is not None:
        raise UsageError("--official-out: not with shards; summarize writes those files once they are merged")
    words = ["score", "--data", *(str(folder.absolute()) for folder in data), *_words_of_score()]
    several = len(data) > 1
    asked = SlurmFarm(
        options=slurm, words=words, models=models, out=config.out, shards=engines, several_benchmarks=several, name=name
    )
    return slurm_script(asked)


def _words_of_score() -> list[str]:
    """The options of this command line that ``score`` takes too, wherever they were given."""
    ctx = get_current_context()
    words: list[str] = []
    for option in ctx.command.params:
        source = ctx.get_parameter_source(str(option.name))
        value = ctx.params.get(str(option.name))
        if option.name in _NOT_OF_SCORE or value is None or source is ParameterSource.DEFAULT:
            continue
        flag = max(option.opts, key=len)
        if isinstance(option, click.Option) and option.is_flag:
            words += [flag] if value else []
            continue
        for one in value if isinstance(value, tuple) else (value,):
            words += [flag, str(one.absolute() if isinstance(one, Path) else one)]
    return words
