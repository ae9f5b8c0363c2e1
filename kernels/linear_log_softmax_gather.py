"""K2: hidden states [N, D] and LM-head weight [V, D] -> each target's raw logit and log-probability; no logits.

A program multiplies one tile, [rows, part of the vocabulary], accumulates in fp32 and keeps of it two numbers a row:
the maximum and the sum of exp(logit - maximum). A second small kernel, a program a target, merges its row's tiles in
order and multiplies the row by the target's own weights. It is the forward of Cut Cross-Entropy (Wijmans et al.,
arXiv 2411.09009) without its locks: there tiles merge in order of arrival, here always in the same, so that a result is
bitwise repeatable.

A vocabulary-parallel head gives :class:`Partials` of its shard; :func:`merge_shards` makes the whole of them.
"""

from __future__ import annotations

from typing import Any

import torch

from radar_fast.kernels import reference
from radar_fast.kernels.configs import generation, linear_config
from radar_fast.kernels.log_softmax_gather import log_softmax_gather
from radar_fast.kernels.merge import merge_options, merge_row, settle
from radar_fast.kernels.reference import Partials, merge_shards
from radar_fast.kernels.runtime import (
    IGNORED,
    INTERPRETED,
    LOG2_E,
    capability,
    check_logit_shape,
    check_targets,
    choose,
    jit,
    on_device,
    processors,
    two_dimensional,
)

try:
    import triton
    import triton.language as tl
    from triton.tools.tensor_descriptor import TensorDescriptor
except ImportError:  # the kernel is then never called
    triton = tl = None

__all__ = ["Partials", "linear_log_softmax_gather", "linear_log_softmax_partials", "merge_shards", "unfused"]

ROWS_A_LAUNCH = 4096
"""More rows go in several launches, so that what the tiles leave is bounded: 8 bytes a row and tile."""


DOT_DEPTH = 1024
"""Steps along D of a target's own product."""


@jit
def _softcapped(x: tl.tensor, cap: tl.tensor) -> tl.tensor:
    """cap * tanh(x / cap), from exp alone; a series near 0, where 1 - exp(-2x) would lose its digits."""
    y = x / cap
    size = tl.abs(y)
    e = tl.exp(-2.0 * size)
    far = (1.0 - e) / (1.0 + e)
    s = y * y
    near = size * (1.0 + s * (-1.0 / 3 + s * (2.0 / 15 + s * (-17.0 / 315 + s * (62.0 / 2835)))))
    positive = tl.where(size < 0.25, near, far)
    return cap * tl.where(y < 0, -positive, positive)


