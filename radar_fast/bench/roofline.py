"""How far the machine could go: the arithmetic that a sample cannot do without, over the machine's matrix rate.

A floating-point operation is a multiplication or an addition; a matrix product [m, k] x [k, n] is 2 m k n of them.
Only matrix products are counted, as torch.utils.flop_counter does; norms, activations and rotary embeddings are not.
The shapes are those of transformers' ``Qwen2VLForConditionalGeneration``:

- vision tower, an image of n patches, width E, depth L_v, MLP ratio r, merging g x g patches into width D:
  patches 2 n C T p^2 E; a layer 2 n E (3E) + 2 n E E + 4 n E (rE), and attention 4 n^2 E; the merger
  2 (n / g^2) (g^2 E) (g^2 E + D)
- language model, N positions, width D, H heads and H_kv key-value heads of d, MLP width I, L layers:
  2 N D d (H + 2 H_kv) + 2 N H d D + 6 N D I a layer, and attention 4 H d a pair of positions that see each other
- head, R rows: 2 R D V

The prefix of P tokens counts once: P positions and P (P + 1) / 2 pairs (causal). An answer of A tokens has A - 1
positions to compute, since what follows its last token is never asked: (A - 1) P + (A - 1) A / 2 pairs. Rows of the
head: the prefix's last, once, and the A - 1 of each answer.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch

__all__ = ["Architecture", "Work", "matrix_rate", "sample_flops"]


@dataclass(frozen=True)
class Work:
    """What a sample is made of, for one model and protocol."""

    prefix: int
    """Tokens that all candidates share, images expanded."""
    answers: tuple[int, ...]
    """Tokens of each candidate."""
    images: tuple[int, ...]
    """Patches of each image."""

    @property
    def positions(self) -> int:
        """Of the language model, each computed once."""
        return self.prefix + sum(length - 1 for length in self.answers)

    @property
    def pairs(self) -> int:
        """(position, position it sees), each once."""
        tails = (length - 1 for length in self.answers)
        return self.prefix * (self.prefix + 1) // 2 + sum(n * self.prefix + n * (n + 1) // 2 for n in tails)

    @property
    def head_rows(self) -> int:
        """Hidden states that predict an answer token."""
        return 1 + sum(length - 1 for length in self.answers)


@dataclass(frozen=True)
class Architecture:
    """A Qwen2-VL's sizes."""

    model_type: ClassVar[str] = "qwen2_vl"
    """Of the configs whose sum is known here."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    mlp: int
    vocabulary: int
    vision_width: int
    vision_layers: int
    vision_mlp: int
    patch_values: int
    """Numbers in a patch: channels x frames x side x side."""
    merged: int
    """Patches that become one token."""

    @classmethod
    def of(cls, config: Any) -> Self:
        """From a transformers config of ``model_type``."""
        text, vision = config.get_text_config(), config.vision_config
        return cls(
            hidden=text.hidden_size,
            layers=text.num_hidden_layers,
            heads=text.num_attention_heads,
            kv_heads=text.num_key_value_heads,
            head_size=getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads,
            mlp=text.intermediate_size,
            vocabulary=text.vocab_size,
            vision_width=vision.embed_dim,
            vision_layers=vision.depth,
            vision_mlp=int(vision.embed_dim * vision.mlp_ratio),
            patch_values=vision.in_channels * vision.temporal_patch_size * vision.patch_size**2,
            merged=vision.spatial_merge_size**2,
        )

    def vision(self, patches: int) -> int:
        """One image through the tower and the merger."""
        width = self.vision_width
        layer = 2 * patches * width * (4 * width + 2 * self.vision_mlp) + 4 * patches**2 * width
        merged = self.merged * width
        merger = 2 * (patches // self.merged) * merged * (merged + self.hidden)
        return 2 * patches * self.patch_values * width + self.vision_layers * layer + merger

    def language(self, positions: int, pairs: int) -> int:
        """Positions through all layers, with attention over ``pairs``."""
        inner = self.heads * self.head_size
        projections = self.hidden * self.head_size * (self.heads + 2 * self.kv_heads) + inner * self.hidden
        layer = 2 * positions * (projections + 3 * self.hidden * self.mlp) + 4 * pairs * inner
        return self.layers * layer

    def head(self, rows: int) -> int:
        """Rows through the LM head."""
        return 2 * rows * self.hidden * self.vocabulary


def sample_flops(architecture: Architecture, work: Work) -> int:
    """Vision tower, prefix, answers and head, each once."""
    return (
        sum(map(architecture.vision, work.images))
        + architecture.language(work.positions, work.pairs)
        + architecture.head(work.head_rows)
    )


SIDES = {"cpu": (1024, 2048), "cuda": (8192, 16384)}
"""Of the square products that are tried, by device."""


def matrix_rate(device: torch.device, dtype: torch.dtype, sizes: Sequence[int] = (), seconds: float = 0.5) -> float:
    """Floating-point operations a second of this machine's matrix product: the best of the square products tried.

    Args:
        device: where.
        dtype: of both factors and the result.
        sizes: sides to try; by default those of SIDES.
        seconds: to spend on each size, at least one product.
    """
    best = 0.0
    for size in sizes or SIDES[device.type]:
        left = torch.rand(size, size, device=device).to(dtype)
        right = torch.rand(size, size, device=device).to(dtype)
        _product_seconds(left, right)  # the first one chooses a kernel
        spent = 0.0
        while spent < seconds:
            taken = _product_seconds(left, right)
            spent += taken
            best = max(best, 2 * size**3 / taken)
    if device.type == "cuda":
        del left, right
        torch.cuda.empty_cache()  # the contenders are to have the whole device
    return best


def _product_seconds(left: torch.Tensor, right: torch.Tensor) -> float:
    if left.device.type == "cuda":
        torch.cuda.synchronize(left.device)
    started = time.perf_counter()
    torch.matmul(left, right)
    if left.device.type == "cuda":
        torch.cuda.synchronize(left.device)
    return time.perf_counter() - started
