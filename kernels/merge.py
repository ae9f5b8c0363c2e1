"""The second half of both kernels: tiles' (max, sum) -> a row's, in a fixed order, and the log-probabilities."""

from __future__ import annotations

import torch

from radar_fast.kernels.runtime import IGNORED, jit

try:
    import triton
    import triton.language as tl
except ImportError:  # the host functions are then never called
    triton = tl = None

__all__ = ["merge_tiles"]

BLOCK_ROWS = 16
BLOCK_TILES = 128


@jit
def _merge_kernel(
    tops: tl.tensor,
    totals: tl.tensor,
    targets: tl.tensor,
    top_out: tl.tensor,
    total_out: tl.tensor,
    logit: tl.tensor,
    logprob: tl.tensor,
    count: tl.tensor,
    tiles: tl.tensor,
    per_row: tl.tensor,
    start: tl.tensor,
    size: tl.tensor,
    WHOLE: tl.constexpr,
    IGNORED: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_TILES: tl.constexpr,
) -> None:
    """BLOCK_ROWS rows: tops, totals [tiles, count] -> top_out, total_out [count], logit, logprob [count, per_row]."""
    rows = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    inside = rows < count
    peak = tl.full([BLOCK_ROWS], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_ROWS], tl.float32)
    for first in range(0, tiles, BLOCK_TILES):
        tile = first + tl.arange(0, BLOCK_TILES)
        mask = (tile < tiles)[:, None] & inside[None, :]
        where = tile[:, None].to(tl.int64) * count + rows[None, :]
        m = tl.load(tops + where, mask=mask, other=float("-inf"))
        s = tl.load(totals + where, mask=mask, other=0.0)
        higher = tl.maximum(peak, tl.max(m, 0))
        # Of rows that are -inf throughout, exp(-inf - -inf) would be no number.
        shift = tl.where(higher == float("-inf"), 0.0, higher)
        total = total * tl.exp(peak - shift) + tl.sum(s * tl.exp(m - shift[None, :]), 0)
        peak = higher
    tl.store(top_out + rows, peak, mask=inside)
    tl.store(total_out + rows, total, mask=inside)
    logsum = tl.log(total)
    for k in range(per_row):
        at = rows.to(tl.int64) * per_row + k
        target = tl.load(targets + at, mask=inside, other=IGNORED).to(tl.int64)
        ignored = target == IGNORED
        local = target - start
        here = (local >= 0) & (local < size)
        # What no tile wrote: of a shard -inf, the identity of merging; of a whole row no number, for such a target
        # escaped the check.
        absent = float("nan") if WHOLE else float("-inf")
        z = tl.load(logit + at, mask=inside & here, other=absent)
        if WHOLE:
            z = tl.where(ignored, 0.0, z)
        value = (z - peak) - logsum
        value = tl.where(value > 0.0, 0.0, value)  # a NaN stays one
        tl.store(logit + at, z, mask=inside & (here == 0))
        tl.store(logprob + at, tl.where(ignored, 0.0, value), mask=inside)


def merge_tiles(
    tops: torch.Tensor,
    totals: torch.Tensor,
    logit: torch.Tensor,
    targets: torch.Tensor,
    start: int,
    size: int,
    whole: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Merge what the tile kernels left, and fill in ``logit`` where no tile held the target.

    Args:
        tops, totals: [tiles, N] fp32, contiguous: each tile's max and sum of exp(logit - max).
        logit: [N, K] fp32, contiguous: written by the tile that holds the target, anything elsewhere.
        targets: [N, K] int32 or int64, contiguous.
        start, size: which token ids the tiles cover.
        whole: whether they are all there are. Then an ignored target has logit 0 and one out of range NaN; of a
            shard, both have -inf.

    Returns:
        top [N], total [N], logprob [N, K], fp32; the log-probability counts these tiles alone, 0 where ignored.
    """
    tiles, count = tops.shape
    top = torch.empty(count, device=tops.device)
    total = torch.empty_like(top)
    logprob = torch.empty_like(logit)
    _merge_kernel[(triton.cdiv(count, BLOCK_ROWS),)](
        tops,
        totals,
        targets,
        top,
        total,
        logit,
        logprob,
        count,
        tiles,
        targets.shape[1],
        start,
        size,
        WHOLE=whole,
        IGNORED=IGNORED,
        BLOCK_ROWS=BLOCK_ROWS,
        BLOCK_TILES=BLOCK_TILES,
        num_warps=4,
    )
    return top, total, logprob
