"""Several samples in one forward pass: each a row that holds its prefix once and all its candidates.

A row is the shared prefix followed by every candidate's tokens; under the tree mask a candidate sees the prefix and
itself, never its siblings, and its position ids restart where the prefix ends. The last token of a candidate is left
out: what the model would say after it is never asked. So a one-token candidate costs no position at all.

Pure: tensors in, tensors out, no model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from radar_fast.engines.encoding import Encoded

__all__ = ["PADDING_SHARE", "Batch", "batch", "packed_length", "plan"]

PADDING_SHARE = 0.04
"""A batch is closed before padding exceeds this share of its tokens."""


def packed_length(encoded: Encoded) -> int:
    """Tokens of the row: the prefix, and each candidate less its last token."""
    return len(encoded.prefix) + sum(len(suffix) - 1 for suffix in encoded.suffixes)


def plan(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Group rows into batches: longest first, each batch within ``budget`` tokens and little padding.

    Args:
        lengths: tokens a row.
        budget: most tokens a batch, padding counted; a longer row gets a batch of its own.

    Returns:
        Batches of indices into ``lengths``; every index once.
    """
    batches: list[list[int]] = []
    tokens = 0
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        if batches:
            longest = lengths[batches[-1][0]]
            area = longest * (len(batches[-1]) + 1)
            if area <= budget and area - tokens - lengths[index] <= PADDING_SHARE * area:
                batches[-1].append(index)
                tokens += lengths[index]
                continue
        batches.append([index])
        tokens = lengths[index]
    return batches


@dataclass(frozen=True, slots=True)
class Batch:
    """B rows of L tokens each, and T answer tokens to look up in R distinct rows of hidden states."""

    ids: torch.Tensor
    """[B, L] int64 token ids; 0 where padded."""
    groups: torch.Tensor
    """[B, L] int32: 0 in the prefix, k + 1 in candidate k, -1 where padded."""
    positions: torch.Tensor
    """[B, L] or [axes, B, L] int64 position ids, restarting at each candidate."""
    hidden_rows: torch.Tensor
    """[R] int64 indices into the B * L hidden states that predict an answer token; ascending, distinct."""
    answer_rows: torch.Tensor
    """[T] int64 indices into ``hidden_rows``, a token of an answer each, in order of sample, candidate, token."""
    targets: torch.Tensor
    """[T] int64 the answer tokens' ids."""

    def mask(self, dtype: torch.dtype) -> torch.Tensor:
        """[B, 1, L, L] additive attention mask of ``dtype``: 0 where a token may look, the dtype's least elsewhere.

        Padding looks at the prefix and at earlier padding, so that no row of the softmax is empty; nothing looks at it.
        """
        length = self.ids.shape[1]
        group = self.groups
        causal = torch.ones(length, length, dtype=torch.bool, device=group.device).tril()
        kin = (group[:, None, :] == 0) | (group[:, None, :] == group[:, :, None])
        seen = causal & kin
        mask = torch.full(seen.shape, torch.finfo(dtype).min, dtype=dtype, device=group.device)
        return mask.masked_fill_(seen, 0.0)[:, None]


def batch(samples: Sequence[Encoded], prefix_positions: Sequence[torch.Tensor], device: torch.device) -> Batch:
    """Pack samples into one batch.

    Args:
        samples: B of them.
        prefix_positions: a sample: [P] or [axes, P] int64 position ids of its prefix.
        device: where the tensors are wanted.
    """
    length = max(map(packed_length, samples))
    axes = prefix_positions[0].shape[:-1]
    ids = torch.zeros(len(samples), length, dtype=torch.int64)
    groups = torch.full((len(samples), length), -1, dtype=torch.int32)
    positions = torch.zeros(*axes, len(samples), length, dtype=torch.int64)
    rows: list[int] = []
    targets: list[int] = []
    for row, (sample, prefix) in enumerate(zip(samples, prefix_positions, strict=True)):
        shared = len(sample.prefix)
        ids[row, :shared] = torch.tensor(sample.prefix)
        groups[row, :shared] = 0
        positions[..., row, :shared] = prefix
        following = int(prefix.max()) + 1 if shared else 0
        start = shared
        for candidate, suffix in enumerate(sample.suffixes):
            stop = start + len(suffix) - 1
            ids[row, start:stop] = torch.tensor(suffix[:-1], dtype=torch.int64)
            groups[row, start:stop] = candidate + 1
            positions[..., row, start:stop] = torch.arange(following, following + stop - start)
            for index in range(sample.scored_from, len(suffix)):
                # The row before the token: in the candidate itself, or the prefix's last for its first token.
                before = start + index - 1 if index else shared - 1
                rows.append(row * length + before)
                targets.append(suffix[index])
            start = stop
    hidden_rows, answer_rows = torch.unique(torch.tensor(rows), return_inverse=True)
    return Batch(*(t.to(device) for t in (ids, groups, positions, hidden_rows, answer_rows, torch.tensor(targets))))
