"""The table of measures: the numbers that every scored sample has, and whose means a summary holds.

A new one is a row of :data:`MEASURES`. It then stands in every entry of ``summary.json``, with an interval if it asks
for one, and a measure with an interval also in comparisons. Those of :data:`POOLED` are no mean over samples: they are
computed from the numbers of all samples of an entry.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from radar_fast.results.judged import Judged
from radar_fast.util.plugins import found

__all__ = ["MEASURES", "POOLED", "Measure", "Pooled", "compared", "expected_calibration_error", "names"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Measure:
    """A number of each scored sample; a summary has its mean."""

    name: str
    """Its key in ``summary.json``; the ends of its interval are ``<name>_low`` and ``<name>_high``."""
    of: Callable[[Judged], Floats] = field(repr=False)
    """n samples -> (n,) finite numbers."""
    interval: bool
    """Whether its mean has an interval, and two runs are compared by it."""
    means: str
    """What it says, in one line."""
    share: bool = False
    """Whether it is 0 or 1, so that its mean is a share: its interval is then Wilson's."""
    most: float = 1.0
    """The largest number it can be; the least is 0."""


@dataclass(frozen=True, slots=True)
class Pooled:
    """A number of many scored samples together."""

    name: str
    """Its key in ``summary.json``."""
    needs: tuple[str, ...]
    """The measures that it is computed from."""
    of: Callable[..., float] = field(repr=False)
    """(n,) numbers of each of ``needs`` -> a number; n is at least 1."""
    means: str
    """What it says, in one line."""


def _probability(judged: Judged, scores: Floats) -> Floats:
    found: Floats = judged.softmax(scores)[judged.right]
    return found


def _is_right(judged: Judged, chosen: NDArray[np.intp]) -> Floats:
    right: Floats = (chosen == judged.answers).astype(np.float64)
    return right


def _brier(judged: Judged) -> Floats:
    """The sum over the candidates of (probability - 1 for the answer, 0 for the others)^2."""
    wanted = np.zeros(len(judged.raw))
    wanted[judged.right] = 1
    squares = (judged.probabilities - wanted) ** 2
    return np.bincount(judged.owner, weights=squares, minlength=len(judged)).astype(np.float64)


def _confidence(judged: Judged) -> Floats:
    found: Floats = judged.probabilities[judged.starts + judged.chosen]
    return found


BINS = 15
"""Of the expected calibration error, as in the paper."""


def expected_calibration_error(confidence: Floats, right: Floats) -> float:
    """The mean distance between how sure a model is and how often it is right, over bins of confidence.

    C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, "On calibration of modern neural networks", ICML 2017, equation 3,
    with their 15 bins of equal width, each without its lower and with its upper end.

    Args:
        confidence: (n,): probability of the chosen candidate, above 0 and at most 1.
        right: (n,): 1 where it is the answer, else 0.
    """
    bins = np.clip(np.ceil(confidence * BINS).astype(np.intp) - 1, 0, BINS - 1)
    distances = np.bincount(bins, weights=confidence, minlength=BINS) - np.bincount(bins, weights=right, minlength=BINS)
    return float(np.abs(distances).sum()) / len(confidence)


MEASURES: tuple[Measure, ...] = (
    Measure(
        "sds",
        lambda judged: judged.probabilities[judged.right],
        interval=True,
        means="Mean probability of the answer, from mean raw logits: the published score.",
    ),
    Measure(
        "accuracy",
        lambda judged: _is_right(judged, judged.chosen),
        interval=True,
        means="Share of the scored samples whose answer has the highest mean raw logit.",
        share=True,
    ),
    Measure(
        "sds_logprob",
        lambda judged: _probability(judged, judged.normalised),
        interval=False,
        means="As sds, from mean log-probabilities.",
    ),
    Measure(
        "accuracy_logprob",
        lambda judged: _is_right(judged, judged.highest(judged.normalised)),
        interval=False,
        means="As accuracy, from mean log-probabilities.",
        share=True,
    ),
    # L. Gao, "Multiple choice normalization in LM evaluation" (EleutherAI, 2021) compares these two and the means
    # above; the accuracies are acc and acc_bytes of lm-evaluation-harness.
    Measure(
        "sds_sum",
        lambda judged: _probability(judged, judged.summed),
        interval=False,
        means="As sds, from summed log-probabilities: the candidates' own probabilities.",
    ),
    Measure(
        "accuracy_sum",
        lambda judged: _is_right(judged, judged.first_highest(judged.summed)),
        interval=False,
        means="As accuracy, from summed log-probabilities.",
        share=True,
    ),
    Measure(
        "sds_byte",
        lambda judged: _probability(judged, judged.summed / judged.width),
        interval=False,
        means="As sds, from log-probabilities per byte of the candidate.",
    ),
    Measure(
        "accuracy_byte",
        lambda judged: _is_right(judged, judged.first_highest(judged.summed / judged.width)),
        interval=False,
        means="As accuracy, from log-probabilities per byte of the candidate.",
        share=True,
    ),
    # G. W. Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 78 (1950), 1-3,
    # equation 2: over all candidates, so 0 to 2.
    Measure(
        "brier",
        _brier,
        interval=False,
        means="Mean squared error of the candidates' probabilities, summed over them: 0 is best, 2 worst.",
        most=2.0,
    ),
    Measure(
        "confidence",
        _confidence,
        interval=False,
        means="Mean probability of the candidate with the highest mean raw logit.",
    ),
    *found("radar_fast.measures", Measure).values(),
)
"""In the order of ``summary.json``; those of other packages last."""

POOLED: tuple[Pooled, ...] = (
    Pooled(
        "ece",
        ("confidence", "accuracy"),
        expected_calibration_error,
        "Expected calibration error: how far confidence is from accuracy, over 15 bins of confidence.",
    ),
)
"""They stand after the measures."""


def compared() -> tuple[str, ...]:
    """The names of the measures that have an interval, by which two runs are compared."""
    return tuple(measure.name for measure in MEASURES if measure.interval)


def names() -> tuple[str, ...]:
    """The names of all numbers of an entry, in the order of ``summary.json``."""
    return tuple(measure.name for measure in MEASURES) + tuple(pooled.name for pooled in POOLED)
