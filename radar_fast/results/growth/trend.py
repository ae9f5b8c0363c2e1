"""What a curve says as a whole: when it sets in, how steadily it rises, and how much of it is noise."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from radar_fast.results.difference import Change
from radar_fast.results.growth.curves import Trend
from radar_fast.results.summary import Entry

__all__ = ["LAST", "monotonicity", "onset", "signal_and_noise", "trend_of"]

LAST = 5
"""How many of the last steps the noise is taken from, where there are as many."""


def trend_of(entries: Sequence[Entry | None], since_first: Sequence[Change | None]) -> Trend:
    """The trend of SDS over the steps: entries, and the paired changes since the first of them."""
    known = [entry.sds for entry in entries if entry is not None and entry.sds is not None]
    signal, noise = signal_and_noise(known)
    return Trend(
        onset=onset([_is_above(entry) for entry in entries]),
        onset_above_first=onset([None if change is None else (change.low or 0) > 0 for change in since_first]),
        monotonicity=monotonicity(known),
        signal=signal,
        noise=noise,
        signal_to_noise=signal / noise if signal is not None and noise else None,
    )


def _is_above(entry: Entry | None) -> bool | None:
    """Whether the interval lies above chance; None where the step says nothing."""
    if entry is None or entry.chance is None:
        return None
    return entry.sds_low is not None and entry.sds_low > entry.chance


def onset(above: Sequence[bool | None]) -> int | None:
    """The place from which all are true to the end; None where the last is not. Those that are None are passed over."""
    found = None
    for place, each in enumerate(above):
        if each is False:
            found = None
        elif each and found is None:
            found = place
    return found


def monotonicity(values: Sequence[float]) -> float | None:
    """Spearman's rank correlation of the values with their order: 1 for a rise without a setback.

    C. Spearman, "The proof and measurement of association between two things", American Journal of Psychology 15
    (1904), 72-101: Pearson's correlation of the ranks, equal values having the mean of theirs. A criterion of FineTasks
    (Hugging Face, 2024) for a task that tells checkpoints apart. None below three values, or where all are equal.
    """
    if len(values) < 3 or len(set(values)) == 1:
        return None
    return float(np.corrcoef(np.arange(len(values)), _ranks(np.array(values)))[0, 1])


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[codes]


def signal_and_noise(values: Sequence[float]) -> tuple[float | None, float | None]:
    """How far steps lie apart, and how much the last of them vary, both relative to their mean.

    D. Heineman and others, "Signal and noise: a framework for reducing uncertainty in language model evaluation"
    (arXiv 2508.13144, 2025): signal is the dispersion max |a - b| / mean, here of the steps of one series; noise is the
    standard deviation (n - 1) of the last checkpoints over their mean, here of the last :data:`LAST` (at least three).
    Where the curve still rises at its end, that rise is in the noise. None where there are too few, or the mean is 0.
    """
    if len(values) < 3:
        return None, None
    everything, last = np.array(values), np.array(values[-LAST:])
    if not everything.mean() or not last.mean():
        return None, None
    return float(np.ptp(everything) / everything.mean()), float(last.std(ddof=1) / last.mean())
