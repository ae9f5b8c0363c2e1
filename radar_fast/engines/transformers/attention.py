"""Attention over samples that lie end to end (``packing.Flat``), without a mask of tokens times tokens.

A candidate's token sees the prefix of its sample and its own candidate up to itself. Two ways to compute that:

- :class:`Cascade`: the prefixes attend to themselves causally; candidates attend to their prefix, without causality,
  and to themselves, causally; the two partial results are merged by their log-sum-exp. Each of the three is one call
  of a kernel for sequences of unequal lengths (flash-attn's ``flash_attn_varlen_func``), so nothing is padded and
  nothing that is masked is computed.
- :class:`Flex`: torch's FlexAttention with a block mask, for GPUs without flash-attn, and for float32.

Both are reached through transformers' own table of attention functions, under one name: :func:`attend`. Whoever runs
the model says with :func:`over` what a forward pass is over; without that the function is plain ``sdpa``, so that the
same model also scores the plain way.
"""

import importlib.util
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from itertools import accumulate
from typing import Any, Protocol

import torch

from radar_fast.engines.options import ATTENTIONS
from radar_fast.engines.transformers.packing import Flat
from radar_fast.errors import UsageError
from radar_fast.util.choices import check_choice

__all__ = [
    "Cascade",
    "Flex",
    "UnsupportedAttentionError",
    "attend",
    "choose_attention",
    "install",
    "merge",
    "over",
    "uninstall",
    "varlen_reference",
]

log = logging.getLogger(__name__)

NAME = "radar_tree"
"""Of :func:`attend`, in transformers' tables."""

_BLOCK = 128
"""Tokens a side of FlexAttention's blocks: its own default."""


class UnsupportedAttentionError(RuntimeError):
    """A layer asks for something that :func:`attend` does not do; the engine then takes the dense mask."""


class Layout(Protocol):
    """Attention over one batch."""

    def __call__(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, softcap: float
    ) -> torch.Tensor:
        """[T, H, D], [T, K, D], [T, K, D] -> [T, H, D], all of one floating dtype; H is a multiple of K.

        ``softcap`` 0 is none.
        """
        ...


def choose_attention(name: str, device: torch.device, dtype: torch.dtype) -> str:
    """What ``auto`` stands for on this device; another name stands for itself.

    dense on a CPU; on a GPU cascade where flash-attn is installed and takes the dtype, flex otherwise.

    Raises:
        UsageError: an unknown name, or ``cascade`` on a GPU where flash-attn cannot be had.
    """
    check_choice("attention", name, ATTENTIONS)
    if device.type == "cpu":
        return "dense" if name == "auto" else name
    flash = dtype in (torch.bfloat16, torch.float16) and _flash_attn() is not None
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


_layout: ContextVar[Layout | None] = ContextVar("layout", default=None)


@contextmanager
def over(layout: Layout) -> Iterator[None]:
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

    Within :func:`over`, B is 1 and the mask is not looked at.

    Raises:
        UnsupportedAttentionError: a window, sinks, biases, a cache, or values of another width than keys.
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
    if query.shape[0] != 1 or key.shape[2] != query.shape[2] or value.shape[-1] != query.shape[-1]:
        raise UnsupportedAttentionError(
            f"query {tuple(query.shape)}, key {tuple(key.shape)}, value {tuple(value.shape)}"
        )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    query, key, value = (some[0].transpose(0, 1) for some in (query, key, value))
    return layout(query, key, value, scale, softcap or 0.0)[None], None


# Split and merge -----------------------------------------------------------------------------------------------------


