"""The table of measures: the numbers that every scored sample has, and whose means a summary holds.

A new one is a row of :data:`MEASURES`. It then stands in every entry of ``summary.json``, with an interval if it asks
for one, and a measure with an interval also in comparisons.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from radar_fast.scores import Verdict

__all__ = ["MEASURES", "Judged", "Measure"]


@dataclass(frozen=True, slots=True)
class Judged:
    """A scored sample: what a measure is computed from."""

    candidates: Sequence[str]
    """The texts that were scored."""
    answer: int
    """Index of the right candidate."""
    logits: Sequence[Sequence[float]]
    """Raw logits: one sequence for each candidate, with one number for each token."""
    logprobs: Sequence[Sequence[float]]
    """Log-probabilities (natural) of the same tokens."""
    raw: Verdict
    """What the mean raw logits say."""
    normalised: Verdict
    """What the mean log-probabilities say."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A number of a scored sample; a summary has its mean."""

    name: str
    """Its key in ``summary.json``; the ends of its interval are ``<name>_low`` and ``<name>_high``."""
    of: Callable[[Judged], float] = field(repr=False)
    """A sample's number: finite."""
    interval: bool
    """Whether its mean has an interval, and two runs are compared by it."""
    means: str
    """What it says, in one line."""
    share: bool = False
    """Whether it is 0 or 1, so that its mean is a share: its interval is then Wilson's, else a bootstrap."""


MEASURES: tuple[Measure, ...] = (
    Measure(
        "sds",
        lambda judged: judged.raw.probability,
        interval=True,
        means="Mean probability of the answer, from mean raw logits: the published score.",
    ),
    Measure(
        "accuracy",
        lambda judged: float(judged.raw.correct),
        interval=True,
        means="Share of the scored samples whose answer has the highest mean raw logit.",
        share=True,
    ),
    Measure(
        "sds_logprob",
        lambda judged: judged.normalised.probability,
        interval=False,
        means="As sds, from mean log-probabilities.",
    ),
    Measure(
        "accuracy_logprob",
        lambda judged: float(judged.normalised.correct),
        interval=False,
        means="As accuracy, from mean log-probabilities.",
        share=True,
    ),
)
"""In the order of ``summary.json``."""
