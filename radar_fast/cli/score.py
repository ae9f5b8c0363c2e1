"""``radar-fast score``: checkpoints on benchmarks."""

from typing import TYPE_CHECKING, Any

import rich_click as click

from radar_fast.cli.asked import shown_prompts
from radar_fast.cli.config_file import ConfiguredCommand
from radar_fast.cli.config_file import print_config as print_options
from radar_fast.cli.options import ADVANCED, shard_asked_for, track_option
from radar_fast.cli.scoring import STATUSES, check_trackers, configured, scoring_options, show, telling
from radar_fast.cli.status import INTERRUPTED, leave

if TYPE_CHECKING:
    from radar_fast.terminal.progress import ConsoleProgress

__all__ = ["score"]

_SHOW_PROMPT = click.option(
    "--show-prompt",
    type=click.IntRange(min=1),
    metavar="N",
    panel=ADVANCED,
    help="Print what the model is asked of the first N samples, tokens and boundaries included, and do nothing.",
)


@click.command(cls=ConfiguredCommand, epilog=STATUSES)
@scoring_options(shards=True, last=[_SHOW_PROMPT, track_option()])
def score(
    models: tuple[str, ...],
    data: tuple[str, ...],
    name: str | None,
    shard: str | None,
    verbose: bool,
    events: str | None,
    print_config: bool,
    show_prompt: int | None,
    track: tuple[str, ...],
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
    from radar_fast.terminal.output import standard_output
    from radar_fast.terminal.progress import progress_on

    check_trackers(track)
    console = standard_output(for_events=events == "-")
    progress = progress_on(console, verbose=verbose)
    config, folders, benchmarks = configured(models, data, options, shard=shard_asked_for(shard, progress.say))
    if show_prompt is not None:
        for line in shown_prompts(config, show_prompt):
            click.echo(line)
        return
    from radar_fast.series import NAME, score_series

    try:
        with telling(progress, config.out, track=track, events=events) as teller:
            runs = score_series(config, folders, benchmarks, name=name or NAME, progress=teller)
    except KeyboardInterrupt:
        click.echo(f"\nradar-fast: {_kept(progress)}; run the same command again", err=True)  # below the ^C
        leave(INTERRUPTED)
    show(console, runs, config.out, _pace(progress, len(runs)), verbose=verbose, several=len(benchmarks) > 1)


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
