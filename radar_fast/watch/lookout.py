"""What there is to score under a folder into which a training writes: seen again and again, told once."""

import re
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from radar_fast.errors import IncompleteError, ResultsError
from radar_fast.models.training_folders import advice
from radar_fast.steps import step_of
from radar_fast.watch.holding import Holding
from radar_fast.watch.ready import Ready, folder_state, sign_of
from radar_fast.watch.wanted import Wanted

__all__ = ["Due", "Lookout"]

HELD = 4
"""Checkpoints that are held at once: those that wait take disk space once the trainer has removed its own."""

_UNFINISHED = re.compile(r"(^|[-_.])(tmp|temp|incomplete|partial|staging)([-_.]|$)", re.IGNORECASE)
"""In the names of folders that their writer renames when they are whole."""
_EXPORTS = ("hf", "huggingface", "actor/huggingface", "hf_format", "export")
"""Folders in a step's folder that hold the checkpoint."""


@dataclass(frozen=True, slots=True)
class Due:
    """A checkpoint that is whole and not scored yet."""

    step: int
    name: str
    """Of its step's folder."""
    original: Path
    """Where it was found."""
    path: Path
    """Where it is read from: where it is held, or where it was found."""


@dataclass(slots=True)
class _Seen:
    """What is known of a folder."""

    step: int
    folder: Path
    """What is scored or converted: the step's folder, or one in it."""
    state: str | None = None
    since: float = 0.0
    """When it was first as it is now, in seconds of the clock that :meth:`Lookout.look` is given."""
    sign: str | None = None
    lacks: str = "a first look"
    there: bool = True
    told: set[str] = field(default_factory=set)


