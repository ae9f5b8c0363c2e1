"""The command line: parse, delegate, and translate errors once."""

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.text import Text

from radar_fast.config import RunConfig
from radar_fast.errors import RadarError, UsageError
from radar_fast.progress import watch_on
from radar_fast.sample import ReasonKind

__all__ = ["main"]

Command = TypeVar("Command", bound=Callable[..., Any])

EXIT_UNSCORED = 1
EXIT_WRONG = 2

_PATH = click.Path(path_type=Path)


class _Group(click.Group):
    """Where every error of ours becomes one line and exit status 2, and Ctrl-C leaves quietly."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except RadarError as error:
            click.echo(f"radar-fast: {' '.join(str(error).split())}", err=True)
            ctx.exit(EXIT_WRONG)
        except BrokenPipeError:
            # Whoever read our output has gone; the interpreter's own flush at exit must not complain either.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(EXIT_UNSCORED)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="radar-fast")
def main() -> None:
    """RADAR's Soft Discrimination Score for multimodal checkpoints: how much does a checkpoint prefer the correct
    answer to its distractors? No fine-tuning, no decoding, one pass over a shared prefix."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    logging.basicConfig(format="radar-fast: %(message)s", level=logging.WARNING)


def _data_options(command: Command) -> Command:
    for option in reversed(
        (
            click.option("--format", default="auto", show_default=True, metavar="auto|m3|jsonl", help="Of DATA."),
            click.option(
                "--field",
                "fields",
                multiple=True,
                metavar="OURS=THEIRS",
                help="For jsonl: where a field is found, e.g. --field question=prompt --field answer_index=label. "
                "Ours: question, image, options, answer, answer_index, distractors, id, task, ability.",
            ),
            click.option("--tasks", metavar="GLOB", help="Only tasks whose name matches."),
            click.option("--limit", type=int, metavar="N", help="Only the first N samples of each task."),
            click.option(
                "--ability",
                "abilities",
                multiple=True,
                metavar="GLOB=NAME",
                help="Count tasks whose name matches as this ability; the first match wins.",
            ),
            click.option(
                "--follow-symlinks", is_flag=True, help="Read images that links in DATA point to outside of it."
            ),
        )
    ):
        command = option(command)
    return command


@main.command()
@click.option("--model", type=_PATH, metavar="DIR", help="The checkpoint folder.")
@click.option("--data", type=_PATH, metavar="DIR", required=True, help="The benchmark folder.")
@click.option("--out", type=_PATH, metavar="DIR", required=True, help="The result folder; an interrupted run resumes.")
@_data_options
@click.option("--engine", default="auto", show_default=True, metavar="auto|transformers|vllm|fake")
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda")
@click.option("--dtype", default="auto", show_default=True, metavar="auto|float32|bfloat16|float16")
@click.option("--protocol", default="auto", show_default=True, metavar="auto|qwen2vl|chat", help="The prompt.")
@click.option("--min-pixels", type=int, metavar="N", help="Least image area after resizing.  [published: 200704]")
@click.option("--max-pixels", type=int, metavar="N", help="Largest image area after resizing.  [published: 602112]")
@click.option("--batch-tokens", type=int, metavar="N", help="Most tokens in one forward pass.")
@click.option("--workers", type=int, metavar="N", help="Threads that read and preprocess images.")
@click.option(
    "--engine-arg",
    "engine_args",
    multiple=True,
    metavar="NAME=VALUE",
    help="One of vLLM's own engine arguments, e.g. --engine-arg tensor_parallel_size=2. May be repeated.",
)
@click.option("--official-out", type=_PATH, metavar="DIR", help="Also write the published scripts' files here.")
@click.option("--trust-remote-code", is_flag=True, help="Run Python code that lies in the checkpoint folder.")
def score(fields: tuple[str, ...], abilities: tuple[str, ...], engine_args: tuple[str, ...], **options: Any) -> None:
    """Score a checkpoint on a benchmark.

    Exit status: 0 done; 1 done, but some samples could not be scored (other than by the 12-image rule); 2 the input
    or the usage is wrong.
    """
    from radar_fast import run

    config = RunConfig(
        fields=dict(_pairs("--field", fields)),
        abilities=tuple(_pairs("--ability", abilities)),
        engine_args={name.replace("-", "_"): value for name, value in _pairs("--engine-arg", engine_args)},
        **options,
    )
    console = _console()
    summary = run.score(config, watch_on(console))
    _print_summary(console, summary)
    click.echo(f"\nresults in {config.out}")
    _exit_by(summary)


