"""How far a run is, for whoever watches: a live bar on a terminal, plain lines elsewhere, or nothing."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rich import progress as bars
from rich.console import Console
from rich.table import Column
from rich.text import Text

from radar_fast.errors import RadarError
from radar_fast.results.record import Record
from radar_fast.results.summary import Summary

__all__ = [
    "BarProgress",
    "ConsoleProgress",
    "HandingOn",
    "LineProgress",
    "Progress",
    "SilentProgress",
    "Tally",
    "duration",
    "progress_on",
]


class Progress(Protocol):
    """What the pipeline tells while it runs. ``say`` and ``detail`` may come at any time, ``advance`` only between
    ``start`` and ``stop``."""

    def say(self, text: str) -> None:
        """News that everybody wants, in a line."""
        ...

    def detail(self, text: str) -> None:
        """News for those who look closely, such as where the time goes, in a line."""
        ...

    def start(self, name: str, total: int, done: int) -> None:
        """Scoring of what is called ``name`` begins: ``total`` samples in all, ``done`` of them by an earlier run."""
        ...

    def advance(self) -> None:
        """One more sample is in the journal."""
        ...

    def unscored(self, record: Record) -> None:
        """A sample that is in the journal could not be scored."""
        ...

    def stop(self) -> None:
        """Scoring is over, or failed. Calling it twice, or without start, is fine."""
        ...

    def done(self, name: str, out: Path, summary: Summary) -> None:
        """What is called ``name`` has its summary, in the result folder ``out``."""
        ...

    def failed(self, name: str, out: Path, error: RadarError) -> None:
        """One of several checkpoints was not scored; the others are. Of a single one the error is raised."""
        ...


class SilentProgress:
    """Says nothing. For library use, and to derive one's own from: what is not overridden stays silent."""

    def say(self, text: str) -> None:
        """Nothing."""

    def detail(self, text: str) -> None:
        """Nothing."""

    def start(self, name: str, total: int, done: int) -> None:
        """Nothing."""

    def advance(self) -> None:
        """Nothing."""

    def unscored(self, record: Record) -> None:
        """Nothing."""

    def stop(self) -> None:
        """Nothing."""

    def done(self, name: str, out: Path, summary: Summary) -> None:
        """Nothing."""

    def failed(self, name: str, out: Path, error: RadarError) -> None:
        """Nothing."""


class HandingOn:
    """Hands everything on to another progress. To derive from: what is overridden is heard on the way."""

    def __init__(self, inner: Progress) -> None:
        """``inner``: the other."""
        self._inner = inner

    def say(self, text: str) -> None:
        """Handed on."""
        self._inner.say(text)

    def detail(self, text: str) -> None:
        """Handed on."""
        self._inner.detail(text)

    def start(self, name: str, total: int, done: int) -> None:
        """Handed on."""
        self._inner.start(name, total, done)

    def advance(self) -> None:
        """Handed on."""
        self._inner.advance()

    def unscored(self, record: Record) -> None:
        """Handed on."""
        self._inner.unscored(record)

    def stop(self) -> None:
        """Handed on."""
        self._inner.stop()

    def done(self, name: str, out: Path, summary: Summary) -> None:
        """Handed on."""
        self._inner.done(name, out, summary)

    def failed(self, name: str, out: Path, error: RadarError) -> None:
        """Handed on."""
        self._inner.failed(name, out, error)


@dataclass
class Tally:
    """How far the scoring is that was started last."""

    name: str
    """What is being scored."""
    total: int
    """All its samples."""
    before: int
    """Of them, those that an earlier run has scored: no rate counts them."""
    began: float
    """When it was started, in seconds of the monotonic clock."""
    fresh: int = 0
    """Samples of this run."""
    ended: float | None = None
    """When it was over; None until then."""

    @property
    def done(self) -> int:
        """Samples that are in the journal."""
        return self.before + self.fresh

    @property
    def seconds(self) -> float:
        """Since it began, or from its beginning to its end."""
        return (self.ended or time.monotonic()) - self.began

    @property
    def rate(self) -> float:
        """Samples of this run, per second."""
        return self.fresh / max(self.seconds, 1e-9)


class ConsoleProgress(SilentProgress):
    """What the two for a console share: news are printed, and samples counted."""

    def __init__(self, console: Console, *, verbose: bool = False) -> None:
        self._console, self._verbose = console, verbose
        self.tally: Tally | None = None
        """Of the scoring that was started last; None before the first."""

    def say(self, text: str) -> None:
        """Print it, above the bar if there is one."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def detail(self, text: str) -> None:
        """Print it if it was asked for."""
        if self._verbose:
            self.say(text)

    def start(self, name: str, total: int, done: int) -> None:
        """Begin to count."""
        self.tally = Tally(name, total, done, time.monotonic())

    def advance(self) -> None:
        """Count one more."""
        if self.tally is not None:
            self.tally.fresh += 1

    def stop(self) -> None:
        """End the time that counts."""
        if self.tally is not None and self.tally.ended is None:
            self.tally.ended = time.monotonic()


class LineProgress(ConsoleProgress):
    """A line now and then, for logs."""

    def __init__(self, console: Console, *, verbose: bool = False, interval: float = 10.0) -> None:
        """``interval``: least time between two lines, in seconds."""
        super().__init__(console, verbose=verbose)
        self._interval = interval

    def start(self, name: str, total: int, done: int) -> None:
        """Begin to count; the first line is due after an interval."""
        super().start(name, total, done)
        self._said = time.monotonic()

    def advance(self) -> None:
        """Count one more, and print a line if one is due."""
        super().advance()
        now, tally = time.monotonic(), self.tally
        if tally is not None and now - self._said >= self._interval:
            self._said = now
            left = (tally.total - tally.done) / tally.rate
            self.say(
                f"{tally.name}: {tally.done}/{tally.total} samples, {tally.rate:.1f} samples/s, {duration(left)} left"
            )


class _Rate(bars.ProgressColumn):
    def render(self, task: bars.Task) -> Text:
        return Text(f"{task.speed:.1f} samples/s" if task.speed else "- samples/s", style="progress.data.speed")


class BarProgress(ConsoleProgress):
    """A live bar with the name, samples/s and the time left, which goes when it is done."""

    _bar: bars.Progress | None = None

    def start(self, name: str, total: int, done: int) -> None:
        """Show the bar."""
        self.stop()
        super().start(name, total, done)
        self._bar = bars.Progress(
            bars.SpinnerColumn(),
            bars.TextColumn(
                "{task.description}", markup=False, table_column=Column(max_width=24, no_wrap=True, overflow="ellipsis")
            ),
            bars.BarColumn(bar_width=None),
            bars.MofNCompleteColumn(),
            _Rate(),
            bars.TimeRemainingColumn(compact=True),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task(name, total=total, completed=done)
        self._bar.start()

    def advance(self) -> None:
        """Move it on."""
        super().advance()
        if self._bar is not None:
            self._bar.advance(self._task)

    def stop(self) -> None:
        """Clear it."""
        super().stop()
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def progress_on(console: Console, *, verbose: bool = False) -> ConsoleProgress:
    """A bar where the console is a terminal, lines otherwise."""
    return (BarProgress if console.is_terminal else LineProgress)(console, verbose=verbose)


def duration(seconds: float) -> str:
    """Minutes and seconds, as ``2:05``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
