"""The samples that every contender scores in every round, and the file they travel in.

From a benchmark: the first that can be scored and have candidates enough. Where ``candidates`` is K, a sample of more
is cut to its answer and its first K - 1 distractors, which keep their order; one of fewer is passed over. Nothing is
made up or repeated: a repeated candidate would share its rows with the first and cost one engine less than another.

Without a benchmark: pictures of seeded noise with random sides, one short question, K distinct answers of two words.
"""

import json
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from radar_fast.bench.roofline import Work
from radar_fast.engines.encode.encoder import Encoded, Encoder
from radar_fast.errors import DataError
from radar_fast.sample import ImageFile, Prompt, Reason, Sample

__all__ = ["Workload", "cut", "generated_samples", "read_samples", "select", "write_samples"]

_COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "white", "black")
_SHAPES = ("circle", "square", "triangle", "hexagon", "star", "ring", "cross", "arrow")
_QUESTION = "What is the shape of the part of the picture that is denoted with a question mark, and its color?"


@dataclass(frozen=True)
class Workload:
    """What is scored in each round."""

    samples: tuple[Sample, ...]
    """In order."""
    works: tuple[Work, ...]
    """What each is made of."""
    source: str
    """Where they come from, for the report."""


def select(
    samples: Iterable[Sample],
    *,
    prompt: Callable[[Sample], Prompt],
    encoder: Encoder,
    count: int,
    candidates: int | None,
    source: str,
    condition: Callable[[Sample], Sample] = lambda sample: sample,
) -> Workload:
    """The first ``count`` samples that can be scored, cut to ``candidates`` and then put under ``condition``.

    Raises:
        DataError: there is none. Fewer than ``count`` are taken as they are.
    """
    chosen: list[Sample] = []
    works: list[Work] = []
    most = 0
    for sample in samples:
        most = max(most, len(sample.candidates))
        fitting = sample if candidates is None else cut(sample, candidates)
        if fitting is None or sample.reason is not None:
            continue
        fitting = condition(fitting)
        if fitting.reason is not None:
            continue
        encoded = encoder.encode(prompt(fitting))
        if isinstance(encoded, Reason):
            continue
        chosen.append(fitting)
        works.append(_work(encoded))
        if len(chosen) == count:
            break
    if not chosen:
        wanted = "" if candidates is None else f" with at least {candidates} candidates (the most there are is {most})"
        raise DataError(
            f"{source}: no sample{wanted} that can be scored; see radar-fast inspect, or change --candidates"
        )
    return Workload(tuple(chosen), tuple(works), source)


def cut(sample: Sample, candidates: int) -> Sample | None:
    """The sample with its answer and its first ``candidates`` - 1 distractors; None if it has too few."""
    if len(sample.candidates) < candidates:
        return None
    distractors = [index for index in range(len(sample.candidates)) if index != sample.answer]
    kept = sorted([sample.answer, *distractors[: candidates - 1]])
    return replace(
        sample, candidates=tuple(sample.candidates[index] for index in kept), answer=kept.index(sample.answer)
    )


def generated_samples(
    folder: Path, *, count: int, candidates: int, size: tuple[int, int], words: int = 0, seed: int = 0
) -> list[Sample]:
    """``count`` samples with a picture each, written into ``folder`` as JPEG.

    Args:
        folder: there already.
        count: of samples.
        candidates: answers a sample, at most 64; all distinct.
        size: least and largest side of the pictures, in pixels; each side is drawn anew.
        words: of colours and shapes before the question, drawn anew for each sample: for prompts that are long texts.
        seed: the same seed gives the same samples.

    Raises:
        DataError: more candidates than there are answers.
    """
    answers = [f"{colour} {shape}" for colour in _COLOURS for shape in _SHAPES]
    if candidates > len(answers):
        raise DataError(f"--candidates {candidates}: generated samples have at most {len(answers)}; give --data")
    draw = random.Random(seed)
    noise = np.random.default_rng(seed)
    samples = []
    for index in range(count):
        width, height = draw.randint(*size), draw.randint(*size)
        coarse = noise.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
        path = folder / f"{seed}-{index}.jpg"
        Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(path, quality=90)
        texts = tuple(draw.sample(answers, candidates))
        told = " ".join(draw.choice((*_COLOURS, *_SHAPES)) for _ in range(words))
        parts = (ImageFile(path), f"{told} {_QUESTION}" if words else _QUESTION)
        samples.append(Sample(f"{index}", "generated", "generated", "other", parts, texts, 0))
    return samples


# The file ------------------------------------------------------------------------------------------------------------


def write_samples(samples: Iterable[Sample], file: Path) -> None:
    """One JSON object a line. Images that lie inside a data file become files beside this one."""
    lines = []
    for number, sample in enumerate(samples):
        parts: list[str | dict[str, str]] = []
        for place, part in enumerate(sample.parts):
            if isinstance(part, str):
                parts.append(part)
            elif isinstance(part, ImageFile):
                parts.append({"image": str(part.path.resolve())})
            else:
                copy = file.parent / f"{file.stem}-{number}-{place}.image"
                with part.open() as stream:
                    copy.write_bytes(stream.read())
                parts.append({"image": str(copy)})
        lines.append(
            json.dumps(
                {
                    "id": sample.id,
                    "task": sample.task,
                    "directory": sample.directory,
                    "ability": sample.ability,
                    "parts": parts,
                    "candidates": sample.candidates,
                    "answer": sample.answer,
                    "metadata": dict(sample.metadata),
                    "ordered": sample.ordered,
                }
            )
        )
    file.write_text("\n".join(lines) + "\n")


def read_samples(file: Path, count: int | None = None) -> list[Sample]:
    """What :func:`write_samples` wrote, or its first ``count``."""
    return [_sample(json.loads(line)) for line in file.read_text().splitlines()[:count]]


def _sample(values: Mapping[str, Any]) -> Sample:
    parts = tuple(part if isinstance(part, str) else ImageFile(Path(part["image"])) for part in values["parts"])
    return Sample(**{**values, "parts": parts, "candidates": tuple(values["candidates"])})


def _work(encoded: Encoded) -> Work:
    grids = encoded.inputs.get("image_grid_thw")
    patches = [] if grids is None else grids.prod(-1).tolist()
    answers = tuple(len(suffix) - encoded.scored_from for suffix in encoded.suffixes)
    return Work(len(encoded.prefix) + encoded.scored_from, answers, tuple(map(int, patches)))
