"""An engine step with packed requests: which of its rows are computed, and the sequences that the attention sees.

Rows of the step as vLLM scheduled it are *scheduled* rows; those that the model computes, with nonces and filler left
out, are *kept* rows. Pure: numpy arrays in and out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from radar_fast.engines.vllm.packed_layout import Layout

__all__ = ["Step", "plan_step"]


@dataclass(frozen=True, slots=True)
class Step:
    """What a step computes. S kept rows, W writes to the KV cache, V sequences of at most M blocks."""

    answered: tuple[bool, ...]
    """A request: whether its rows will be what it asks for. A packed one that vLLM cut, or one too many, is computed as
    a plain text, and has to be answered by nothing."""
    kept: np.ndarray
    """[S] int64 scheduled rows."""
    shift: np.ndarray
    """[S] int64: what to take from their positions."""
    sources: np.ndarray
    """[W] int64 kept rows whose keys and values are written."""
    owners: np.ndarray
    """[W] int64: the request whose block table a write goes by."""
    columns: np.ndarray
    """[W] int64: its column there."""
    offsets: np.ndarray
    """[W] int64: the place in that block."""
    starts: np.ndarray
    """[V + 1] int32: first kept row of each sequence, and S."""
    lengths: np.ndarray
    """[V] int32: keys of each sequence."""
    sequence_owners: np.ndarray
    """[V] int64: its request."""
    sequence_columns: np.ndarray
    """[V, M] int64: its blocks, as columns of that request's block table."""


def plan_step(
    layouts: Sequence[Layout | None],
    computed: Sequence[int],
    starts: Sequence[int],
    block: int,
    most_sequences: int,
) -> Step:
    """Plan a step.

    Args:
        layouts: a request: its layout; None of a plain one.
        computed: a request: its tokens that earlier steps or the prefix cache have computed.
        starts: first scheduled row of each request, and the number of rows.
        block: tokens in a block of the KV cache.
        most_sequences: that the attention has room for; at least as many as requests.
    """
    answered: list[bool] = []
    kept: list[np.ndarray] = []
    shift: list[np.ndarray] = []
    sources: list[np.ndarray] = []
    places: list[np.ndarray] = []
    queries: list[np.ndarray] = []
    lengths: list[np.ndarray] = []
    blocks: list[np.ndarray] = []  # [n, 3] of n sequences: whole blocks of the head, first own block, own blocks
    writes: list[int] = []
    spare = most_sequences - len(layouts)
    here = 0  # kept rows so far
    for layout, done, row, end in zip(layouts, computed, starts, starts[1:], strict=False):
        count = end - row
        if layout is None or not _whole(layout, done, count, block) or len(layout.paths) - 1 > spare:
            rows = np.arange(count)
            answered.append(layout is None)
            kept.append(rows + row)
            shift.append(np.zeros(count, np.int64))
            sources.append(rows + here)
            places.append(rows + done)
            queries.append(np.array([count]))
            lengths.append(np.array([done + count]))
            blocks.append(np.array([[-(-(done + count) // block), 0, 0]]))
            writes.append(count)
            here += count
            continue
        whole, tail = divmod(layout.head, block)
        head = layout.head - done  # its rows in this step
        nodes = np.arange(len(layout.depth))
        aligned = np.arange(whole * block - done)
        new, length, at = layout.paths.T
        answered.append(True)
        kept += [np.arange(row, row + head), nodes + (row + layout.first - done)]
        shift += [np.zeros(head, np.int64), nodes - layout.depth + (layout.first - layout.head)]
        sources += [aligned + here, layout.sources + (here + head)]
        places += [aligned + done, layout.places]
        queries += [new[:1] + head, new[1:]]
        lengths.append(length + layout.head)
        blocks.append(np.stack([np.full(len(at), whole), at, -(-(length + tail) // block)], axis=1))
        writes.append(len(aligned) + len(layout.sources))
        spare -= len(at) - 1
        here += head + len(nodes)
    place = np.concatenate(places)
    shared, first, own = np.concatenate(blocks).T[:, :, None]
    column = np.arange((shared + own).max())
    requests = np.arange(len(layouts))
    return Step(
        answered=tuple(answered),
        kept=np.concatenate(kept),
        shift=np.concatenate(shift),
        sources=np.concatenate(sources),
        owners=np.repeat(requests, writes),
        columns=place // block,
        offsets=place % block,
        starts=np.concatenate([[0], np.cumsum(np.concatenate(queries))]).astype(np.int32),
        lengths=np.concatenate(lengths).astype(np.int32),
        sequence_owners=np.repeat(requests, list(map(len, blocks))),
        # What lies beyond a sequence's blocks is never looked at, but must be a column.
        sequence_columns=np.where(column < shared, column, first + np.clip(column - shared, 0, np.maximum(own - 1, 0))),
    )


def _whole(layout: Layout, done: int, count: int, block: int) -> bool:
    """Whether a step's rows are all that the paths need: neither cut by chunked prefill nor cached past the head."""
    return done <= layout.head // block * block and done + count == layout.length
