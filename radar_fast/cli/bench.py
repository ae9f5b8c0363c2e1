"""``radar-fast bench``: engines and what they are compared with, side by side."""

import os
from collections.abc import Callable
from typing import Any

import rich_click as click

from radar_fast.cli.engine import engine_options, options_of_engine
from radar_fast.cli.help import Command
from radar_fast.cli.options import (
    HOW,
    OUTPUT,
    asking_options,
    format_option,
)
from radar_fast.cli.status import UNSCORED, leave
from radar_fast.cli.types import PATH, given, pairs_of
from radar_fast.errors import UsageError
from radar_fast.terminal.output import standard_output

__all__ = ["bench"]

_WHAT = "What to measure"
_SAMPLES = "On which samples"


@click.command(cls=Command)
@click.option(
    "--model",
    required=True,
    metavar="DIR|CONFIG|NAME",
    panel=_WHAT,
    help="A checkpoint folder; a config.json, qwen2vl-2b or qwen2vl-70m, for random weights at full size; or demo.",
)
@click.option(
    "--tokenizer", type=PATH, metavar="DIR", panel=_WHAT, help="Tokenizer and image processor of a config alone."
)
@click.option("--engines", metavar="NAME,...", panel=_WHAT, help="transformers, vllm.  [default: transformers]")
@click.option(
    "--peers",
    metavar="NAME,...",
    panel=_WHAT,
    help="published, per-candidate, vllm-prompt-logprobs, vllm-token-ids, vllm-letters, sglang.  [default: published]",
)
@click.option("--sglang", metavar="URL", panel=_WHAT, help="Of a server with the same model, for that peer.")
@click.option("--rounds", type=int, metavar="N", panel=_WHAT, help="Timed rounds, after a warm-up.  [default: 3]")
@click.option(
    "--data", type=PATH, metavar="DIR", panel=_SAMPLES, help="The benchmark folder; without it pictures are generated."
)
@format_option(_SAMPLES)
@click.option("--field", "fields", multiple=True, metavar="OURS=THEIRS", panel=_SAMPLES, help="As for score.")
@click.option("--samples", type=int, metavar="N", panel=_SAMPLES, help="Samples in a round.  [default: 32]")
@click.option(
    "--seconds",
    type=float,
    metavar="S",
    panel=_SAMPLES,
    help="For the timed rounds of a contender together: a slow one scores the first samples only.",
)
@click.option(
    "--candidates", type=int, metavar="K", panel=_SAMPLES, help="Cut every sample to K candidates.  [generated: 4]"
)
@click.option("--letters", is_flag=True, panel=_SAMPLES, help="List the options and score their letters.")
@click.option("--size", metavar="A-B", panel=_SAMPLES, help="Sides of generated pictures.  [default: 336-1000]")
@click.option(
    "--question-words",
    "words",
    type=int,
    metavar="N",
    panel=_SAMPLES,
    help="Words before generated questions.  [default: 0]",
)
@asking_options(HOW)
@engine_options()
@click.option(
    "--report", type=PATH, metavar="FILE.json", panel=OUTPUT, help="Also keep what is known after each round."
)
@click.option("--plot", type=PATH, metavar="FILE.png", panel=OUTPUT, help="Also draw the result.")
@click.help_option("-h", "--help", panel=OUTPUT)
def bench(fields: tuple[str, ...], **options: Any) -> None:
    """Measure engines against what users run today, side by side on the same samples.

    Prints tables, then one line of JSON. Exit status: 0 done; 1 done, but some contender failed, or its logits are not
    those of the first; 2 none could be measured, or the input or the usage is wrong.
    """
    import orjson

    from radar_fast.bench.config import BenchConfig
    from radar_fast.bench.process import ENVIRONMENT
    from radar_fast.bench.report import check_plot, tables_of, write_plot
    from radar_fast.terminal.progress import progress_on

    config = BenchConfig(
        fields=dict(pairs_of("--field", fields)),
        options=options_of_engine(options),
        **{name: _READ[name](value) if name in _READ else value for name, value in given(options).items()},
    )
    check_plot(config.plot)
    os.environ.update(ENVIRONMENT)  # before torch is imported here: this process must not spin beside its contenders
    console = standard_output()
    progress = progress_on(console)
    progress.say("loading torch and transformers...")
    from radar_fast.bench.race import bench as race

    report = race(config, progress)
    for table in tables_of(report):
        console.print()
        console.print(table)
    if config.plot is not None:
        write_plot(report, config.plot)
    click.echo(f"\n{orjson.dumps(report).decode()}")
    if not all(row.get("agrees") for row in report["rows"]):
        leave(UNSCORED)


def _names(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))


def _span(text: str) -> tuple[int, int]:
    least, dash, largest = text.partition("-")
    if not (dash and least.isdecimal() and largest.isdecimal()):
        raise UsageError(f"--size {text}: is not of the form A-B, two whole numbers")
    return int(least), int(largest)


_READ: dict[str, Callable[[str], Any]] = {"engines": _names, "peers": _names, "size": _span}
"""How options that stand for more than one value are read."""