@jit
def _tile(
    program: tl.tensor,
    hidden: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    tops: tl.tensor,
    totals: tl.tensor,
    count: tl.tensor,
    size: tl.tensor,
    depth: tl.tensor,
    hidden_stride: tl.tensor,
    weight_stride: tl.tensor,
    scale: tl.tensor,
    softcap: tl.tensor,
    BIAS: tl.constexpr,
    SOFTCAP: tl.constexpr,
    LOG2_E: tl.constexpr,
    TMA: tl.constexpr,
    EVEN_DEPTH: tl.constexpr,
    UPCAST: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
    BLOCK_DEPTH: tl.constexpr,
    GROUP: tl.constexpr,
) -> None:
    """One tile [BLOCK_ROWS, BLOCK_COLUMNS] of products: its part of tops, totals [count, tiles]."""
    # GROUP tiles of rows share a tile of the vocabulary before the next is read: it then comes from the L2.
    row_tiles = tl.cdiv(count, BLOCK_ROWS)
    column_tiles = tl.cdiv(size, BLOCK_COLUMNS)
    group = program // (GROUP * column_tiles)
    in_group = min(row_tiles - group * GROUP, GROUP)
    row_tile = group * GROUP + (program % (GROUP * column_tiles)) % in_group
    column_tile = (program % (GROUP * column_tiles)) // in_group

    rows = row_tile * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    columns = column_tile * BLOCK_COLUMNS + tl.arange(0, BLOCK_COLUMNS)
    steps = tl.arange(0, BLOCK_DEPTH)
    z = tl.zeros([BLOCK_ROWS, BLOCK_COLUMNS], tl.float32)
    # Rows outside are read from the last one inside: no mask in the loop, and what comes of them is dropped below.
    # (Of descriptors they come as zeros.)
    if not TMA:
        a = hidden + tl.minimum(rows, count - 1).to(tl.int64)[:, None] * hidden_stride + steps[None, :]
        b = weight + tl.minimum(columns, size - 1).to(tl.int64)[:, None] * weight_stride + steps[None, :]
    for step in range(0, depth, BLOCK_DEPTH):
        if TMA:
            x = hidden.load([row_tile * BLOCK_ROWS, step])
            w = weight.load([column_tile * BLOCK_COLUMNS, step])
        elif EVEN_DEPTH:
            x = tl.load(a)
            w = tl.load(b)
            a += BLOCK_DEPTH
            b += BLOCK_DEPTH
        else:
            there = (step + steps < depth)[None, :]
            x = tl.load(a, mask=there, other=0.0)
            w = tl.load(b, mask=there, other=0.0)
            a += BLOCK_DEPTH
            b += BLOCK_DEPTH
        if UPCAST:  # the interpreter would multiply the bits of bfloat16 as integers
            x = x.to(tl.float32)
            w = w.to(tl.float32)
        # "ieee": fp32 operands would otherwise be cut to TF32.
        z = tl.dot(x, tl.trans(w), z, input_precision="ieee")
    row_inside = rows < count
    column_inside = columns < size
    if BIAS:
        z += tl.load(bias + columns, mask=column_inside, other=0.0).to(tl.float32)[None, :]
    z *= scale
    if SOFTCAP:
        z = _softcapped(z, softcap)
    # After the soft-cap, which would make a finite logit of -inf.
    z = tl.where(column_inside[None, :], z, float("-inf"))
    peak = tl.max(z, 1)
    shift = tl.where(peak == float("-inf"), 0.0, peak)
    total = tl.sum(tl.exp2((z - shift[:, None]) * LOG2_E), 1)
    at = rows.to(tl.int64) * column_tiles + column_tile
    tl.store(tops + at, peak, mask=row_inside)
    tl.store(totals + at, total, mask=row_inside)


@jit
def _tile_kernel(
    hidden: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    tops: tl.tensor,
    totals: tl.tensor,
    count: tl.tensor,
    size: tl.tensor,
    depth: tl.tensor,
    hidden_stride: tl.tensor,
    weight_stride: tl.tensor,
    scale: tl.tensor,
    softcap: tl.tensor,
    BIAS: tl.constexpr,
    SOFTCAP: tl.constexpr,
    LOG2_E: tl.constexpr,
    TMA: tl.constexpr,
    EVEN_DEPTH: tl.constexpr,
    UPCAST: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
    BLOCK_DEPTH: tl.constexpr,
    GROUP: tl.constexpr,
    PERSISTENT: tl.constexpr,
) -> None:
    """A tile a program; or, persistent, as many programs as the chip runs at once, each walking over tiles."""
    if PERSISTENT:
        tiles = tl.cdiv(count, BLOCK_ROWS) * tl.cdiv(size, BLOCK_COLUMNS)
        for program in range(tl.program_id(0), tiles, tl.num_programs(0)):
            _tile(
                program, hidden, weight, bias, tops, totals, count, size, depth, hidden_stride, weight_stride, scale,
                softcap, BIAS, SOFTCAP, LOG2_E, TMA, EVEN_DEPTH, UPCAST, BLOCK_ROWS, BLOCK_COLUMNS, BLOCK_DEPTH, GROUP,
            )  # fmt: skip
    else:
        _tile(
            tl.program_id(0), hidden, weight, bias, tops, totals, count, size, depth, hidden_stride, weight_stride,
            scale, softcap, BIAS, SOFTCAP, LOG2_E, TMA, EVEN_DEPTH, UPCAST, BLOCK_ROWS, BLOCK_COLUMNS, BLOCK_DEPTH,
            GROUP,
        )  # fmt: skip