class Cascade:
    """Prefixes and candidates apart, through a kernel for sequences of unequal lengths, merged by log-sum-exp."""

    def __init__(self, flat: Flat, kernel: Callable[..., Any] | None = None) -> None:
        """Lay out the sequences on the device of ``flat``.

        Args:
            flat: the samples.
            kernel: takes what flash-attn's ``flash_attn_varlen_func`` takes; None: that on a GPU, else
                :func:`varlen_reference`.
        """
        device = flat.ids.device
        self._kernel: Callable[..., Any] = (
            kernel or (_flash_attn() if device.type == "cuda" else None) or varlen_reference
        )
        self._shared = sum(flat.prefixes)
        own = [length for lengths in flat.candidates for length in lengths if length]
        after = list(map(sum, flat.candidates))
        self._prefix = _starts(flat.prefixes, device)
        self._after = _starts(after, device)
        self._own = _starts(own, device)
        self._longest_prefix = max(flat.prefixes)
        # flash-attn treats "one query each" as decoding, and then takes for granted that no sequence is empty.
        self._most_after, self._longest_own = max(2, *after), max(2, *own) if own else 0

    def __call__(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, softcap: float
    ) -> torch.Tensor:
        """See :class:`Layout`."""
        shared = self._shared
        prefix_key, prefix_value = key[:shared], value[:shared]
        known = {"softmax_scale": scale, "softcap": softcap}
        longest = self._longest_prefix
        first: torch.Tensor = query[:0]
        if shared:
            starts = self._prefix
            first = self._kernel(
                query[:shared], prefix_key, prefix_value, starts, starts, longest, longest, causal=True, **known
            )
        if not self._longest_own:
            return first
        asking, own_key, own_value = query[shared:], key[shared:], value[shared:]
        most, starts = self._longest_own, self._own
        own, own_total, _ = self._kernel(
            asking, own_key, own_value, starts, starts, most, most, causal=True, return_attn_probs=True, **known
        )
        if not shared:
            return torch.as_tensor(own)
        before, before_total, _ = self._kernel(
            asking,
            prefix_key,
            prefix_value,
            self._after,
            self._prefix,
            self._most_after,
            longest,
            causal=False,
            return_attn_probs=True,
            **known,
        )
        return torch.cat([first, merge(before, before_total, own, own_total)])


def merge(before: torch.Tensor, before_total: torch.Tensor, own: torch.Tensor, own_total: torch.Tensor) -> torch.Tensor:
    """Attention over two sets of keys, from the attention over each.

    (exp(a) x + exp(b) y) / (exp(a) + exp(b)) = y + (x - y) sigmoid(a - b), for results x, y and log-sum-exps a, b.

    Args:
        before, own: [N, H, D] the partial results.
        before_total, own_total: [H, N] fp32 log-sum-exp of the scaled scores. flash-attn gives +inf where there were
            no keys at all, which a sum of exponentials cannot be otherwise; ``own`` always has keys.

    Returns:
        [N, H, D], of the dtype of ``own``; computed in fp32.
    """
    before_total = before_total.masked_fill(before_total == math.inf, -math.inf)
    share = torch.sigmoid(before_total - own_total).transpose(0, 1)[..., None]
    return torch.lerp(own.float(), before.float(), share).to(own.dtype)


def varlen_reference(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    query_starts: torch.Tensor,
    key_starts: torch.Tensor,
    longest_query: int,
    longest_key: int,
    *,
    softmax_scale: float,
    causal: bool = False,
    softcap: float = 0.0,
    return_attn_probs: bool = False,
) -> Any:
    """flash-attn's ``flash_attn_varlen_func`` in torch, sequence by sequence: the truth in tests, and for CPUs.

    Args:
        query: [N, H, D]; key, value: [M, K, D] where H is a multiple of K.
        query_starts, key_starts: [S + 1] int32, where each of S sequences starts, and where the last ends.
        longest_query, longest_key: of a sequence, at least.
        causal: whether a query sees only so many keys that its sequence's last query sees all.

    Returns:
        [N, H, D]; with ``return_attn_probs`` also the log-sum-exp [H, N] fp32, +inf where there are no keys, and None.
    """
    output = torch.zeros_like(query)
    totals = torch.full((query.shape[1], query.shape[0]), math.inf, dtype=torch.float32, device=query.device)
    group = query.shape[1] // key.shape[1]
    bounds = zip(*(pairs for starts in (query_starts, key_starts) for pairs in (starts[:-1], starts[1:])), strict=True)
    for q0, q1, k0, k1 in (map(int, bound) for bound in bounds):
        if q1 - q0 > longest_query or k1 - k0 > longest_key:
            raise ValueError(f"a sequence of {q1 - q0} queries and {k1 - k0} keys exceeds the lengths that were given")
        if q0 == q1 or k0 == k1:
            continue
        some = key[k0:k1].repeat_interleave(group, dim=1).float()
        scores = torch.einsum("nhd,mhd->hnm", query[q0:q1].float(), some) * softmax_scale
        if softcap:
            scores = softcap * torch.tanh(scores / softcap)
        if causal:
            seen = torch.ones(q1 - q0, k1 - k0, dtype=torch.bool, device=query.device).tril(k1 - k0 - (q1 - q0))
            scores = scores.masked_fill(~seen, -math.inf)
        values = value[k0:k1].repeat_interleave(group, dim=1).float()
        output[q0:q1] = torch.einsum("hnm,mhd->nhd", scores.softmax(-1), values).to(query.dtype)
        totals[:, q0:q1] = scores.logsumexp(-1)
    return (output, totals, None) if return_attn_probs else output


