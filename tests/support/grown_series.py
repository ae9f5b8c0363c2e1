"""A series of result folders on a real benchmark, as a model that learns would leave them: scores are drawn, all else
is what a run writes."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path

from radar_fast.readers import open_reader
from radar_fast.results.folder import ResultFolder
from radar_fast.results.journal import Journal
from radar_fast.results.record import record_of
from radar_fast.run import summarize
from radar_fast.sample import Candidate, Reason, ReasonKind, Sample, Scored

__all__ = ["write_series"]

Unfit = Callable[[Sample], bool]


def write_series(
    out: Path,
    data: Path,
    steps: Sequence[int] = (100, 200, 400, 800),
    *,
    without_images: bool = False,
    unfit: Unfit = lambda _: False,
) -> list[Path]:
    """Write ``out/step-N`` for each step, and return them. The images of samples that are ``unfit`` cannot be read."""
    reader = open_reader(data)
    samples = list(reader)
    folders = []
    for place, step in enumerate(steps):
        folder = ResultFolder(out / f"{'blind' if without_images else 'step'}-{step}")
        folder.make()
        identity = {
            "version": 2,
            "data": {"format": reader.format, "samples": len(samples), "sha256": f"{len(samples):064x}"},
            "engine": {"name": "fake", "device": "none", "dtype": "none"},
            **({"conditions": {"without": "image"}} if without_images else {}),
        }
        with Journal.open(folder.samples) as journal:
            folder.claim(identity, {"data": str(data), "model": f"checkpoints/step-{step}"}, empty=True)
            skill = 0.2 if without_images else 3 * place / max(1, len(steps) - 1)
            journal.append([record_of(_scored(sample, skill, step, unfit(sample))) for sample in samples])
        summarize(folder.path)
        folders.append(folder.path)
    return folders


def _scored(sample: Sample, skill: float, step: int, unfit: bool) -> Scored:
    if unfit:
        return Scored(sample, reason=Reason(ReasonKind.UNREADABLE_IMAGE, "image x.png is empty (0 bytes): replace it"))
    lasting, draw = random.Random(sample.id), random.Random(f"{sample.id} {step}")
    ease = lasting.random() * (2.0 if sample.ability == "perception" else 0.8)
    means = [lasting.gauss(0, 1) + draw.gauss(0, 0.5) for _ in sample.candidates]
    if sample.candidates:
        means[sample.answer] += skill * ease
    candidates = tuple(Candidate((mean, mean + 0.5), (mean - 9, mean - 8.5)) for mean in means)
    return Scored(sample, candidates, tokens_computed=80, tokens_minimal=70, seconds=0.01)