@jit
def _finish_kernel(
    hidden: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    targets: tl.tensor,
    tops: tl.tensor,
    totals: tl.tensor,
    top: tl.tensor,
    total: tl.tensor,
    logit: tl.tensor,
    logprob: tl.tensor,
    size: tl.tensor,
    depth: tl.tensor,
    per_row: tl.tensor,
    hidden_stride: tl.tensor,
    weight_stride: tl.tensor,
    tiles: tl.tensor,
    start: tl.tensor,
    scale: tl.tensor,
    softcap: tl.tensor,
    BIAS: tl.constexpr,
    SOFTCAP: tl.constexpr,
    WHOLE: tl.constexpr,
    IGNORED: tl.constexpr,
    BLOCK_DEPTH: tl.constexpr,
    LOG2_E: tl.constexpr,
    TILES: tl.constexpr,
) -> None:
    """One target: its logit from an indexed dot, and its log-probability; of a shard, also the row's top and total."""
    pair = tl.program_id(0)
    row = pair // per_row
    peak, mass = merge_row(tops, totals, row, tiles, LOG2_E, TILES)
    target = tl.load(targets + pair).to(tl.int64)
    local = target - start
    # By the shard's true size: a target of another shard must not match padding.
    here = (local >= 0) & (local < size)
    own = tl.where(here, local, 0)
    steps = tl.arange(0, BLOCK_DEPTH)
    products = tl.zeros([BLOCK_DEPTH], tl.float32)
    for step in range(0, depth, BLOCK_DEPTH):
        there = step + steps < depth
        x = tl.load(hidden + row.to(tl.int64) * hidden_stride + step + steps, mask=there, other=0.0)
        w = tl.load(weight + own * weight_stride + step + steps, mask=there, other=0.0)
        products += x.to(tl.float32) * w.to(tl.float32)
    z = tl.sum(products, 0)
    if BIAS:
        z += tl.load(bias + own).to(tl.float32)
    z *= scale
    if SOFTCAP:
        z = _softcapped(z, softcap)
    settle(z, here, target == IGNORED, peak, mass, logit + pair, logprob + pair, WHOLE)
    if not WHOLE:  # noqa: SIM102 - the compiler decides this one, the GPU the next
        if pair % per_row == 0:
            tl.store(top + row, peak)
            tl.store(total + row, mass)


def _describable(tensor: torch.Tensor) -> bool:
    """Whether a tensor descriptor can stand for it: rows that start at multiples of 16 bytes."""
    return tensor.data_ptr() % 16 == 0 and tensor.stride(0) * tensor.element_size() % 16 == 0


def _described(tensor: torch.Tensor, rows: int, columns: int) -> Any:
    """A tensor descriptor, from which the copy engine loads tiles; what lies outside comes as zeros."""
    return TensorDescriptor(tensor, list(tensor.shape), list(tensor.stride()), [rows, columns])


