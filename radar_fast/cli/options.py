"""Option groups that several commands share.

What an option may be is written where it is meant, in the tables of engines, readers and protocols; help asks those,
and they import neither torch nor transformers.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

from radar_fast.cli.types import PATH, Choice, Naming, pairs_of

if TYPE_CHECKING:
    from radar_fast.readers import Reader, Selection
    from radar_fast.shard import Shard

__all__ = [
    "ADVANCED",
    "ENGINE",
    "HOW",
    "OUTPUT",
    "SPEED",
    "WHAT",
    "WHICH",
    "asking_options",
    "backend_option",
    "condition_options",
    "data_options",
    "format_option",
    "grouped",
    "naming_options",
    "opened",
    "run_options",
    "sample_options",
    "shard_asked_for",
    "step_option",
    "symlink_option",
    "track_option",
]

Function = TypeVar("Function", bound=Callable[..., Any])

WHAT = "What to score"
WHICH = "Which samples"
HOW = "How to ask"
ENGINE = "Engine"
SPEED = "Speed"
OUTPUT = "Output"
ADVANCED = "Advanced"


def _formats() -> tuple[str, ...]:
    from radar_fast.readers import FORMATS

    return "auto", *FORMATS


def _presets() -> tuple[str, ...]:
    from radar_fast.readers import PRESETS

    return PRESETS


def _protocols() -> tuple[str, ...]:
    from radar_fast.protocols import PROTOCOLS

    return "auto", *PROTOCOLS


def _image_backends() -> tuple[str, ...]:
    from radar_fast.protocols import IMAGE_BACKENDS

    return IMAGE_BACKENDS


def _candidates() -> tuple[str, ...]:
    from radar_fast.conditions import CANDIDATES

    return CANDIDATES


def _trackers() -> tuple[str, ...]:
    from radar_fast.trackers import TRACKERS

    return TRACKERS


def _without() -> tuple[str, ...]:
    from radar_fast.conditions import WITHOUT

    return WITHOUT


def grouped(*options: Callable[[Any], Any]) -> Callable[[Function], Function]:
    """Several options as one decorator, in the order in which help shows them."""

    def decorate(function: Function) -> Function:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def format_option(panel: str = WHAT) -> Callable[[Function], Function]:
    """``format``."""
    return click.option(
        "--format",
        cls=Naming,
        type=Choice(_formats),
        panel=panel,
        help="Format of DATA: auto (told by what is there), {choices}.",
    )


def data_options(panel: str = WHAT) -> Callable[[Function], Function]:
    """How the data are read: ``format``, ``preset``, ``fields_file``, ``fields`` and ``classes``."""
    return grouped(
        format_option(panel),
        click.option(
            "--preset",
            cls=Naming,
            type=Choice(_presets),
            panel=panel,
            help="For jsonl and parquet: a published layout: {choices}.",
        ),
        click.option(
            "--fields",
            "fields_file",
            type=PATH,
            metavar="FILE",
            panel=panel,
            help="For jsonl and parquet: a TOML file that says the layout, as those of the presets do.",
        ),
        click.option(
            "--field",
            "fields",
            multiple=True,
            metavar="OURS=THEIRS",
            panel=panel,
            help="For jsonl and parquet: where a field is found, e.g. --field question=prompt, or "
            "--field options=A,B,C. Ours: question, hint, image, options, answer, answer_index, answer_letter, "
            "distractors, id, task, ability. Overrules --preset and --fields.",
        ),
        click.option(
            "--classes",
            metavar="FILE|NAME",
            panel=panel,
            help="For folder: a TOML file with the class texts, or one that is included: kellgren-lawrence.  "
            "[default: DATA/classes.toml]",
        ),
    )


def sample_options(panel: str = WHICH) -> Callable[[Function], Function]:
    """Which samples are taken: ``tasks``, ``limit`` and ``abilities``."""
    return grouped(
        click.option(
            "--tasks",
            multiple=True,
            metavar="GLOB",
            panel=panel,
            help="Only tasks whose name matches; repeat it to add more.",
        ),
        click.option("--limit", type=int, metavar="N", panel=panel, help="Only the first N samples of each task."),
        click.option(
            "--ability",
            "abilities",
            multiple=True,
            metavar="GLOB=NAME",
            panel=panel,
            help="Count tasks whose name matches as this ability; the first match wins.",
        ),
    )


def asking_options(panel: str = HOW) -> Callable[[Function], Function]:
    """The prompt and the images in it: ``protocol``, ``min_pixels`` and ``max_pixels``."""
    return grouped(
        click.option(
            "--protocol",
            cls=Naming,
            type=Choice(_protocols),
            panel=panel,
            help="The prompt: auto (the model family's), {choices}.",
        ),
        click.option(
            "--min-pixels",
            type=int,
            metavar="N",
            panel=panel,
            help="Smallest image area after resizing.  [published: 200704]",
        ),
        click.option(
            "--max-pixels",
            type=int,
            metavar="N",
            panel=panel,
            help="Largest image area after resizing.  [published: 602112]",
        ),
    )


def backend_option(panel: str = HOW) -> Callable[[Function], Function]:
    """``image_backend``."""
    return click.option(
        "--image-backend",
        type=Choice(_image_backends),
        panel=panel,
        help="What images are resized with: pil, or torchvision, as transformers 4.57 and later do where it is "
        "installed; qwen2vl and chat only.",
    )


def condition_options(panel: str = HOW) -> Callable[[Function], Function]:
    """The same samples asked in another way: ``candidates`` and ``without``."""
    return grouped(
        click.option(
            "--candidates",
            type=Choice(_candidates),
            panel=panel,
            help="text: score the options themselves; letter: list them in the question and score their letters.",
        ),
        click.option(
            "--without",
            type=Choice(_without),
            panel=panel,
            help="image or text: ask every question without it.",
        ),
    )


def run_options(panel: str = OUTPUT) -> Callable[[Function], Function]:
    """Which part of a benchmark, and what a checkpoint is called: ``shard``, ``name`` and ``step_from``."""
    return grouped(
        click.option(
            "--shard",
            metavar="I/N",
            panel=panel,
            help="Only every window of 64 whose number leaves I when divided by N, into OUT/shard-I-of-N; merge puts "
            "shards together. auto: I and N from the variables of Slurm, torchrun or SkyPilot; auto/N: only I, also of "
            "a Kubernetes Job.",
        ),
        naming_options(panel),
    )


def naming_options(panel: str = OUTPUT) -> Callable[[Function], Function]:
    """What a checkpoint is called: ``name`` and ``step_from``."""
    return grouped(
        click.option(
            "--name",
            metavar="TEXT",
            panel=panel,
            help="What a checkpoint is called, with {name}, {parent} and {grandparent} for its folder and those above "
            "it: '{parent}' for iter_100/hf.  [default: {name}]",
        ),
        step_option(panel),
    )


def step_option(panel: str = OUTPUT) -> Callable[[Function], Function]:
    """``step_from``."""
    return click.option(
        "--step-from",
        metavar="REGEX",
        panel=panel,
        help="Where the training step stands in a checkpoint's path: 'run-([0-9]+)'.  [default: by names such as "
        "step-100 and checkpoint-100, or trainer_state.json]",
    )


def shard_asked_for(text: str | None, say: Callable[[str], None]) -> "Shard | None":
    """The shard that ``--shard`` means, with ``auto`` looked up in the environment and told.

    Raises:
        UsageError: it means none.
    """
    from radar_fast.shard import Shard, shard_of_environment

    if text is None:
        return None
    auto = re.fullmatch(r"auto(?:/([0-9]{1,9}))?", text)
    if auto is None:
        return Shard.parse(text)
    shard, source = shard_of_environment(os.environ, int(auto[1]) if auto[1] else None)
    say(f"--shard {text}: {shard}, from {source}")
    return shard


def symlink_option(panel: str = ADVANCED) -> Callable[[Function], Function]:
    """``follow_symlinks``."""
    return click.option(
        "--follow-symlinks", is_flag=True, panel=panel, help="Read images that links in DATA point to outside of it."
    )


def track_option(panel: str = OUTPUT) -> Callable[[Function], Function]:
    """``track``."""
    return click.option(
        "--track",
        type=Choice(_trackers),
        multiple=True,
        panel=panel,
        help="Tell a tracker each checkpoint that is scored, the training step being its axis: wandb, tensorboard, "
        "mlflow or trackio. Files go to OUT/tracking. May be repeated.",
    )


def opened(data: Path, options: dict[str, Any]) -> "tuple[Reader, Selection]":
    """What the options of :func:`data_options`, :func:`sample_options` and :func:`symlink_option` ask for."""
    from radar_fast.readers import Selection, open_reader

    selection = Selection(
        tasks=options["tasks"],
        limit=options["limit"],
        abilities=tuple(pairs_of("--ability", options["abilities"], repeats=True)),
    )
    reader = open_reader(
        data,
        format=options["format"] or "auto",
        fields=dict(pairs_of("--field", options["fields"])),
        classes=options["classes"],
        preset=options["preset"],
        fields_file=options["fields_file"],
        follow_symlinks=options["follow_symlinks"],
    )
    return reader, selection