class Lookout:
    """Looks at a folder, from whichever thread asks it to."""

    def __init__(
        self,
        root: Path,
        ready: Ready,
        wanted: Wanted,
        holding: Holding,
        *,
        is_done: Callable[[str, Path], bool],
        say: Callable[[str], None],
        converts: bool = False,
        step_from: str | None = None,
    ) -> None:
        """Nothing is looked at yet.

        Args:
            root: holds a folder for each checkpoint.
            ready: when one is whole.
            wanted: which are to be scored.
            holding: where they are held until they are.
            is_done: whether a checkpoint, by its name and folder, is scored already.
            say: is told what a person should know, once.
            converts: whether any folder can be made a checkpoint.
            step_from: where the step stands in a path: see :func:`radar_fast.steps.step_of`.
        """
        self.root = root
        self._ready, self._wanted, self._holding = ready, wanted, holding
        self._is_done, self._say, self._converts, self._step_from = is_done, say, converts, step_from
        self._seen: dict[str, _Seen] = {}
        self._failed: dict[str, str | None] = {}
        self._lock = threading.RLock()
        self._warned = False

    def look(self, now: float) -> None:
        """See what is there at a time in seconds; say what is new; and hold what is due."""
        with self._lock:
            found = self._found()
            for name, (step, folder) in found.items():
                self._look_at(name, self._seen.setdefault(name, _Seen(step, folder)), folder, now)
            self._tell_gone(found.keys())
            self._tell_abandoned(now)
            self._hold()

    def due(self) -> list[Due]:
        """What can be scored now, the first to be scored first."""
        with self._lock:
            found = []
            for name, seen in self._seen.items():
                held = self._holding.folder(name)
                whole = held.is_dir() or (seen.there and seen.sign is not None)
                if whole and self._is_open(name, seen):
                    path = held if held.is_dir() else seen.folder
                    found.append(Due(seen.step, name, seen.folder, path))
            return sorted(found, key=lambda one: one.step, reverse=self._wanted.order == "newest")

    def waiting(self) -> dict[str, str]:
        """Name -> what it lacks, of the folders that are there, wanted, and not whole."""
        with self._lock:
            return {
                name: seen.lacks
                for name, seen in self._seen.items()
                if seen.there and seen.sign is None and "abandoned" not in seen.told and self._is_open(name, seen)
            }

    def reached_the_end(self) -> bool:
        """Whether a checkpoint is whole after which none is wanted."""
        with self._lock:
            return any(seen.sign is not None and self._wanted.is_last(seen.step) for seen in self._seen.values())

    def adopt_held(self) -> None:
        """Take over what a process that was killed has held, also where the trainer has removed it since."""
        with self._lock:
            self._holding.clear_torn()
            for name in self._holding.names():
                step = step_of(self.root / name, self._step_from)
                if step is None:
                    step = step_of(self._holding.folder(name))
                folder = self._checkpoint_in(self.root / name)
                if step is None or self._is_done(name, folder):
                    self._holding.release(name)
                else:
                    self._seen[name] = _Seen(step, folder, sign="held", lacks="", there=(self.root / name).is_dir())

    def scored(self, name: str) -> None:
        """It is done: let go of it."""
        with self._lock:
            self._holding.release(name)

    def failed(self, name: str) -> None:
        """It cannot be scored as it is; it is looked at again once its files have changed."""
        with self._lock:
            self._failed[name] = self._seen[name].state
            self._holding.release(name)

    def incomplete(self, name: str) -> None:
        """It turned out not to be whole: wait as if it had just changed."""
        with self._lock:
            self._holding.release(name)
            seen = self._seen[name]
            seen.state, seen.sign = None, None

    def _found(self) -> dict[str, tuple[int, Path]]:
        """Name -> (step, folder of the checkpoint), also of those that are not wanted: they tell how far it is."""
        found = {}
        try:
            folders = [entry for entry in self.root.iterdir() if entry.is_dir()]
        except OSError as error:
            if not self._warned:
                self._say(f"{self.root}: cannot be read: {error.strerror}; looking again")
            self._warned = True
            return {name: (seen.step, seen.folder) for name, seen in self._seen.items() if seen.there}
        self._warned = False
        for folder in folders:
            if folder.name.startswith(".") or _UNFINISHED.search(folder.name):
                continue
            inner = self._checkpoint_in(folder)
            step = self._step(folder, inner)
            if step is not None:
                found[folder.name] = (step, inner)
        return found

    def _step(self, folder: Path, inner: Path) -> int | None:
        if self._step_from is not None and not re.search(self._step_from, str(inner.absolute())):
            return None
        known = self._seen.get(folder.name)
        return known.step if known is not None else step_of(inner, self._step_from)

    def _checkpoint_in(self, folder: Path) -> Path:
        if self._converts or (folder / "config.json").is_file():
            return folder
        return next((folder / name for name in _EXPORTS if (folder / name / "config.json").is_file()), folder)

    def _is_open(self, name: str, seen: _Seen) -> bool:
        """Whether it is wanted, and neither scored nor has failed as it is."""
        if not self._wanted.takes(seen.step):
            return False
        if name in self._failed and self._failed[name] == seen.state:
            return False
        return not self._is_done(name, seen.folder)

    def _look_at(self, name: str, seen: _Seen, folder: Path, now: float) -> None:
        if not seen.there:
            seen.there, seen.state, seen.told = True, None, set()
        state = folder_state(folder)
        if state is None or state != seen.state or folder != seen.folder:
            seen.state, seen.since, seen.folder, seen.sign = state, now, folder, None
        if seen.sign is not None or state is None or self._holding.folder(name).is_dir():
            return
        seen.sign, seen.lacks = sign_of(folder, self.root / name, self._ready, now - seen.since)
        if not self._converts and not (folder / "config.json").is_file():
            seen.sign, seen.lacks = None, "config.json"
            if now - seen.since >= self._ready.seconds and (told := advice(folder)):
                self._once(name, "trainer's", f"{told}; --convert runs such a command for every step")
        if seen.sign is not None and self._is_open(name, seen):
            self._once(name, f"ready {state}", f"ready: {seen.sign}")

    def _tell_gone(self, found: Collection[str]) -> None:
        for name, seen in self._seen.items():
            if seen.there and name not in found and not (self.root / name).is_dir():
                seen.there = False
                if not self._holding.folder(name).is_dir() and self._is_open(name, seen):
                    lacked = f"; it lacked {seen.lacks}" if seen.lacks and seen.sign is None else ""
                    self._once(name, "gone", f"went before it was scored{lacked}")

    def _tell_abandoned(self, now: float) -> None:
        """An unmarked step below a marked one is not waited for, once nothing happens in it."""
        whole = [(seen.step, name) for name, seen in self._seen.items() if seen.sign is not None]
        for name, seen in self._seen.items():
            later = min(((step, other) for step, other in whole if step > seen.step), default=None)
            still = seen.there and seen.sign is None and now - seen.since >= self._ready.seconds
            if later and still and self._is_open(name, seen):
                self._once(name, "abandoned", f"abandoned: {later[1]} is whole, and it still lacks {seen.lacks}")

    def _hold(self) -> None:
        """Hold the first of what is due, as long as the trainer has not removed it."""
        waiting = self.due()
        for one in waiting[:HELD]:
            if one.path != one.original:
                continue
            try:
                held = self._holding.hold(one.original, one.name, may_copy=one == waiting[0])
            except IncompleteError:
                self.incomplete(one.name)
            except ResultsError as error:
                self._once(one.name, "unheld", f"scored where it is, though it may be removed meanwhile: {error}")
            else:
                if held is None:
                    return

    def _once(self, name: str, what: str, text: str) -> None:
        if what not in self._seen[name].told:
            self._seen[name].told.add(what)
            self._say(f"{name}: {text}")
