"""``radar-fast export``: results for other programs."""

from pathlib import Path

import rich_click as click

from radar_fast.cli.help import Command
from radar_fast.cli.types import PATH, Choice

__all__ = ["export"]


def _exports() -> tuple[str, ...]:
    from radar_fast.exports import EXPORTS

    return EXPORTS


@click.command(cls=Command)
@click.argument("results", type=PATH, nargs=-1, required=True, metavar="RESULTS...")
@click.option(
    "--to",
    type=Choice(_exports),
    required=True,
    help="What is to read it: csv, parquet, lm-eval, every-eval-ever, wandb, tensorboard, mlflow, trackio.",
)
@click.option("--out", type=PATH, required=True, metavar="DIR", help="The folder it goes to; made if absent.")
def export(results: tuple[Path, ...], to: str, out: Path) -> None:
    """Write results as other programs read them: tables, trackers' files, layouts of other harnesses.

    RESULTS are result folders, or folders of them. Giving it again adds what is new, and nothing twice; trackers get
    files alone, whatever server the environment names.
    """
    from radar_fast.exports import export as exported

    for line in exported(results, to, out):
        click.echo(line)
