"""InternVL 2.5 to 3.5, as published: template ``internvl2_5``, at most three tiles and a thumbnail an image."""

import re
from functools import partial
from itertools import islice

from radar_fast.errors import ModelError
from radar_fast.models import internvl as published
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols.base import Protocol, is_inline, leading, separator
from radar_fast.sample import AnyImage, Markup, Placeholder, Prompt, Sample

__all__ = ["internvl"]

_TEMPLATE = "internvl2_5"
_TAG = "<image>"
"""What the published loop puts images in place of."""

_NEWLINE = ("MMBench", "MMMU_Pro", "MathVista")
"""Benchmarks whose images stand on a line of their own."""


def internvl(checkpoint: Checkpoint) -> Protocol:
    """The protocol for a checkpoint, as published or in transformers' layout.

    Raises:
        ModelError: the checkpoint is no InternVL, or names another template.
    """
    if not checkpoint.is_internvl:
        raise ModelError(
            f"{checkpoint.path / 'config.json'}: model_type is {checkpoint.model_type!r}, no InternVL; "
            "--protocol internvl does not fit it, --protocol auto takes one that does"
        )
    template = checkpoint.config.get("template", _TEMPLATE)
    if template != _TEMPLATE:
        raise ModelError(
            f"{checkpoint.path / 'config.json'}: template is {template!r}; the published prompt is that of {_TEMPLATE}"
        )
    message = published.system_message(checkpoint.config)
    return Protocol(
        "internvl",
        prompt=partial(_prompt, message),
        image=lambda image: image,
        tiles=published.MAX_TILES,
        settings={"name": "internvl", "version": 2, "tiles": published.MAX_TILES, "image_backend": "pil"},
    )


def _prompt(message: str, sample: Sample) -> Prompt:
    """System message, one user turn, no joiner. ``<img>`` and ``</img>`` come with the image's own tokens."""
    turn: list[str | Markup | Placeholder]
    if is_inline(sample):
        turn = [part if isinstance(part, str) else _image(part) for part in sample.parts]
    else:
        turn = _placed(sample)
    head = Markup(f"<|im_start|>system\n{message}<|im_end|>\n<|im_start|>user\n")
    tail = Markup("<|im_end|>\n<|im_start|>assistant\n")
    return Prompt(sample, (head, *turn, tail), "", sample.candidates)


def _placed(sample: Sample) -> list[str | Markup | Placeholder]:
    """As the published loop has it, where a question does not say where its images go. Yet where it holds the text
    ``<image>``, the loop takes that for a place: as many images as there are such tags go there, in reading order, and
    only the others before the question."""
    images, texts = leading(sample)
    pieces = re.split(f"({_TAG})", "".join(texts), maxsplit=len(images)) if images else list(texts)
    ahead = max(0, len(images) - pieces.count(_TAG))
    apart, left = Markup(separator(sample, _NEWLINE)), iter(images)
    turn: list[str | Markup | Placeholder] = []
    for image in islice(left, ahead):
        turn += [_image(image), apart]
    for piece in pieces:
        found = next(left, None) if piece == _TAG else None  # more tags than images stay text, as published
        turn.append(piece if found is None else _image(found))
    return [piece for piece in turn if piece != ""]


def _image(image: AnyImage) -> Placeholder:
    return Placeholder(image, published.CONTEXT)
