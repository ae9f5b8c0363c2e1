"""Attention over samples in rows, for CPUs: the columns that are prefix in every row causally, the others by a mask.

Under a mask torch's kernel computes every score and throws away what lies above the diagonal; told that attention is
causal, it never computes it. Key and value heads that several query heads share are not repeated either, which
transformers does wherever there is a mask.
"""

import torch
from torch.nn.functional import scaled_dot_product_attention

from radar_fast.engines.transformers.packing import Batch

__all__ = ["Split"]

LEAST = 32
"""Columns of prefix from where on a call of their own is the faster."""


class Split:
    """Attention over one batch of samples in rows."""

    def __init__(self, packed: Batch, dtype: torch.dtype) -> None:
        """Make the mask of what is not prefix in every row; ``dtype`` is the model's."""
        self._shared = packed.shared if packed.shared >= LEAST else 0
        self._mask = packed.mask(dtype, self._shared)

    def __call__(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
        """[B, H, L, D], [B, K, L, D], [B, K, L, D] -> [B, L, H, D], all of one floating dtype; H is a multiple of K."""
        shared, several = self._shared, key.shape[1] != query.shape[1]
        parts = []
        if shared:
            parts.append(
                scaled_dot_product_attention(
                    query[:, :, :shared],
                    key[:, :, :shared],
                    value[:, :, :shared],
                    is_causal=True,
                    scale=scale,
                    enable_gqa=several,
                )
            )
        if shared < query.shape[2]:
            parts.append(
                scaled_dot_product_attention(
                    query[:, :, shared:], key, value, attn_mask=self._mask, scale=scale, enable_gqa=several
                )
            )
        # Heads next to each other, as the output projection wants them; one part is so already.
        together = [part.transpose(1, 2) for part in parts]
        return together[0] if len(together) == 1 else torch.cat(together, dim=1)
