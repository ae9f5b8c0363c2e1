"""What is printed when a run, or a series of them, is done."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from radar_fast.errors import ResultsError
from radar_fast.results.comparison import compare
from radar_fast.results.difference import Comparison
from radar_fast.results.summary import Summary
from radar_fast.terminal.growth import growth_tables
from radar_fast.terminal.tables import summary_tables

__all__ = ["print_growth", "print_summary"]


def print_summary(console: Console, summary: Summary, *, verbose: bool = False) -> None:
    """The tables of one run, and what was unscored for which reason; first of all, whether it is only a part of one.

    ``verbose`` adds what was computed, of all the run's parts where it was resumed.
    """
    if part := _part(summary):
        console.print(Text(f"\n{part}", style="bold red"), soft_wrap=True)
    for table in summary_tables(summary, console.width):
        console.print()
        console.print(table)
    engine = summary.engine
    if verbose and engine.samples_per_second:
        ratio = engine.tokens_computed / max(engine.tokens_minimal, 1)
        _say(
            console,
            f"\n{engine.samples_per_second:.1f} samples/s of model time; "
            f"{engine.tokens_computed} tokens computed, {ratio:.2f} times the minimum",
        )
    for kind, count in summary.overall.reasons.items():
        _say(console, f"unscored: {count} {kind}")
    if part := _part(summary):
        console.print(Text(part, style="bold red"), soft_wrap=True)


def _part(summary: Summary) -> str:
    """Of which part of a benchmark a summary is; empty where it is of all."""
    found, missing = summary.overall.scored + summary.overall.unscored, summary.missing or 0
    if missing:
        share = 100 * missing / (found + missing)
        of = "" if summary.shard is None else f" of shard {summary.shard}"
        return (
            f"INCOMPLETE: {missing} of {found + missing} samples{of} ({share:.1f}%) are missing, and whole tasks may "
            "be; these are the numbers of a part. Give the same score command again to complete it"
        )
    if summary.shard is not None:
        return (
            f"SHARD {summary.shard}, all of its {found} samples: these are the numbers of a part; `radar-fast merge` "
            "puts the shards together"
        )
    return ""


def print_growth(console: Console, steps: Sequence[tuple[str, Summary]], first: Path, last: Path) -> None:
    """SDS of a series of checkpoints, and what changed from the first to the last.

    Args:
        console: where to.
        steps: (name of the checkpoint, its summary), in order.
        first: the first one's result folder.
        last: the last one's.
    """
    for title, table in growth_tables(steps, console.width, _gained(first, last)):
        _say(console, f"\n{title}")
        console.print(table)
    reasons = {kind for _, summary in steps for kind in summary.overall.reasons}
    for kind in sorted(reasons):
        counts = [summary.overall.reasons.get(kind, 0) for _, summary in steps]
        span = str(counts[0]) if len(set(counts)) == 1 else f"{min(counts)} to {max(counts)}"
        _say(console, f"unscored at each checkpoint: {span} {kind}")


def _gained(first: Path, last: Path) -> Comparison | None:
    """The paired differences; None where no sample is scored in both."""
    try:
        return compare(first, last)
    except ResultsError:
        return None


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
