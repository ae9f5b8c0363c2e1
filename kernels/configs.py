"""How the kernels are launched: a static table, by GPU generation and shape range.

Nothing is tuned in a user's first call. `bench/tune_kernels.py` sweeps the choices on a GPU and prints rows for this
table. No entry here has been timed yet: there was no GPU at hand. They are what the resource reports of the
ahead-of-time compiler and the bytes a tile moves suggest.
"""

from dataclasses import dataclass

import torch

__all__ = [
    "DEFAULT",
    "GENERATIONS",
    "MANY",
    "GatherConfig",
    "Generation",
    "LinearConfig",
    "generation",
    "linear_config",
]


@dataclass(frozen=True, slots=True)
class GatherConfig:
    """Launch of K1. Tiles are the same for every N; a program's share of them is scheduling and changes no number."""

    block_columns: int
    """Columns a tile, a power of 2."""
    num_warps: int
    programs: int
    """Programs wanted in flight; with more rows than that a program takes several tiles."""


@dataclass(frozen=True, slots=True)
class LinearConfig:
    """Launch of K2."""

    block_rows: int
    """Rows a tile of products, a power of 2, at least 16."""
    block_columns: int
    """Vocabulary a tile of products, a power of 2."""
    block_depth: int
    """Step along D, a power of 2 up to 64."""
    num_warps: int
    num_stages: int
    """How many steps are loaded ahead."""
    tma: bool = False
    """Load through tensor descriptors where rows are aligned to 16 bytes; Hopper and later."""
    group: int = 8
    """Tiles of rows that go over the same part of the vocabulary together, for the L2's sake."""
    persistent: int = 0
    """Programs a processor of the chip, each walking over tiles; 0: a program a tile."""


@dataclass(frozen=True, slots=True)
class Generation:
    """What one generation of GPUs is launched with."""

    gather: GatherConfig
    linear: tuple[tuple[int, LinearConfig], ...]
    """(most rows, launch) for 16-bit operands, ascending; the last serves beyond its bound too."""
    ragged: LinearConfig
    """16-bit operands of a D that is no multiple of 64: masked loads of single values, so small tiles."""
    fp32: LinearConfig
    """fp32 operands: multiplied without TF32, on the ordinary units, so small tiles."""
    ragged_fp32: LinearConfig
    """fp32 operands of a D that is no multiple of 64."""
    fused_from: int = 1
    """Rows of 16-bit operands from which K2 serves; fewer go through the library's product and K1. 1 until both were
    measured on that generation (bench/kernels.py prints where the fused kernel is the slower)."""


MANY = 2**31

_GATHER = GatherConfig(block_columns=4096, num_warps=8, programs=4096)
_RAGGED = LinearConfig(64, 64, 32, num_warps=8, num_stages=2)  # with 4 sm_100 spills where D is 16
_FP32 = LinearConfig(32, 32, 32, num_warps=4, num_stages=2)
_RAGGED_FP32 = LinearConfig(32, 32, 16, num_warps=4, num_stages=2)  # at a depth of 32 sm_80 spills under a soft-cap

DEFAULT = Generation(
    gather=_GATHER,
    # Under the 99 KiB of shared memory that consumer cards have.
    linear=((MANY, LinearConfig(64, 128, 64, num_warps=4, num_stages=3)),),
    ragged=_RAGGED,
    fp32=_FP32,
    ragged_fp32=_RAGGED_FP32,
)
"""Generations that the table does not know, and the interpreter."""

GENERATIONS: dict[tuple[int, int], Generation] = {
    # A100: mma.sync, 163 KiB of shared memory a block, 40 MiB of L2.
    (8, 0): Generation(
        gather=_GATHER,
        linear=(
            (64, LinearConfig(64, 128, 64, num_warps=4, num_stages=4)),
            (MANY, LinearConfig(128, 128, 64, num_warps=8, num_stages=4)),
        ),
        ragged=_RAGGED,
        fp32=_FP32,
        ragged_fp32=_RAGGED_FP32,
    ),
    # H100, H200: wgmma takes 64 rows a warpgroup; 227 KiB of shared memory a block, 50 MiB of L2.
    (9, 0): Generation(
        gather=_GATHER,
        linear=(
            (64, LinearConfig(64, 256, 64, num_warps=4, num_stages=4, tma=True)),
            (MANY, LinearConfig(128, 256, 64, num_warps=8, num_stages=4, tma=True)),
        ),
        ragged=_RAGGED,
        fp32=_FP32,
        ragged_fp32=_RAGGED_FP32,
    ),
}


def generation(capability: tuple[int, int] | None) -> Generation:
    """The table's entry for a compute capability, or the default."""
    return DEFAULT if capability is None else GENERATIONS.get(capability, DEFAULT)


def linear_config(capability: tuple[int, int] | None, dtype: torch.dtype, rows: int, even: bool) -> LinearConfig:
    """The launch of K2 for ``rows`` rows of ``dtype``; ``even``: whether D is a multiple of 64."""
    entry = generation(capability)
    if dtype == torch.float32:
        return entry.fp32 if even else entry.ragged_fp32
    if not even:
        return entry.ragged
    return next((config for most, config in entry.linear if rows <= most), entry.linear[-1][1])
