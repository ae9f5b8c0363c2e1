"""Sample -> Prompt: what a model of each family is asked, to the letter.

A protocol is data and two small functions: how a sample becomes a prompt, and what happens to an image before the
checkpoint's own processor sees it. Both engines take it as it is. One file for each family.
"""

from collections.abc import Callable
from dataclasses import replace
from types import FunctionType

from radar_fast.errors import ModelError, UsageError
from radar_fast.models.bounds import BOUNDS, pixel_bounds
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.models.processor import require_torchvision
from radar_fast.protocols.base import IMAGE_BACKENDS, Protocol, prompt_digest
from radar_fast.protocols.chat import chat, takes_roles
from radar_fast.protocols.internvl import internvl
from radar_fast.protocols.llava import llava, llava_med, plain
from radar_fast.protocols.qwen2vl import qwen2vl, smart_resize
from radar_fast.util.choices import check_choice, check_one_of
from radar_fast.util.plugins import found

__all__ = ["IMAGE_BACKENDS", "PROTOCOLS", "Protocol", "open_protocol", "prompt_digest", "smart_resize"]

_OF_A_CHECKPOINT: dict[str, Callable[[Checkpoint], Protocol]] = {
    **found("radar_fast.protocols", FunctionType),
    "internvl": internvl,
    "plain": plain,
    "llava": llava,
    "llava-med": llava_med,
}
"""Those of other packages first; each is a function of the checkpoint, and none replaces ours."""
PROTOCOLS = ("qwen2vl", *_OF_A_CHECKPOINT, "chat")
"""Names, beside ``auto``."""

_ANY_BACKEND = ("qwen2vl", "chat")
"""Protocols whose published code leaves it to transformers what images are resized with; that of the others uses
PIL."""


def open_protocol(
    name: str,
    checkpoint: Checkpoint | None,
    *,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    image_backend: str = "pil",
) -> Protocol:
    """The protocol called ``name``; ``auto`` picks the one that fits the checkpoint.

    Args:
        name: ``auto``, or one of :data:`PROTOCOLS`: the published prompts of Qwen2-VL base
            (``qwen2vl``), InternVL (``internvl``), LLaVA-OneVision's projectors (``plain``), LLaVA 1.5 (``llava``) and
            LLaVA-Med (``llava-med``), or the checkpoint's own role-style chat template (``chat``).
        checkpoint: may be None only where no model is needed (the fake engine); then ``auto`` is ``qwen2vl``.
        min_pixels: lower bound of an image's area after the processor's resize, in pixels. Where neither bound is
            given: those of the checkpoint's own ``radar_fast.json``, else the published ones where the protocol has
            any.
        max_pixels: upper bound, likewise.
        image_backend: one of :data:`IMAGE_BACKENDS`: what the checkpoint's image processor resizes with.

    Raises:
        UsageError: an unknown name, bounds that contradict each other or that the protocol does not know, a protocol
            other than ``qwen2vl`` without a checkpoint, a back end that the protocol does not know, or torchvision
            where it does not work.
        ModelError: the checkpoint is none of the protocol's, has no chat template that takes roles, or has bounds of
            its own that cannot be read or that the protocol does not know.
    """
    check_choice("protocol", name, PROTOCOLS)
    check_one_of("image-backend", image_backend, IMAGE_BACKENDS)
    if image_backend == "torchvision":
        _check_backend(name, image_backend)
        require_torchvision()  # before transformers asks for it in its own words
    if name == "auto":
        name = "qwen2vl" if checkpoint is None else _fitting(checkpoint)
        _check_backend(name, image_backend)
    protocol = _open(name, checkpoint, min_pixels, max_pixels)
    if image_backend == protocol.image_backend:
        return protocol
    settings = {**protocol.settings, "image_backend": image_backend}
    return replace(protocol, image_backend=image_backend, settings=settings)


def _check_backend(name: str, image_backend: str) -> None:
    if image_backend != "pil" and name not in ("auto", *_ANY_BACKEND):
        raise UsageError(
            f"--image-backend {image_backend}: --protocol {name} resizes with PIL, as its published code does; leave "
            "the option out"
        )


def _open(name: str, checkpoint: Checkpoint | None, min_pixels: int | None, max_pixels: int | None) -> Protocol:
    own = None
    if checkpoint is not None and min_pixels is None and max_pixels is None and (own := pixel_bounds(checkpoint.path)):
        min_pixels, max_pixels = own
    if name == "qwen2vl":
        return qwen2vl(min_pixels, max_pixels)
    if checkpoint is None:
        raise UsageError(f"--protocol {name}: needs --model, whose tokenizer and processor it takes")
    if name == "chat":
        return chat(checkpoint, min_pixels, max_pixels)
    if own:
        raise ModelError(f"{checkpoint.path / BOUNDS}: --protocol {name} fixes the size of its images; remove the file")
    if min_pixels is not None or max_pixels is not None:
        raise UsageError(f"--min-pixels/--max-pixels: --protocol {name} fixes the size of its images; leave them out")
    return _OF_A_CHECKPOINT[name](checkpoint)


def _fitting(checkpoint: Checkpoint) -> str:
    if checkpoint.composed_protocol is not None:
        check_choice("protocol", checkpoint.composed_protocol, PROTOCOLS)
        return checkpoint.composed_protocol
    if checkpoint.is_internvl:
        return "internvl"
    # The Qwen2-VL base checkpoints' template knows no roles: a role-style message renders to nothing of it.
    return "qwen2vl" if checkpoint.model_type == "qwen2_vl" and not takes_roles(checkpoint) else "chat"
