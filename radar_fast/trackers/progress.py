"""``--track``: every checkpoint that is scored is told to a tracker, which may fail without costing a score."""

from pathlib import Path

from radar_fast.errors import ResultsError, one_line
from radar_fast.results.folder import ResultFolder
from radar_fast.results.growth.folders import run_step
from radar_fast.results.manifest import Manifest
from radar_fast.results.summary import Summary
from radar_fast.terminal.progress import HandingOn, Progress
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


class TrackingProgress(HandingOn):
    """Tells trackers what is done, and hands everything on to another progress. Close it at the end."""

    def __init__(self, names: tuple[str, ...], folder: Path, inner: Progress) -> None:
        """``names`` are of :data:`~radar_fast.trackers.TRACKERS`; each keeps its files in ``folder`` under its name."""
        super().__init__(inner)
        self._folder = folder
        self._names = list(names)
        self._open: dict[tuple[str, str], Tracker] = {}

    def done(self, name: str, out: Path, summary: Summary) -> None:
        """Tell the trackers."""
        self._inner.done(name, out, summary)
        if not self._names:
            return
        try:
            manifest = ResultFolder(out).manifest()
            step = run_step(out, manifest)
        except ResultsError as error:  # the summary is there all the same
            self.say(f"{name}: not tracked: {error}")
            return
        if summary.shard is not None:
            self.say(
                f"{name}: not tracked: it is a part of the benchmark; `radar-fast export` tells a tracker of the whole "
                "once the shards are merged"
            )
            return
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
