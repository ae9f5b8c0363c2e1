"""``radar-fast score``: checkpoints on benchmarks."""

from typing import TYPE_CHECKING, Any

import rich_click as click

from radar_fast.cli.asked import shown_prompts
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
    run_options,
    sample_options,
    shard_asked_for,
    symlink_option,
)
from radar_fast.cli.status import INTERRUPTED, TRY_AGAIN, UNSCORED, exit_by, leave
from radar_fast.cli.types import PATH, Many, expanded, given, pairs_of
from radar_fast.errors import BusyError, IncompleteError

if TYPE_CHECKING:
    from rich.console import Console

    from radar_fast.series import FailedRun, ScoredRun
    from radar_fast.terminal.progress import ConsoleProgress

__all__ = ["score"]


_STATUSES = """Exit status: 0 done; 1 done, but some samples or checkpoints could not be scored (a sample
other than by the 12-image rule);
2 the input or the usage is wrong; 75 trying again later may help (the result folder is in use, or a checkpoint is not
complete yet); 130 interrupted: the same command goes on from there."""


@click.command(cls=ConfiguredCommand, epilog=_STATUSES)
@click.option(
    "--model",
    "models",
    cls=Many,
    metavar="DIR...",
    panel=WHAT,
    help="Checkpoint folders, one or many, or a pattern in quotes: 'ckpt/step-*'.",
)
@click.option(
    "--data", cls=Many, metavar="DIR...", required=True, panel=WHAT, help="Benchmark folders, one or many, likewise."
)
@data_options()
@sample_options()
@condition_options()
@asking_options()
@backend_option()
@engine_option()
@engine_options()
@click.option(
    "--out",
    type=PATH,
    metavar="DIR",
    required=True,
    panel=OUTPUT,
    help="The result folder; an interrupted run goes on. Of several checkpoints DIR/CHECKPOINT, of several benchmarks "
    "too DIR/BENCHMARK/CHECKPOINT.",
)
@run_options()
@click.option(
    "--official-out", type=PATH, metavar="DIR", panel=OUTPUT, help="Also write the published scripts' files here."
)
@click.option("-v", "--verbose", is_flag=True, panel=OUTPUT, help="Say where the time goes, and what was computed.")
@click.option(
    "--events",
    metavar="FILE|-",
    panel=OUTPUT,
    help="Also say what goes on as JSON lines, for machines; with - they have standard output for themselves.",
)
@symlink_option()
@click.option(
    "--trust-remote-code", is_flag=True, panel=ADVANCED, help="Run Python code that lies in the checkpoint folder."
)
@config_options()
@click.option(
    "--show-prompt",
    type=click.IntRange(min=1),
    metavar="N",
    panel=ADVANCED,
    help="Print what the model is asked of the first N samples, tokens and boundaries included, and do nothing.",
)
@click.help_option("-h", "--help", panel=ADVANCED, help="Show this and exit.")
def score(
    models: tuple[str, ...],
    data: tuple[str, ...],
    name: str | None,
    shard: str | None,
    verbose: bool,
    events: str | None,
    print_config: bool,
    show_prompt: int | None,
    **options: Any,
) -> None:
    """Score checkpoints on benchmarks: how much does each prefer the correct answers?

    One checkpoint, a series in one engine, and a trial of the data without a GPU:
      radar-fast score --model ckpt/step-2000 --data M3-Bench --out results/2000
      radar-fast score --model 'ckpt/step-*' --data M3-Bench --out results
      radar-fast score --engine fake --data M3-Bench --out trial --limit 10
    """
    if print_config:
        print_options()
        return
    from radar_fast.config import RunConfig
    from radar_fast.terminal.events import EventProgress
    from radar_fast.terminal.output import standard_output
    from radar_fast.terminal.progress import progress_on

    console = standard_output(for_events=events == "-")
    progress = progress_on(console, verbose=verbose)
    folders, benchmarks = expanded("--model", models), expanded("--data", data)
    config = RunConfig(
        model=folders[0] if folders else None,
        data=benchmarks[0],
        fields=dict(pairs_of("--field", options.pop("fields"))),
        abilities=tuple(pairs_of("--ability", options.pop("abilities"), repeats=True)),
        options=options_of_engine(options),
        shard=shard_asked_for(shard, progress.say),
        **given(options),
    )
    if show_prompt is not None:
        for line in shown_prompts(config, show_prompt):
            click.echo(line)
        return
    teller = EventProgress(events, progress)
    try:
        from radar_fast.series import NAME, FailedRun, ScoredRun, score_series

        runs = score_series(config, folders, benchmarks, name=name or NAME, progress=teller)
    except KeyboardInterrupt:
        click.echo(f"\nradar-fast: {_kept(progress)}; run the same command again", err=True)  # below the ^C
        leave(INTERRUPTED)
    finally:
        teller.close()
    scored = [run for run in runs if isinstance(run, ScoredRun)]
    failed = [run for run in runs if isinstance(run, FailedRun)]
    if scored:
        _print(console, scored, verbose=verbose)
        pace = _pace(progress, len(runs))
        console.print(f"\n{pace}results in {config.out}", highlight=False, markup=False, soft_wrap=True)
    if failed:
        _list_failed(failed, len(runs), several=len(benchmarks) > 1)
    exit_by(*(run.summary for run in scored))
    if failed:
        leave(TRY_AGAIN if all(isinstance(run.error, BusyError | IncompleteError) for run in failed) else UNSCORED)


def _list_failed(failed: "list[FailedRun]", count: int, *, several: bool) -> None:
    """The checkpoints that were not scored, each with its reason."""
    click.echo(f"\nradar-fast: {len(failed)} of {count} were not scored:", err=True)
    for run in failed:
        name = f"{run.benchmark}/{run.name}" if several else run.name
        click.echo(f"  {name}: {' '.join(str(run.error).split())}", err=True)


def _kept(progress: "ConsoleProgress") -> str:
    """What an interrupted run leaves."""
    tally = progress.tally
    if tally is None:
        return "interrupted before anything was scored"
    return f"interrupted: {tally.done} of {tally.total} samples of {tally.name} are kept"


def _pace(progress: "ConsoleProgress", runs: int) -> str:
    """How fast a single run was, in what it scored itself."""
    if runs > 1:
        return ""
    if progress.tally is None:
        return "nothing was left to score; "
    return f"{progress.tally.fresh} samples in {progress.tally.seconds:.0f} s; "


def _print(console: "Console", runs: "list[ScoredRun]", *, verbose: bool) -> None:
    """A summary for each benchmark, or a table of growth where it has several checkpoints."""
    from radar_fast.series import by_step
    from radar_fast.terminal.summaries import print_growth, print_summary

    for benchmark in dict.fromkeys(run.benchmark for run in runs):
        series = [run for run in runs if run.benchmark == benchmark]
        if len(series) < len(runs):
            console.print(f"\n{benchmark}", highlight=False, markup=False)
        if len(series) > 1:
            series = by_step(series)
            print_growth(console, [(run.name, run.summary) for run in series], series[0].out, series[-1].out)
        else:
            print_summary(console, series[0].summary, verbose=verbose)
