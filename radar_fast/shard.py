"""A shard: every window of a benchmark whose number leaves I when divided by N; and which one an environment means."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from radar_fast.errors import UsageError

__all__ = ["ENVIRONMENT", "Shard", "shard_folders", "shard_of_environment"]

MOST = 99_999
"""Shards of a benchmark: as many as a folder's name has room for."""

_FOLDER = re.compile(r"shard-([0-9]{5})-of-([0-9]{5})")

ENVIRONMENT = (
    ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT"),
    ("SLURM_PROCID", "SLURM_NTASKS"),
    ("RANK", "WORLD_SIZE"),
    ("SKYPILOT_NODE_RANK", "SKYPILOT_NUM_NODES"),
    ("JOB_COMPLETION_INDEX", None),
)
"""(which one, of how many), in the order in which ``auto`` looks; Kubernetes does not say of how many."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One of ``count`` parts, ``index`` counted from 0.

    Raises:
        UsageError: at birth, where there can be no such part.
    """

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MOST:
            raise UsageError(f"--shard {self}: the number of shards must be 1 to {MOST}")
        if not 0 <= self.index < self.count:
            raise UsageError(f"--shard {self}: shards are counted from 0, so the last of {self.count} is {self._last}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """The shard that ``I/N`` says. Raises UsageError for anything else."""
        found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
        if found is None:
            raise UsageError(f"--shard {text}: is not of the form I/N, such as 0/8")
        return cls(int(found[1]), int(found[2]))

    def takes(self, number: int) -> bool:
        """Whether the window of this number, counted from 0 over the whole benchmark, is in it."""
        return number % self.count == self.index

    @property
    def folder(self) -> str:
        """What its result folder is called, e.g. ``shard-00003-of-00008``."""
        return f"shard-{self.index:05}-of-{self.count:05}"

    @property
    def _last(self) -> str:
        return f"{self.count - 1}/{self.count}"

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def shard_folders(folder: Path) -> dict[Shard, Path]:
    """The shards' result folders that lie in a folder, in order.

    Raises:
        UsageError: one is called as no shard can be.
    """
    found = {}
    for path in folder.iterdir():
        if (name := _FOLDER.fullmatch(path.name)) and path.is_dir():
            found[Shard(int(name[1]), int(name[2]))] = path
    return dict(sorted(found.items(), key=lambda item: (item[0].count, item[0].index)))


def shard_of_environment(environment: Mapping[str, str], count: int | None = None) -> tuple[Shard, str]:
    """The shard that a scheduler's variables mean, and from which of them it was taken.

    Args:
        environment: variables, by name.
        count: of how many shards; then only which one is taken from the environment. None: that too.

    Raises:
        UsageError: they mean none, or one that cannot be.
    """
    for name, of in ENVIRONMENT:
        if name in environment and count is not None:
            return Shard(_number(environment, name), count), name
        if name in environment and of is not None and of in environment:
            _require_from_zero(environment, name)
            return Shard(_number(environment, name), _number(environment, of)), f"{name} and {of}"
    if index := environment.get("JOB_COMPLETION_INDEX"):
        raise UsageError(
            f"--shard auto: JOB_COMPLETION_INDEX is {index}, and nothing says of how many; give it: --shard auto/N"
        )
    names = ", ".join(name for name, _ in ENVIRONMENT)
    given = "" if count is None else f"/{count}"
    raise UsageError(f"--shard auto{given}: none of {names} is set; give the shard: --shard I/N")


def _require_from_zero(environment: Mapping[str, str], name: str) -> None:
    """An array of a few tasks, or one that begins at 1, has a count that says nothing of the shards."""
    least = environment.get("SLURM_ARRAY_TASK_MIN", "0")
    if name == "SLURM_ARRAY_TASK_ID" and least != "0":
        raise UsageError(
            f"--shard auto: the array begins at {least}, and shards at 0; submit it as --array=0-7, or say how many "
            "shards there are: --shard auto/8"
        )


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment[name]
    if not re.fullmatch("[0-9]{1,9}", text):
        raise UsageError(f"--shard auto: {name} is {text!a:.40}, which is no whole number")
    return int(text)
