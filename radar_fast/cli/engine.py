"""Options of the engines: which one, on what, how fast; what ``score`` and ``bench`` share."""

from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import rich_click as click

from radar_fast.cli.options import ENGINE, SPEED, Function, grouped
from radar_fast.cli.types import PATH, Choice, Naming, given, pairs_of

if TYPE_CHECKING:
    from radar_fast.engines import EngineOptions

__all__ = ["engine_option", "engine_options", "options_of_engine"]


def _engines() -> tuple[str, ...]:
    from radar_fast.engines import ENGINES

    return "auto", *ENGINES


def _of_engine(table: str) -> Callable[[], tuple[str, ...]]:
    def choices() -> tuple[str, ...]:
        from radar_fast.engines import options

        return "auto", *getattr(options, table)

    return choices


def engine_options() -> Callable[[Function], Function]:
    """What :class:`radar_fast.config.EngineOptions` holds."""
    return grouped(
        click.option(
            "--device",
            type=Choice(_of_engine("DEVICES")),
            panel=ENGINE,
            help="auto (a GPU where there is one), cpu or cuda.",
        ),
        click.option(
            "--dtype",
            type=Choice(_of_engine("DTYPES")),
            panel=ENGINE,
            help="auto (the checkpoint's own on a GPU, float32 on a CPU), float32, bfloat16 or float16.",
        ),
        click.option(
            "--engine-arg",
            "arguments",
            multiple=True,
            metavar="NAME=VALUE",
            panel=ENGINE,
            help="One of vLLM's own engine arguments, e.g. tensor_parallel_size=2; repeat it for more.",
        ),
        click.option(
            "--url",
            metavar="URL",
            panel=ENGINE,
            help="For --engine http: the server that has the checkpoint, http://HOST:PORT. Its key, if it asks for "
            "one, is taken from VLLM_API_KEY.",
        ),
        click.option("--batch-tokens", type=int, metavar="N", panel=SPEED, help="Most tokens in one forward pass."),
        click.option(
            "--workers",
            type=int,
            metavar="N",
            panel=SPEED,
            help="Threads or processes that read and preprocess images.  [default: one for each core, at most 8]",
        ),
        click.option(
            "--worker-kind",
            type=Choice(_of_engine("WORKER_KINDS")),
            panel=SPEED,
            help="threads, processes, or auto: processes where they pay.",
        ),
        click.option(
            "--attention",
            type=Choice(_of_engine("ATTENTIONS")),
            panel=SPEED,
            help="Of the transformers engine: auto, dense, split, cascade (flash-attn) or flex.",
        ),
        click.option(
            "--request",
            type=Choice(_of_engine("REQUESTS")),
            panel=SPEED,
            help="Of the vLLM engine: a sample as one request, per-candidate, or auto: one where that was tried.",
        ),
        click.option(
            "--preprocess-cache",
            type=PATH,
            metavar="DIR",
            panel=SPEED,
            help="Keep preprocessed images here for other checkpoints.",
        ),
        click.option(
            "--preprocess-cache-gb",
            type=float,
            metavar="GB",
            panel=SPEED,
            help="Largest size of that folder, in GB.  [default: 100]",
        ),
    )


def engine_option(panel: str = ENGINE) -> Callable[[Function], Function]:
    """``engine``."""
    return click.option(
        "--engine",
        cls=Naming,
        type=Choice(_engines),
        panel=panel,
        help="auto (vllm where there is a GPU and a vLLM that is known to work, else transformers), {choices}; fake "
        "runs no model, to try a command.",
    )


def options_of_engine(options: dict[str, Any]) -> "EngineOptions":
    """What :func:`engine_options` asks for, taken out of ``options``. Raises UsageError where it cannot be right."""
    from radar_fast.engines import EngineOptions

    mine = given({each.name: options.pop(each.name) for each in fields(EngineOptions)})
    mine["arguments"] = {name.replace("-", "_"): value for name, value in pairs_of("--engine-arg", mine["arguments"])}
    return EngineOptions(**mine)
