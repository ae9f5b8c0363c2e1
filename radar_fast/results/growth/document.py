"""A series as JSON: what ``radar-fast growth --json`` writes."""

from collections.abc import Sequence

from radar_fast.results.growth.curves import Growth

__all__ = ["FORMAT", "document_of"]

FORMAT = 1
"""Of the document; raised when an older reader could misread it."""


def document_of(series: Sequence[Growth]) -> dict[str, object]:
    """For JSON: ``radar_fast.results.schema("growth")`` describes it."""
    return {"format": FORMAT, "benchmarks": [grown.to_dict() for grown in series]}
