"""What of a job is still to be given out, what is out, and what came back because an engine died with it.

An engine that dies gives back all windows that it had. Any of them may be what killed it, so each is given out once
more *alone*, to an engine that has nothing else to do. One that kills again is cut down to its samples, each of them
alone; a sample that kills is to blame. What only stood beside it is scored as a whole window, and its numbers are those
of an undisturbed run to the last bit.
"""

from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from radar_fast.results.record import Key
from radar_fast.sample import Sample
from radar_fast.windows import Window

__all__ = ["Portion", "Portions"]


@dataclass(frozen=True, slots=True)
class Portion:
    """A window, or one sample of it, as it is given to an engine."""

    window: Window
    """Without its unfit samples."""
    deaths: int = 0
    """Engines that have died with it: from one on, it is given out alone."""


class Portions:
    """The windows of a job, each of them out with one engine, or waiting."""

    def __init__(self, windows: Iterator[Window], samples: int) -> None:
        """
        Args:
            windows: those that are left to score; they are read as they are given out.
            samples: how many are in them, the unfit ones among them.
        """
        self._windows, self._unread = windows, samples
        self._exhausted = False
        self._back: deque[Portion] = deque()
        self._suspects: deque[Portion] = deque()
        self._out = 0

    @property
    def samples_left(self) -> int:
        """Samples that were given to no engine yet, or have come back."""
        unread = 0 if self._exhausted else max(1, self._unread)
        return unread + sum(len(portion.window.samples) for portion in (*self._back, *self._suspects))

    @property
    def has_suspects(self) -> bool:
        """Whether anything waits that must be given out alone."""
        return bool(self._suspects)

    @property
    def over(self) -> bool:
        """Whether nothing is left, and nothing is out."""
        return self._exhausted and not self._out and not self._back and not self._suspects

    def next_alone(self) -> Portion | None:
        """What an engine is to get that has nothing else to do, and is to get nothing else before it is done."""
        return self._gave(self._suspects.popleft()) if self._suspects else None

    def next(self) -> Portion | None:
        """The next window for an engine; None where there is none now, which a death may change. Raises what reading
        the windows raises."""
        if self._back:
            return self._gave(self._back.popleft())
        for window in self._windows:
            self._unread -= len(window.samples) + len(window.unfit)
            if window.samples:
                return self._gave(Portion(replace(window, unfit=()) if window.unfit else window))
        self._exhausted = True
        return None

    def scored(self) -> None:
        """A portion is done."""
        self._out -= 1

    def give_back(self, portion: Portion, *, blamed: bool, done: Collection[Key]) -> Sample | None:
        """An engine did not score it.

        Args:
            portion: what it had.
            blamed: whether the portion may be the cause.
            done: (task, id) of samples that need not be scored.

        Returns:
            The sample that is to blame, and will not be given out any more; None while that is not known.
        """
        self._out -= 1
        if not blamed:
            (self._suspects if portion.deaths else self._back).append(portion)
            return None
        samples, deaths = portion.window.samples, portion.deaths + 1
        if deaths == 1:
            self._suspects.append(Portion(portion.window, deaths))
        elif len(samples) > 1:
            left = [sample for sample in samples if sample.key not in done]
            self._suspects.extend(Portion(replace(portion.window, samples=(sample,)), 1) for sample in left)
        else:
            return samples[0]
        return None

    def clear(self) -> None:
        """Give out nothing any more."""
        self._back.clear()
        self._suspects.clear()
        self._windows, self._exhausted = iter(()), True

    def _gave(self, portion: Portion) -> Portion:
        self._out += 1
        return portion
