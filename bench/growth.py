"""Write result folders of a long series, and time what is made of them.

    python bench/growth.py --out /tmp/series --steps 40 --samples 15360

The folders are those of a fake engine whose skill grows: real journals of questions with four candidates, three of them
on each image, in 60 tasks of 9 directories. What is there already is kept. With --texts each question and candidate is
of words drawn at random, which pack worse than sentences: for bench/report.py. Prints seconds and the most memory of
``radar_fast.growth`` over them in a process of its own, and of the largest process that it has started, the median of
--repeat, then one JSON line.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from radar_fast.results.folder import ResultFolder
from radar_fast.results.journal import Journal
from radar_fast.results.record import Record, record_of
from radar_fast.sample import Candidate, EmbeddedImage, Sample, Scored

TASKS, DIRECTORIES, SHARING = 60, 9, 3
"""How many tasks and directories there are, and how many questions an image has."""

CANDIDATES: tuple[str, ...] = ("a brown bear", "a black cat", "two dogs", "a red fox")
WORDS = "What is the animal in the picture, and which of the things behind it is the largest? Answer in a word or two."

TIMED = """
import json, resource, sys, time
started = time.perf_counter()
from radar_fast import growth
[grown] = growth(sys.argv[1])
seconds = time.perf_counter() - started
assert not {"torch", "transformers"} & set(sys.modules)
most = [resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(json.dumps([seconds, *most, grown.overall.values()]))
"""


def write_series(out: Path, steps: int, samples: int, *, texts: bool = False) -> None:
    """Result folders ``step-500``, ``step-1000`` and so on under ``out``; ``texts``: of random words."""
    said = _drawn_texts(samples) if texts else [(WORDS, CANDIDATES)] * samples
    hard = np.random.default_rng(0).normal(size=samples)
    for step in range(steps):
        folder = ResultFolder(out / f"step-{500 * (step + 1)}")
        if folder.samples.exists():
            continue
        folder.make()
        identity = {"version": 2, "data": {"format": "m3", "samples": samples, "sha256": "0" * 64}}
        identity["engine"] = {"name": "fake", "device": "none", "dtype": "none"}
        with Journal.open(folder.samples) as journal:
            folder.claim(identity, {"data": "/data/M3-Bench", "model": None}, empty=True)
            journal.append(list(_records(step, 3.5 * step / max(1, steps - 1) - hard, said)))


def _drawn_texts(samples: int) -> list[tuple[str, tuple[str, ...]]]:
    """Questions of 18 words and four candidates of four, from a thousand words of two or three syllables."""
    draws = np.random.default_rng(7)
    syllables = [one + two for one in "bdfgklmnprstvw" for two in "aeiou"]
    words = ["".join(draws.choice(syllables, 2 + number % 2)) for number in range(1000)]
    drawn = draws.choice(words, (samples, 34)).tolist()
    return [
        (f"{' '.join(row[:18])}?", tuple(" ".join(row[place : place + 4]) for place in range(18, 34, 4)))
        for row in drawn
    ]


def _records(step: int, skill: np.ndarray, said: list[tuple[str, tuple[str, ...]]]) -> Iterator[Record]:
    draws = np.random.default_rng([1, step])
    samples = len(skill)
    logits = draws.normal(loc=12, size=(samples, 4, 3)).astype(np.float32)
    logits[:, 0] += skill[:, None]
    logprobs = (logits - 16).clip(max=-1e-3)
    for place in range(samples):
        task = place % TASKS
        question, texts = said[place]
        sample = Sample(
            id=f"question-{place}",
            task=f"task_{task:02d}_256",
            directory=f"directory_{task % DIRECTORIES}",
            ability="perception" if task % DIRECTORIES < 5 else "reasoning",
            parts=(EmbeddedImage("", str(place // (TASKS * SHARING) * TASKS + task).encode()), question),
            candidates=texts,
            answer=0,
            metadata={"question": question, "index": place, "file": f"task_{task:02d}_256.json"},
        )
        scores = zip(logits[place].tolist(), logprobs[place].tolist(), strict=True)
        candidates = tuple(Candidate(tuple(raw), tuple(normalised)) for raw, normalised in scores)
        yield record_of(Scored(sample, candidates, None, 300, 280, 0.01))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--samples", type=int, default=15_360)
    parser.add_argument("--texts", action="store_true")
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    write_series(arguments.out, arguments.steps, arguments.samples, texts=arguments.texts)
    runs = []
    for _ in range(arguments.repeat):
        command = [sys.executable, "-c", TIMED, str(arguments.out)]
        runs.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    if not runs:
        return
    seconds, memory, others = (statistics.median(column) for column in list(zip(*runs, strict=True))[:3])
    print(f"{arguments.steps} steps of {arguments.samples} samples: {seconds:.1f} s, {memory:.0f} + {others:.0f} MiB")
    found = {"seconds": seconds, "memory_mib": memory, "other_memory_mib": others}
    print(json.dumps({**vars(arguments), "out": str(arguments.out), **found}))


if __name__ == "__main__":
    main()
