"""What ``farm`` and ``watch`` share: how many engines there are on Ray, and what each of them takes."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import rich_click as click

from radar_fast.cli.options import Function, grouped
from radar_fast.cli.types import given

if TYPE_CHECKING:
    from radar_fast.farm.options import FarmOptions

__all__ = ["FARM", "PLACING", "placed", "placing_options"]

FARM = "Farm"
PLACING = ("address", "engines", "gpus_per_engine", "cpus_per_engine")
"""Parameters of :func:`placing_options`."""


def placing_options() -> Callable[[Function], Function]:
    """``address``, ``engines``, ``gpus_per_engine`` and ``cpus_per_engine``."""
    return grouped(
        click.option(
            "--address",
            metavar="ADDRESS",
            panel=FARM,
            help="The Ray cluster: auto (the one that runs here or that RAY_ADDRESS names, else local), local (started "
            "for this alone, on this machine), or HOST:PORT.",
        ),
        click.option(
            "--engines", type=int, metavar="N", panel=FARM, help="How many.  [default: as many as there is room for]"
        ),
        click.option(
            "--gpus-per-engine",
            type=float,
            metavar="N",
            panel=FARM,
            help="GPUs of each; 0.5: two share one.  [default: what its tensor_parallel_size asks for; none where "
            "there is no GPU]",
        ),
        click.option(
            "--cpus-per-engine",
            type=float,
            metavar="N",
            panel=FARM,
            help="CPU cores of each, and its workers.  [default: its share of the machine, at most 8 beside a GPU]",
        ),
    )


def placed(options: dict[str, Any]) -> "FarmOptions | None":
    """Take these options out of all of a command's; None where none of them was given.

    Raises:
        UsageError: one cannot be right.
    """
    from radar_fast.farm.options import FarmOptions

    said = given({name: options.pop(name) for name in PLACING})
    return FarmOptions(**said) if said else None
