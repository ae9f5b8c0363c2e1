"""What a tracker has been told already, so that telling it twice adds nothing."""

import hashlib
from pathlib import Path
from typing import Any

import orjson

from radar_fast.errors import ResultsError
from radar_fast.trackers.base import Numbers
from radar_fast.util.atomic import write_json_atomic
from radar_fast.util.json_file import read_json

__all__ = ["Ledger"]


def _told(document: Any) -> dict[str, dict[str, str]]:
    told = document.get("told") if isinstance(document, dict) else None
    if not isinstance(told, dict) or not all(isinstance(steps, dict) for steps in told.values()):
        raise ValueError("no runs and steps are in it")
    return told


class Ledger:
    """A file beside a tracker's own: run -> step -> digest of the numbers it was told."""

    def __init__(self, folder: Path, name: str) -> None:
        """``folder`` is the tracker's. Raises ResultsError for a file of another kind there."""
        self._path = folder / f"radar-fast-{name}.json"
        self._told: dict[str, dict[str, str]] = {}
        if self._path.exists():
            try:
                self._told = _told(read_json(self._path))
            except (OSError, ValueError) as error:
                raise ResultsError(
                    f"{self._path}: cannot be read: {error}; remove it to tell all steps again", path=self._path
                ) from None

    def knows(self, run: str, step: int, numbers: Numbers) -> bool:
        """Whether the very numbers were told at that step."""
        return self._told.get(run, {}).get(str(step)) == _digest(numbers)

    def note(self, run: str, step: int, numbers: Numbers) -> None:
        """They are told now."""
        self._told.setdefault(run, {})[str(step)] = _digest(numbers)

    def save(self) -> None:
        """Write it. Raises ResultsError where that fails."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_json_atomic(self._path, {"format": 1, "told": self._told})


def _digest(numbers: Numbers) -> str:
    # Nine digits: the last bits are those of a machine's arithmetic.
    said = orjson.dumps({key: round(value, 9) for key, value in numbers.items()}, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(said).hexdigest()[:32]
