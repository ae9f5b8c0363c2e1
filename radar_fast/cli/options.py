"""Option groups that several commands share.

What an option may be is written where it is meant, in the tables of engines, readers and protocols; help asks those,
and they import neither torch nor transformers.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

from radar_fast.cli.types import PATH, Choice, Naming, pairs_of

if TYPE_CHECKING:
    from radar_fast.readers import Reader, Selection

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
    "opened",
    "sample_options",
    "symlink_option",
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


def symlink_option(panel: str = ADVANCED) -> Callable[[Function], Function]:
    """``follow_symlinks``."""
    return click.option(
        "--follow-symlinks", is_flag=True, panel=panel, help="Read images that links in DATA point to outside of it."
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
