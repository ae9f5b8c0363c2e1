"""The shards of a benchmark -> one result folder beside them, once it is proved that they belong together.

What is written is a result folder like any other: its journal is only ever appended to, under its lock. So merging
twice adds nothing, a merge that was killed goes on when it is given again, and a run of the whole benchmark may go on
in the folder before, between and after. A sample that is in the folder already stays as it is there.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from radar_fast.errors import BusyError, ResultsError
from radar_fast.results.differing import told_differences
from radar_fast.results.folder import ResultFolder
from radar_fast.results.journal import Journal, read_records
from radar_fast.results.manifest import Manifest
from radar_fast.results.record import Key
from radar_fast.shard import Shard, shard_folders
from radar_fast.util.locks import is_locked

__all__ = ["Merged", "folders_with_shards", "merge_shards"]

_DEEPEST = 8
_BATCH = 512
"""Records that are written at once."""


@dataclass(frozen=True)
class Merged:
    """What came of a merge."""

    folder: Path
    """The result folder."""
    shards: int
    """How many shards it was merged of."""
    fresh: int
    """Samples that were not in it before."""
    missing: int
    """Samples of the benchmark that no shard has, and the folder neither; 0 but for a partial merge."""


@dataclass(frozen=True)
class _Part:
    """A shard that was looked at."""

    shard: Shard
    folder: ResultFolder
    manifest: Manifest
    records: int
    """In its journal, each sample once."""

    @property
    def missing(self) -> int:
        """Samples of it that are not in yet."""
        return self.manifest.shard["samples"] - self.records


def folders_with_shards(root: Path) -> list[Path]:
    """The folders at or below ``root`` that hold shards, in the order of their names.

    Raises:
        ResultsError: there are none.
    """
    found = list(_below(root, _DEEPEST))
    if not found:
        raise ResultsError(
            f"{root}: holds no shards, which `radar-fast score --shard I/N` writes; name their --out", path=root
        )
    return found


def _below(folder: Path, deep: int) -> Iterator[Path]:
    try:
        inner = sorted(entry.path for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False))
    except OSError as error:
        raise ResultsError(
            f"{folder}: cannot be read: {error.strerror}; name the --out of the shards", path=folder
        ) from None
    shards = set(shard_folders(folder).values())
    if shards:
        yield folder
    for path in map(Path, inner):
        if deep and path not in shards:
            yield from _below(path, deep - 1)


def merge_shards(folder: str | Path, *, partial: bool = False, say: Callable[[str], None] = lambda _: None) -> Merged:
    """Prove that the shards in a folder are one benchmark's, disjoint and all there, and make it their result folder.

    ``summary.json`` is not written: :func:`radar_fast.run.summarize` does that.

    Args:
        folder: holds ``shard-00000-of-00004`` and its kin.
        partial: take what is there, of shards that are not complete too.
        say: is told what a person should know.

    Raises:
        BusyError: a shard is not complete and is being written, or the folder itself is.
        ResultsError: they do not belong together, are not all there, or cannot be read or written.
    """
    target = ResultFolder(folder)
    parts = _looked_at(target.path)
    _require_one_run(parts)
    if not partial:
        _require_complete(target.path, parts)
    whole = _whole_manifest(target, parts)
    for line in _worth_saying(parts):
        say(line)
    with Journal.open(target.samples) as journal, target.nothing_left_by_failures():
        if journal.done or journal.passing:
            target.claim(whole.identity, whole.configuration, empty=False)
            target.write_manifest(replace(target.manifest(), merged=whole.merged))
        else:
            target.write_manifest(whole)
        before = len(journal.done) + len(journal.passing)
        for part in parts:
            records = (record for record in read_records(part.folder.samples) if record.key not in journal.done)
            while some := list(islice(records, _BATCH)):
                journal.append(some)
        there = len(journal.done) + len(journal.passing)
    return Merged(target.path, len(parts), there - before, max(0, (whole.samples or there) - there))


def _looked_at(folder: Path) -> list[_Part]:
    """The shards with their manifests, and what their journals hold. Raises ResultsError, also for a sample in two."""
    shards = shard_folders(folder)
    if len(counts := sorted({shard.count for shard in shards})) > 1:
        raise ResultsError(
            f"{folder}: holds shards of {counts[0]} and of {counts[1]}; move those away that are not meant", path=folder
        )
    where: dict[Key, str] = {}
    parts = []
    for shard, path in shards.items():
        one = ResultFolder(path)
        manifest = one.manifest()
        if manifest.shard_name != str(shard):
            holds = f"shard {manifest.shard_name}" if manifest.shard else "no shard"
            raise ResultsError(f"{path}: holds {holds}, as its run.json says; give it its own name back", path=path)
        records = 0
        for record in read_records(one.samples):
            records += 1
            if (first := where.setdefault(record.key, path.name)) != path.name:
                raise ResultsError(
                    f"{folder}: sample {record.id!r} of task {record.task!r} is in {first} and in {path.name}; shards "
                    "of one run share none: score one of the two again in an empty folder",
                    path=folder,
                )
        parts.append(_Part(shard, one, manifest, records))
    return parts


def _require_one_run(parts: Sequence[_Part]) -> None:
    """Raise ResultsError where identities differ, or image files, or the sizes do not make up the benchmark."""
    first = parts[0]
    for other in parts[1:]:
        one, two = first.manifest, other.manifest
        if one.identity != two.identity:
            told = told_differences(one.identity, two.identity, one.configuration, two.configuration)
            raise ResultsError(
                f"{other.folder.path}: is of another run than {first.folder.path.name}; they cannot be merged. What "
                f"differs: {'; '.join(told) or 'the version of radar-fast'}",
                path=other.folder.path,
            )
        if one.images.get("absent") == two.images.get("absent") and one.images != two.images:
            raise ResultsError(
                f"{other.folder.path}: images of the benchmark had been replaced since {first.folder.path.name} was "
                "scored; score one of the two again",
                path=other.folder.path,
            )
    samples = sum(part.manifest.shard["samples"] for part in parts)
    if len(parts) == first.shard.count and samples != first.manifest.samples:
        raise ResultsError(
            f"{first.folder.path.parent}: its shards have {samples} samples, and the benchmark "
            f"{first.manifest.samples}; another version of radar-fast wrote one of them: score them again",
            path=first.folder.path.parent,
        )


def _require_complete(folder: Path, parts: Sequence[_Part]) -> None:
    """Raise ResultsError where a shard, or a part of one, is not there; BusyError where it is being written."""
    there = {part.shard for part in parts}
    count = parts[0].shard.count
    absent = [str(Shard(index, count)) for index in range(count) if Shard(index, count) not in there]
    short = [part for part in parts if part.missing]
    if not absent and not short:
        return
    found = [f"shard {name} is not there" for name in absent]
    found += [f"shard {part.shard} lacks {part.missing} of {part.manifest.shard['samples']} samples" for part in short]
    more = f", and {len(found) - 3} more" if len(found) > 3 else ""
    told = f"{folder}: not complete: {', '.join(found[:3])}{more}"
    if any(is_locked(part.folder.samples) for part in short):
        raise BusyError(f"{told}; a process is at work on it: wait for it to end")
    raise ResultsError(f"{told}; give the same score commands again, or merge what is there with --partial")


def _worth_saying(parts: Sequence[_Part]) -> Iterator[str]:
    """What differs between shards and is no reason to refuse them."""
    for name, say in (("versions", "library versions"), ("images", "image files that were not there")):
        if len({repr(sorted(getattr(part.manifest, name).items())) for part in parts}) > 1:
            yield f"{parts[0].folder.path.parent}: the shards differ in {say}; run.json says in which"


def _whole_manifest(target: ResultFolder, parts: Sequence[_Part]) -> Manifest:
    """The manifest of one run, and of which shards it is merged."""
    first = parts[0].manifest
    fullest = min((part.manifest for part in parts), key=lambda one: len(_listed(one.images.get("absent"))))
    return replace(
        first,
        configuration={**first.configuration, "shard": None, "out": str(target.path.resolve())},
        created=min(part.manifest.created for part in parts),
        engine=_engine([part.manifest.engine for part in parts if part.manifest.engine]),
        images=fullest.images,
        shard={},
        merged=tuple(
            {
                "shard": str(part.shard),
                "samples": part.records,
                "created": part.manifest.created,
                "versions": part.manifest.versions,
                "machine": part.manifest.machine,
                "absent": _listed(part.manifest.images.get("absent")),
                "engine": part.manifest.engine,
            }
            for part in parts
        ),
    )


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _engine(said: Sequence[Mapping[str, object]]) -> Mapping[str, object]:
    """What all engines say alike of themselves, and the sum of their seconds."""
    if not said:
        return {}
    alike = {name: value for name, value in said[0].items() if all(other.get(name) == value for other in said)}
    for name in said[0]:
        times = [other.get(name) for other in said]
        if name.endswith("_seconds") and (known := [time for time in times if isinstance(time, int | float)]):
            alike[name] = round(sum(known), 6)
    return {name: alike[name] for name in said[0] if name in alike}