def _launch(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    bias: torch.Tensor | None,
    scale: float,
    softcap: float | None,
    start: int,
    size: int,
    whole: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """[N, D], [V, D], [N, K] -> top, total [N] (empty of a whole vocabulary), logit, logprob [N, K]."""
    count, depth = hidden.shape
    # One choice for all launches of the call: what depends on the number of rows must not depend on how they are cut.
    even = depth % 64 == 0
    config = linear_config(capability(hidden.device), hidden.dtype, count, even)
    tma = config.tma and _describable(hidden) and _describable(weight)
    w = _described(weight[:size], config.block_columns, config.block_depth) if tma else weight
    column_tiles = triton.cdiv(size, config.block_columns)
    parts = []
    for first in range(0, count, ROWS_A_LAUNCH):
        x, wanted = hidden[first : first + ROWS_A_LAUNCH], targets[first : first + ROWS_A_LAUNCH]
        tops, totals = torch.empty(2, len(x), column_tiles, device=hidden.device)
        top = torch.empty(0 if whole else len(x), device=hidden.device)
        logit = torch.empty(wanted.shape, device=hidden.device)
        total, logprob = torch.empty_like(top), torch.empty_like(logit)
        programs = column_tiles * triton.cdiv(len(x), config.block_rows)
        if config.persistent:
            programs = min(programs, config.persistent * processors(hidden.device))
        _tile_kernel[(programs,)](
            _described(x, config.block_rows, config.block_depth) if tma else x,
            w,
            weight if bias is None else bias,
            tops,
            totals,
            len(x),
            size,
            depth,
            x.stride(0),
            weight.stride(0),
            float(scale),
            float(softcap or 0.0),
            BIAS=bias is not None,
            SOFTCAP=softcap is not None,
            LOG2_E=LOG2_E,
            TMA=tma,
            EVEN_DEPTH=depth % config.block_depth == 0,
            UPCAST=INTERPRETED and hidden.dtype == torch.bfloat16,
            BLOCK_ROWS=config.block_rows,
            BLOCK_COLUMNS=config.block_columns,
            BLOCK_DEPTH=config.block_depth,
            GROUP=config.group,
            PERSISTENT=config.persistent > 0,
            num_warps=config.num_warps,
            num_stages=config.num_stages,
        )
        _finish_kernel[(wanted.numel(),)](
            x,
            weight,
            weight if bias is None else bias,
            wanted,
            tops,
            totals,
            top,
            total,
            logit,
            logprob,
            size,
            depth,
            wanted.shape[1],
            x.stride(0),
            weight.stride(0),
            column_tiles,
            start,
            float(scale),
            float(softcap or 0.0),
            BIAS=bias is not None,
            SOFTCAP=softcap is not None,
            WHOLE=whole,
            IGNORED=IGNORED,
            BLOCK_DEPTH=DOT_DEPTH,
            **merge_options(column_tiles),
        )
        parts.append((top, total, logit, logprob))
    if len(parts) == 1:
        return parts[0]
    top, total, logit, logprob = (torch.cat(column) for column in zip(*parts, strict=True))
    return top, total, logit, logprob


def unfused(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    bias: torch.Tensor | None,
    scale: float,
    softcap: float | None,
    size: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same by a product and K1, with logits in memory, fp32 too: for so few rows that the library's product wins.

    16-bit operands only: of fp32 ones the library may make TF32.

    Args:
        hidden: [N, D].
        weight: [V, D].
        targets: [N, K].
        bias: [V] or None.
        scale, softcap: as in :func:`linear_log_softmax_gather`.
        size: how many of the weight's rows are vocabulary.
    """
    if hidden.is_cuda:
        z = torch.mm(hidden, weight[:size].t(), out_dtype=torch.float32)
    else:  # interpreted: on a CPU torch has no such product
        z = hidden.float() @ weight[:size].float().t()
    if bias is not None:
        z += bias[:size]
    if scale != 1.0:
        z *= scale
    if softcap is not None:
        z.div_(softcap).tanh_().mul_(softcap)
    return log_softmax_gather(z, targets, impl="triton")


@torch.library.custom_op("radar_fast::linear_log_softmax_gather", mutates_args=())
def _gather(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    bias: torch.Tensor | None,
    scale: float,
    softcap: float | None,
    size: int,
    impl: str,
) -> tuple[torch.Tensor, torch.Tensor]:
    if 0 in targets.shape:
        return torch.empty(targets.shape, device=hidden.device), torch.empty(targets.shape, device=hidden.device)
    if impl == "triton":
        with on_device(hidden.device):
            if hidden.dtype != torch.float32 and len(hidden) < generation(capability(hidden.device)).fused_from:
                return unfused(hidden, weight, targets, bias, scale, softcap, size)
            _, _, logit, logprob = _launch(hidden, weight, targets, bias, scale, softcap, 0, size, whole=True)
        return logit, logprob
    partials = reference.linear_log_softmax_partials(hidden, weight, targets, bias, scale, softcap, size)
    return reference.finish_whole(partials, targets, size)


@_gather.register_fake
def _(
    hidden: torch.Tensor,
    weight: torch.Tensor,  # noqa: ARG001
    targets: torch.Tensor,
    bias: torch.Tensor | None,  # noqa: ARG001
    scale: float,  # noqa: ARG001
    softcap: float | None,  # noqa: ARG001
    size: int,  # noqa: ARG001
    impl: str,  # noqa: ARG001
) -> tuple[torch.Tensor, torch.Tensor]:
    return hidden.new_empty(targets.shape, dtype=torch.float32), hidden.new_empty(targets.shape, dtype=torch.float32)


@torch.library.custom_op("radar_fast::linear_log_softmax_partials", mutates_args=())
def _partials(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    bias: torch.Tensor | None,
    scale: float,
    softcap: float | None,
    start: int,
    size: int,
    impl: str,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    if impl == "triton" and size and 0 not in targets.shape:
        with on_device(hidden.device):
            return _launch(hidden, weight, targets, bias, scale, softcap, start, size, whole=False)[:3]
    return reference.linear_log_softmax_partials(hidden, weight, targets.long() - start, bias, scale, softcap, size)


@_partials.register_fake
def _(
    hidden: torch.Tensor,
    weight: torch.Tensor,  # noqa: ARG001
    targets: torch.Tensor,
    bias: torch.Tensor | None,  # noqa: ARG001
    scale: float,  # noqa: ARG001
    softcap: float | None,  # noqa: ARG001
    start: int,  # noqa: ARG001
    size: int,  # noqa: ARG001
    impl: str,  # noqa: ARG001
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rows = targets.shape[:1]
    return (
        hidden.new_empty(rows, dtype=torch.float32),
        hidden.new_empty(rows, dtype=torch.float32),
        hidden.new_empty(targets.shape, dtype=torch.float32),
    )


def _check(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    scale: float,
    softcap: float | None,
    size: int | None,
) -> tuple[torch.Tensor, torch.Tensor, int]:
    """The operands, D contiguous, and the true number of rows of the weight."""
    check_logit_shape("hidden", hidden, 2)
    check_logit_shape("weight", weight, 2)
    if hidden.shape[1] != weight.shape[1] or not hidden.shape[1]:
        raise ValueError(
            f"hidden is {tuple(hidden.shape)} and weight {tuple(weight.shape)}; [N, D] and [V, D] are wanted"
        )
    if hidden.dtype != weight.dtype:
        raise TypeError(f"hidden is {hidden.dtype} and weight {weight.dtype}; one dtype is wanted")
    for name, tensor in {"weight": weight, "bias": bias}.items():
        if tensor is not None and tensor.device != hidden.device:
            raise ValueError(f"{name} is on {tensor.device}, hidden on {hidden.device}")
    if bias is not None:
        check_logit_shape("bias", bias, 1)
        if len(bias) != len(weight):
            raise ValueError(f"bias has {len(bias)} values, weight {len(weight)} rows")
    if softcap is not None and not softcap > 0:
        raise ValueError(f"softcap={softcap}: a positive number, or None for no soft-cap")
    if not abs(scale) < float("inf"):
        raise ValueError(f"scale={scale}: a finite number is wanted")
    if size is None:
        size = len(weight)
    if not 0 <= size <= len(weight):
        raise ValueError(f"{size} rows of the weight are to be vocabulary, of {len(weight)}")
    if hidden.stride(1) != 1:
        hidden = hidden.contiguous()
    if weight.stride(1) != 1:
        raise ValueError(f"weight has strides {weight.stride()}; its rows must be contiguous (a copy would double it)")
    return hidden, weight, size


def linear_log_softmax_gather(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    *,
    bias: torch.Tensor | None = None,
    scale: float = 1.0,
    softcap: float | None = None,
    vocab_size: int | None = None,
    impl: str = "auto",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Raw logit and log-probability of given tokens under an LM head, without its logits in memory.

    The logits are z = (hidden @ weight.T + bias) * scale, and softcap * tanh(z / softcap) with a soft-cap, sums in
    fp32 whatever the operands' dtype. A head that runs by itself in bf16 rounds every logit to 8 bits first: up to
    0.03 off at logits near 8; this is the more exact.

    Args:
        hidden: [N, D] bf16, fp16 or fp32.
        weight: [V, D] of the same dtype, rows contiguous.
        targets: [N] int32 or int64 token ids; IGNORED (-100) skips a row. Or [N, K]: K targets a row, one product.
        bias: [V] bf16, fp16 or fp32.
        scale: multiplies the logits.
        softcap: soft-cap of the logits, positive.
        vocab_size: the weight's rows from here on are padding and never count, whatever they hold; None: no padding.
        impl: "auto", "triton" or "torch"; see :func:`radar_fast.kernels.runtime.choose`.

    Returns:
        logit and logprob, fp32, shaped as the targets, with logprob = (logit - max) - log(sum(exp(logit - max))), never
        above 0; both 0 where the target is ignored.

    Raises:
        ValueError: shapes or devices do not fit, ``impl`` is unknown, or a target is out of range. The last is not
            looked for on a GPU, where that would wait, nor under torch.compile: there such a target has NaN for both
            numbers.
        TypeError: a dtype does not fit.
        RuntimeError: ``impl="triton"`` where Triton cannot run.
    """
    chosen = choose(impl, hidden.device)
    hidden, weight, size = _check(hidden, weight, bias, scale, softcap, vocab_size)
    if not size:
        raise ValueError("the weight has no rows of vocabulary")
    check_targets(targets, len(hidden), 0, size, hidden.device)
    logit, logprob = _gather(hidden, weight, two_dimensional(targets), bias, scale, softcap, size, chosen)
    return logit.view(targets.shape), logprob.view(targets.shape)


def linear_log_softmax_partials(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    *,
    vocab_start: int = 0,
    shard_size: int | None = None,
    bias: torch.Tensor | None = None,
    scale: float = 1.0,
    softcap: float | None = None,
    impl: str = "auto",
) -> Partials:
    """The same for one shard of a vocabulary-parallel head: what :func:`merge_shards` makes the whole of.

    Args:
        hidden: [N, D], the same on every shard.
        weight: [V', D], the shard's rows; those from ``shard_size`` on are padding.
        targets: [N] or [N, K] token ids of the whole vocabulary, the same on every shard; IGNORED (-100) skips a row.
        vocab_start: the token id of the shard's first row.
        shard_size: how many of the shard's rows are vocabulary, 0 of an empty shard; None: all.
        bias: [V'], the shard's.
        scale, softcap, impl: as in :func:`linear_log_softmax_gather`.

    Returns:
        Partials: top [N], total [N], and logit shaped as the targets. To be gathered from all ranks in order; with
        ``torch.distributed`` that is one all-gather of a [N, 2 + K] fp32 tensor.

    Raises:
        ValueError, TypeError, RuntimeError: as :func:`linear_log_softmax_gather`; of targets only negative ones are
            out of range, for a shard does not know the whole vocabulary.
    """
    chosen = choose(impl, hidden.device)
    hidden, weight, size = _check(hidden, weight, bias, scale, softcap, shard_size)
    if vocab_start < 0:
        raise ValueError(f"vocab_start={vocab_start}: 0 or more is wanted")
    check_targets(targets, len(hidden), 0, None, hidden.device)
    wanted = two_dimensional(targets)
    top, total, logit = _partials(hidden, weight, wanted, bias, scale, softcap, vocab_start, size, chosen)
    return Partials(top, total, logit.view(targets.shape))
