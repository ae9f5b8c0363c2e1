"""``radar-fast report``: a series as a page."""

from pathlib import Path

import rich_click as click

from radar_fast.cli.help import Command
from radar_fast.cli.types import PATH, given
from radar_fast.errors import UsageError

__all__ = ["report"]


@click.command(cls=Command)
@click.argument("results", nargs=-1, required=True, type=PATH)
@click.option("--out", type=PATH, metavar="FILE", help="The page to write; report.html unless told otherwise.")
@click.option("--data", type=PATH, metavar="DIR", help="Where the benchmark lies, if no longer where it was scored.")
@click.option("--pictures", type=int, metavar="N", help="So many thumbnails at most: 600, in the page 200.")
@click.option("--inline", is_flag=True, help="Put the thumbnails into the page, not into a folder beside it.")
@click.option("--serve", is_flag=True, help="Write nothing: serve the page, with all pictures, on this machine.")
@click.option("--port", type=int, metavar="N", help="For --serve; any that is free unless told otherwise.")
def report(
    results: tuple[Path, ...],
    out: Path | None,
    data: Path | None,
    pictures: int | None,
    inline: bool,
    serve: bool,
    port: int | None,
) -> None:
    """Write a page that shows how abilities grew over RESULTS: result folders of a series, or a folder of them.

    The page works from its file, without a network: curves, profile, onset, task by step, and every sample that was
    gained or lost with its picture.
    """
    from radar_fast.report.build import serve_report, write_report

    if serve:
        for option, value in (("--out", out), ("--pictures", pictures), ("--inline", inline or None)):
            if value is not None:
                raise UsageError(f"{option}: is for a page that is written, and --serve writes none; leave out either")
        with serve_report(results, data=data, **given({"port": port})) as server:
            click.echo(f"{server.url} (Ctrl-C ends)")
            server.serve_until_interrupted()
        return
    if port is not None:
        raise UsageError("--port: is for --serve; add that, or leave it out")
    written = write_report(results, out or "report.html", data=data, inline=inline, pictures=pictures)
    for note in written.notes:
        click.echo(f"note: {note}")
    click.echo(str(written))
