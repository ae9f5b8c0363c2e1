"""Token scores of many samples -> :class:`Judged`: what each candidate scored, in arrays.

It repeats :mod:`radar_fast.scores`, which judges one sample at a time, with the same arithmetic: means in double
precision and reading order, rounded to float32; ties as float32 probabilities have them, of which the answer wins.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain

import numpy as np
from numpy.typing import NDArray

__all__ = ["Gatherer", "Judged", "byte_width", "judged_of"]

Floats = NDArray[np.float64]
Places = NDArray[np.intp]


@dataclass(frozen=True)
class Judged:
    """Scored samples, their candidates one after the other: C of them in all, of n samples."""

    counts: Places
    """(n,): candidates of each sample, at least 1."""
    answers: Places
    """(n,): place of the right candidate within its sample."""
    raw: Floats
    """(C,): mean raw logit over the candidate's tokens, a float32 value."""
    normalised: Floats
    """(C,): mean log-probability, likewise."""
    summed: Floats
    """(C,): log-probability of the whole candidate: the sum over its tokens."""
    width: Floats
    """(C,): bytes of the candidate's text in UTF-8, at least 1."""

    def __len__(self) -> int:
        return len(self.counts)

    @cached_property
    def starts(self) -> Places:
        """(n,): place of each sample's first candidate among all."""
        return np.cumsum(self.counts) - self.counts

    @cached_property
    def owner(self) -> Places:
        """(C,): the sample of each candidate."""
        return np.repeat(np.arange(len(self)), self.counts)

    @cached_property
    def right(self) -> Places:
        """(n,): place of each sample's answer among all candidates."""
        return self.starts + self.answers

    @cached_property
    def probabilities(self) -> Floats:
        """(C,): softmax over the candidates' mean raw logits: at the answer it is the sample's SDS."""
        return self.softmax(self.raw)

    @cached_property
    def chosen(self) -> Places:
        """(n,): place, within its sample, of the candidate with the highest mean raw logit; of a tie the answer, else
        the first."""
        return self.highest(self.raw)

    def softmax(self, scores: Floats) -> Floats:
        """(C,) scores -> (C,) probabilities, over the candidates of each sample."""
        weights = np.exp(scores - np.maximum.reduceat(scores, self.starts)[self.owner]) if len(self) else scores
        return weights / np.add.reduceat(weights, self.starts)[self.owner] if len(self) else weights

    def highest(self, scores: Floats) -> Places:
        """(n,): the candidate that wins by (C,) mean scores, as the published scripts find it: by its softmax in
        float32, whose sum runs over the answer first and then the others in their order."""
        if not len(self):
            return self.counts
        highest = np.maximum.reduceat(scores, self.starts)[self.owner]
        shifts = scores.astype(np.float32) - highest.astype(np.float32)
        weights = np.exp(shifts.astype(np.float64)).astype(np.float32)
        total = weights[self.right].copy()
        for place in range(int(self.counts.max())):
            more = np.flatnonzero((self.counts > place) & (self.answers != place))
            total[more] += weights[self.starts[more] + place]
        return self.first_highest((weights / total[self.owner]).astype(np.float64))

    def first_highest(self, scores: Floats) -> Places:
        """(n,): the candidate with the highest of (C,) scores; of a tie the answer, else the first."""
        if not len(self):
            return self.counts
        top = scores == np.maximum.reduceat(scores, self.starts)[self.owner]
        places = np.where(top, np.arange(len(scores)), len(scores))
        first = np.minimum.reduceat(places, self.starts) - self.starts
        return np.where(top[self.right], self.answers, first)


@dataclass
class Gatherer:
    """Takes scored samples one by one, and makes them :class:`Judged` once all are in."""

    _counts: list[int] = field(default_factory=list)
    _answers: list[int] = field(default_factory=list)
    _lengths: list[int] = field(default_factory=list)
    _logits: list[float] = field(default_factory=list)
    _logprobs: list[float] = field(default_factory=list)
    _widths: list[int] = field(default_factory=list)

    def add(
        self,
        candidates: Sequence[str],
        answer: int | None,
        logits: Sequence[Sequence[float]],
        logprobs: Sequence[Sequence[float]],
    ) -> None:
        """Take a sample.

        Raises:
            ValueError: these cannot be its scores; it says why. Numbers are looked at in :meth:`judged`.
        """
        lengths = list(map(len, logits))
        if answer is None:
            raise ValueError("it has no answer")
        if not 0 <= answer < len(candidates):
            raise ValueError(f"answer {answer} is not an index into {len(candidates)} candidates")
        if len(lengths) != len(candidates):
            raise ValueError(f"it has {len(candidates)} candidates, and scores of {len(lengths)}")
        if 0 in lengths:
            raise ValueError("a candidate has no tokens")
        if lengths != list(map(len, logprobs)):
            raise ValueError("its logits and its log-probabilities are not of the same tokens")
        self._counts.append(len(lengths))
        self._answers.append(answer)
        self._lengths += lengths
        self._logits += chain.from_iterable(logits)
        self._logprobs += chain.from_iterable(logprobs)
        self._widths += map(byte_width, candidates)

    def judged(self) -> Judged:
        """All of them.

        Raises:
            ValueError: a score is not a finite float32; :attr:`ValueError.args` are the text and the sample's place.
        """
        return judged_of(
            np.array(self._counts, np.intp),
            np.array(self._answers, np.intp),
            np.array(self._lengths, np.intp),
            np.array(self._logits, np.float64),
            np.array(self._logprobs, np.float64),
            np.array(self._widths, np.intp),
        )


def byte_width(text: str) -> int:
    """Bytes of a text in UTF-8, where a lone surrogate has three."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def judged_of(
    counts: Places, answers: Places, lengths: Places, logits: Floats, logprobs: Floats, widths: Places
) -> Judged:
    """The scored samples of these: (n,) candidates and place of the answer, (C,) tokens and bytes of each candidate,
    (T,) scores of each token.

    Raises:
        ValueError: a score is not a finite float32; :attr:`ValueError.args` are the text and the sample's place.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        summed = _sums(logprobs, lengths)
        raw, normalised = (
            (total / lengths).astype(np.float32).astype(np.float64) for total in (_sums(logits, lengths), summed)
        )
    bad = np.flatnonzero(~(np.isfinite(raw) & np.isfinite(normalised) & np.isfinite(summed)))
    if len(bad):
        place = int(np.searchsorted(np.cumsum(counts), bad[0], side="right"))
        raise ValueError("its scores must be finite in float32", place)
    return Judged(counts, answers, raw, normalised, summed, np.maximum(1, widths.astype(np.float64)))


def _sums(tokens: Floats, lengths: Places) -> Floats:
    """(T,) numbers of candidates with (C,) lengths -> (C,) sums, each in reading order."""
    starts = np.cumsum(lengths) - lengths
    sums = np.zeros(len(lengths))
    left = np.arange(len(lengths))
    place = 0
    while len(left):
        sums[left] += tokens[starts[left] + place]
        place += 1
        left = left[lengths[left] > place]
    return sums
