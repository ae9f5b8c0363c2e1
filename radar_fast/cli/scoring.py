"""What ``score`` and ``farm`` share: the options that say what is scored and how, and how results are shown."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from radar_fast.cli.config_file import config_options
from radar_fast.cli.engine import engine_option, engine_options, options_of_engine
from radar_fast.cli.options import (
    ADVANCED,
    OUTPUT,
    WHAT,
    Function,
    asking_options,
    backend_option,
    condition_options,
    data_options,
    grouped,
    naming_options,
    run_options,
    sample_options,
    symlink_option,
)
from radar_fast.cli.status import TRY_AGAIN, UNSCORED, exit_by, leave
from radar_fast.cli.types import PATH, Many, expanded, given, pairs_of
from radar_fast.errors import BusyError, IncompleteError

if TYPE_CHECKING:
    from rich.console import Console

    from radar_fast.config import RunConfig
    from radar_fast.series import FailedRun, ScoredRun
    from radar_fast.shard import Shard
    from radar_fast.terminal.progress import Progress

__all__ = ["STATUSES", "check_trackers", "configured", "scoring_options", "show", "telling"]

STATUSES = """Exit status: 0 done; 1 done, but some samples or checkpoints could not be scored (a sample
other than by the 12-image rule);
2 the input or the usage is wrong; 75 trying again later may help (the result folder is in use, or a checkpoint is not
complete yet); 130 interrupted: the same command goes on from there."""


Option = Callable[[Any], Any]


def scoring_options(*more: Option, shards: bool, last: Sequence[Option] = ()) -> Callable[[Function], Function]:
    """All that ``score`` and ``farm`` take.

    Args:
        more: others, to stand before the output.
        shards: whether a part of a benchmark may be asked for.
        last: others, to stand at the end.
    """
    return grouped(
        click.option(
            "--model",
            "models",
            cls=Many,
            metavar="DIR...",
            panel=WHAT,
            help="Checkpoint folders, one or many, or a pattern in quotes: 'ckpt/step-*'.",
        ),
        click.option(
            "--data",
            cls=Many,
            metavar="DIR...",
            required=True,
            panel=WHAT,
            help="Benchmark folders, one or many, likewise.",
        ),
        data_options(),
        sample_options(),
        condition_options(),
        asking_options(),
        backend_option(),
        engine_option(),
        engine_options(),
        *more,
        click.option(
            "--out",
            type=PATH,
            metavar="DIR",
            required=True,
            panel=OUTPUT,
            help="The result folder; an interrupted run goes on. Of several checkpoints DIR/CHECKPOINT, of several "
            "benchmarks too DIR/BENCHMARK/CHECKPOINT.",
        ),
        run_options() if shards else naming_options(),
        click.option(
            "--official-out",
            type=PATH,
            metavar="DIR",
            panel=OUTPUT,
            help="Also write the published scripts' files here.",
        ),
        click.option(
            "-v", "--verbose", is_flag=True, panel=OUTPUT, help="Say where the time goes, and what was computed."
        ),
        click.option(
            "--events",
            metavar="FILE|-",
            panel=OUTPUT,
            help="Also say what goes on as JSON lines, for machines; with - they have standard output for themselves.",
        ),
        symlink_option(),
        click.option(
            "--trust-remote-code",
            is_flag=True,
            panel=ADVANCED,
            help="Run Python code that lies in the checkpoint folder.",
        ),
        config_options(),
        *last,
        click.help_option("-h", "--help", panel=ADVANCED, help="Show this and exit."),
    )


def configured(
    models: tuple[str, ...], data: tuple[str, ...], options: dict[str, Any], *, shard: "Shard | None" = None
) -> "tuple[RunConfig, list[Path], list[Path]]":
    """What :func:`scoring_options` asks for, with the checkpoint folders and the benchmarks.

    Raises:
        UsageError: it cannot be right.
    """
    from radar_fast.config import RunConfig

    folders, benchmarks = expanded("--model", models), expanded("--data", data)
    config = RunConfig(
        model=folders[0] if folders else None,
        data=benchmarks[0],
        fields=dict(pairs_of("--field", options.pop("fields"))),
        abilities=tuple(pairs_of("--ability", options.pop("abilities"), repeats=True)),
        options=options_of_engine(options),
        shard=shard,
        **given(options),
    )
    return config, folders, benchmarks


def check_trackers(track: tuple[str, ...]) -> None:
    """Raise UsageError for a tracker of ``--track`` that is not installed, before anything is scored."""
    from radar_fast.trackers import check_tracker

    for tracker in track:
        check_tracker("track", tracker)


@contextlib.contextmanager
def telling(
    progress: "Progress", out: Path, *, track: tuple[str, ...], events: str | None = None
) -> "Iterator[Progress]":
    """A progress that tells ``--track`` and ``--events`` too, until the context ends.

    Raises:
        UsageError: the file of the events cannot be opened.
    """
    from radar_fast.terminal.events import EventProgress
    from radar_fast.trackers.progress import TrackingProgress

    tracking = TrackingProgress(track, out / "tracking", progress)
    teller = EventProgress(events, tracking)
    try:
        yield teller
    finally:
        tracking.close()
        teller.close()


def show(
    console: "Console", runs: "Sequence[ScoredRun | FailedRun]", out: Path, pace: str, *, verbose: bool, several: bool
) -> None:
    """The results of all jobs, and leave with the status that they give.

    Args:
        console: where tables go.
        runs: as they came.
        out: where results are.
        pace: how fast it was, to stand before that.
        verbose: say what was computed.
        several: there are several benchmarks.
    """
    from radar_fast.series import FailedRun, ScoredRun

    scored = [run for run in runs if isinstance(run, ScoredRun)]
    failed = [run for run in runs if isinstance(run, FailedRun)]
    if scored:
        _print(console, scored, verbose=verbose)
        console.print(f"\n{pace}results in {out}", highlight=False, markup=False, soft_wrap=True)
    if failed:
        _list_failed(failed, len(runs), several=several)
    exit_by(*(run.summary for run in scored))
    if failed:
        leave(TRY_AGAIN if all(isinstance(run.error, BusyError | IncompleteError) for run in failed) else UNSCORED)


def _list_failed(failed: "list[FailedRun]", count: int, *, several: bool) -> None:
    """The checkpoints that were not scored, each with its reason."""
    click.echo(f"\nradar-fast: {len(failed)} of {count} were not scored:", err=True)
    for run in failed:
        name = f"{run.benchmark}/{run.name}" if several else run.name
        click.echo(f"  {name}: {' '.join(str(run.error).split())}", err=True)


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
