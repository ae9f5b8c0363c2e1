"""Any processor with a role-style chat template: one user turn, and the answer is the assistant's."""

import datetime
import re
from collections.abc import Iterator
from functools import partial
from typing import Self

from radar_fast.errors import ModelError, UsageError, one_line
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.models.vocabulary import special_pattern
from radar_fast.protocols.base import Protocol, check_pixels
from radar_fast.protocols.template_limits import require_harmless
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
            "a Qwen2-VL base checkpoint takes --protocol qwen2vl",
            path=checkpoint.path,
        )
    least, most = pixels or (None, None)
    return Protocol(
        "chat",
        prompt=partial(_prompt, checkpoint),
        image=lambda image: image,
        pixels=pixels,
        notes=_notes(checkpoint),
        settings={"name": "chat", "version": 2, "min_pixels": least, "max_pixels": most, "image_backend": "pil"},
    )


def _template(checkpoint: Checkpoint) -> str | None:
    processor = checkpoint.processor
    template = getattr(processor, "chat_template", None) or getattr(processor.tokenizer, "chat_template", None)
    if isinstance(template, dict):  # several by name, as some checkpoints bring
        template = template.get("default")
    return template or None


def _render(checkpoint: Checkpoint, content: list[dict[str, str]]) -> str:
    template = _template(checkpoint)
    if template is None:
        return ""
    require_harmless(checkpoint.path, template)
    return str(
        checkpoint.processor.apply_chat_template(
            [{"role": "user", "content": content}], chat_template=template, tokenize=False, add_generation_prompt=True
        )
    )


def takes_roles(checkpoint: Checkpoint) -> bool:
    """Whether the checkpoint has a chat template that makes something of role-style messages."""
    probes = ("Is this a probe?", "Or rather that?")
    try:
        one, other = (_render(checkpoint, [{"type": "text", "text": probe}]) for probe in probes)
    except ModelError:
        raise
    except Exception:  # whatever a template raises on role-style messages, it does not take them
        return False
    return one != other


def _notes(checkpoint: Checkpoint) -> tuple[str, ...]:
    """That the template reads the clock, if it does: two renderings, of which the second is told another day."""
    import transformers.utils.chat_template_utils as theirs

    class AnotherDay(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Self:
            return cls(2001, 2, 3, 4, 5, 6, tzinfo=tz)

    content = [{"type": "text", "text": "Is this a probe?"}]
    today = _render(checkpoint, content)
    clock = getattr(theirs, "datetime", None)
    if clock is None:
        return ()
    theirs.datetime = AnotherDay
    try:
        another = _render(checkpoint, content)
    finally:
        theirs.datetime = clock
    if another == today:
        return ()
    return (
        f"{checkpoint.name}: its chat template prints the date or time, so that scores change with the day; a run is "
        "resumed only while the template prints the same",
    )


def _prompt(checkpoint: Checkpoint, sample: Sample) -> Prompt:
    """One user turn, the generation prompt after it, and no joiner: a candidate is the assistant's answer.

    What counts is what the template makes of the sample's own texts. Where it leaves them as they are, they are parts
    of their own, to be told from what the template wrote. Where it changes them (trims them, say), its text is taken as
    it comes. Special tokens are meant where the template wrote them, and plain text where the dataset did.
    """
    try:
        parts = _around_marks(checkpoint, sample)
        if _text(parts) != _render(checkpoint, _content(sample)):
            parts = _as_it_comes(checkpoint, sample)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"{checkpoint.path}: its chat template fails: {one_line(error)}", path=checkpoint.path
        ) from error
    placed = sum(isinstance(part, Placeholder) for part in parts)
    if placed != len(sample.images):
        raise ModelError(
            f"{checkpoint.path}: the chat template made {placed} image tokens of {len(sample.images)} images; it "
            "cannot be used to score",
            path=checkpoint.path,
        )
    return Prompt(sample, tuple(parts), "", sample.candidates)


_Parts = list[str | Markup | Placeholder]


def _content(sample: Sample, texts: Iterator[str] | None = None) -> list[dict[str, str]]:
    """The user's turn, with other texts in place of the sample's own."""
    return [
        {"type": "text", "text": part if texts is None else next(texts)} if isinstance(part, str) else {"type": "image"}
        for part in sample.parts
    ]


def _text(parts: _Parts) -> str:
    return "".join(part if isinstance(part, str) else part.text for part in parts)


def _around_marks(checkpoint: Checkpoint, sample: Sample) -> _Parts:
    """What the template writes around marks, and the texts in place of those."""
    texts = [part for part in sample.parts if isinstance(part, str)]
    rendered = _render(checkpoint, _content(sample, (f"\u27e6{index}\u27e7" for index in range(len(texts)))))
    image_token, images = str(checkpoint.processor.image_token), iter(sample.images)
    parts: _Parts = []
    for piece in re.split(rf"(\u27e6\d+\u27e7|{re.escape(image_token)})", rendered):
        if piece == image_token:
            image = next(images, None)
            parts.append(Markup(piece) if image is None else Placeholder(image, piece))
        elif piece.startswith("\u27e6") and piece.endswith("\u27e7") and int(piece[1:-1]) < len(texts):
            parts.append(texts[int(piece[1:-1])])
        elif piece:
            parts.append(Markup(piece))
    return parts


def _as_it_comes(checkpoint: Checkpoint, sample: Sample) -> _Parts:
    """What the template makes of the texts, the special tokens in which are kept apart by stand-ins."""
    image_token, images = str(checkpoint.processor.image_token), iter(sample.images)
    special = special_pattern(checkpoint.processor.tokenizer, image_token)
    held: list[str] = []

    def hold(match: re.Match[str]) -> str:
        held.append(match.group())
        return f"\U000f7adc{len(held) - 1}\U000f7add"

    texts = [special.sub(hold, part) for part in sample.parts if isinstance(part, str)]
    rendered = _render(checkpoint, _content(sample, iter(texts)))
    parts: _Parts = []
    for piece in re.split(rf"(\U000f7adc\d+\U000f7add|{re.escape(image_token)})", rendered):
        if piece == image_token:
            image = next(images, None)
            parts.append(Markup(piece) if image is None else Placeholder(image, piece))
        elif piece.startswith("\U000f7adc") and piece.endswith("\U000f7add") and int(piece[1:-1]) < len(held):
            parts.append(held[int(piece[1:-1])])
        elif piece:
            parts.append(Markup(piece))
    return parts
