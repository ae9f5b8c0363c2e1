"""Result folders of a series of checkpoints, made from known numbers: no engine, no data."""

import random
from collections.abc import Callable
from pathlib import Path

from radar_fast.results.folder import ResultFolder
from radar_fast.results.journal import Journal
from radar_fast.results.record import record_of
from radar_fast.sample import Candidate, EmbeddedImage, Reason, ReasonKind, Sample, Scored

__all__ = ["TASKS", "write_run", "write_series"]

TASKS = {  # task -> directory, ability, how many steps before it sets in
    "MMBench_names_8": ("MMBench", "perception", 1),
    "MMBench_places_8": ("MMBench", "perception", 1),
    "counting_8": ("counting", "reasoning", 4),
}


def write_run(
    folder: Path, skill: Callable[[str], float], *, samples: int = 24, seed: int = 0, without: str | None = None
) -> Path:
    """A run on three tasks: ``skill`` of a task is added to the answer's logit. Every three samples share an image; the
    first of each task is unscored."""
    files = ResultFolder(folder)
    files.make()
    identity = {"version": 2, "data": {"format": "m3", "samples": len(TASKS) * samples, "sha256": f"{samples}"}}
    identity |= {"engine": {"name": "fake", "dtype": "none", "device": "none"}, "model": None}
    identity |= {"conditions": {"without": without}} if without else {}
    with Journal.open(files.samples) as journal:
        files.claim(identity, {"data": "/data/Some-Bench", "model": None, "without": without}, empty=True)
        for task, (directory, ability, _) in TASKS.items():
            # Equal on every machine: what is random must not depend on hash().
            draw = random.Random(f"{task} {seed} {folder.name} {without}")
            for number in range(samples):
                image = EmbeddedImage("x", f"{task} {number // 3}".encode())
                parts = ("What is it?",) if without == "image" else (image, "What is it?")
                sample = Sample(
                    f"q{number}",
                    task,
                    directory,
                    ability,
                    parts,
                    ("a cat", "dög", "bird"),
                    number % 3,
                    {"question": "?"},
                )
                if number == 0:
                    scored = Scored(sample, reason=Reason(ReasonKind.TOO_LONG, "too long"))
                else:
                    scored = Scored(sample, tuple(_candidate(draw, skill(task) * (c == number % 3)) for c in range(3)))
                journal.append([record_of(scored)])
    return folder


def _candidate(draw: random.Random, skill: float) -> Candidate:
    logits = tuple(draw.gauss(0, 1) + skill for _ in range(draw.randint(1, 3)))
    return Candidate(logits, tuple(min(-0.01, logit - 6) for logit in logits))


def write_series(out: Path, steps: int = 6, *, samples: int = 24, without: str | None = None) -> Path:
    """``step-100`` and so on; each task is at chance before it sets in, and then far above it."""
    for step in range(steps):
        write_run(
            out / f"step-{100 * (step + 1)}",
            lambda task, step=step: 4.0 * (step >= TASKS[task][2]),  # type: ignore[misc]
            samples=samples,
            without=without,
        )
    return out
