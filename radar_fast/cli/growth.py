"""``radar-fast growth``: how abilities grow over the steps of a training run."""

from pathlib import Path

import rich_click as click

from radar_fast.cli.help import Command
from radar_fast.cli.types import PATH, Choice
from radar_fast.errors import UsageError
from radar_fast.terminal.output import standard_output

__all__ = ["growth"]


def _measures() -> tuple[str, ...]:
    from radar_fast.results.measures import compared

    return compared()


@click.command(cls=Command)
@click.argument("results", type=PATH, nargs=-1, required=True, metavar="RESULTS...")
@click.option("--measure", type=Choice(_measures), help="What is drawn: sds (unless told otherwise) or accuracy.")
@click.option(
    "--effect", type=float, metavar="X", help="The gain in SDS that -v says the number of samples for.  [default: 0.01]"
)
@click.option("--json", "json_file", type=PATH, metavar="FILE", help="Also write everything to FILE.")
@click.option("--csv", "csv_file", type=PATH, metavar="FILE", help="Also write a table, a row an entry and step.")
@click.option("--parquet", "parquet_file", type=PATH, metavar="FILE", help="The same as parquet; needs pyarrow.")
@click.option("--plot", type=PATH, metavar="FILE", help="Also draw the curves: FILE.svg or FILE.png; needs matplotlib.")
@click.option("-v", "--verbose", is_flag=True, help="Say what each curve is worth as a measure of progress, too.")
def growth(
    results: tuple[Path, ...],
    measure: str | None,
    effect: float | None,
    json_file: Path | None,
    csv_file: Path | None,
    parquet_file: Path | None,
    plot: Path | None,
    verbose: bool,
) -> None:
    """How abilities grow over the steps of a training run, with intervals, from result folders alone.

    RESULTS are result folders, or folders of them: what `radar-fast score --out` was given. Runs with --without image
    among them say what the images are worth. No model and no GPU is needed.
    """
    from radar_fast.results.growth import growth as grown_from
    from radar_fast.results.growth.document import document_of
    from radar_fast.results.growth.frame import write_csv, write_parquet
    from radar_fast.results.growth.plot import check_plot, write_plot
    from radar_fast.terminal.curves import curve_tables, said_of, trend_tables
    from radar_fast.util.atomic import write_json_atomic

    check_plot(plot)
    if effect is not None and not 0 < effect <= 1:
        raise UsageError(f"--effect {effect:g}: a gain in SDS is above 0 and at most 1")
    series = grown_from(*results)
    console = standard_output()
    for grown in series:
        first, last = grown.steps[0].label, grown.steps[-1].label
        click.echo(f"\n{grown.benchmark}: {len(grown.steps)} steps, {first} to {last}")
        tables = [*curve_tables(grown, console.width, measure or "sds")]
        for title, table in (*tables, *(trend_tables(grown, effect or 0.01) if verbose else ())):
            console.print(f"\n{title}", highlight=False, markup=False, soft_wrap=True)
            console.print(table)
        click.echo("")
        for line in said_of(grown):
            click.echo(line)
    for file, write in ((csv_file, write_csv), (parquet_file, write_parquet), (plot, write_plot)):
        if file is not None:
            write(series, file)
    if json_file is not None:
        write_json_atomic(json_file, document_of(series))
