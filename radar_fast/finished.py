"""Jobs that are done: known by what was noted when they ended, without reading data or weights or importing torch.

What is noted is how the files were that a job was made from: of the data folder and the checkpoint names, sizes and
times, and the options. Where anything differs, even a time alone, the long way is taken, which looks at contents.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from radar_fast.config import RunConfig
from radar_fast.errors import ModelError, ResultsError
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.results.folder import IDENTITY, ResultFolder, library_versions
from radar_fast.results.summary import Summary
from radar_fast.sample import PASSING
from radar_fast.util.codec import decode, encode

__all__ = ["data_state", "known_as_finished", "note_finished"]

_MOST = 300_000
"""Files of a data folder from where on nothing is noted of it: to look at them takes as long as to read them."""

_SILENT = ("out", "official_out", "preprocess_cache")
"""Options that change no number."""


def data_state(config: RunConfig) -> str | None:
    """A digest of names, sizes and times of all files that the data are read from; None where that is not to be had.

    To be asked for before the data are read: a change in between is then seen by the next run.
    """
    if config.follow_symlinks:
        return None  # what lies behind links is not in the folder
    classes = Path(config.classes) if config.classes else None  # a file, or the name of one that comes along
    files = (config.fields_file, classes if classes is not None and classes.is_file() else None)
    total = count = 0
    try:
        for said in (*_below(str(config.data.resolve())), *(_said(str(file), file.stat()) for file in files if file)):
            count += 1
            if count > _MOST:
                return None
            digest = hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=16).digest()
            total = (total + int.from_bytes(digest, "big")) % 2**128  # in whatever order a file system lists them
    except OSError:
        return None  # a dead link, or a file that goes as it is looked at
    return f"{count}-{total:032x}"


def _below(path: str) -> Iterator[str]:
    """What is said of a file, or of each file in a folder, by its name below that."""
    if not os.path.isdir(path):  # noqa: PTH112 - a hundred thousand of them: paths as text take half the time
        yield _said("", os.stat(path))  # noqa: PTH116
        return
    waiting = [path]
    while waiting:
        folder = waiting.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                else:
                    yield _said(entry.path[len(path) :], entry.stat())


def _said(name: str, state: os.stat_result) -> str:
    # The time of the last change of any kind, too: that of the content can be set back.
    return f"{name}\0{state.st_size}\0{state.st_mtime_ns}\0{state.st_ctime_ns}"


def _noted(config: RunConfig, data: str | None, checkpoint: Checkpoint | None) -> dict[str, Any] | None:
    """What tells this job from every other; None where it cannot be known again."""
    if data is None:
        return None
    options = {name: value for name, value in config.to_dict().items() if name not in _SILENT}
    return {
        "version": f"{library_versions().get('radar-fast')} {IDENTITY}",
        "data": data,
        "model": None if checkpoint is None else _digest(sorted(checkpoint.state.items())),
        "options": _digest(options),
    }


def _digest(value: Any) -> str:
    return hashlib.sha256(encode(decode(encode(value)))).hexdigest()


def _journal(folder: ResultFolder) -> list[int]:
    state = folder.samples.stat()
    return [state.st_size, state.st_mtime_ns]


def note_finished(config: RunConfig, data: str | None, checkpoint: Checkpoint | None, summary: Summary) -> None:
    """Note in ``run.json`` that a job is done, if it is: with every sample in, and none that could be tried again.

    Args:
        config: of the job.
        data: what :func:`data_state` said before its data were read.
        checkpoint: opened before its weights were.
        summary: what has just been written.

    Raises:
        ResultsError: it cannot be written.
    """
    folder = ResultFolder(config.folder)
    noted = _noted(config, data, checkpoint)
    if noted is None or summary.missing != 0 or _passing(summary):
        return
    try:
        noted["journal"] = _journal(folder)
    except OSError:
        return
    manifest = folder.manifest()
    if dict(manifest.finished) != noted:
        folder.write_manifest(replace(manifest, finished=noted))


def known_as_finished(config: RunConfig, data: str | None) -> Summary | None:
    """The summary of a job that was noted as done, if all is as it was then; else None, and it has to be looked at.

    Args:
        config: of the job.
        data: what :func:`data_state` says now.
    """
    folder = ResultFolder(config.folder)
    try:
        before = folder.manifest().finished
        if not before or data != before.get("data"):
            return None
        checkpoint = None
        if config.model is not None:
            checkpoint = Checkpoint.open(config.model, trust_remote_code=config.trust_remote_code)
        noted = _noted(config, data, checkpoint)
        if noted is None or noted | {"journal": _journal(folder)} != dict(before):
            return None
        return folder.read_summary()
    except (ModelError, ResultsError, OSError):
        return None  # the long way says what is wrong


def _passing(summary: Summary) -> bool:
    """Whether a sample may be tried again."""
    return any(kind in summary.overall.reasons for kind in map(str, PASSING))
