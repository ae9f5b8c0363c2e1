"""Qwen2-VL (base), as published: a tag an image, no separators, both resizes."""

import math

from PIL import Image

from radar_fast.images import drop_alpha
from radar_fast.protocols.base import Protocol, check_pixels
from radar_fast.sample import Placeholder, Prompt, Sample

__all__ = ["qwen2vl", "smart_resize"]

PUBLISHED_MIN_PIXELS, PUBLISHED_MAX_PIXELS = 256 * 28 * 28, 768 * 28 * 28
"""What the published Qwen2-VL script gives its processor: 256 to 768 tokens per image."""

_QWEN_IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"


def qwen2vl(min_pixels: int | None, max_pixels: int | None) -> Protocol:
    """The protocol; the published bounds where none are given. Raises UsageError for bounds that cannot be."""
    least, most = check_pixels(
        PUBLISHED_MIN_PIXELS if min_pixels is None else min_pixels,
        PUBLISHED_MAX_PIXELS if max_pixels is None else max_pixels,
    )
    return Protocol(
        "qwen2vl",
        prompt=_prompt,
        image=_first_resize,
        rgb=_on_white,
        pixels=(least, most),
        settings={
            "name": "qwen2vl",
            "version": 1,
            "min_pixels": least,
            "max_pixels": most,
            "image_backend": "pil",
            "transparency": "white",
        },
    )


def _prompt(sample: Sample) -> Prompt:
    """A tag an image, the text as it is, no separators; the joiner is one space."""
    parts = tuple(part if isinstance(part, str) else Placeholder(part, _QWEN_IMAGE) for part in sample.parts)
    return Prompt(sample, parts, " ", sample.candidates)


def _on_white(picture: Image.Image) -> Image.Image:
    """As RGB, as qwen_vl_utils 0.0.10 to 0.0.14 have it: a picture of mode RGBA is laid on white; of every other mode,
    LA and palettes with transparency among them, transparency is dropped."""
    if picture.mode != "RGBA":
        return drop_alpha(picture)
    white = Image.new("RGB", picture.size, (255, 255, 255))
    white.paste(picture, mask=picture.getchannel("A"))
    return white


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