@main.command()
@click.argument("data", type=_PATH)
@_data_options
def inspect(data: Path, fields: tuple[str, ...], abilities: tuple[str, ...], **options: Any) -> None:
    """Count what DATA holds and show every problem in it, before a GPU is spent.

    Exit status: 0 nothing but the 12-image rule stands in the way of a sample; 1 some samples cannot be scored; 2
    DATA cannot be read.
    """
    from radar_fast.inspection import inspect_samples
    from radar_fast.readers import Selection, open_reader
    from radar_fast.tables import new_table

    selection = Selection(
        tasks=options["tasks"], limit=options["limit"], abilities=tuple(_pairs("--ability", abilities))
    )
    reader = open_reader(
        data,
        format=options["format"],
        fields=dict(_pairs("--field", fields)),
        follow_symlinks=options["follow_symlinks"],
    )
    reports = inspect_samples(selection.apply(reader))
    table = new_table("task", ("ability", "samples", "candidates", "images", "problems"))
    for report in reports.values():
        few, many = report.fewest_candidates, report.most_candidates
        span = "-" if few is None else str(many) if few == many else f"{few}-{many}"
        counts = (str(report.samples), span, str(report.images), str(len(report.problems)))
        table.add_row(Text(report.task), Text(report.ability), *counts)
    _console().print(table)
    problems = [(report.task, *problem) for report in reports.values() for problem in report.problems]
    for task, sample_id, reason in problems:
        click.echo(f"{task}, {sample_id}: {reason}")
    samples = sum(report.samples for report in reports.values())
    images = sum(report.images for report in reports.values())
    click.echo(f"{samples} samples, {images} images, {len(problems)} problems ({reader.format})")
    if any(reason.kind is not ReasonKind.TOO_MANY_IMAGES for _, _, reason in problems):
        click.get_current_context().exit(EXIT_UNSCORED)


@main.command()
@click.argument("out", type=_PATH)
@click.option("--official-out", type=_PATH, metavar="DIR", help="Also write the published scripts' files here.")
def summarize(out: Path, official_out: Path | None) -> None:
    """Compute OUT/summary.json anew from OUT/samples.jsonl, and print it."""
    from radar_fast import run

    summary = run.summarize(out, official_out=official_out)
    _print_summary(_console(), summary)
    _exit_by(summary)


@main.command()
@click.option("--out", type=_PATH, metavar="DIR", required=True, help="Where everything goes.")
@click.option("--data-only", is_flag=True, help="Write the benchmark and the checkpoints, score nothing.")
@click.option("--engine", default="auto", show_default=True, metavar="auto|transformers|vllm|fake")
def demo(out: Path, data_only: bool, engine: str) -> None:
    """Watch a tiny Qwen2-VL learn: score a series of its checkpoints on mini-M3, a small generated benchmark.

    DIR/mini-m3 is the benchmark, DIR/checkpoints/step-N the series, DIR/results/step-N a result folder each.
    """
    from radar_fast.demo.show import show

    show(out, _console(), data_only=data_only, engine=engine)


def _pairs(option: str, texts: tuple[str, ...]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise UsageError(f"{option} {text}: is not of the form NAME=VALUE")
        if option != "--ability" and name in dict(pairs):
            raise UsageError(f"{option} {text}: {name} is given twice")
        pairs.append((name, value))
    return pairs


def _console() -> Console:
    """Standard output. A log has no width of its own and gets what a table needs, so that nothing wraps in it."""
    console = Console()
    return console if console.is_terminal else Console(width=160)


def _print_summary(console: Console, summary: dict[str, Any]) -> None:
    from radar_fast.tables import summary_tables

    for table in summary_tables(summary, console.width):
        console.print()
        console.print(table)
    engine, reasons = summary["engine"], summary["overall"]["reasons"]
    if engine["samples_per_second"]:
        ratio = engine["tokens_computed"] / max(engine["tokens_minimal"], 1)
        click.echo(
            f"\n{engine['samples_per_second']:.1f} samples/s of model time; "
            f"{engine['tokens_computed']} tokens computed, {ratio:.2f} times the minimum"
        )
    for kind, count in reasons.items():
        click.echo(f"unscored: {count} {kind}")


def _exit_by(summary: dict[str, Any]) -> None:
    if set(summary["overall"]["reasons"]) - {ReasonKind.TOO_MANY_IMAGES}:
        click.get_current_context().exit(EXIT_UNSCORED)
