"""``--track``: every checkpoint that is scored is told to a tracker, which may fail without costing a score."""

from pathlib import Path

from radar_fast.errors import RadarError, one_line
from radar_fast.results.folder import ResultFolder
from radar_fast.results.growth.folders import run_step
from radar_fast.results.manifest import Manifest
from radar_fast.results.record import Record
from radar_fast.results.summary import Summary
from radar_fast.terminal.progress import Progress
from radar_fast.trackers import numbers_of, open_tracker
from radar_fast.trackers.base import Tracker
from radar_fast.trackers.ledger import Ledger

__all__ = ["TrackingProgress", "run_name"]


def run_name(manifest: Manifest) -> str:
    """What a tracker calls the series that a result folder belongs to: its benchmark, and how that was asked."""
    data = manifest.configuration.get("data")
    name = Path(data).stem if isinstance(data, str) else "benchmark"
    conditions = manifest.identity.get("conditions")
    asked = [str(value) for _, value in sorted(conditions.items())] if isinstance(conditions, dict) else []
    return "-".join([name, *(f"without-{each}" if each in ("image", "text") else each for each in asked)])


class TrackingProgress:
    """Tells trackers what is done, and hands everything on to another progress. Close it at the end."""

    def __init__(self, names: tuple[str, ...], folder: Path, inner: Progress) -> None:
        """``names`` are of :data:`~radar_fast.trackers.TRACKERS`; each keeps its files in ``folder`` under its name."""
        self._inner = inner
        self._folder = folder
        self._names = list(names)
        self._open: dict[tuple[str, str], Tracker] = {}

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

    def failed(self, name: str, out: Path, error: RadarError) -> None:
        """Handed on."""
        self._inner.failed(name, out, error)

    def done(self, name: str, out: Path, summary: Summary) -> None:
        """Tell the trackers."""
        self._inner.done(name, out, summary)
        if not self._names:
            return
        manifest = ResultFolder(out).manifest()
        step = run_step(out, manifest)
        if step is None:
            self.say(f"{name}: not tracked: nothing says its training step; see --step-from")
            return
        for tracker in list(self._names):
            try:
                self._tell(tracker, run_name(manifest), step, summary)
            except Exception as error:
                self._give_up(tracker, error)

    def close(self) -> None:
        """Have the trackers write what is left."""
        for (name, _), tracker in self._open.items():
            try:
                tracker.close()
            except Exception as error:
                self._give_up(name, error)
        self._open.clear()

    def _tell(self, name: str, run: str, step: int, summary: Summary) -> None:
        numbers = numbers_of(summary.abilities, summary.directories, summary.overall)
        ledger = Ledger(self._folder / name, name)
        if ledger.knows(run, step, numbers):
            return
        if (name, run) not in self._open:
            self._open[name, run] = open_tracker(name, self._folder / name, run, local=False)
        self._open[name, run].log(step, numbers)
        ledger.note(run, step, numbers)
        ledger.save()

    def _give_up(self, name: str, error: Exception) -> None:
        """Whatever a tracker's library raises, the scores are there."""
        if name in self._names:
            self._names.remove(name)
        self.say(
            f"--track {name}: failed, and is not told any more: {one_line(error)}. The scores are safe; "
            f"`radar-fast export --to {name}` tells it all later"
        )
