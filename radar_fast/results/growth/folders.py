"""Result folders of a series: where they lie, which benchmark each is of, and at which training step."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radar_fast.errors import ResultsError, UsageError
from radar_fast.results.folder import ResultFolder
from radar_fast.results.manifest import Manifest
from radar_fast.steps import named_step
from radar_fast.util.paths import checked_path

__all__ = ["Found", "Run", "find_runs", "run_step"]

_DEPTH = 3
"""How far below a named folder result folders are looked for: OUT/BENCHMARK/CHECKPOINT, and one more."""

_SHARD = re.compile(r"shard-\d+-of-\d+")


@dataclass(frozen=True, slots=True)
class Run:
    """A result folder with samples."""

    folder: Path
    name: str
    """The checkpoint's: the folder's name."""
    number: int | None
    """Its training step; None where nothing says it."""
    manifest: Manifest

    @property
    def conditions(self) -> Mapping[str, Any]:
        """How its samples were asked, where that is not the usual way."""
        conditions = self.manifest.identity.get("conditions")
        return conditions if isinstance(conditions, dict) else {}

    @property
    def blind(self) -> bool:
        """Whether it was asked without images."""
        return self.conditions.get("without") == "image"

    @property
    def benchmark(self) -> str:
        """What its benchmark is called: the data folder's name."""
        data = self.manifest.configuration.get("data")
        return Path(data).stem if isinstance(data, str) and Path(data).suffix else Path(str(data)).name

    @property
    def questions(self) -> tuple[str, str]:
        """Equal for runs on the same samples asked in the same way, with their images or without."""
        data = self.manifest.identity.get("data")
        digest = str(data.get("sha256")) if isinstance(data, dict) else ""
        other = {name: value for name, value in self.conditions.items() if (name, value) != ("without", "image")}
        return digest, repr(sorted(other.items()))


@dataclass(frozen=True, slots=True)
class Found:
    """What lies in the folders that were named."""

    runs: tuple[Run, ...]
    """In the order of their steps: by number, and those without one behind, by name."""
    notes: tuple[str, ...]
    """What was passed over, one line each."""


def find_runs(paths: Sequence[str | Path]) -> Found:
    """The runs in result folders, and in folders of them.

    A folder that a farm or a watcher is still filling is taken as it is: one without samples yet is passed over, and so
    are shards that are not merged.

    Raises:
        UsageError: no path, or what cannot be one.
        ResultsError: a path is not there, or holds no result folder.
    """
    if not paths:
        raise UsageError("RESULTS: name at least one result folder, or a folder of them")
    folders: dict[Path, Path] = {}
    for path in (checked_path("RESULTS", each) for each in paths):
        below = _folders(path)
        if not below:
            what = "holds no result folder (none with a run.json)" if path.exists() else "is not there"
            raise ResultsError(f"{path}: {what}; name what `radar-fast score --out` was given", path=path)
        folders |= {folder.resolve(): folder for folder in below}
    runs, notes = [], []
    for folder in folders.values():
        files = ResultFolder(folder)
        if not files.samples.is_file() or not files.samples.stat().st_size:
            notes.append(f"{folder}: has no samples yet, and is left out")
            continue
        manifest = files.manifest()
        name = folder.resolve().name
        runs.append(Run(folder, name, run_step(folder, manifest), manifest))
    if not runs:
        raise ResultsError(f"{paths[0]}: no run in it has samples yet; score one checkpoint at least")
    runs.sort(key=lambda run: (run.number is None, run.number or 0, run.name, str(run.folder)))
    return Found(tuple(runs), tuple(notes))


def run_step(folder: Path, manifest: Manifest) -> int | None:
    """A run's training step: as it was written down, or as its own folder says, which may be no more than a number."""
    if manifest.step is not None:
        return manifest.step
    name = folder.resolve().name
    return int(name) if name.isdecimal() else named_step(folder.resolve())


def _folders(path: Path, depth: int = _DEPTH) -> list[Path]:
    """Result folders at a path and below it, in the order of their names."""
    if (path / "run.json").is_file():
        return [path]
    if not depth or not path.is_dir():
        return []
    inner = sorted(each for each in path.iterdir() if each.is_dir() and not each.name.startswith("."))
    return [found for each in inner if not _SHARD.fullmatch(each.name) for found in _folders(each, depth - 1)]
