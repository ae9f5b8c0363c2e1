"""Attention in which prefixes and candidates are computed apart, and merged.

The prefixes attend to themselves causally; candidates attend to their prefix, without causality, and to themselves,
causally; the two partial results are merged by their log-sum-exp. Each of the three is one call of a kernel for
sequences of unequal lengths (flash-attn's ``flash_attn_varlen_func``), so nothing is padded and nothing that is masked
is computed.
"""

import importlib.util
import logging
import math
from collections.abc import Callable
from functools import cache
from itertools import accumulate
from typing import Any

import torch

from radar_fast.engines.transformers.packing import Flat

__all__ = ["Cascade", "flash_attn_kernel", "merge", "varlen_reference"]

log = logging.getLogger(__name__)


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
            kernel or (flash_attn_kernel() if device.type == "cuda" else None) or varlen_reference
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
        """See :class:`~radar_fast.engines.transformers.attention.Layout`."""
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
def flash_attn_kernel() -> Callable[..., Any] | None:
    """flash-attn's ``flash_attn_varlen_func``, or None where the package is absent or was built for another torch."""
    if importlib.util.find_spec("flash_attn") is None:
        return None
    try:
        from flash_attn import flash_attn_varlen_func
    except ImportError as error:
        log.warning("flash-attn is installed but cannot be imported: %s", " ".join(str(error).split()))
        return None
    kernel: Callable[..., Any] = flash_attn_varlen_func
    return kernel
