"""Probabilities of candidates -> small whole numbers, of which a page makes them again: few bytes where they are many.

The answer's is kept in whole percent. Of the distractors' all but the last are kept, in steps of two percent: the last
has what is left. Rounded are the running sums, not the shares, so that errors do not add up: each is right within 2.5
percent, however many there are, and all of a sample's make 100.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["STEP", "arranged", "quantised"]

STEP = 2
"""Percent that a distractor's number stands for; ``data.js`` has the same."""

Bytes = NDArray[np.uint8]


def quantised(
    probabilities: NDArray[np.floating], first: NDArray[np.integer], answers: NDArray[np.integer]
) -> tuple[Bytes, Bytes]:
    """The answers' numbers (n, s), and those of all other candidates but each sample's last (D, s), sample by sample.

    Args:
        probabilities: (C, s) of C candidates at s steps; NaN where unscored, and those numbers are 0.
        first: (n + 1,): where each of n samples' candidates begin.
        answers: (n,): place of the answer among its sample's candidates; of any number for a sample without.
    """
    whole = 100 * np.nan_to_num(probabilities.astype(np.float64))
    counts = np.diff(first.astype(np.int64))
    some = counts > 0
    right = np.zeros((len(counts), whole.shape[1]))
    right[some] = whole[(first[:-1].astype(np.int64) + answers)[some]]
    answer = np.rint(right).astype(np.uint8)
    room = (100 - answer.astype(np.int64)) // STEP
    kept = np.maximum(0, counts - 2)
    starts = np.cumsum(kept) - kept
    others = np.zeros((int(kept.sum()), whole.shape[1]), np.uint8)
    running = np.zeros_like(right)
    before = np.zeros(right.shape, np.int64)
    for rank in range(int(kept.max(initial=0))):
        here = np.flatnonzero(kept > rank)
        places = first[here].astype(np.int64) + rank + (rank >= answers[here])  # the answer is passed over
        running[here] += whole[places]
        sums = np.minimum(np.rint(running[here] / STEP).astype(np.int64), room[here])
        others[starts[here] + rank] = sums - before[here]
        before[here] = sums
    return answer, others


def arranged(answers: Bytes, others: Bytes, states: Bytes, first: NDArray[np.integer]) -> tuple[Bytes, Bytes]:
    """The numbers of :func:`quantised` in an order in which like stand together, so that they pack better: by what a
    page knows of each before it reads it. Those alike in that keep their order; ``data.js`` lays them out again.

    Args:
        answers, others: (n, s) and (D, s).
        states: (n, s): what became of a sample at a step, by which the answers' are ordered.
        first: as of :func:`quantised`.

    Returns:
        (n * s,) and (D * s,): of the others first each sample's first, then each sample's second and so on, by what
        the answer and those before have left of the 100 percent.
    """
    kept = np.maximum(0, np.diff(first.astype(np.int64)) - 2)
    starts = np.cumsum(kept) - kept
    left = (100 - answers.astype(np.int64)) // STEP
    written = [np.zeros(0, np.uint8)]
    for rank in range(int(kept.max(initial=0))):
        here = np.flatnonzero(kept > rank)
        mine = others[starts[here] + rank]
        written.append(mine.ravel()[np.argsort(left[here].ravel(), kind="stable")])
        left[here] -= mine
    return answers.ravel()[np.argsort(states.ravel(), kind="stable")], np.concatenate(written)
