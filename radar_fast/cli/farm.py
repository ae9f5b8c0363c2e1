"""``radar-fast farm``: checkpoints on benchmarks, on every GPU of a machine or a cluster."""

from pathlib import Path
from typing import Any

import rich_click as click
from click import get_current_context
from click.core import ParameterSource

from radar_fast.cli.config_file import ConfiguredCommand
from radar_fast.cli.config_file import print_config as print_options
from radar_fast.cli.options import track_option
from radar_fast.cli.placing import FARM, PLACING, placed, placing_options
from radar_fast.cli.scoring import STATUSES, check_trackers, configured, scoring_options, show, telling
from radar_fast.cli.status import INTERRUPTED, leave
from radar_fast.errors import UsageError

__all__ = ["farm"]

_OPTIONS = (
    placing_options(),
    click.option(
        "--slurm",
        metavar="OPTIONS",
        panel=FARM,
        help="Run nothing: print a script for Slurm whose tasks take these options of sbatch. With --engines N each "
        "task scores a shard, and they are merged; without, a checkpoint.",
    ),
)
_NOT_OF_SCORE = (*PLACING, "slurm", "models", "data", "out", "track")
"""Parameters that no task of Slurm gets as they are, and those that only a command line has."""


@click.command(cls=ConfiguredCommand, epilog=STATUSES)
@scoring_options(*_OPTIONS, shards=False, last=[track_option()])
def farm(
    models: tuple[str, ...],
    data: tuple[str, ...],
    name: str | None,
    verbose: bool,
    events: str | None,
    print_config: bool,
    slurm: str | None,
    track: tuple[str, ...],
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
    from radar_fast.farm.scoring import score_farm
    from radar_fast.series import NAME
    from radar_fast.terminal.output import standard_output

    if slurm is not None:
        click.echo(_script(models, data, slurm, track, name or NAME, options), nl=False)
        return
    check_trackers(track)
    farm = placed(options)
    config, folders, benchmarks = configured(models, data, options)
    console = standard_output(for_events=events == "-")
    watcher = console_for(console, verbose=verbose)
    try:
        with telling(watcher, config.out, track=track, events=events) as progress:
            runs = score_farm(
                config, folders, benchmarks, farm=farm, name=name or NAME, progress=progress, watch=watcher.watch
            )
    except KeyboardInterrupt:
        click.echo(f"\nradar-fast: {watcher.kept()}; run the same command again", err=True)  # below the ^C
        leave(INTERRUPTED)
    finally:
        watcher.stop()
    show(console, runs, config.out, watcher.pace(), verbose=verbose, several=len(benchmarks) > 1)


def _script(
    models: tuple[str, ...],
    data: tuple[str, ...],
    slurm: str,
    track: tuple[str, ...],
    name: str,
    options: dict[str, Any],
) -> str:
    from radar_fast.farm.slurm import SlurmFarm, slurm_script

    placing = {flag: options.pop(flag) for flag in PLACING}
    engines = placing.pop("engines")
    if wrong := [flag for flag, value in placing.items() if value is not None]:
        flag = wrong[0].replace("_", "-")
        raise UsageError(f"--{flag}: is for Ray; what a task of Slurm takes is said in --slurm, as --gpus 1")
    config, folders, benchmarks = configured(models, data, options)
    if track:  # tasks would write to the same files, and a shard has numbers of its own
        raise UsageError(
            f"--track {track[0]}: not with --slurm; `radar-fast export {config.out} --to {track[0]}` tells it of all "
            "that is scored"
        )
    if engines is not None and config.official_out is not None:
        raise UsageError("--official-out: not with shards; summarize writes those files once they are merged")
    words = ["score", "--data", *(str(folder.absolute()) for folder in benchmarks), *_words_of_score()]
    asked = SlurmFarm(
        options=slurm,
        words=words,
        models=folders,
        out=config.out,
        shards=engines,
        several_benchmarks=len(benchmarks) > 1,
        name=name,
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
