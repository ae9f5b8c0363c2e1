"""The command line: parse, delegate, and translate errors once."""

import logging
import os
import sys
from collections.abc import Callable
from dataclasses import fields as fields_of
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.console import Console
from rich.text import Text

from radar_fast.config import RunConfig
from radar_fast.engines import EngineOptions
from radar_fast.errors import RadarError, UsageError
from radar_fast.protocols import PROTOCOLS
from radar_fast.readers import FORMATS
from radar_fast.sample import ReasonKind
from radar_fast.terminal.progress import progress_on

if TYPE_CHECKING:
    from radar_fast.readers import Reader, Selection

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
            click.option(
                "--format",
                default="auto",
                show_default=True,
                metavar="NAME",
                help=f"Of DATA: auto, {', '.join(FORMATS)}.",
            ),
            click.option(
                "--field",
                "fields",
                multiple=True,
                metavar="OURS=THEIRS",
                help="For jsonl and parquet: where a field is found, e.g. --field question=prompt "
                "--field answer_index=label. Ours: question, image, options, answer, answer_index, distractors, id, "
                "task, ability.",
            ),
            click.option(
                "--classes",
                metavar="FILE|NAME",
                help="For folder: TOML file with the class texts, or one that comes along: kellgren-lawrence.  "
                "[default: DATA/classes.toml]",
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
@click.option(
    "--model",
    "models",
    type=_PATH,
    metavar="DIR",
    multiple=True,
    help="The checkpoint folder. May be repeated: one engine for all, and a folder each under OUT.",
)
@click.option("--data", type=_PATH, metavar="DIR", required=True, help="The benchmark folder.")
@click.option("--out", type=_PATH, metavar="DIR", required=True, help="The result folder; an interrupted run resumes.")
@_data_options
@click.option(
    "--candidates",
    default="text",
    show_default=True,
    metavar="text|letter",
    help="Score the options themselves, or list them in the question and score their letters.",
)
@click.option("--without", metavar="image|text", help="Ask every question without its images, or without its text.")
@click.option("--engine", default="auto", show_default=True, metavar="auto|transformers|vllm|fake")
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda")
@click.option("--dtype", default="auto", show_default=True, metavar="auto|float32|bfloat16|float16")
@click.option(
    "--protocol", default="auto", show_default=True, metavar="NAME", help=f"The prompt: auto, {', '.join(PROTOCOLS)}."
)
@click.option("--min-pixels", type=int, metavar="N", help="Least image area after resizing.  [published: 200704]")
@click.option("--max-pixels", type=int, metavar="N", help="Largest image area after resizing.  [published: 602112]")
@click.option("--batch-tokens", type=int, metavar="N", help="Most tokens in one forward pass.")
@click.option("--workers", type=int, metavar="N", help="Threads or processes that read and preprocess images.")
@click.option("--worker-kind", default="auto", show_default=True, metavar="auto|threads|processes")
@click.option("--attention", default="auto", show_default=True, metavar="auto|dense|cascade|flex")
@click.option("--preprocess-cache", type=_PATH, metavar="DIR", help="Keep preprocessed images for other checkpoints.")
@click.option("--preprocess-cache-gb", type=float, default=100.0, show_default=True, metavar="N", help="Most of them.")
@click.option(
    "--engine-arg",
    "engine_args",
    multiple=True,
    metavar="NAME=VALUE",
    help="One of vLLM's own engine arguments, e.g. --engine-arg tensor_parallel_size=2. May be repeated.",
)
@click.option("--official-out", type=_PATH, metavar="DIR", help="Also write the published scripts' files here.")
@click.option("--trust-remote-code", is_flag=True, help="Run Python code that lies in the checkpoint folder.")
def score(
    models: tuple[Path, ...],
    fields: tuple[str, ...],
    abilities: tuple[str, ...],
    engine_args: tuple[str, ...],
    tasks: str | None,
    **options: Any,
) -> None:
    """Score a checkpoint on a benchmark, or several.

    Exit status: 0 done; 1 done, but some samples could not be scored (other than by the 12-image rule); 2 the input
    or the usage is wrong.
    """
    from radar_fast.series import score_series

    config = RunConfig(
        model=models[0] if models else None,
        fields=dict(_pairs("--field", fields)),
        abilities=tuple(_pairs("--ability", abilities)),
        tasks=() if tasks is None else (tasks,),
        options=_engine_options(options, engine_args),
        **options,
    )
    console = _console()
    runs = score_series(config, models, progress=progress_on(console))
    summaries = {each.name: each.summary.to_dict() for each in runs}
    if len(models) > 1:
        _print_growth(console, summaries)
    else:
        _print_summary(console, runs[0].summary.to_dict())
    click.echo(f"\nresults in {config.out}")
    _exit_by(*summaries.values())


@main.command()
@click.argument("data", type=_PATH)
@_data_options
def inspect(data: Path, fields: tuple[str, ...], abilities: tuple[str, ...], **options: Any) -> None:
    """Count what DATA holds and show every problem in it, before a GPU is spent.

    Exit status: 0 nothing but the 12-image rule stands in the way of a sample; 1 some samples cannot be scored; 2
    DATA cannot be read.
    """
    from radar_fast.inspection import inspect_samples
    from radar_fast.terminal.tables import new_table

    reader, selection = _opened(data, fields, abilities, options)
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
@click.argument("data", type=_PATH)
@click.option("--to", "to", required=True, metavar="FORMAT", help="m3, jsonl, vlmevalkit or parquet.")
@click.option("--out", type=_PATH, metavar="DIR", required=True, help="Where it goes: a new folder.")
@_data_options
def convert(
    data: Path, to: str, out: Path, fields: tuple[str, ...], abilities: tuple[str, ...], **options: Any
) -> None:
    """Write the samples of DATA in another format, images and all.

    Samples that have no place in the format are listed, with why, before anything is written. Exit status: 0 all are
    written; 1 some did not fit and are left out; 2 nothing is written.
    """
    from radar_fast.writers import plan_export

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--out {out}: is not an empty folder: name another, or empty it")
    reader, selection = _opened(data, fields, abilities, options)
    plan = plan_export(selection.apply(reader), to)
    for task, sample_id, why in plan.misfits:
        click.echo(f"{task}, {sample_id}: does not fit {to}: {why}")
    written = plan.write(selection.apply(reader), out)
    click.echo(f"{written} of {plan.samples} samples of {data} ({reader.format}) are in {out} ({to})")
    if plan.misfits:
        click.get_current_context().exit(EXIT_UNSCORED)


@main.command()
@click.argument("out", type=_PATH)
@click.option("--official-out", type=_PATH, metavar="DIR", help="Also write the published scripts' files here.")
def summarize(out: Path, official_out: Path | None) -> None:
    """Compute OUT/summary.json anew from OUT/samples.jsonl, and print it."""
    from radar_fast import run

    summary = run.summarize(out, official_out=official_out).to_dict()
    _print_summary(_console(), summary)
    _exit_by(summary)


@main.command()
@click.argument("first", metavar="A", type=_PATH)
@click.argument("second", metavar="B", type=_PATH)
@click.option(
    "--pair",
    "pairs",
    multiple=True,
    metavar="X=Y",
    help="Set task X of A against task Y of B, e.g. --pair PGPS9K_base=PGPS9K_full. May be repeated; A may be B.",
)
@click.option("--json", "file", type=_PATH, metavar="FILE", help="Also write everything to FILE.")
def compare(first: Path, second: Path, pairs: tuple[str, ...], file: Path | None) -> None:
    """What changed from result folder A to result folder B, over the samples that both have scored.

    Differences are B less A, with paired 95% bootstrap intervals.
    """
    from radar_fast.results.comparison import compare as compared
    from radar_fast.terminal.tables import comparison_tables
    from radar_fast.util.atomic import write_json_atomic

    comparison: dict[str, Any] = compared(first, second, pairs=_pairs("--pair", pairs)).to_dict()
    console = _console()
    click.echo(f"A: {first}\nB: {second}")
    for line in comparison["differing"]:
        click.echo(f"differs: {line}")
    for table in comparison_tables(comparison, console.width):
        console.print()
        console.print(table)
    overall = comparison["overall"]
    click.echo(
        f"\n{overall['paired']} samples scored in both, {overall['only_first']} only in A, "
        f"{overall['only_second']} only in B"
    )
    if file is not None:
        write_json_atomic(file, comparison)


@main.command()
@click.option("--out", type=_PATH, metavar="DIR", required=True, help="Where everything goes.")
@click.option("--data-only", is_flag=True, help="Write the benchmark and the checkpoints, score nothing.")
@click.option("--engine", default="auto", show_default=True, metavar="auto|transformers|vllm|fake")
def demo(out: Path, data_only: bool, engine: str) -> None:
    """Progress a tiny Qwen2-VL learn: score a series of its checkpoints on mini-M3, a small generated benchmark.

    DIR/mini-m3 is the benchmark, DIR/checkpoints/step-N the series, DIR/results/step-N a result folder each.
    """
    from radar_fast.demo.show import show

    show(out, _console(), data_only=data_only, engine=engine)


@main.command()
@click.option(
    "--model",
    required=True,
    metavar="DIR|CONFIG|NAME",
    help="A checkpoint folder; a config.json, qwen2vl-2b or qwen2vl-70m, for random weights at full size; or demo.",
)
@click.option("--tokenizer", type=_PATH, metavar="DIR", help="Tokenizer and image processor of a config alone.")
@click.option("--data", type=_PATH, metavar="DIR", help="The benchmark folder; without it pictures are generated.")
@click.option("--format", default="auto", show_default=True, metavar="NAME", help="Of the data, as for score.")
@click.option("--field", "fields", multiple=True, metavar="OURS=THEIRS", help="As for score.")
@click.option("--engines", default="transformers", show_default=True, metavar="NAME,...", help="transformers, vllm.")
@click.option(
    "--peers",
    default="published",
    show_default=True,
    metavar="NAME,...",
    help="published, per-candidate, vllm-prompt-logprobs, vllm-token-ids.",
)
@click.option("--candidates", type=int, metavar="K", help="Cut every sample to K candidates.  [generated: 4]")
@click.option("--samples", type=int, default=32, show_default=True, metavar="N", help="In a round.")
@click.option("--rounds", type=int, default=3, show_default=True, metavar="N", help="Timed ones, after a warm-up.")
@click.option("--size", default="336-1000", show_default=True, metavar="A-B", help="Sides of generated pictures.")
@click.option("--question-words", "words", type=int, default=0, metavar="N", help="Words before generated questions.")
@click.option("--protocol", default="auto", show_default=True, metavar="NAME", help="The prompt, as for score.")
@click.option("--min-pixels", type=int, metavar="N", help="Least image area after resizing.  [published: 200704]")
@click.option("--max-pixels", type=int, metavar="N", help="Largest image area after resizing.  [published: 602112]")
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda")
@click.option("--dtype", default="auto", show_default=True, metavar="auto|float32|bfloat16|float16")
@click.option("--batch-tokens", type=int, metavar="N", help="Most tokens in one forward pass of an engine.")
@click.option("--workers", type=int, metavar="N", help="Threads that read and preprocess images, of an engine.")
@click.option(
    "--engine-arg",
    "engine_args",
    multiple=True,
    metavar="NAME=VALUE",
    help="One of vLLM's own engine arguments, for the vLLM engine and peers alike. May be repeated.",
)
@click.option("--plot", type=_PATH, metavar="FILE.png", help="Also draw the result.")
def bench(
    engines: str, peers: str, size: str, fields: tuple[str, ...], engine_args: tuple[str, ...], **options: Any
) -> None:
    """Measure engines against what users run today, side by side on the same samples.

    Prints tables, then one line of JSON. Exit status: 0 done; 1 done, but the logits of some contender are not those
    of the first; 2 the input or the usage is wrong.
    """
    import orjson

    from radar_fast.bench.config import BenchConfig
    from radar_fast.bench.process import ENVIRONMENT
    from radar_fast.bench.report import check_plot, tables_of, write_plot

    config = BenchConfig(
        engines=tuple(filter(None, engines.split(","))),
        peers=tuple(filter(None, peers.split(","))),
        size=_span("--size", size),
        fields=dict(_pairs("--field", fields)),
        options=_engine_options(options, engine_args),
        **options,
    )
    check_plot(config.plot)
    os.environ.update(ENVIRONMENT)  # before torch is imported here: this process must not spin beside its contenders
    from radar_fast.bench.race import bench as race

    console = _console()
    report = race(config, progress_on(console))
    for table in tables_of(report):
        console.print()
        console.print(table)
    if config.plot is not None:
        write_plot(report, config.plot)
    click.echo(f"\n{orjson.dumps(report).decode()}")
    if not all(row["agrees"] for row in report["rows"]):
        click.get_current_context().exit(EXIT_UNSCORED)


def _engine_options(options: dict[str, Any], engine_args: tuple[str, ...]) -> EngineOptions:
    """Takes what is the engine's out of ``options``."""
    mine = {field.name: options.pop(field.name) for field in fields_of(EngineOptions) if field.name in options}
    arguments = {name.replace("-", "_"): value for name, value in _pairs("--engine-arg", engine_args)}
    return EngineOptions(arguments=arguments, **mine)


def _span(option: str, text: str) -> tuple[int, int]:
    least, dash, largest = text.partition("-")
    if not (dash and least.isdecimal() and largest.isdecimal()):
        raise UsageError(f"{option} {text}: is not of the form A-B, two whole numbers")
    return int(least), int(largest)


def _opened(
    data: Path, fields: tuple[str, ...], abilities: tuple[str, ...], options: dict[str, Any]
) -> "tuple[Reader, Selection]":
    """What the options of :func:`_data_options` ask for."""
    from radar_fast.readers import Selection, open_reader

    selection = Selection(
        tasks=() if options["tasks"] is None else (options["tasks"],),
        limit=options["limit"],
        abilities=tuple(_pairs("--ability", abilities)),
    )
    reader = open_reader(
        data,
        format=options["format"],
        fields=dict(_pairs("--field", fields)),
        classes=options["classes"],
        follow_symlinks=options["follow_symlinks"],
    )
    return reader, selection


@main.command()
def models() -> None:
    """List the model families, their prompts, and what of each has been checked."""
    from rich.table import Table

    from radar_fast.models.families import FAMILIES, checked_by

    table = Table(header_style="bold", pad_edge=False, box=None, padding=(0, 2, 0, 0))
    for heading in ("family", "architecture", "protocol", "checked on"):
        table.add_column(heading, overflow="fold")
    for family in FAMILIES:
        table.add_row(family.name, ", ".join(family.architectures) or "-", family.protocol, checked_by(family))
    _console().print(table)
    for family in FAMILIES:
        if family.how:
            click.echo(f"{family.name}: first {family.how}")
    click.echo("checked on: a tiny model with random weights equals a plain loop there; docs/models.md says which loop")


@main.command()
@click.option(
    "--llm", type=_PATH, metavar="DIR", required=True, help="Language model, or a checkpoint of LLaVA's code."
)
@click.option("--vision", type=_PATH, metavar="DIR", required=True, help="CLIP or SigLIP folder.")
@click.option("--projector", type=_PATH, metavar="FILE", help="mm_projector.bin, where --llm does not hold it.")
@click.option("--out", type=_PATH, metavar="DIR", required=True, help="The folder to make.")
def compose(llm: Path, vision: Path, projector: Path | None, out: Path) -> None:
    """Put a LLaVA together that was published in parts, as one folder for --model."""
    from radar_fast.models.llava import compose as put_together

    made = put_together(llm, vision, out, projector)
    click.echo(
        f"{made.out}: {made.weights} weights, {made.image_tokens} tokens an image ({made.image_token}), "
        f"protocol {made.protocol}"
    )


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
    from radar_fast.terminal.tables import summary_tables

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


def _print_growth(console: Console, summaries: dict[str, dict[str, Any]]) -> None:
    """SDS of a series of checkpoints, a column each."""
    from radar_fast.terminal.tables import growth_table

    for section, heading in (("tasks", "task"), ("directories", "directory"), ("abilities", "ability")):
        console.print(f"\nSDS by {heading}")
        console.print(growth_table(list(summaries.items()), section, heading))


def _exit_by(*summaries: dict[str, Any]) -> None:
    if any(set(summary["overall"]["reasons"]) - {ReasonKind.TOO_MANY_IMAGES} for summary in summaries):
        click.get_current_context().exit(EXIT_UNSCORED)
