"""What a protocol is, and what the published prompts of several families have in common."""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from radar_fast.errors import ModelError, UsageError
from radar_fast.images import drop_alpha
from radar_fast.sample import AnyImage, ImageFile, Prompt, Sample

__all__ = [
    "IMAGE_BACKENDS",
    "Protocol",
    "check_pixels",
    "is_inline",
    "leading",
    "prompt_digest",
    "prompt_text",
    "separator",
]

IMAGE_BACKENDS = ("pil", "torchvision")
"""What transformers' image processors may resize with."""


@dataclass(frozen=True)
class Protocol:
    """How samples are put to a model."""

    name: str
    """As on the command line, e.g. ``qwen2vl``."""
    prompt: Callable[[Sample], Prompt]
    """What the model reads."""
    image: Callable[[Image.Image], Image.Image]
    """From the RGB image as read to what the checkpoint's processor gets. May raise ValueError with the reason."""
    pixels: tuple[int, int] | None = None
    """(min, max) pixels for the processor's own resize; None leaves what the checkpoint says."""
    tiles: int | None = None
    """Most tiles that the processor may cut an image into, a thumbnail not counted; None leaves what it says."""
    notes: tuple[str, ...] = ()
    """What a person should know of these prompts, a line each."""
    settings: Mapping[str, str | int | None] = field(default_factory=dict)
    """What tells this protocol from another in a run's fingerprint."""
    rgb: Callable[[Image.Image], Image.Image] = drop_alpha
    """From the picture as decoded, in any mode, to the RGB image."""
    image_backend: str = "pil"
    """What the checkpoint's image processor resizes with: one of :data:`IMAGE_BACKENDS`."""


_FIXED = (
    ("What is shown?",),
    (ImageFile(Path("a.png")), "What is shown?"),
    ("Is it ", ImageFile(Path("a.png")), " or ", ImageFile(Path("b.png")), "?"),
)
"""Questions whose prompts stand for all."""


def prompt_text(prompt: Prompt) -> str:
    """The prompt's text, its images as their tags."""
    return "".join(part if isinstance(part, str) else part.text for part in prompt.parts)


def prompt_digest(protocol: Protocol) -> str:
    """SHA-256 of what the protocol makes of fixed questions: another prompt has another one, whatever it hangs on, be
    it a file, a library's version or the date."""
    digest = hashlib.sha256()
    for parts in _FIXED:
        try:
            prompt = protocol.prompt(Sample("1", "task", "directory", "reasoning", parts, ("one", "two"), 0))
        except ModelError:  # a template without images, say: questions of that kind say so when they are asked
            digest.update(b"refused\0")
        else:
            digest.update(f"{prompt_text(prompt)}\0{prompt.joiner}\0".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def check_pixels(least: int, most: int) -> tuple[int, int]:
    """Both, if they can be bounds of an area. Raises UsageError otherwise."""
    if not 0 < least <= most:
        raise UsageError(
            f"--min-pixels {least} --max-pixels {most}: both must be above 0, and the first no larger than the second"
        )
    return least, most


_TAG = re.compile(r"<image(?: \d+)?>")


def is_inline(sample: Sample) -> bool:
    """Whether the question itself says where its images go; otherwise they stand before it, with a separator.

    A question may also begin with an image by its own tag, which the reader has taken out of the text.
    """
    text = "".join(part for part in sample.parts if isinstance(part, str))
    question = str(sample.metadata.get("question", ""))
    if len(_TAG.findall(question)) > len(_TAG.findall(text)):
        return True
    kinds = [isinstance(part, str) for part in sample.parts]
    return kinds != sorted(kinds)  # an image after a text


def separator(sample: Sample, on_a_line_of_its_own: tuple[str, ...]) -> str:
    """What stands between an image and the question: a newline in tasks of these benchmarks, else a space.

    The published scripts look for the benchmark's name in the whole path of the task's file.
    """
    where = f"{sample.directory}/{sample.task}"
    return "\n" if any(name in where for name in on_a_line_of_its_own) else " "


def leading(sample: Sample) -> tuple[tuple[AnyImage, ...], tuple[str, ...]]:
    """Images and texts of a sample that is not inline."""
    images = tuple(part for part in sample.parts if not isinstance(part, str))
    return images, tuple(part for part in sample.parts if isinstance(part, str))
