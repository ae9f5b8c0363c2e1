"""Sample -> Prompt: what a model of each family is asked, to the letter.

A protocol is data and two small functions: how a sample becomes a prompt, and what happens to an image before the
checkpoint's own processor sees it. Both engines take it as it is.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from PIL import Image

from radar_fast.checkpoint import Checkpoint
from radar_fast.config import PROTOCOLS, check_choice
from radar_fast.errors import ModelError, UsageError
from radar_fast.sample import ImageFile, Markup, Placeholder, Prompt, Sample

__all__ = ["Protocol", "open_protocol", "smart_resize"]

PUBLISHED_MIN_PIXELS, PUBLISHED_MAX_PIXELS = 256 * 28 * 28, 768 * 28 * 28
"""What the published Qwen2-VL script gives its processor: 256 to 768 tokens an image."""

_QWEN_IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"


@dataclass(frozen=True)
class Protocol:
    """How samples are put to a model."""

    name: str
    """``qwen2vl`` or ``chat``."""
    prompt: Callable[[Sample], Prompt]
    """What the model reads."""
    image: Callable[[Image.Image], Image.Image]
    """From the RGB image as read to what the checkpoint's processor gets. May raise ValueError with the reason."""
    pixels: tuple[int, int] | None = None
    """(min, max) pixels for the processor's own resize; None leaves what the checkpoint says."""
    settings: Mapping[str, str | int | None] = field(default_factory=dict)
    """What tells this protocol from another in a run's fingerprint."""


def open_protocol(
    name: str, checkpoint: Checkpoint | None, *, min_pixels: int | None = None, max_pixels: int | None = None
) -> Protocol:
    """The protocol called ``name``; ``auto`` picks the one that fits the checkpoint.

    Args:
        name: ``auto``, ``qwen2vl`` (the published prompt of the Qwen2-VL base checkpoints) or ``chat`` (the
            checkpoint's own role-style chat template).
        checkpoint: may be None only where no model is needed (the fake engine); then ``auto`` is ``qwen2vl``.
        min_pixels: lower bound of an image's area after the processor's resize, in pixels; the published one where
            the protocol has one.
        max_pixels: upper bound, likewise.

    Raises:
        UsageError: an unknown name, bounds that contradict each other, or ``chat`` without a checkpoint.
        ModelError: the checkpoint has no chat template that takes roles.
    """
    check_choice("protocol", name, PROTOCOLS)
    if name == "auto":
        name = "qwen2vl" if checkpoint is None or _is_qwen2vl_base(checkpoint) else "chat"
    if name == "qwen2vl":
        return _qwen2vl(
            _pixels(
                PUBLISHED_MIN_PIXELS if min_pixels is None else min_pixels,
                PUBLISHED_MAX_PIXELS if max_pixels is None else max_pixels,
            )
        )
    if checkpoint is None:
        raise UsageError("--protocol chat: needs --model, whose chat template it takes")
    if (min_pixels is None) != (max_pixels is None):
        raise UsageError("--min-pixels and --max-pixels: give both or neither with --protocol chat")
    pixels = None if min_pixels is None or max_pixels is None else _pixels(min_pixels, max_pixels)
    return _chat(checkpoint, pixels)


def _pixels(least: int, most: int) -> tuple[int, int]:
    if not 0 < least <= most:
        raise UsageError(
            f"--min-pixels {least} --max-pixels {most}: both must be above 0, and the first no larger than the second"
        )
    return least, most


# Qwen2-VL (base), as published ---------------------------------------------------------------------------------------


def _qwen2vl(pixels: tuple[int, int]) -> Protocol:
    least, most = pixels
    return Protocol(
        "qwen2vl",
        prompt=_qwen2vl_prompt,
        image=_first_resize,
        pixels=pixels,
        settings={"name": "qwen2vl", "version": 1, "min_pixels": least, "max_pixels": most, "image_backend": "pil"},
    )


def _qwen2vl_prompt(sample: Sample) -> Prompt:
    """A tag an image, the text as it is, no separators; the joiner is one space."""
    parts = tuple(Placeholder(part, _QWEN_IMAGE) if isinstance(part, ImageFile) else part for part in sample.parts)
    return Prompt(sample, parts, " ", sample.candidates)


def _first_resize(image: Image.Image) -> Image.Image:
    """qwen_vl_utils' resize, which the published script applies before the processor resizes again."""
    width, height = image.size
    height, width = smart_resize(height, width)
    return image.resize((width, height))


