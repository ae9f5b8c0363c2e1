"""What the demo's checkpoints learn from: items of mini-M3's kind under other seeds, as token ids and pixels."""

import hashlib
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from radar_fast.demo.mini_m3 import draw_item, encoded
from radar_fast.demo.tasks import TASKS, Item, Task

__all__ = ["Lesson", "ask", "collate", "draw_items", "fingerprint", "guarded_fingerprints", "prepare"]

IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
GUARDED_PER_TASK = 960
"""mini-M3's records that must not be trained on, from the first of each task: all of its largest size, 15,360."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """An item as token ids and pixels."""

    task: str
    prompt: list[int]
    """Token ids, image pads expanded."""
    candidates: list[list[int]]
    """Token ids of " " + candidate; the answer is the first."""
    patches: list[Tensor]
    """One per image: fp16 [patches, 3 * 14 * 14], a single frame."""
    grids: list[list[int]]
    """One per image: [1, patch rows, patch columns]."""


def ask(item: Item, rng: Random) -> tuple[str, list[int], list[str]]:
    """The published prompt of an item, the indices of its images in reading order, and " " + each candidate."""
    text, candidates = item.question, [str(item.answer), *item.distraction]
    if item.options is not None and "<image " in item.options:
        letters = ["A", "B"] if rng.random() < 0.5 else ["B", "A"]
        listed = dict(zip(letters, candidates, strict=True))
        text += f" A. {listed['A']} B. {listed['B']} Please select the correct option: "
        candidates = letters
    elif "<image " not in text:
        text = "".join(f"<image {number}>" for number in range(1, len(item.images) + 1)) + text
    order = [int(number) - 1 for number in re.findall(r"<image (\d+)>", text)]
    return re.sub(r"<image \d+>", IMAGE, text), order, [f" {candidate}" for candidate in candidates]


def draw_items(seed: str, per_task: int, guarded: frozenset[bytes]) -> Iterator[tuple[Task, Item]]:
    """``per_task`` items of each task as a reader would see them, without those whose fingerprint is guarded."""
    for task in TASKS:
        for index in range(per_task):
            # A picture of its own for each item, whatever mini-M3 does: more pictures teach more.
            rng = Random(f"{seed}/{task.name}/{index}")
            item = as_read(task, task.make(rng, index % task.questions_per_picture))
            if fingerprint(item) not in guarded:
                yield task, item


def as_read(task: Task, item: Item) -> Item:
    """The item with its pictures as they come back from their files."""
    suffix = ".png" if task.bench in ("MMMU_Pro", "SeePhys") else ".jpg"
    images = tuple(Image.open(io.BytesIO(encoded(image, suffix))).convert("RGB") for image in item.images)
    return replace(item, images=images)


def fingerprint(item: Item) -> bytes:
    """A digest of the question and every pixel."""
    digest = hashlib.sha256(item.question.encode())
    for image in item.images:
        digest.update(repr(image.size).encode() + image.tobytes())
    return digest.digest()


def guarded_fingerprints() -> frozenset[bytes]:
    """Those of mini-M3 at its largest."""
    return frozenset(
        fingerprint(as_read(task, draw_item(task, index, 0))) for task in TASKS for index in range(GUARDED_PER_TASK)
    )


def prepare(items: Sequence[tuple[Task, Item]], tokenizer: Any, processor: Any, seed: int) -> list[Lesson]:
    """Tokens and pixels of each item, through the preprocessing that scoring uses."""
    rng = Random(seed)
    pad = "<|image_pad|>"
    examples = []
    for task, item in items:
        text, order, candidates = ask(item, rng)
        patches, grids = [], []
        for index in order:
            image = item.images[index]
            width, height = (max(28, round(side / 28) * 28) for side in image.size)
            out = processor(images=[image.resize((width, height))], return_tensors="pt")
            # The two frames of a still picture are the same: keep one.
            frames = out["pixel_values"].view(-1, 3, 2, 14 * 14)
            patches.append(frames[:, :, 0].reshape(-1, 3 * 14 * 14).half())
            grids.append(out["image_grid_thw"][0].tolist())
        pieces = text.split(pad)
        spread = pieces[0] + "".join(
            pad * (grid[1] * grid[2] // 4) + piece for grid, piece in zip(grids, pieces[1:], strict=True)
        )
        prompt, *joint = tokenizer([spread, *(spread + candidate for candidate in candidates)])["input_ids"]
        assert all(ids[: len(prompt)] == prompt for ids in joint), spread
        examples.append(Lesson(task.name, prompt, [ids[len(prompt) :] for ids in joint], patches, grids))
    return examples


def collate(rows: Sequence[tuple[Lesson, int]], model: Any) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Model inputs for (example, candidate) rows, padded right; labels [rows, length]; mask of answer tokens."""
    sequences = [example.prompt + example.candidates[which] for example, which in rows]
    shape = (len(rows), max(map(len, sequences)))
    ids = torch.full(shape, model.config.text_config.pad_token_id)
    attended = torch.zeros(shape, dtype=torch.long)
    answers = torch.zeros(shape, dtype=torch.bool)
    for row, ((example, _), sequence) in enumerate(zip(rows, sequences, strict=True)):
        ids[row, : len(sequence)] = torch.tensor(sequence)
        attended[row, : len(sequence)] = 1
        answers[row, len(example.prompt) : len(sequence)] = True
    patches = torch.cat([patch for example, _ in rows for patch in example.patches]).float()
    pixels = patches.view(-1, 3, 1, 14 * 14).expand(-1, -1, 2, -1).reshape(len(patches), -1)
    grids = torch.tensor([grid for example, _ in rows for grid in example.grids])
    kinds = (ids == model.config.image_token_id).int()
    positions, _ = model.model.get_rope_index(ids, kinds, image_grid_thw=grids, attention_mask=attended)
    inputs = {
        "input_ids": ids,
        "attention_mask": attended,
        "position_ids": positions,
        "pixel_values": pixels,
        "image_grid_thw": grids,
        "mm_token_type_ids": kinds,
    }
    return inputs, ids, answers
