"""The second half of both kernels: tiles' (max, sum) -> a row's, in a fixed order, and a target's two numbers."""

from __future__ import annotations

from radar_fast.kernels.runtime import LOG2_E, jit

try:
    import triton
    import triton.language as tl
except ImportError:  # the kernels are then never called
    triton = tl = None

__all__ = ["merge_options", "merge_row", "settle"]

MOST_TILES = 1024
"""Tiles that are merged in one pass."""


@jit
def merge_row(
    tops: tl.tensor, totals: tl.tensor, row: tl.tensor, tiles: tl.tensor, LOG2_E: tl.constexpr, TILES: tl.constexpr
) -> tl.tensor:
    """tops, totals [rows, tiles] -> the row's max and its sum of exp(logit - max)."""
    base = row.to(tl.int64) * tiles
    peak = tl.full([], float("-inf"), tl.float32)
    total = tl.full([], 0.0, tl.float32)
    for first in range(0, tiles, TILES):
        tile = first + tl.arange(0, TILES)
        m = tl.load(tops + base + tile, mask=tile < tiles, other=float("-inf"))
        s = tl.load(totals + base + tile, mask=tile < tiles, other=0.0)
        higher = tl.maximum(peak, tl.max(m, 0))
        # Of a row that is -inf throughout, exp(-inf - -inf) would be no number.
        shift = tl.where(higher == float("-inf"), 0.0, higher)
        total = total * tl.exp2((peak - shift) * LOG2_E) + tl.sum(s * tl.exp2((m - shift) * LOG2_E), 0)
        peak = higher
    return peak, total


@jit
def settle(
    z: tl.tensor,
    here: tl.tensor,
    ignored: tl.tensor,
    peak: tl.tensor,
    total: tl.tensor,
    logit: tl.tensor,
    logprob: tl.tensor,
    WHOLE: tl.constexpr,
) -> None:
    """Store a target's logit z and its log-probability.

    Where no tile holds the target: of a shard -inf, the identity of merging; of a whole row 0 where it is ignored, else
    no number, for such a target escaped the check.
    """
    if WHOLE:
        z = tl.where(here, z, float("nan"))
        z = tl.where(ignored, 0.0, z)
    else:
        z = tl.where(here, z, float("-inf"))
    value = (z - peak) - tl.log(total)
    value = tl.where(value > 0.0, 0.0, value)  # z may be summed in another order than the maximum; a NaN stays one
    tl.store(logit, z)
    tl.store(logprob, tl.where(ignored, 0.0, value))


def merge_options(tiles: int) -> dict[str, float | int]:
    """Compile-time constants of a kernel that calls :func:`merge_row`, and its warps."""
    most = min(MOST_TILES, triton.next_power_of_2(tiles))
    return {"LOG2_E": LOG2_E, "TILES": most, "num_warps": 4}
