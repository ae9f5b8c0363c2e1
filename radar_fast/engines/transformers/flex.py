"""Attention by torch's FlexAttention with a block mask, for GPUs without flash-attn, and for float32."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch

from radar_fast.engines.transformers.packing import Flat

__all__ = ["Flex"]

_BLOCK = 128
"""Tokens a side of FlexAttention's blocks: its own default."""


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
        """See :class:`~radar_fast.engines.transformers.attention.Layout`."""

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
