"""Several samples in one forward pass, each with its prefix once and all its candidates.

In a :class:`Batch` every sample is a row, padded to the longest. A row is the shared prefix followed by every
candidate's tokens; under the tree mask a candidate sees the prefix and itself, never its siblings, and its position ids
restart where the prefix ends. The last token of a candidate is left out: what the model would say after it is never
asked. So a one-token candidate costs no position at all.

In a :class:`Flat` the samples lie end to end in one sequence, all prefixes first, then all candidates: nothing is
padded, and each kind of token is one slice. It needs an attention that knows where one sample ends; see ``cascade``.

Pure: tensors in, tensors out, no model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch

from radar_fast.engines.encode.encoder import Encoded
from radar_fast.engines.transformers.transfer import moved

__all__ = ["PADDING_SHARE", "Batch", "Flat", "batch", "flat", "packed_length", "plan", "plan_flat"]

PADDING_SHARE = 0.04
"""A batch is closed before padding exceeds this share of its tokens."""


def packed_length(encoded: Encoded) -> int:
    """Tokens of the row: the prefix, and each candidate less its last token."""
    return len(encoded.prefix) + sum(len(suffix) - 1 for suffix in encoded.suffixes)


def plan(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Group rows into batches: longest first, each batch within ``budget`` tokens and little padding.

    Args:
        lengths: tokens per row.
        budget: most tokens per batch, padding counted; a longer row gets a batch of its own.

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


def plan_flat(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Group samples that are laid end to end: longest first, each batch within ``budget`` tokens.

    Args:
        lengths: tokens per sample.
        budget: most tokens per batch; a longer sample gets a batch of its own.

    Returns:
        Batches of indices into ``lengths``; every index once.
    """
    batches: list[list[int]] = []
    tokens = 0
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        if batches and tokens + lengths[index] <= budget:
            batches[-1].append(index)
            tokens += lengths[index]
        else:
            batches.append([index])
            tokens = lengths[index]
    return batches


@dataclass(frozen=True, slots=True)
class Batch:
    """B rows of L tokens each, and T answer tokens to look up in R distinct rows of hidden states."""

    ids: torch.Tensor
    """[B, L] int64 token ids; some answer's token where padded."""
    groups: torch.Tensor
    """[B, L] int32: 0 in the prefix, k + 1 in candidate k, -1 where padded."""
    shared: int
    """Columns, from the first on, that are of the prefix in every row: the shortest prefix."""
    positions: torch.Tensor
    """[B, L] or [axes, B, L] int64 position ids, restarting at each candidate."""
    hidden_rows: torch.Tensor
    """[R] int64 indices into the B * L hidden states that predict an answer token; ascending, distinct."""
    answer_rows: torch.Tensor
    """[T] int64 indices into ``hidden_rows``, a token of an answer each, in order of sample, candidate, token.
    On the host, as ``targets``: they are put together by row there."""
    targets: torch.Tensor
    """[T] int64 the answer tokens' ids."""

    def mask(self, dtype: torch.dtype, first: int = 0) -> torch.Tensor:
        """[B, 1, L - first, L] additive attention mask of ``dtype`` for the tokens from column ``first`` on: 0 where a
        token may look, the dtype's least elsewhere.

        Padding looks at the prefix and at earlier padding, so that no row of the softmax is empty; nothing looks at it.
        """
        length = self.ids.shape[1]
        group = self.groups
        causal = torch.ones(length - first, length, dtype=torch.bool, device=group.device).tril(first)
        kin = (group[:, None, :] == 0) | (group[:, None, :] == group[:, first:, None])
        seen = causal & kin
        mask = torch.full(seen.shape, torch.finfo(dtype).min, dtype=dtype, device=group.device)
        return mask.masked_fill_(seen, 0.0)[:, None]


@dataclass(frozen=True, slots=True)
class Flat:
    """S samples end to end, T tokens in all: the P of their prefixes, sample after sample, then their candidates'."""

    ids: torch.Tensor
    """[1, T] int64 token ids."""
    owners: torch.Tensor
    """[T] int32: which sample a token belongs to."""
    groups: torch.Tensor
    """[T] int32: 0 in a prefix, k + 1 in candidate k."""
    positions: torch.Tensor
    """[1, T] or [axes, 1, T] int64 position ids, restarting at each candidate."""
    prefixes: tuple[int, ...]
    """A sample: tokens of its prefix. They add up to P."""
    candidates: tuple[tuple[int, ...], ...]
    """A sample: tokens of each of its candidates, 0 included. They add up to T - P."""
    hidden_rows: torch.Tensor
    """[R] int64 indices into the T hidden states that predict an answer token; ascending, distinct."""
    answer_rows: torch.Tensor
    """[T] int64 indices into ``hidden_rows``, a token of an answer each, in order of sample, candidate, token.
    On the host, as ``targets``: they are put together by row there."""
    targets: torch.Tensor
    """[T] int64 the answer tokens' ids."""


