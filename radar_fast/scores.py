"""The score of one sample: token scores of its candidates -> the answer's probability, and right or wrong.

:class:`~radar_fast.sample.Scored` and the journal have these numbers beside the token scores, and the metrics derive
them again from those; all do it here. The published scripts take the mean over a candidate's tokens in double
precision, then hand the means to ``torch.softmax`` as float32 and take the argmax of the float32 *probabilities*. Two
candidates tie, then, where float32 cannot tell their probabilities apart, and the first of them wins. The scripts put
the answer first, so an answer that ties with the highest is right, wherever a dataset lists it.
:func:`softmax_float32` repeats that arithmetic; probabilities to be averaged are computed in double precision from the
same float32 means.
This module imports nothing of ours.
"""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Verdict", "judge", "mean_score", "softmax_float32"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one kind of token score says about one sample."""

    probability: float
    """Softmax over the candidates' means, at the answer: in [0, 1]. Over raw logits this is the sample's SDS."""
    correct: bool
    """Whether no candidate has a higher probability than the answer."""
    chosen: int
    """Index of the candidate with the highest probability; of a tie the answer, else the first."""
    probabilities: tuple[float, ...]
    """The softmax itself: one probability for each candidate."""


def judge(tokens: Sequence[Sequence[float]], answer: int) -> Verdict:
    """Judge a sample by the scores of its candidates' tokens (raw logits or log-probabilities).

    ``tokens`` holds one sequence for each candidate, with one number for each token; ``answer`` is the index of the
    right candidate. Raises ValueError for no candidates, a candidate without tokens, an index outside them, or a score
    that is not a finite float32.
    """
    if not 0 <= answer < len(tokens):
        raise ValueError(f"answer {answer} is not an index into {len(tokens)} candidates")
    means = _finite_float32([mean_score(candidate) for candidate in tokens])
    highest = max(means)
    weights = [math.exp(mean - highest) for mean in means]
    # As published: the answer first, the others in their order. So even the last bit of the sum is the scripts' own.
    order = [answer, *(index for index in range(len(tokens)) if index != answer)]
    rounded = softmax_float32([means[index] for index in order])
    chosen = order[rounded.index(max(rounded))]
    total = math.fsum(weights)
    probabilities = tuple(weight / total for weight in weights)
    return Verdict(probabilities[answer], chosen == answer, chosen, probabilities)


def mean_score(tokens: Sequence[float]) -> float:
    """A candidate's score: the mean over its tokens, in double precision and reading order, as published."""
    if not tokens:
        raise ValueError("a candidate has no tokens")
    return sum(tokens) / len(tokens)


def softmax_float32(means: Sequence[float]) -> tuple[float, ...]:
    """``torch.softmax(torch.tensor(means), dim=0)``, to the last bit or two of float32.

    Means, differences from the highest mean, exponentials, their running sum and quotients are each rounded to
    float32. The exponential is rounded correctly here, torch's may be off by one unit in the last place.
    """
    rounded = _finite_float32(means)
    highest = max(rounded)
    weights = _float32([math.exp(shift) for shift in _float32([mean - highest for mean in rounded])])
    total = 0.0
    for weight in weights:
        (total,) = _float32([total + weight])
    return _float32([weight / total for weight in weights])


def _float32(values: Sequence[float]) -> tuple[float, ...]:
    # In float64, +, - and / of two float32 values and a final rounding give what float32 arithmetic gives. Native
    # packing (no byte order in the layout) rounds like a C cast: what is too large becomes infinite.
    layout = f"{len(values)}f"
    return struct.unpack(layout, struct.pack(layout, *values))


def _finite_float32(values: Sequence[float]) -> tuple[float, ...]:
    rounded = _float32(values)
    if not all(map(math.isfinite, rounded)):
        raise ValueError(f"scores must be finite in float32, found {list(values)}")
    return rounded
