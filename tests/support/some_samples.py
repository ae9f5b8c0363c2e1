"""Samples without a file behind them."""

from collections.abc import Collection

from radar_fast.sample import Reason, ReasonKind, Sample

__all__ = ["one_sample", "some_samples"]


def one_sample(number: int, kind: ReasonKind | None = None) -> Sample:
    """Unfit for a reason of this kind, where one is given."""
    reason = None if kind is None else Reason(kind, "found by the reader")
    return Sample(f"q{number}", "task", "dir", "perception", ("What?",), ("a", "b"), 0, reason=reason)


def some_samples(count: int, unfit: Collection[int] = ()) -> list[Sample]:
    """So many, of which those with these numbers are unfit."""
    return [one_sample(number, ReasonKind.BAD_RECORD if number in unfit else None) for number in range(count)]
