"""``radar-fast summarize`` and ``compare``: what result folders say."""

from pathlib import Path

import rich_click as click
from rich.text import Text

from radar_fast.cli.help import Command
from radar_fast.cli.status import exit_by
from radar_fast.cli.types import PATH, Choice, given, pairs_of
from radar_fast.terminal.output import standard_output

__all__ = ["compare", "summarize"]


def _orders() -> tuple[str, ...]:
    from radar_fast.terminal.tables import ORDERS

    return ORDERS


@click.command(cls=Command)
@click.argument("out", type=PATH)
@click.option("--official-out", type=PATH, metavar="DIR", help="Also write the published scripts' files here.")
@click.option("-v", "--verbose", is_flag=True, help="Say what was computed, too.")
def summarize(out: Path, official_out: Path | None, verbose: bool) -> None:
    """Compute OUT/summary.json anew from OUT/samples.jsonl, and print it.

    Exit status as for score.
    """
    from radar_fast import run
    from radar_fast.terminal.summaries import print_summary

    summary = run.summarize(out, official_out=official_out)
    print_summary(standard_output(), summary, verbose=verbose)
    exit_by(summary)


@click.command(cls=Command)
@click.argument("first", metavar="A", type=PATH)
@click.argument("second", metavar="B", type=PATH)
@click.option(
    "--pair",
    "pairs",
    multiple=True,
    metavar="X=Y",
    help="Set task X of A against task Y of B, e.g. --pair PGPS9K_base=PGPS9K_full. May be repeated; A may be B.",
)
@click.option(
    "--order",
    type=Choice(_orders),
    help="Order of the rows: change (by what SDS has gained, the most first; unless told otherwise) or name.",
)
@click.option("--json", "file", type=PATH, metavar="FILE", help="Also write everything to FILE.")
def compare(first: Path, second: Path, pairs: tuple[str, ...], order: str | None, file: Path | None) -> None:
    """What changed from result folder A to result folder B, over the samples that both have scored.

    Differences are B less A, with paired 95% intervals; n.s., not significant, marks what chance explains where there
    are so many tasks.
    """
    from radar_fast.results.comparison import compare as compared
    from radar_fast.terminal.tables import comparison_tables
    from radar_fast.util.atomic import write_json_atomic

    comparison = compared(first, second, pairs=pairs_of("--pair", pairs))
    console = standard_output()
    click.echo(f"A: {first}\nB: {second}")
    for line in comparison.differing:
        click.echo(f"differs: {line}")
    for letter, missing in (("A", comparison.first_missing), ("B", comparison.second_missing)):
        if missing:
            console.print(Text(f"INCOMPLETE: {letter} lacks {missing} samples", style="bold red"))
    for table in comparison_tables(comparison, console.width, **given({"order": order})):
        console.print()
        console.print(table)
    overall = comparison.overall
    click.echo(
        f"\n{overall.paired} samples scored in both, {overall.only_first} only in A, {overall.only_second} only in B"
    )
    if file is not None:
        write_json_atomic(file, comparison.to_dict())
