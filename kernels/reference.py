"""The torch twins of the kernels: what serves on a CPU and wherever Triton does not run, and the plain definition.

They work through tiles of the logits, [rows, columns] at a time, so they never hold them all, and merge them in order.
The log-probability is computed as (logit - max) - log(sum(exp(logits - max))), never as logit - logsumexp: at an offset
of 1e4 the latter loses 1e-3.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from radar_fast.kernels.runtime import IGNORED, check_targets

__all__ = [
    "COLUMNS",
    "CONVERTED",
    "ROWS",
    "TILE",
    "Partials",
    "finish",
    "finish_whole",
    "linear_log_softmax_partials",
    "log_softmax_partials",
    "merge_shards",
    "rank",
]

TILE = 2**20
"""Most logits a tile: 4 MiB of fp32."""

COLUMNS = 8192
"""Columns a tile of given logits: the same for any number of rows, so that a row gives the same bits in any batch."""

CONVERTED = 2048
"""Columns a tile where the weight must be converted to fp32, which is D numbers a column."""

ROWS = 512
"""Most rows a tile of products. Fewer rows get more columns: every tile is a meeting of all threads."""


class Partials(NamedTuple):
    """What is known of each row's softmax from a part of its vocabulary; parts merge exactly."""

    top: torch.Tensor
    """[N] fp32: the part's greatest logit; -inf of an empty part."""
    total: torch.Tensor
    """[N] fp32: sum of exp(logit - top) over the part; 0 of an empty part."""
    logit: torch.Tensor
    """[N] or [N, K] fp32, as the targets: the target's logit; -inf where the target is not in the part or ignored."""


Block = Callable[[slice], Callable[[slice], torch.Tensor]]
"""columns -> (rows -> the logits there, fp32, which the receiver may overwrite)."""