def smart_resize(
    height: int, width: int, factor: int = 28, min_pixels: int = 4 * 784, max_pixels: int = 16384 * 784
) -> tuple[int, int]:
    """Sides that are multiples of ``factor`` with an area within the bounds, the aspect ratio nearly kept.

    The rule of qwen_vl_utils ``smart_resize`` with its default bounds.

    Args:
        height: pixels.
        width: pixels.
        factor: both sides become a multiple of it; pixels.
        min_pixels: least area; square pixels.
        max_pixels: largest area; square pixels.

    Returns:
        (height, width), pixels.

    Raises:
        ValueError: one side is more than 200 times the other.
    """
    if max(height, width) > 200 * min(height, width):
        raise ValueError(f"{width}x{height} pixels: one side is more than 200 times the other, which Qwen2-VL refuses")
    high = max(factor, round(height / factor) * factor)
    wide = max(factor, round(width / factor) * factor)
    if high * wide > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        return math.floor(height / shrink / factor) * factor, math.floor(width / shrink / factor) * factor
    if high * wide < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        return math.ceil(height * grow / factor) * factor, math.ceil(width * grow / factor) * factor
    return high, wide


def _is_qwen2vl_base(checkpoint: Checkpoint) -> bool:
    """The base checkpoints' template knows no roles: a role-style message renders to nothing of it."""
    return checkpoint.model_type == "qwen2_vl" and not _takes_roles(checkpoint)


# Any processor with a role-style chat template -----------------------------------------------------------------------


def _chat(checkpoint: Checkpoint, pixels: tuple[int, int] | None) -> Protocol:
    if not _takes_roles(checkpoint):
        raise ModelError(
            f"{checkpoint.path}: no chat template that takes role-style messages, which --protocol chat needs; "
            "a Qwen2-VL base checkpoint takes --protocol qwen2vl"
        )
    least, most = pixels or (None, None)
    return Protocol(
        "chat",
        prompt=partial(_chat_prompt, checkpoint),
        image=lambda image: image,
        pixels=pixels,
        settings={"name": "chat", "version": 1, "min_pixels": least, "max_pixels": most, "image_backend": "pil"},
    )


def _render(checkpoint: Checkpoint, content: list[dict[str, str]]) -> str:
    processor = checkpoint.processor
    template = getattr(processor, "chat_template", None) or getattr(processor.tokenizer, "chat_template", None)
    if not template:
        return ""
    return str(
        processor.apply_chat_template(
            [{"role": "user", "content": content}], chat_template=template, tokenize=False, add_generation_prompt=True
        )
    )


def _takes_roles(checkpoint: Checkpoint) -> bool:
    probe = "Is this a probe?"
    try:
        return probe in _render(checkpoint, [{"type": "text", "text": probe}])
    except ModelError:
        raise
    except Exception:  # whatever a template raises on role-style messages, it does not take them
        return False


def _chat_prompt(checkpoint: Checkpoint, sample: Sample) -> Prompt:
    """One user turn, the generation prompt after it, and no joiner: a candidate is the assistant's answer.

    The template runs on marks in place of the texts, so that what it wrote (special tokens are meant) can be told
    from what the dataset wrote (special tokens are plain text).
    """
    texts = [part for part in sample.parts if isinstance(part, str)]
    marks = iter(f"\u27e6{index}\u27e7" for index in range(len(texts)))
    content = [
        {"type": "image"} if isinstance(part, ImageFile) else {"type": "text", "text": next(marks)}
        for part in sample.parts
    ]
    rendered = _render(checkpoint, content)
    image_token = str(checkpoint.processor.image_token)
    images = iter(sample.images)
    parts: list[str | Markup | Placeholder] = []
    seen: list[int] = []
    placed = 0
    for piece in re.split(rf"(\u27e6\d+\u27e7|{re.escape(image_token)})", rendered):
        if piece == image_token:
            image = next(images, None)
            placed += 1
            if image is not None:
                parts.append(Placeholder(image, image_token))
        elif piece.startswith("\u27e6") and piece.endswith("\u27e7"):
            seen.append(int(piece[1:-1]))
            parts.append(texts[seen[-1]])
        elif piece:
            parts.append(Markup(piece))
    if placed != len(sample.images) or seen != list(range(len(texts))):
        raise ModelError(
            f"{checkpoint.path}: the chat template made {placed} image tokens of {len(sample.images)} images and "
            f"{len(seen)} texts of {len(texts)}; it cannot be used to score"
        )
    return Prompt(sample, tuple(parts), "", sample.candidates)
