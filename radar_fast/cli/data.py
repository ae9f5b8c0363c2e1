"""``radar-fast inspect`` and ``convert``: what a benchmark holds, and the same in another format."""

from pathlib import Path
from typing import Any

import rich_click as click
from rich.text import Text

from radar_fast.cli.help import Command
from radar_fast.cli.options import OUTPUT, data_options, opened, sample_options, symlink_option
from radar_fast.cli.status import UNSCORED, leave
from radar_fast.cli.types import PATH, Choice
from radar_fast.errors import UsageError
from radar_fast.sample import ReasonKind
from radar_fast.terminal.output import standard_output
from radar_fast.util.printable import printable

__all__ = ["convert", "inspect"]

_READING = "How to read it"


def _written() -> tuple[str, ...]:
    from radar_fast.writers import FORMATS

    return FORMATS


@click.command(cls=Command)
@click.argument("data", type=PATH)
@data_options(_READING)
@sample_options()
@symlink_option(_READING)
def inspect(data: Path, **options: Any) -> None:
    """Count what DATA holds and show every problem in it, before a GPU is spent.

    Pictures that are scored as published, and that a person would see otherwise, are counted too: turned by EXIF,
    16-bit grey, floating point, transparent, animated.

    Exit status: 0 nothing but the 12-image rule stands in the way of a sample; 1 some samples cannot be scored; 2
    DATA cannot be read.
    """
    from radar_fast.inspection import inspect_samples
    from radar_fast.oddities import OddCounter
    from radar_fast.terminal.tables import new_table

    reader, selection = opened(data, options)
    odd = OddCounter()
    reports = inspect_samples(selection.apply(reader), odd)
    table = new_table("task", ("ability", "samples", "candidates", "images", "problems"))
    for report in reports.values():
        few, many = report.fewest_candidates, report.most_candidates
        span = "-" if few is None else str(many) if few == many else f"{few}-{many}"
        counts = (str(report.samples), span, str(report.images), str(len(report.problems)))
        table.add_row(Text(printable(report.task)), Text(printable(report.ability)), *counts)
    standard_output().print(table)
    problems = [(report.task, *problem) for report in reports.values() for problem in report.problems]
    for task, sample_id, reason in problems:
        click.echo(f"{task}, {sample_id}: {reason}")
    if line := odd.line():
        click.echo(line)
    samples = sum(report.samples for report in reports.values())
    images = sum(report.images for report in reports.values())
    click.echo(f"{samples} samples, {images} images, {len(problems)} problems ({reader.format})")
    if any(reason.kind is not ReasonKind.TOO_MANY_IMAGES for _, _, reason in problems):
        leave(UNSCORED)


@click.command(cls=Command)
@click.argument("data", type=PATH)
@click.option("--to", type=Choice(_written), required=True, panel=OUTPUT, help="m3, jsonl, vlmevalkit or parquet.")
@click.option("--out", type=PATH, metavar="DIR", required=True, panel=OUTPUT, help="Where it goes: a new folder.")
@data_options(_READING)
@sample_options()
@symlink_option(_READING)
def convert(data: Path, to: str, out: Path, **options: Any) -> None:
    """Write the samples of DATA in another format, images and all.

    Samples that have no place in the format are listed, with why, before anything is written. Exit status: 0 all are
    written; 1 some did not fit and are left out; 2 nothing is written.
    """
    from radar_fast.writers import plan_export

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--out {out}: is not an empty folder: name another, or empty it")
    reader, selection = opened(data, options)
    plan = plan_export(selection.apply(reader), to)
    for task, sample_id, why in plan.misfits:
        click.echo(f"{task}, {sample_id}: does not fit {to}: {why}")
    written = plan.write(selection.apply(reader), out)
    click.echo(f"{written} of {plan.samples} samples of {data} ({reader.format}) are in {out} ({to})")
    if plan.misfits:
        leave(UNSCORED)
