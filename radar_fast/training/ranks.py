"""The ranks of a training: each scores its share, and all get the whole."""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from radar_fast.engines.transformers.gathers import Gathers

__all__ = ["Ranks", "Turns"]

log = logging.getLogger(__name__)

Item = TypeVar("Item")

_DONE, _TEXT, _IMAGES = 0, 1, 2
"""What a rank would do next."""


class Ranks:
    """The ranks that share the work: those of a process group, or this process alone."""

    def __init__(self, device: torch.device, group: Any = None) -> None:
        """``device``: where the model is, so that the group's back end can reach it; ``group``: None for all ranks."""
        self._device, self._group = device, group
        there = dist.is_available() and dist.is_initialized()
        self.rank = dist.get_rank(group) if there else 0
        """This process's number among them."""
        self.count = dist.get_world_size(group) if there else 1
        """How many they are."""

    def share(self, items: Sequence[Item]) -> list[Item]:
        """This rank's: every ``count``-th."""
        return list(items[self.rank :: self.count])

    def highest(self, number: int) -> int:
        """The largest of the numbers that the ranks give; all call it at once."""
        if self.count == 1:
            return int(number)
        tensor = torch.tensor([int(number)], device=self._device)
        dist.all_reduce(tensor, dist.ReduceOp.MAX, self._group)
        return int(tensor.item())

    def gather(self, mine: bytes) -> list[bytes]:
        """What every rank gives, in the order of ranks, on every rank; all call it at once."""
        if self.count == 1:
            return [mine]
        longest = self.highest(len(mine))
        held = torch.zeros(8 + longest, dtype=torch.uint8)
        held[: 8 + len(mine)] = torch.frombuffer(bytearray(len(mine).to_bytes(8, "big") + mine), dtype=torch.uint8)
        gathered = [torch.empty_like(held, device=self._device) for _ in range(self.count)]
        dist.all_gather(gathered, held.to(self._device), self._group)
        raw = [tensor.cpu().numpy().tobytes() for tensor in gathered]
        return [one[8 : 8 + int.from_bytes(one[:8], "big")] for one in raw]


class Turns:
    """Keeps the forward passes of ranks in step, where each needs all of them: FSDP 2 gathers a module's parameters
    when it runs, so that every rank must run the same modules, as often as the others.

    Before each pass the ranks agree on whether the vision tower runs in it. One that has nothing of that kind runs
    along with a sample whose result nobody wants. One whose pass breaks off makes its gathers to the end, and comes to
    the next agreement as the others do.
    """

    def __init__(self, ranks: Ranks, gathers: Gathers, run_along: Callable[[bool], None]) -> None:
        """``gathers``: of the model; ``run_along``: a pass for the sake of the others, with images or without."""
        self._ranks, self.gathers, self._run_along = ranks, gathers, run_along

    def rehearse(self, kinds: Iterable[bool]) -> None:
        """Run along once with each kind that was not seen yet; all ranks call it at once, with the same kinds."""
        for images in sorted(kinds):
            if not self.gathers.knows(images):
                self._run_along(images)

    def take(self, images: bool) -> None:
        """Return when this rank may run a pass; ``images``: whether the vision tower runs in it."""
        mine = _IMAGES if images else _TEXT
        while (now := self._ranks.highest(mine)) != mine:
            self._along(now == _IMAGES)

    def finish(self) -> None:
        """Run along until no rank has anything left."""
        while (now := self._ranks.highest(_DONE)) != _DONE:
            self._along(now == _IMAGES)

    def _along(self, images: bool) -> None:
        try:
            self._run_along(images)
        except Exception as error:  # nobody wants its result, and its gathers are made all the same
            if not self.gathers.knows(images):
                raise
            log.debug("a pass for the sake of other ranks failed", exc_info=error)
