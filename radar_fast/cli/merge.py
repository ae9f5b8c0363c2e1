"""``radar-fast merge``: shards -> one result folder."""

from pathlib import Path

import rich_click as click

from radar_fast.cli.help import Command
from radar_fast.cli.status import TRY_AGAIN, WRONG, exit_by, leave
from radar_fast.cli.types import PATH
from radar_fast.errors import BusyError, RadarError, UsageError
from radar_fast.terminal.output import standard_output

__all__ = ["merge"]


@click.command(cls=Command)
@click.argument("out", type=PATH)
@click.option("--partial", is_flag=True, help="Merge what is there, though shards are missing or not complete.")
@click.option("--official-out", type=PATH, metavar="DIR", help="Also write the published scripts' files here.")
def merge(out: Path, partial: bool, official_out: Path | None) -> None:
    """Put the shards together that lie in OUT, or in folders below it: OUT/shard-00000-of-00008 and its kin become the
    result folder OUT.

    First it is proved that they are of one run, share no sample, and lack none. Merging again adds what has come since.
    Exit status as for score.
    """
    from radar_fast.results.merge import folders_with_shards, merge_shards
    from radar_fast.run import summarize
    from radar_fast.terminal.summaries import print_summary

    folders = folders_with_shards(out)
    if official_out is not None and len(folders) > 1:
        raise UsageError(f"--official-out: {out} holds the shards of {len(folders)} runs; merge {folders[0]} alone")
    summaries, failed = [], []
    for folder in folders:
        try:
            merged = merge_shards(folder, partial=partial, say=click.echo)
        except RadarError as error:
            if len(folders) == 1:
                raise
            failed.append(error)
            click.echo(f"{folder}: not merged: {error}", err=True)
            continue
        summaries.append(summarize(folder, official_out=official_out))
        added = f"{merged.fresh} samples of {merged.shards} shards" if merged.fresh else "nothing was left to merge"
        lacking = f", {merged.missing} missing" if merged.missing else ""
        click.echo(f"{folder}: {added}{lacking}")
    if len(folders) == 1:
        print_summary(standard_output(), summaries[0])
    if failed:
        leave(TRY_AGAIN if all(isinstance(error, BusyError) for error in failed) else WRONG)
    exit_by(*summaries)
