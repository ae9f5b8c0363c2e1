"""``radar-fast demo``: a tiny model learns, and RADAR shows it."""

from pathlib import Path

import rich_click as click

from radar_fast.cli.engine import engine_option
from radar_fast.cli.help import Command
from radar_fast.cli.types import PATH
from radar_fast.terminal.output import standard_output

__all__ = ["demo"]


@click.command(cls=Command)
@click.option("--out", type=PATH, metavar="DIR", required=True, panel="Options", help="Where everything goes.")
@click.option(
    "--data-only", is_flag=True, panel="Options", help="Write the benchmark and the checkpoints, score nothing."
)
@engine_option("Options")
def demo(out: Path, data_only: bool, engine: str | None) -> None:
    """Watch a tiny Qwen2-VL learn: score a series of its checkpoints on mini-M3, a small generated benchmark.

    DIR/mini-m3 is the benchmark, DIR/checkpoints/step-N the series, DIR/results/step-N a result folder each,
    DIR/report.html a page that shows them.
    """
    console = standard_output()
    from radar_fast.demo.show import show

    show(out, console, data_only=data_only, engine=engine or "auto")
