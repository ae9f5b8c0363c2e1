"""LLaVA's families, as published: projectors of LLaVA-OneVision (``plain``), LLaVA 1.5, and LLaVA-Med v1.5.

Checkpoints of these are put together by ``radar-fast compose``, which also decides what stands for an image.
"""

from collections.abc import Callable
from functools import partial

from PIL import Image

from radar_fast.images import MAX_PIXELS
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols.base import Protocol, is_inline, leading, separator
from radar_fast.sample import AnyImage, Markup, Placeholder, Prompt, Sample

__all__ = ["llava", "llava_med", "pad_to_square", "plain"]

_NEWLINE = ("MMBench", "MathVista")
"""Benchmarks whose images stand on a line of their own."""

Piece = str | Markup | Placeholder


def plain(checkpoint: Checkpoint) -> Protocol:
    """The conversation ``plain``: images, the question, a newline, and the answer after it without a joiner.

    Pictures are resized as they are, or padded to squares first where the projector was trained so.
    """

    def prompt(sample: Sample) -> Prompt:
        if is_inline(sample):
            return Prompt(sample, (*inline(sample), Markup("\n")), "", sample.candidates)
        images, texts = leading(sample)
        apart = [Markup(separator(sample, _NEWLINE))] if images else []
        return Prompt(sample, (*map(image, images), *apart, *texts, Markup("\n")), "", sample.candidates)

    image = partial(_image, str(checkpoint.processor.image_token))
    inline = partial(_inline, image)
    if checkpoint.composed("image_aspect_ratio") == "pad":
        return _protocol("plain", prompt, partial(pad_to_square, _mean_colour(checkpoint)), image_aspect_ratio="pad")
    return _protocol("plain", prompt, lambda picture: picture)


def llava(checkpoint: Checkpoint) -> Protocol:
    """LLaVA 1.5: ``USER: <image>\\n{question} ASSISTANT:``, one space before the answer; pictures padded to squares."""
    return _turn("llava", checkpoint, "USER: ", " ASSISTANT:")


def llava_med(checkpoint: Checkpoint) -> Protocol:
    """LLaVA-Med v1.5: ``[INST] <image>\\n{question} [/INST]``, one space before the answer; padded as LLaVA 1.5."""
    return _turn("llava-med", checkpoint, "[INST] ", " [/INST]")


def pad_to_square(colour: tuple[int, int, int], picture: Image.Image) -> Image.Image:
    """The picture in the middle of a square of ``colour``: the published ``expand2square``.

    Raises:
        ValueError: the square would have more pixels than any picture may have.
    """
    width, height = picture.size
    if width == height:
        return picture
    side = max(width, height)
    if side * side > MAX_PIXELS:
        raise ValueError(
            f"{width}x{height} pixels: padded to a square, as its protocol has it, it would have {side * side} pixels, "
            f"and at most {MAX_PIXELS} are read: crop it, or make it smaller"
        )
    square = Image.new("RGB", (side, side), colour)
    square.paste(picture, ((side - width) // 2, (side - height) // 2))
    return square


def _turn(name: str, checkpoint: Checkpoint, before: str, after: str) -> Protocol:
    def prompt(sample: Sample) -> Prompt:
        if is_inline(sample):
            turn = _inline(image, sample)
        else:
            images, texts = leading(sample)
            turn = [piece for one in images for piece in (image(one), Markup("\n"))] + list(texts)
        return Prompt(sample, (Markup(before), *turn, Markup(after)), " ", sample.candidates)

    processor = checkpoint.processor
    image = partial(_image, str(processor.image_token))
    return _protocol(name, prompt, partial(pad_to_square, _mean_colour(checkpoint)))


def _mean_colour(checkpoint: Checkpoint) -> tuple[int, int, int]:
    red, green, blue = (int(part * 255) for part in checkpoint.processor.image_processor.image_mean)
    return red, green, blue


def _protocol(
    name: str, prompt: Callable[[Sample], Prompt], image: Callable[[Image.Image], Image.Image], **more: str
) -> Protocol:
    settings: dict[str, str | int | None] = {"name": name, "version": 1, "image_backend": "pil", **more}
    return Protocol(name, prompt=prompt, image=image, settings=settings)


def _image(token: str, image: AnyImage) -> Placeholder:
    return Placeholder(image, token)


def _inline(image: Callable[[AnyImage], Placeholder], sample: Sample) -> list[Piece]:
    return [part if isinstance(part, str) else image(part) for part in sample.parts]