def batch(samples: Sequence[Encoded], prefix_positions: Sequence[torch.Tensor], device: torch.device) -> Batch:
    """Pack samples into one batch, a row each.

    Args:
        samples: B of them.
        prefix_positions: a sample: [P] or [axes, P] int64 position ids of its prefix.
        device: where the tensors are wanted.
    """
    count, length = len(samples), max(map(packed_length, samples))
    rows = [row * length for row in range(count)]
    candidates = [row + len(sample.prefix) for row, sample in zip(rows, samples, strict=True)]
    laid = _lay(samples, prefix_positions, rows, candidates, count * length)
    ids, groups = laid.ids.view(count, length), laid.groups.view(count, length)
    positions = laid.positions.reshape(*laid.positions.shape[:-1], count, length)
    return Batch(
        moved(ids, device),
        moved(groups, device),
        min(len(sample.prefix) for sample in samples),
        moved(positions, device),
        moved(laid.hidden_rows, device),
        laid.answer_rows,
        laid.targets,
    )


def flat(samples: Sequence[Encoded], prefix_positions: Sequence[torch.Tensor], device: torch.device) -> Flat:
    """Lay samples end to end.

    Args:
        samples: S of them.
        prefix_positions: a sample: [P] or [axes, P] int64 position ids of its prefix.
        device: where the tensors are wanted.
    """
    prefixes = tuple(len(sample.prefix) for sample in samples)
    candidates = tuple(tuple(len(suffix) - 1 for suffix in sample.suffixes) for sample in samples)
    *prefix_at, shared = accumulate(prefixes, initial=0)
    *candidates_at, total = accumulate(map(sum, candidates), initial=shared)
    laid = _lay(samples, prefix_positions, prefix_at, candidates_at, total)
    return Flat(
        moved(laid.ids[None], device),
        moved(laid.owners, device),
        moved(laid.groups, device),
        moved(laid.positions.unsqueeze(-2), device),
        prefixes,
        candidates,
        moved(laid.hidden_rows, device),
        laid.answer_rows,
        laid.targets,
    )


@dataclass(frozen=True, slots=True)
class _Laid:
    """What both kinds hold, with the slots for tokens in one line. Names as there."""

    ids: torch.Tensor
    owners: torch.Tensor
    groups: torch.Tensor
    positions: torch.Tensor
    hidden_rows: torch.Tensor
    answer_rows: torch.Tensor
    targets: torch.Tensor


def _lay(
    samples: Sequence[Encoded],
    prefix_positions: Sequence[torch.Tensor],
    prefix_at: Sequence[int],
    candidates_at: Sequence[int],
    slots: int,
) -> _Laid:
    """Put each sample's prefix and candidates into the slots that start where they are told."""
    axes = prefix_positions[0].shape[:-1]
    # Padding is a token of an answer: unlike 0, it stands for an image in no vocabulary.
    ids = torch.full((slots,), samples[0].suffixes[0][-1], dtype=torch.int64)
    owners = torch.full((slots,), -1, dtype=torch.int32)
    groups = torch.full((slots,), -1, dtype=torch.int32)
    positions = torch.zeros(*axes, slots, dtype=torch.int64)
    rows: list[int] = []
    targets: list[int] = []
    for owner, (sample, prefix) in enumerate(zip(samples, prefix_positions, strict=True)):
        start, shared = prefix_at[owner], len(sample.prefix)
        last = start + shared - 1
        ids[start : start + shared] = torch.tensor(sample.prefix, dtype=torch.int64)
        groups[start : start + shared] = 0
        owners[start : start + shared] = owner
        positions[..., start : start + shared] = prefix
        following = int(prefix.max()) + 1 if shared else 0
        start = candidates_at[owner]
        for candidate, suffix in enumerate(sample.suffixes):
            stop = start + len(suffix) - 1
            ids[start:stop] = torch.tensor(suffix[:-1], dtype=torch.int64)
            groups[start:stop] = candidate + 1
            owners[start:stop] = owner
            positions[..., start:stop] = torch.arange(following, following + stop - start)
            for index in range(sample.scored_from, len(suffix)):
                # The row before the token: in the candidate itself, or the prefix's last for its first token.
                rows.append(start + index - 1 if index else last)
                targets.append(suffix[index])
            start = stop
    hidden_rows, answer_rows = torch.unique(torch.tensor(rows), return_inverse=True)
    return _Laid(ids, owners, groups, positions, hidden_rows, answer_rows, torch.tensor(targets))
