"""K1: logits [N, V] and targets [N] -> each target's raw logit and log-probability, reading the logits once.

A program takes tiles of one row: a tile's maximum and its sum of exp(logit - maximum). A second small kernel, a program
a target, merges its row's tiles in order (the running-maximum form of Milakov and Gimelshein, arXiv 1805.02867) and
reads the target's logit. Which tiles there are depends on V alone.
"""

from __future__ import annotations

import torch

from radar_fast.kernels import reference
from radar_fast.kernels.configs import generation
from radar_fast.kernels.merge import merge_options, merge_row, settle
from radar_fast.kernels.runtime import (
    IGNORED,
    LOG2_E,
    capability,
    check_logit_shape,
    check_targets,
    choose,
    jit,
    on_device,
    two_dimensional,
)

try:
    import triton
    import triton.language as tl
except ImportError:  # the kernels are then never called
    triton = tl = None

__all__ = ["log_softmax_gather", "log_softmax_gather_rank"]

MAX_PROGRAMS_Y = 65535
"""CUDA's limit on a grid's second dimension."""


@jit
def _tile_kernel(
    logits: tl.tensor,
    targets: tl.tensor,
    tops: tl.tensor,
    totals: tl.tensor,
    best: tl.tensor,
    above: tl.tensor,
    columns: tl.tensor,
    row_stride: tl.tensor,
    column_stride: tl.tensor,
    tiles: tl.tensor,
    share: tl.tensor,
    RANK: tl.constexpr,
    LOG2_E: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """``share`` tiles of one row; tops, totals (and best, above, for targets [rows]) are [rows, tiles]."""
    row = tl.program_id(0).to(tl.int64)  # 14,134 rows of 151,936 columns pass 2^31 elements
    base = logits + row * row_stride
    first = tl.program_id(1) * share
    for tile in range(first, min(first + share, tiles)):
        column = tile * BLOCK + tl.arange(0, BLOCK)
        inside = column < columns
        place = base + column.to(tl.int64) * column_stride
        # Only the last tile is masked: a mask that V is no multiple of 16 for would load value by value everywhere.
        if (tile + 1) * BLOCK <= columns:
            z = tl.load(place).to(tl.float32)
        else:
            z = tl.load(place, mask=inside, other=float("-inf")).to(tl.float32)
        peak = tl.max(z, 0)
        # Of a tile that is -inf throughout, exp(-inf - -inf) would be no number.
        shift = tl.where(peak == float("-inf"), 0.0, peak)
        at = row * tiles + tile
        tl.store(tops + at, peak)
        tl.store(totals + at, tl.sum(tl.exp2((z - shift) * LOG2_E), 0))
        if RANK:
            tl.store(best + at, tl.min(tl.where(inside & (z == peak), column, columns), 0))
            target = tl.load(targets + row).to(tl.int64)
            valid = (target >= 0) & (target < columns)
            own = tl.load(base + target * column_stride, mask=valid, other=float("inf")).to(tl.float32)
            tl.store(above + at, tl.sum((inside & (z > own)).to(tl.int32), 0))


@jit
def _finish_kernel(
    logits: tl.tensor,
    targets: tl.tensor,
    tops: tl.tensor,
    totals: tl.tensor,
    logit: tl.tensor,
    logprob: tl.tensor,
    columns: tl.tensor,
    per_row: tl.tensor,
    row_stride: tl.tensor,
    column_stride: tl.tensor,
    tiles: tl.tensor,
    IGNORED: tl.constexpr,
    LOG2_E: tl.constexpr,
    TILES: tl.constexpr,
) -> None:
    """One target: its logit as it lies in memory, which is never above the maximum, and its log-probability."""
    pair = tl.program_id(0)
    row = pair // per_row
    peak, total = merge_row(tops, totals, row, tiles, LOG2_E, TILES)
    target = tl.load(targets + pair).to(tl.int64)
    here = (target >= 0) & (target < columns)
    place = row.to(tl.int64) * row_stride + tl.where(here, target, 0) * column_stride
    z = tl.load(logits + place).to(tl.float32)
    settle(z, here, target == IGNORED, peak, total, logit + pair, logprob + pair, True)


def _launch(
    logits: torch.Tensor, targets: torch.Tensor, with_rank: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """[N, V], [N, K] -> logit, logprob [N, K] and, if wanted (K = 1), rank, argmax [N]."""
    count, columns = logits.shape
    config = generation(capability(logits.device)).gather
    tiles = triton.cdiv(columns, config.block_columns)
    tops, totals = torch.empty(2, count, tiles, device=logits.device)
    logit = torch.empty(targets.shape, device=logits.device)
    logprob = torch.empty_like(logit)
    shape = (count, tiles) if with_rank else (0, 0)
    best = torch.empty(shape, dtype=torch.int32, device=logits.device)
    above = torch.empty_like(best)
    # With many rows a program walks through several tiles; with few, every tile has its own.
    share = max(1, min(tiles, count * tiles // config.programs), triton.cdiv(tiles, MAX_PROGRAMS_Y))
    _tile_kernel[(count, triton.cdiv(tiles, share))](
        logits,
        targets,
        tops,
        totals,
        best,
        above,
        columns,
        logits.stride(0),
        logits.stride(1),
        tiles,
        share,
        RANK=with_rank,
        LOG2_E=LOG2_E,
        BLOCK=config.block_columns,
        num_warps=config.num_warps,
    )
    _finish_kernel[(targets.numel(),)](
        logits,
        targets,
        tops,
        totals,
        logit,
        logprob,
        columns,
        targets.shape[1],
        logits.stride(0),
        logits.stride(1),
        tiles,
        IGNORED=IGNORED,
        **merge_options(tiles),
    )
    if not with_rank:
        return logit, logprob, best, above
    winner = tops.argmax(1, keepdim=True)  # the first of equals, so the lowest column
    return logit, logprob, above.sum(1), best.gather(1, winner)[:, 0].long()


@torch.library.custom_op("radar_fast::log_softmax_gather", mutates_args=())
def _gather(logits: torch.Tensor, targets: torch.Tensor, impl: str) -> tuple[torch.Tensor, torch.Tensor]:
    if 0 in (logits.shape[0], targets.shape[1]):
        return torch.empty(targets.shape, device=logits.device), torch.empty(targets.shape, device=logits.device)
    if impl == "triton":
        with on_device(logits.device):
            logit, logprob, _, _ = _launch(logits, targets, with_rank=False)
        return logit, logprob
    return reference.finish_whole(reference.log_softmax_partials(logits, targets), targets, logits.shape[1])


@_gather.register_fake
def _(logits: torch.Tensor, targets: torch.Tensor, impl: str) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: ARG001
    return logits.new_empty(targets.shape, dtype=torch.float32), logits.new_empty(targets.shape, dtype=torch.float32)


@torch.library.custom_op("radar_fast::log_softmax_gather_rank", mutates_args=())
def _gather_rank(
    logits: torch.Tensor, targets: torch.Tensor, impl: str
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    if not len(logits):
        floats = torch.empty(2, 0, 1, device=logits.device)
        integers = torch.empty(2, 0, dtype=torch.int64, device=logits.device)
        return floats[0].clone(), floats[1].clone(), integers[0].clone(), integers[1].clone()
    if impl == "triton":
        with on_device(logits.device):
            return _launch(logits, targets, with_rank=True)
    partials = reference.log_softmax_partials(logits, targets)
    return (
        *reference.finish_whole(partials, targets, logits.shape[1]),
        *reference.rank(logits, targets[:, 0]),
    )


@_gather_rank.register_fake
def _(
    logits: torch.Tensor,
    targets: torch.Tensor,
    impl: str,  # noqa: ARG001
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    floats = [logits.new_empty(targets.shape, dtype=torch.float32) for _ in range(2)]
    integers = [logits.new_empty(targets.shape[:1], dtype=torch.int64) for _ in range(2)]
    return floats[0], floats[1], integers[0], integers[1]


def _check(logits: torch.Tensor, targets: torch.Tensor) -> None:
    check_logit_shape("logits", logits, 2)
    if not logits.shape[1]:
        raise ValueError("logits has no columns")
    check_targets(targets, logits.shape[0], 0, logits.shape[1], logits.device)


def log_softmax_gather(
    logits: torch.Tensor, targets: torch.Tensor, *, impl: str = "auto"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Raw logit and log-probability of given tokens.

    Args:
        logits: [N, V] bf16, fp16 or fp32, any strides; fastest with a last stride of 1 and rows that start at
            multiples of 16 bytes.
        targets: [N] int32 or int64 columns; IGNORED (-100) skips a row. Or [N, K]: K targets a row, still one read.
        impl: "auto", "triton" or "torch"; see :func:`radar_fast.kernels.runtime.choose`.

    Returns:
        logit and logprob, fp32, shaped as the targets, with logprob = (logit - max) - log(sum(exp(logit - max))), never
        above 0; both 0 where the target is ignored. A row with NaN or +inf, or of -inf alone, has logprob NaN, as in
        torch's log_softmax.

    Raises:
        ValueError: shapes or devices do not fit, ``impl`` is unknown, or a target is out of range. The last is not
            looked for on a GPU, where that would wait, nor under torch.compile: there such a target has NaN for both
            numbers.
        TypeError: a dtype does not fit.
        RuntimeError: ``impl="triton"`` where Triton cannot run.
    """
    chosen = choose(impl, logits.device)
    _check(logits, targets)
    logit, logprob = _gather(logits, two_dimensional(targets), chosen)
    return logit.view(targets.shape), logprob.view(targets.shape)


def log_softmax_gather_rank(
    logits: torch.Tensor, targets: torch.Tensor, *, impl: str = "auto"
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """:func:`log_softmax_gather` with, from the same read, the target's rank and the greatest logit's column.

    Args:
        logits: [N, V] bf16, fp16 or fp32.
        targets: [N] int32 or int64 columns; IGNORED (-100) skips a row.
        impl: "auto", "triton" or "torch".

    Returns:
        logit, logprob [N] fp32; rank [N] int64, how many logits are above the target's (0 where ignored); argmax [N]
        int64, of equals the lowest. Of rows with NaN the last two mean nothing.

    Raises:
        ValueError, TypeError, RuntimeError: as :func:`log_softmax_gather`.
    """
    chosen = choose(impl, logits.device)
    _check(logits, targets)
    if targets.ndim != 1:
        raise ValueError(f"targets has shape {tuple(targets.shape)}; [{len(logits)}] is wanted")
    logit, logprob, above, best = _gather_rank(logits, two_dimensional(targets), chosen)
    return logit.view(targets.shape), logprob.view(targets.shape), above, best
