"""The published algorithm as a plain loop, restated from the protocol and sharing no code with the package.

One question at a time, a forward a candidate, the image encoded anew for each, logits at every position. Slow by
construction: it is what the engine is compared with, in tests for its numbers and in bench/ for its speed.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from transformers import AutoTokenizer, Qwen2VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

TAG = "<|vision_start|><|image_pad|><|vision_end|>"


@dataclass(frozen=True)
class Question:
    """One record, as the published script puts it."""

    file: str
    """Stem of its file."""
    q_id: str
    text: str
    """With a TAG an image."""
    images: list[Path]
    answers: list[str]
    """The correct one first, or where ``correct`` says."""
    correct: int = 0


def m3_questions(root: Path, letters: dict[tuple[str, str], list[str]]) -> Iterator[Question]:
    """Every record of an M3 folder, with the published path rules.

    Args:
        root: the folder.
        letters: (file, q_id) -> the letters drawn for a record with images in its options.
    """
    for file in sorted(root.glob("*/*.json")):
        stem, folder = file.stem, file.parent / "images"
        for q_id, item in json.loads(file.read_text()).items():
            question = item["question"]
            answers = [str(item["answer"]), *map(str, item["distraction"])]
            if "MMMU_Pro" in file.name:
                category = "_".join(stem.split("_")[2:-4])

                def find(text: str, folder: Path = folder / category, q_id: str = q_id) -> list[Path]:
                    return [folder / f"{q_id}_image_{n}.png" for n in re.findall(r"<image (\d+)>", text)]

                images = find(question)
                if re.search(r"<image \d+>", item["ori_options"]):
                    drawn = letters[stem, q_id]
                    options = answers if drawn[0] == "A" else answers[::-1]
                    images += [path for option in options for path in find(option)]
                    listed = " ".join(f"{letter}. {option}" for letter, option in zip("AB", options, strict=True))
                    question = f"{question} {listed} Please select the correct option: "
                    answers = drawn
                text = re.sub(r"<image \d+>", TAG, question)
            else:
                if "MMBench" in file.name:
                    images = [folder / "_".join(stem.split("_")[1:-4]) / f"{q_id}.jpg"]
                elif "SeePhys" in file.name:
                    images = [folder / f"{q_id.split('--')[0]}_{index}.png" for index in range(item["img_num"])]
                else:
                    images = [folder / f"{q_id.split('--')[0]}.jpg"]
                text = TAG * len(images) + question
            if len(images) <= 12:
                yield Question(stem, q_id, text, images, answers)


def puzzle_questions(root: Path) -> Iterator[Question]:
    """Every record of a folder of PuzzleVQA's files."""
    for file in sorted(root.glob("*.json")):
        for number, line in enumerate(file.read_text().splitlines(), 1):
            item = json.loads(line)
            options = [str(option) for option in item["options"]]
            text = TAG + item["question"]
            place = options.index(str(item["answer"]))
            yield Question(file.stem, f"{file.name}:{number}", text, [root / item["image"]], options, place)


def to_rgb(image: Image.Image) -> Image.Image:
    """Of qwen_vl_utils 0.0.14, to the letter."""
    if image.mode == "RGBA":
        white_background = Image.new("RGB", image.size, (255, 255, 255))
        white_background.paste(image, mask=image.split()[3])
        return white_background
    return image.convert("RGB")


def first_resize(image: Image.Image) -> Image.Image:
    """To the nearest multiple of 28 a side, PIL's default filter: what happens before the processor."""
    width, height = (max(28, round(side / 28) * 28) for side in image.size)
    assert 4 * 784 <= width * height <= 16384 * 784 or (width, height) == (28, 28) or width * height < 4 * 784
    if width * height < 4 * 784:
        grow = math.sqrt(4 * 784 / (image.width * image.height))
        width, height = (math.ceil(side * grow / 28) * 28 for side in image.size)
    return image.resize((width, height))


class PlainLoop:
    """A model, its tokenizer and image processor, and one question at a time."""

    def __init__(self, checkpoint: Path, min_pixels: int, max_pixels: int, dtype: torch.dtype = torch.float32) -> None:
        self.model = Qwen2VLForConditionalGeneration.from_pretrained(checkpoint, dtype=dtype).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        self.images = Qwen2VLImageProcessorPil.from_pretrained(checkpoint, min_pixels=min_pixels, max_pixels=max_pixels)

    @torch.inference_mode()
    def __call__(self, question: Question) -> tuple[list[list[float]], list[list[float]]]:
        """Raw logits and log-probabilities: a list a candidate, a number a token."""
        prefix, _ = self._inputs(question, question.text)
        logits, logprobs = [], []
        for answer in question.answers:
            ids, inputs = self._inputs(question, f"{question.text} {answer}")
            rows = self.model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, **inputs).logits[0]
            start = prefix.shape[1]
            picked = [(row, int(ids[0, row + 1])) for row in range(start - 1, ids.shape[1] - 1)]
            logits.append([rows[row, token].item() for row, token in picked])
            logprobs.append([rows[row].double().log_softmax(-1)[token].item() for row, token in picked])
        return logits, logprobs

    def _inputs(self, question: Question, text: str) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        inputs = {}
        if question.images:
            pictures = [first_resize(to_rgb(Image.open(path))) for path in question.images]
            inputs = dict(self.images(pictures, return_tensors="pt"))
            pads = iter((inputs["image_grid_thw"].prod(-1) // 4).tolist())
            text = re.sub(r"<\|image_pad\|>", lambda match: match.group() * next(pads), text)
        ids = self.tokenizer(text, return_tensors="pt")["input_ids"]
        pad = self.tokenizer.convert_tokens_to_ids("<|image_pad|>")
        return ids, {**inputs, "mm_token_type_ids": (ids == pad).int()}


def sds(logits: list[list[float]], correct: int = 0) -> float:
    """Softmax over the candidates' mean logits, at the correct one."""
    means = torch.tensor([sum(candidate) / len(candidate) for candidate in logits])
    return torch.softmax(means, 0)[correct].item()
