"""FSDP 2's gathers of a forward pass, made to the end where the pass breaks off.

A module's parameters are gathered when it runs, by all ranks at once. A rank whose pass ends by an exception, such as
out of memory, never comes to the modules that were left, and the others would wait for it within theirs until their
process group gives up, and the training with it. So it goes through what was left without computing anything.
"""

import gc
import logging
import traceback
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule

__all__ = ["Gathers"]

log = logging.getLogger(__name__)

_Event = tuple[nn.Module, bool]
"""A module that FSDP 2 has sharded: entered (True) or left."""


class Gathers:
    """What a model gathers in a pass, as learned from passes that ran to their end.

    Where a pass of a kind that is not known yet breaks off, nothing is made up: all ranks must have run one of each
    kind before, with a sample that is sure to fit.
    """

    def __init__(self, model: nn.Module) -> None:
        """``model``: the root that ``fully_shard`` was called on, or what holds it."""
        self._modules = [module for module in model.modules() if isinstance(module, FSDPModule)]
        self._courses: dict[Hashable, list[_Event]] = {}

    def knows(self, kind: Hashable) -> bool:
        """Whether a pass of this kind has been seen to its end."""
        return kind in self._courses

    @contextmanager
    def of_a_pass(self, kind: Hashable) -> Iterator[None]:
        """A context in which one forward pass of the model runs, without gradients.

        Args:
            kind: passes of one kind run the same modules in the same order.

        Raises:
            Exception: what the pass raises, once its gathers are made.
        """
        done: list[_Event] = []
        handles = [handle for module in self._modules for handle in _noting(module, done)]
        try:
            yield
        except Exception as error:
            self._make_up(kind, done, error)
            raise
        else:
            self._courses[kind] = done
        finally:
            for handle in handles:
                handle.remove()

    def _make_up(self, kind: Hashable, done: list[_Event], error: Exception) -> None:
        left = self._courses.get(kind, [])[len(done) :]
        if not left:
            return
        log.warning("a forward pass broke off; %d gathers are made for the other ranks", sum(it[1] for it in left))
        traceback.clear_frames(error.__traceback__)  # they hold what the pass has computed, where room is wanted now
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        for module, entered in left:
            # What FSDP 2 does before a module's forward, and after it, is done in full: prefetches that a user has
            # asked for, parameters that stay gathered. There is no public way to it but a forward.
            state: Any = module._get_fsdp_state()  # type: ignore[operator] # of FSDPModule
            if entered:
                state._training_state = type(state._training_state).IDLE  # it may have broken off in this very step
                state._pre_forward(module, (), {})
            else:
                state._post_forward(module, (), None)


def _noting(module: Any, done: list[_Event]) -> list[Any]:
    """Hooks that run after FSDP 2's own, which were there first."""

    def enter(*_: Any) -> None:
        done.append((module, True))

    def leave(*_: Any) -> None:
        done.append((module, False))

    return [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
