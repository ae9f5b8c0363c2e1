"""One rank of a training under FSDP 2, of which the last breaks off in the midst of forward passes: ``python
broken_passes.py CHECKPOINT DATA`` under torchrun's variables.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.fsdp import FSDPModule
from training_steps import lessons_of, train_step
from two_ranks import SAMPLES, prepared

from radar_fast.readers import open_reader
from radar_fast.training import Scorer

WAIT = timedelta(seconds=60)
"""What a rank waits for another; without a limit a broken test would hang."""


@contextmanager
def raising(module: Any, error: Exception, at: int, times: int = 1) -> Iterator[Callable[[], int]]:
    """On the last rank the module's forward raises from its ``at``-th run on; gives how often it has."""
    runs: list[bool] = []

    def hook(*_: Any) -> None:
        runs.append(at <= len(runs) + 1 < at + times)
        if runs[-1]:
            raise error

    handle = module.register_forward_pre_hook(hook) if dist.get_rank() else None
    try:
        yield lambda: sum(runs)
    finally:
        if handle is not None:
            handle.remove()


@contextmanager
def no_room_for_gathers(module: FSDPModule, at: int) -> Iterator[Callable[[], int]]:
    """On the last rank there is no memory for the module's parameters, at its ``at``-th run."""
    state: Any = module._get_fsdp_state()
    group = state._fsdp_param_groups[0]
    plain, runs = group.unshard, list[bool]()

    def unshard(*more: Any, **options: Any) -> None:
        runs.append(len(runs) + 1 == at)
        if runs[-1]:
            raise torch.OutOfMemoryError("out of memory: the parameters of a layer")
        plain(*more, **options)

    if dist.get_rank():
        group.unshard = unshard
    try:
        yield lambda: sum(runs)
    finally:
        group.unshard = plain


def main(checkpoint: Path, data: Path) -> None:
    """All of it; the assertions are the test."""
    dist.init_process_group("gloo", timeout=WAIT)
    model, called = prepared("fsdp", checkpoint)
    layer, block = model.model.language_model.layers[1], model.model.visual.blocks[0]
    samples = list(open_reader(data))
    scorer = Scorer.from_model(called, checkpoint, samples, limit=SAMPLES, batch_tokens=4096, confidence=None)
    whole = scorer.score(0)
    assert whole is not None

    full = torch.OutOfMemoryError("out of memory")
    for number, broken in enumerate(
        (
            raising(layer.mlp, full, at=1),
            raising(block.attn, full, at=1),
            raising(model.get_output_embeddings(), full, at=2),
            no_room_for_gathers(layer, at=1),
        ),
        1,
    ):
        with broken as count:
            summary = scorer.score(number)
        assert count() >= dist.get_rank(), number
        assert summary is not None, number
        assert summary.overall.scored == SAMPLES, number
        assert abs(summary.overall.sds - whole.overall.sds) < 1e-5, number  # type: ignore[operator]

    for number, where in ((5, layer.mlp), (6, block)):
        with raising(where, RuntimeError("a layer fails"), at=1, times=1000):
            assert scorer.score(number) is None  # a rank that cannot go on, and the others hear of it

    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    lessons = lessons_of(checkpoint)
    loss = train_step(called, model, optimizer, Random(dist.get_rank()).sample(lessons, 4))
    assert loss == loss
    after = scorer.score(7)
    assert after is not None
    assert after.overall.scored == SAMPLES
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