def _starts(lengths: "tuple[int, ...] | list[int]", device: torch.device) -> torch.Tensor:
    """[len + 1] int32: where each starts, and where the last ends."""
    return torch.tensor(list(accumulate(lengths, initial=0)), dtype=torch.int32, device=device)


@cache
def _flash_attn() -> Callable[..., Any] | None:
    """flash-attn's kernel, or None where the package is absent or was built for another torch."""
    if importlib.util.find_spec("flash_attn") is None:
        return None
    try:
        from flash_attn import flash_attn_varlen_func
    except ImportError as error:
        log.warning("flash-attn is installed but cannot be imported: %s", " ".join(str(error).split()))
        return None
    kernel: Callable[..., Any] = flash_attn_varlen_func
    return kernel


# FlexAttention -------------------------------------------------------------------------------------------------------


class Flex:
    """torch's FlexAttention over the same layout, with blocks that hold nothing left out."""

    def __init__(self, flat: Flat) -> None:
        """Find which blocks of 128 x 128 tokens hold anything, on the device of ``flat``."""
        from torch.nn.attention.flex_attention import BlockMask

        owners, groups = flat.owners, flat.groups
        count = len(owners)

        def seen(_batch: Any, _head: Any, query: Any, key: Any) -> Any:
            kin = (groups[key] == 0) | (groups[key] == groups[query])
            return (query >= key) & (owners[query] == owners[key]) & kin

        held = _blocks(flat)
        amounts = held.sum(-1, dtype=torch.int32)
        # The indices of what a row of blocks holds, ascending, and then of what it does not.
        order = torch.argsort(~held, dim=-1, stable=True).to(torch.int32)
        self._mask = BlockMask.from_kv_blocks(
            amounts[None, None],
            order[None, None],
            BLOCK_SIZE=_BLOCK,
            mask_mod=seen,
            seq_lengths=(count, count),
        )

    def __call__(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, softcap: float
    ) -> torch.Tensor:
        """See :class:`Layout`."""

        def capped(score: torch.Tensor, *_place: Any) -> torch.Tensor:
            return softcap * torch.tanh(score / softcap)

        heads, shared = query.shape[1], key.shape[1]
        if heads & (heads - 1):  # its short kernels want a power of two of query heads a key head
            key, value = (some.repeat_interleave(heads // shared, dim=1) for some in (key, value))
        output = _flex_attention(query.device.type)(
            *(some.transpose(0, 1)[None] for some in (query, key, value)),
            score_mod=capped if softcap else None,
            block_mask=self._mask,
            scale=scale,
            enable_gqa=key.shape[1] != heads,
        )
        attended: torch.Tensor = output[0].transpose(0, 1)
        return attended


def _blocks(flat: Flat) -> torch.Tensor:
    """[N, N] bool: whether a block of queries may see anything in a block of keys. May say yes where nothing is."""
    shared, total = sum(flat.prefixes), len(flat.owners)
    starts = torch.arange(0, total, _BLOCK)
    lasts = (starts + _BLOCK).clamp_max(total) - 1
    owners = flat.owners.cpu()
    # Owners ascend within the prefixes and within the candidates; a block across the border may hold any.
    across = (starts < shared) & (lasts >= shared)
    lowest = owners[starts].masked_fill(across, 0)
    highest = owners[lasts].masked_fill(across, int(owners.max()))
    meet = (lowest[:, None] <= highest[None, :]) & (lowest[None, :] <= highest[:, None])
    return (meet & (starts[None, :] <= lasts[:, None])).to(flat.owners.device)


@cache
def _flex_attention(device: str) -> Callable[..., Any]:
    """Compiled on a GPU, where it would otherwise hold all scores at once; plain on a CPU."""
    from torch.nn.attention.flex_attention import flex_attention

    plain: Callable[..., Any] = flex_attention
    return torch.compile(plain) if device == "cuda" else plain
