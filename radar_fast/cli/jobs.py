"""``radar-fast status``: how far jobs are, from outside."""

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from radar_fast.cli.help import Command
from radar_fast.cli.types import PATH
from radar_fast.terminal.output import standard_output
from radar_fast.util.printable import printable

if TYPE_CHECKING:
    from radar_fast.farm.state import FarmState
    from radar_fast.farm.status import JobStatus

__all__ = ["status"]


@click.command(cls=Command)
@click.argument("out", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def status(out: Path, as_json: bool) -> None:
    """How far the runs are whose results lie in OUT, or in folders below it: shards, series, farms and watches.

    Result folders and journals are read, and nobody is asked; whoever is at work is not disturbed.
    """
    from rich.text import Text

    from radar_fast.farm.status import status_of
    from radar_fast.terminal.tables import new_table
    from radar_fast.util.codec import encode

    found = status_of(out)
    if as_json:
        click.echo(encode(found.to_dict(), indent=True), nl=False)
        return
    if found.farm is not None:
        click.echo(_farm_line(found.farm))
    table = new_table("folder", ["step", "samples", "of", "state"])
    for job in found.jobs:
        of = "?" if job.samples is None else str(job.samples)
        step = "" if job.step is None else str(job.step)
        table.add_row(Text(printable(job.folder)), step, str(job.done), of, _told(job))
    standard_output().print(table)
    for job in found.jobs:
        if job.problem is not None:
            click.echo(f"{job.folder}: {job.problem}", err=True)
    ended = sum(job.state == "done" for job in found.jobs)
    click.echo(f"{found.done} of {found.samples} samples, {ended} of {len(found.jobs)} result folders done")


def _told(job: "JobStatus") -> str:
    """The state, and since when nothing happens where something should."""
    if job.state != "stopped" or job.idle_seconds is None:
        return job.state
    return f"stopped {_duration(job.idle_seconds)} ago"


def _farm_line(farm: "FarmState") -> str:
    left = "" if farm.seconds_left is None or farm.state != "running" else f", {_duration(farm.seconds_left)} left"
    return (
        f"farm on {farm.host}: {farm.state}, {farm.at_work} of {len(farm.engines)} engines at work, "
        f"{farm.rate:.1f} samples/s{left}"
    )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
