"""Samples for tests of the model families: M3's directories, several aspect ratios, inline images, none."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from radar_fast.sample import ImageFile, Sample

ANSWERS = ("red", "dark blue", "a small light yellow hexagon", "A.")

SHAPES = {"square": (300, 310), "tall": (400, 900), "taller": (300, 1000), "wide": (1000, 320), "small": (31, 40)}
"""Grids of tiles that InternVL makes of them: 1x1, 1x2, 1x3, 3x1, 1x1."""


@dataclass(frozen=True)
class Case:
    """A sample, and what the published scripts make of it: the question with ``<image>`` and its separators."""

    sample: Sample
    internvl: str
    plain: str
    turn: str
    """LLaVA 1.5's and LLaVA-Med's."""
    images: list[Path]


def write_pictures(folder: Path) -> dict[str, Path]:
    """Smooth noise, seeded: neighbours differ, so that a tile or a row out of place shows."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    found = {}
    for name, (width, height) in SHAPES.items():
        coarse = Image.fromarray(rng.integers(0, 256, (9, 7, 3), dtype=np.uint8))
        found[name] = folder / f"{name}.png"
        coarse.resize((width, height), Image.Resampling.BICUBIC).save(found[name])
    return found


def cases(folder: Path, *, only: Sequence[str] | None = None) -> list[Case]:
    """One a rule of the published scripts; ``only`` keeps those of these names."""
    files = write_pictures(folder)
    ask = "What is the colour of the shape?"

    def case(
        name: str,
        directory: str,
        task: str,
        shapes: list[str],
        prompts: tuple[str, str, str],
        parts: list[str] | None = None,
        question: str = ask,
    ) -> Case:
        images = [files[shape] for shape in shapes]
        given = parts if parts is not None else ["<image>"] * len(images) + [ask]
        left = iter(images)
        made = tuple(ImageFile(next(left)) if part == "<image>" else part for part in given)
        candidates = ANSWERS[: 2 + len(name) % 3]
        return Case(
            Sample(name, task, directory, "a", made, candidates, 0, {"question": question}), *prompts, images=images
        )

    spread = ["Is ", "<image>", " larger than ", "<image>", "?"]
    first = ["<image>", "is what?"]
    everything = [
        case(
            "mmbench",
            "general_visual_question_answering",
            "MMBench_ocr_4",
            ["square"],
            (f"<image>\n{ask}", f"<image>\n{ask}", f"<image>\n{ask}"),
        ),
        case(
            "mathvista",
            "mathematical_reasoning",
            "MathVista_1000",
            ["tall"],
            (f"<image>\n{ask}", f"<image>\n{ask}", f"<image>\n{ask}"),
        ),
        case(
            "spatial",
            "spatial_reasoning",
            "Spatial_reasoning_9",
            ["taller"],
            (f"<image> {ask}", f"<image> {ask}", f"<image>\n{ask}"),
        ),
        case(
            "wiki",
            "Wiki_animal_identification",
            "Wiki_animal_identification_2000",
            ["wide"],
            (f"<image> {ask}", f"<image> {ask}", f"<image>\n{ask}"),
        ),
        case(
            "seephys",
            "physical_reasoning",
            "SeePhys_200",
            ["small", "tall"],
            (f"<image> <image> {ask}", f"<image><image> {ask}", f"<image>\n<image>\n{ask}"),
        ),
        case(
            "inline",
            "multiple_discipline_reasoning",
            "MMMU_Pro_Art_9",
            ["small", "square"],
            ("Is <image> larger than <image>?",) * 3,
            spread,
            "Is <image 1> larger than <image 2>?",
        ),
        case(
            "leads",
            "multiple_discipline_reasoning",
            "MMMU_Pro_Art_9",
            ["small"],
            ("<image>is what?",) * 3,
            first,
            "<image 1>is what?",
        ),
        case("jsonl", "mine", "mine", ["small"], ("<image>is what?",) * 3, first, "<image>is what?"),
        case(
            "literal",
            "mine",
            "mine",
            ["small"],
            ("<image> In <image 1>, what?", "<image> In <image 1>, what?", "<image>\nIn <image 1>, what?"),
            ["<image>", "In <image 1>, what?"],
            "In <image 1>, what?",
        ),
        case("none", "mine", "mine", [], (ask,) * 3),
    ]
    return [each for each in everything if only is None or each.sample.id in only]
