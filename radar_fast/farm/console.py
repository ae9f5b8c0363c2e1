"""How far a farm is, on a terminal as a live bar, elsewhere as a line a minute."""

import time

from rich import progress as bars
from rich.console import Console

from radar_fast.farm.state import FarmState
from radar_fast.terminal.progress import ConsoleProgress, duration

__all__ = ["FarmBar", "FarmConsole", "FarmLines", "console_for"]


class FarmConsole(ConsoleProgress):
    """What the two share. ``say`` and ``detail`` are those of any run; ``watch`` takes the place of ``advance``."""

    last: FarmState | None = None
    """What was told last."""

    def watch(self, state: FarmState) -> None:
        """How far the farm is."""
        self.last = state

    def pace(self) -> str:
        """How fast it was, to stand before where results are."""
        if self.last is None or not self.last.fresh:
            return "nothing was left to score; "
        count = len(self.last.engines)
        seconds = f"{self.last.seconds:.0f} s"
        return f"{self.last.fresh} samples in {seconds} with {count} engine{'s' if count > 1 else ''}; "

    def kept(self) -> str:
        """What an interrupted farm leaves."""
        if self.last is None:
            return "interrupted before anything was scored"
        return f"interrupted: {self.last.done} of {self.last.samples} samples are kept"


class FarmLines(FarmConsole):
    """A line now and then, for logs."""

    def __init__(self, console: Console, *, verbose: bool = False, interval: float = 60.0) -> None:
        """``interval``: least time between two lines, in seconds."""
        super().__init__(console, verbose=verbose)
        self._interval, self._said = interval, time.monotonic()

    def watch(self, state: FarmState) -> None:
        """Print a line if one is due."""
        super().watch(state)
        now = time.monotonic()
        if state.state == "running" and now - self._said >= self._interval:
            self._said = now
            self.say(_line(state))


class FarmBar(FarmConsole):
    """A live bar, which goes when it is done."""

    _bar: bars.Progress | None = None

    def watch(self, state: FarmState) -> None:
        """Move it on."""
        super().watch(state)
        if state.state != "running":
            self.stop()
            return
        if self._bar is None:
            self._bar = bars.Progress(
                bars.SpinnerColumn(),
                bars.TextColumn("{task.description}", markup=False),
                bars.BarColumn(bar_width=None),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task("", total=state.samples)
            self._bar.start()
        self._bar.update(self._task, completed=state.done, description=_line(state))

    def stop(self) -> None:
        """Clear it."""
        super().stop()
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def console_for(console: Console, *, verbose: bool = False) -> FarmConsole:
    """A bar where the console is a terminal, lines otherwise."""
    return (FarmBar if console.is_terminal else FarmLines)(console, verbose=verbose)


def _line(state: FarmState) -> str:
    jobs = f"{state.jobs_done}/{state.jobs} jobs" + (f" ({state.jobs_failed} failed)" if state.jobs_failed else "")
    left = "" if state.seconds_left is None else f", {duration(state.seconds_left)} left"
    return (
        f"{jobs}, {state.done}/{state.samples} samples, {state.at_work} of {len(state.engines)} engines at work, "
        f"{state.rate:.1f} samples/s{left}"
    )
