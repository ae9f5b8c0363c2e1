"""One rank of three trainings on CPUs: ``python two_ranks.py CHECKPOINT DATA OUT`` under torchrun's variables.

Under FSDP 2 and under DDP it trains, scores, and saves in ``OUT/fsdp`` and ``OUT/ddp`` what it has scored last; then
under FSDP 2 with a rank that fails whenever it scores.
"""

import sys
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from training_steps import lessons_of, load, train_step

from radar_fast.demo.lessons import Lesson
from radar_fast.readers import open_reader
from radar_fast.sample import Sample
from radar_fast.training import Scorer

SAMPLES = 13
"""A number that the ranks cannot share evenly."""


def prepared(kind: str, checkpoint: Path) -> tuple[Any, Any]:
    """The model, and what is called in its place."""
    model = load(checkpoint)
    if kind == "ddp":
        return model, DistributedDataParallel(model)
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for layer in [*model.model.language_model.layers, *model.model.visual.blocks]:
        fully_shard(layer, mesh=mesh)
    return model, fully_shard(model, mesh=mesh)


def train(kind: str, checkpoint: Path, samples: list[Sample], lessons: list[Lesson], out: Path) -> None:
    """Two steps, each scored; then one more, and what it is is saved."""
    rank = dist.get_rank()
    model, called = prepared(kind, checkpoint)
    broken = kind == "broken"
    scorer = Scorer.from_model(called, checkpoint, samples, limit=SAMPLES, out=out, confidence=None, strict=not broken)
    if broken and rank == 1:
        scorer._protocol = failing(scorer._protocol)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for step in (1, 2):
        train_step(called, model, optimizer, Random(10 * step + rank).sample(lessons, 4))
        summary = scorer.score(step)
        assert (summary is None) == broken
        assert summary is None or summary.overall.scored == SAMPLES
        assert model.training
    train_step(called, model, optimizer, Random(rank).sample(lessons, 4))  # the training goes on
    if broken:
        return
    scorer.score(3)
    weights = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True))
    if rank == 0:
        plain = load(checkpoint)
        plain.load_state_dict(weights, strict=False)
        plain.save_pretrained(out / "saved")


def failing(protocol: Any) -> Any:
    """The protocol, which fails amid the first scoring and at the start of the second."""
    asked: list[Sample] = []

    def prompt(sample: Sample) -> Any:
        asked.append(sample)
        if len(asked) > 6:
            raise RuntimeError("a rank fails")
        return protocol.prompt(sample)

    return replace(protocol, prompt=prompt)


def main(checkpoint: Path, data: Path, out: Path) -> None:
    """All three."""
    dist.init_process_group("gloo")
    samples, lessons = list(open_reader(data)), lessons_of(checkpoint)
    for kind in ("fsdp", "ddp", "broken"):
        train(kind, checkpoint, samples, lessons, out / kind)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
