"""Attention over packed samples, without a mask of tokens times tokens.

A candidate's token sees the prefix of its sample and its own candidate up to itself. Two layouts compute that,
:class:`~radar_fast.engines.transformers.cascade.Cascade` and :class:`~radar_fast.engines.transformers.flex.Flex`; over
samples in rows (``packing.Batch``) :class:`~radar_fast.engines.transformers.split.Split` does.

All are reached through transformers' own table of attention functions, under one name: :func:`attend`. Whoever runs
the model says with :func:`over` what a forward pass is over; without that the function is plain ``sdpa``, so that the
same model also scores the plain way.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import torch

from radar_fast.engines.options import ATTENTIONS
from radar_fast.engines.transformers.cascade import flash_attn_kernel
from radar_fast.engines.transformers.split import Split
from radar_fast.errors import UsageError
from radar_fast.util.choices import check_choice

__all__ = ["Layout", "UnsupportedAttentionError", "attend", "choose_attention", "install", "over", "uninstall"]

log = logging.getLogger(__name__)

NAME = "radar_tree"
"""Of :func:`attend`, in transformers' tables."""


class UnsupportedAttentionError(RuntimeError):
    """A layer asks for something that :func:`attend` does not do; the engine then takes the dense mask."""


class Layout(Protocol):
    """Attention over one batch of samples that lie end to end."""

    def __call__(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, softcap: float
    ) -> torch.Tensor:
        """[T, H, D], [T, K, D], [T, K, D] -> [T, H, D], all of one floating dtype; H is a multiple of K.

        ``softcap`` 0 is none.
        """
        ...


def choose_attention(name: str, device: torch.device, dtype: torch.dtype) -> str:
    """What ``auto`` stands for on this device; another name stands for itself.

    split on a CPU; on a GPU cascade where flash-attn is installed and takes the dtype, flex otherwise.

    Raises:
        UsageError: an unknown name, or ``cascade`` on a GPU where flash-attn cannot be had.
    """
    check_choice("attention", name, ATTENTIONS)
    if device.type == "cpu":
        return "split" if name == "auto" else name
    flash = dtype in (torch.bfloat16, torch.float16) and flash_attn_kernel() is not None
    if name == "auto":
        return "cascade" if flash else "flex"
    if name == "cascade" and not flash:
        raise UsageError(
            f"--attention cascade: needs the flash-attn package and --dtype bfloat16 or float16, and this is "
            f"{str(dtype).removeprefix('torch.')}; take --attention flex"
        )
    return name


def install(model: Any, *, flash_vision: bool) -> None:
    """Have the language part of a transformers model use :func:`attend`.

    Args:
        model: whatever takes its attention from transformers' table; another is left as it is.
        flash_vision: whether its vision tower should use flash-attn, where transformers allows it.

    Raises:
        ValueError: as transformers does, where the model refuses.
    """
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    text = _text_part(model.config)
    model.set_attn_implementation({text: NAME})
    if flash_vision:
        others = [part for part in model.config.sub_configs if part != text and "vision" in part]
        try:
            model.set_attn_implementation(dict.fromkeys(others, "flash_attention_2"))
        except (ImportError, ValueError) as error:
            log.warning("the vision tower goes without flash-attn: %s", error)


def uninstall(model: Any) -> None:
    """Have the language part use ``sdpa`` again."""
    model.set_attn_implementation({_text_part(model.config): "sdpa"})


def _text_part(config: Any) -> str:
    """What transformers calls the language part's section of the config; "" where there is only one section."""
    text = config.get_text_config()
    return next((part for part in config.sub_configs if getattr(config, part, None) is text), "")


_layout: ContextVar[Layout | Split | None] = ContextVar("layout", default=None)


@contextmanager
def over(layout: Layout | Split) -> Iterator[None]:
    """Within this context every causal :func:`attend` of this thread is over ``layout``."""
    token = _layout.set(layout)
    try:
        yield
    finally:
        _layout.reset(token)


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    **rest: Any,
) -> tuple[torch.Tensor, None]:
    """An attention function as transformers calls it: [B, H, T, D], [B, K, T, D] twice -> [B, T, H, D], and None.

    Within :func:`over` the mask is not looked at; B is 1 where samples lie end to end.

    Raises:
        UnsupportedAttentionError: a window, sinks, biases, a cache, values of another width than keys, or, of samples
            in rows, a cap on scores.
    """
    layout = _layout.get()
    if layout is None or not getattr(module, "is_causal", True):
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        if softcap is not None:
            rest["softcap"] = softcap
        output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **rest)
        return output, None
    asked = [name for name in ("sliding_window", "s_aux", "position_bias", "cache") if rest.get(name) is not None]
    if asked:
        raise UnsupportedAttentionError(f"a layer attends with {', '.join(asked)}")
    if (
        not (isinstance(layout, Split) or query.shape[0] == 1)
        or key.shape[2] != query.shape[2]
        or value.shape[-1] != query.shape[-1]
    ):
        raise UnsupportedAttentionError(
            f"query {tuple(query.shape)}, key {tuple(key.shape)}, value {tuple(value.shape)}"
        )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if isinstance(layout, Split):
        if softcap:
            raise UnsupportedAttentionError(f"a layer caps its scores at {softcap}")
        return layout(query, key, value, scale), None
    query, key, value = (some[0].transpose(0, 1) for some in (query, key, value))
    return layout(query, key, value, scale, softcap or 0.0)[None], None
