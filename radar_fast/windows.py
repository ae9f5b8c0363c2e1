"""A benchmark's samples in windows, numbered over the whole of it: the unit of a batch, of a resume, of a shard.

A window of which anything is missing is scored again as a whole, so that every batch is what it would have been in an
uninterrupted run of one process, and the numbers are the same to the last bit, whoever scores which window.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from radar_fast.engines import WINDOW
from radar_fast.results.record import Key
from radar_fast.sample import ONLY_PUBLISHED, Sample, Scored
from radar_fast.shard import Shard

__all__ = ["Window", "goes_to_an_engine", "windows"]


@dataclass(frozen=True, slots=True)
class Window:
    """At most WINDOW samples that are scored together, and the unfit ones that stand among them. It pickles."""

    number: int
    """Counted from 0 over the whole benchmark, whatever is scored already."""
    samples: tuple[Sample, ...]
    """All that go to the engine, in the order in which prompts must come; empty where all of them are done."""
    unfit: tuple[Sample, ...]
    """Those that the reader found unfit, go to no engine, and are not done yet."""

    def refused(self) -> list[Scored]:
        """The unfit ones as they are recorded: unscored, for the reader's reason."""
        return [Scored(sample, reason=sample.reason) for sample in self.unfit]


def goes_to_an_engine(sample: Sample) -> bool:
    """Whether a sample is fit to be scored, or scored all the same since the published files count it."""
    return sample.reason is None or (sample.reason.kind in ONLY_PUBLISHED and bool(sample.candidates))


def windows(samples: Iterable[Sample], done: Collection[Key] = (), shard: Shard | None = None) -> Iterator[Window]:
    """The windows of which something is missing, lazily, in their order.

    Every sample is in exactly one: with WINDOW others that go to an engine, or with those that follow it.

    Args:
        samples: all of the benchmark, in its order.
        done: (task, id) of those that are not to be scored, as it was when the run started: it must not grow meanwhile.
        shard: only its windows; None: all.
    """
    for number, together in enumerate(_cut(samples)):
        if shard is not None and not shard.takes(number):
            continue
        fit = tuple(filter(goes_to_an_engine, together))
        unfit = tuple(one for one in together if not goes_to_an_engine(one) and one.key not in done)
        if all(sample.key in done for sample in fit):
            fit = ()
        if fit or unfit:
            yield Window(number, fit, unfit)


def _cut(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    """All samples, cut before each one by which more than WINDOW would go to the engine together."""
    together: list[Sample] = []
    room = WINDOW
    for sample in samples:
        goes = goes_to_an_engine(sample)
        if goes and not room:
            yield together
            together, room = [], WINDOW
        together.append(sample)
        room -= goes
    if together:
        yield together