def log_softmax_partials(logits: torch.Tensor, targets: torch.Tensor) -> Partials:
    """Partials of given logits.

    Args:
        logits: [N, V] bf16, fp16 or fp32, any strides.
        targets: [N, K] int32 or int64 columns; others than 0..V-1 are in no part.
    """

    def block(columns: slice) -> Callable[[slice], torch.Tensor]:
        return lambda rows: logits[rows, columns].to(torch.float32, copy=True)

    return _merge_tiles(block, logits.shape[0], logits.shape[1], targets, TILE // COLUMNS, COLUMNS)


@torch.no_grad()
def linear_log_softmax_partials(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    bias: torch.Tensor | None = None,
    scale: float = 1.0,
    softcap: float | None = None,
    size: int | None = None,
) -> Partials:
    """Partials of softcap * tanh((hidden @ weight.T + bias) * scale / softcap), products accumulated in fp32.

    Args:
        hidden: [N, D] bf16, fp16 or fp32.
        weight: [V, D] of the same dtype.
        targets: [N, K] int32 or int64, counted from the weight's first row; others than 0..size-1 are in no part.
        bias: [V] or None.
        scale: multiplies the logits.
        softcap: None for no soft-cap.
        size: how many of the weight's rows are vocabulary; the rest is padding and never read. None: all.
    """
    count, vocabulary = len(hidden), len(weight) if size is None else size
    # A GPU multiplies 16-bit operands into an fp32 result; on a CPU torch has no such product, so they are converted,
    # the weight a block at a time. Buffers are reused: fresh pages for each tile would cost as much as its arithmetic.
    mixed = hidden.is_cuda and hidden.dtype != torch.float32
    left = hidden if mixed else hidden.float()
    converts = weight.dtype != torch.float32 and not mixed
    height = max(1, min(ROWS, count))
    width = min(CONVERTED if converts else TILE // height, vocabulary)
    products = torch.empty(height * width, device=hidden.device)
    converted = torch.empty(width if converts else 0, weight.shape[1], device=hidden.device)

    def block(columns: slice) -> Callable[[slice], torch.Tensor]:
        wide = columns.stop - columns.start
        right = converted[:wide].copy_(weight[columns]) if converts else weight[columns]

        def logits(rows: slice) -> torch.Tensor:
            high = rows.stop - rows.start
            if mixed:
                z = torch.mm(left[rows], right.t(), out_dtype=torch.float32)
            else:
                z = torch.mm(left[rows], right.t(), out=products[: high * wide].view(high, wide))
            if bias is not None:
                z += bias[columns]
            if scale != 1.0:
                z *= scale
            if softcap is not None:
                z.div_(softcap).tanh_().mul_(softcap)
            return z

        return logits

    return _merge_tiles(block, count, vocabulary, targets, height, width)


def _merge_tiles(
    block: Block, count: int, vocabulary: int, targets: torch.Tensor, most_rows: int, most_columns: int
) -> Partials:
    """Walk the tiles, columns outside so that a block of weights is read once, and merge them in order."""
    top = torch.full((count,), -torch.inf, device=targets.device)
    total = torch.zeros(count, device=targets.device)
    logit = torch.full(targets.shape, -torch.inf, device=targets.device)
    for first in range(0, vocabulary, max(1, most_columns)):
        width = min(most_columns, vocabulary - first)
        tile = block(slice(first, first + width))
        for start in range(0, count, most_rows):
            rows = slice(start, min(start + most_rows, count))
            z = tile(rows)
            local = targets[rows].long() - first
            here = (local >= 0) & (local < width)
            logit[rows] = torch.where(here, z.gather(1, local.clamp_(0, width - 1)), logit[rows])
            peak = torch.maximum(top[rows], z.amax(1))
            shift = _finite_shift(peak)
            mass = z.sub_(shift[:, None]).exp_().sum(1)
            total[rows] = total[rows] * torch.exp(top[rows] - shift) + mass
            top[rows] = peak
    return Partials(top, total, logit)


def _finite_shift(peak: torch.Tensor) -> torch.Tensor:
    """What to subtract before exp: the maximum, or 0 where all logits are -inf, whose difference would be no number."""
    return torch.where(peak == -torch.inf, 0.0, peak)


def finish(partials: Partials, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Partials of whole rows -> (logit, logprob), fp32, shaped as the targets; both 0 where the target is ignored."""
    top, total, logit = partials
    if logit.ndim == 2:
        top, total = top[:, None], total[:, None]
    # Where merged from tiles, the maximum's own term is exactly 1, so log(total) >= 0; the bound guards rounding alone.
    logprob = ((logit - top) - total.log()).clamp_max(0.0)
    ignored = targets == IGNORED
    return logit.masked_fill(ignored, 0.0), logprob.masked_fill(ignored, 0.0)


def finish_whole(partials: Partials, targets: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """:func:`finish` where the partials hold the whole vocabulary of ``size``: one out of range has NaN for both."""
    outside = ((targets < 0) & (targets != IGNORED)) | (targets >= size)
    return finish(partials._replace(logit=partials.logit.masked_fill(outside, torch.nan)), targets)


def merge_shards(shards: Sequence[Partials], targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Partials of all shards of a vocabulary -> (logit, logprob) of the whole.

    In the order given, so the result is bitwise repeatable; shards may be empty.

    Args:
        shards: one a shard, in the vocabulary's order; all with the same rows and targets.
        targets: [N] or [N, K] int32 or int64 token ids of the whole vocabulary, as the shards were given them.

    Returns:
        logit and logprob, fp32, shaped as the targets; 0 and 0 where the target is ignored. A target that is in no
        shard has -inf for both.

    Raises:
        ValueError: no shard, or shapes that differ.
        TypeError: targets are not integers.
    """
    if not shards:
        raise ValueError("merge_shards: at least one shard is wanted")
    for number, shard in enumerate(shards):
        if shard.logit.shape != targets.shape or shard.top.shape != targets.shape[:1]:
            raise ValueError(
                f"shard {number} has logits {tuple(shard.logit.shape)} and maxima {tuple(shard.top.shape)}; "
                f"the targets are {tuple(targets.shape)}"
            )
    check_targets(targets, len(targets), 0, None, shards[0].top.device)
    tops = torch.stack([shard.top for shard in shards])
    logits = torch.stack([shard.logit for shard in shards])
    top = tops.amax(0)
    shift = _finite_shift(top)
    total = torch.zeros_like(top)
    for shard in shards:
        total = total + shard.total * torch.exp(shard.top - shift)
    return finish(Partials(top, total, logits.amax(0)), targets)


def rank(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How many logits are above the target's, and which column has the greatest: [N] int64 each.

    Args:
        logits: [N, V].
        targets: [N] int32 or int64 columns, or IGNORED, which has rank 0.
    """
    above = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
    ignored = targets == IGNORED
    own = logits.gather(1, targets.long().clamp_min(0)[:, None])
    for first in range(0, logits.shape[1], COLUMNS):
        above += (logits[:, first : first + COLUMNS] > own).sum(1)
    return above.masked_fill_(ignored, 0), logits.argmax(1)
