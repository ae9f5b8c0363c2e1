"""How far a run is, for whoever watches: a live bar on a terminal, plain lines elsewhere, or nothing."""

import time
from typing import Protocol

from rich import progress as bars
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

__all__ = ["BarProgress", "LineProgress", "Progress", "SilentProgress", "progress_on"]


class Progress(Protocol):
    """What the pipeline tells while it runs."""

    def say(self, text: str) -> None:
        """One line of news."""
        ...

    def start(self, total: int, done: int) -> None:
        """Scoring begins: ``total`` samples in all, ``done`` of them by an earlier run."""
        ...

    def advance(self) -> None:
        """One more sample is in the journal."""
        ...

    def stop(self) -> None:
        """Scoring is over, or failed. Calling it twice, or without start, is fine."""
        ...


class SilentProgress:
    """For library use."""

    def say(self, text: str) -> None:
        """Nothing."""

    def start(self, total: int, done: int) -> None:
        """Nothing."""

    def advance(self) -> None:
        """Nothing."""

    def stop(self) -> None:
        """Nothing."""


class LineProgress:
    """A line now and then, for logs: at every tenth of the way, but no more often than every 10 s."""

    def __init__(self, console: Console, interval: float = 10.0) -> None:
        self._console, self._interval = console, interval

    def say(self, text: str) -> None:
        """Print it."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def start(self, total: int, done: int) -> None:
        """Remember where and when it began."""
        self._total, self._done, self._before = total, done, done
        self._began = self._said = time.monotonic()

    def advance(self) -> None:
        """Print a line if one is due."""
        self._done += 1
        now = time.monotonic()
        if self._done == self._total or now - self._said >= self._interval:
            self._said = now
            rate = (self._done - self._before) / max(now - self._began, 1e-9)
            left = (self._total - self._done) / rate
            self.say(f"{self._done}/{self._total} samples, {rate:.1f} samples/s, {_duration(left)} left")

    def stop(self) -> None:
        """Nothing to clear."""


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f} samples/s" if task.speed else "- samples/s", style="progress.data.speed")


class BarProgress:
    """A live bar with samples/s and the time left."""

    def __init__(self, console: Console) -> None:
        self._progress = bars.Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )

    def say(self, text: str) -> None:
        """Print it above the bar."""
        self._progress.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def start(self, total: int, done: int) -> None:
        """Show the bar."""
        self._task = self._progress.add_task("scoring", total=total, completed=done)
        self._progress.start()

    def advance(self) -> None:
        """Move it on."""
        self._progress.advance(self._task)

    def stop(self) -> None:
        """Clear it."""
        self._progress.stop()


def progress_on(console: Console) -> Progress:
    """A bar where the console is a terminal, lines otherwise."""
    return BarProgress(console) if console.is_terminal else LineProgress(console)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
