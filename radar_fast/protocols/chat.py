"""Any processor with a role-style chat template: one user turn, and the answer is the assistant's."""

import re
from functools import partial

from radar_fast.errors import ModelError, UsageError
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols.base import Protocol, check_pixels
from radar_fast.sample import Markup, Placeholder, Prompt, Sample

__all__ = ["chat", "takes_roles"]


def chat(checkpoint: Checkpoint, min_pixels: int | None, max_pixels: int | None) -> Protocol:
    """The protocol for a checkpoint.

    Raises:
        UsageError: one bound without the other, or bounds that cannot be.
        ModelError: the checkpoint has no chat template that takes roles.
    """
    if (min_pixels is None) != (max_pixels is None):
        raise UsageError("--min-pixels and --max-pixels: give both or neither with --protocol chat")
    pixels = None if min_pixels is None or max_pixels is None else check_pixels(min_pixels, max_pixels)
    if not takes_roles(checkpoint):
        raise ModelError(
            f"{checkpoint.path}: no chat template that takes role-style messages, which --protocol chat needs; "
            "a Qwen2-VL base checkpoint takes --protocol qwen2vl"
        )
    least, most = pixels or (None, None)
    return Protocol(
        "chat",
        prompt=partial(_prompt, checkpoint),
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


def takes_roles(checkpoint: Checkpoint) -> bool:
    """Whether the checkpoint has a chat template that makes something of role-style messages."""
    probe = "Is this a probe?"
    try:
        return probe in _render(checkpoint, [{"type": "text", "text": probe}])
    except ModelError:
        raise
    except Exception:  # whatever a template raises on role-style messages, it does not take them
        return False


def _prompt(checkpoint: Checkpoint, sample: Sample) -> Prompt:
    """One user turn, the generation prompt after it, and no joiner: a candidate is the assistant's answer.

    The template runs on marks in place of the texts, so that what it wrote (special tokens are meant) can be told
    from what the dataset wrote (special tokens are plain text).
    """
    texts = [part for part in sample.parts if isinstance(part, str)]
    marks = iter(f"\u27e6{index}\u27e7" for index in range(len(texts)))
    content = [
        {"type": "text", "text": next(marks)} if isinstance(part, str) else {"type": "image"} for part in sample.parts
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
