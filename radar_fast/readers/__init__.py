"""A published dataset on disk -> Iterator[Sample]; one file a format.

The seam is :class:`Reader`: something to iterate, as often as needed. Samples in = scored + unscored: a record that
cannot be scored comes out with its ``reason``. Only a file or folder that cannot be read as a whole raises DataError.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from radar_fast.config import FORMATS, check_choice
from radar_fast.errors import DataError, UsageError
from radar_fast.readers import jsonl, m3
from radar_fast.readers.paths import shown_path
from radar_fast.readers.selection import Selection
from radar_fast.sample import Sample

__all__ = ["Reader", "Selection", "open_reader"]

_EXPECTED = (
    "m3 needs <directory>/*.json in one of its published directories, or <directory>/*_pretrained_mllm_eval.json; "
    "jsonl needs *.jsonl or *.json directly in the folder, one object a line"
)


class Reader(Protocol):
    """Samples of a dataset on disk."""

    @property
    def format(self) -> str:
        """``m3`` or ``jsonl``."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The annotation files, sorted."""

    @property
    def root(self) -> Path:
        """The data folder. Nothing outside it is read."""

    def __iter__(self) -> Iterator[Sample]:
        """All samples, each time anew; one at a time. Raises DataError where a file cannot be read as a whole."""


def open_reader(
    data: Path,
    *,
    format: str = "auto",  # noqa: A002 - called as the command line's option is
    fields: Mapping[str, str] | None = None,
    follow_symlinks: bool = False,
) -> Reader:
    """The reader of a data folder; for ``jsonl`` a single file will do.

    ``fields`` maps our field names to those of a ``jsonl`` dataset. Unless ``follow_symlinks``, no symlink may lead
    outside the folder. Nothing but names, and for ``auto`` first lines, is read yet. Raises UsageError for a wrong
    option and DataError for a folder that is missing, empty, ambiguous or not recognised.
    """
    check_choice("format", format, FORMATS)
    if fields:
        jsonl.check_fields(fields)
    try:
        chosen = _recognised(data) if format == "auto" else _checked(data, format)
        if chosen == "m3":
            if fields:
                raise UsageError(
                    f"--field: {', '.join(fields)} mapped, but {shown_path(data)} is read as m3: remove them"
                )
            return m3.M3Reader.open(data, follow_symlinks=follow_symlinks)
        return jsonl.JsonlReader.open(data, fields=fields or {}, follow_symlinks=follow_symlinks)
    except OSError as error:
        name = shown_path(Path(error.filename or data))
        raise DataError(f"{name}: cannot be read ({error.strerror or error}): check the folder") from error


def _checked(data: Path, named: str) -> str:
    """The format that the user named, if the folder is there. Raises DataError."""
    name = shown_path(data)
    if not data.exists():
        raise DataError(f"{name}: no such file or folder: check the path")
    if not data.is_dir():
        if named == "m3":
            raise DataError(f"{name}: not a folder: give the folder that holds the M3-Bench directories")
        if data.suffix not in (".jsonl", ".json"):
            raise DataError(f"{name}: neither a folder nor a .jsonl or .json file: {_EXPECTED}")
        return named
    if not any(data.iterdir()):
        raise DataError(f"{name}: the folder is empty: {_EXPECTED}")
    if named == "m3" and not m3.find_files(data):
        _refuse_inner(data)
        raise _not_recognised(data)
    if named == "jsonl" and not jsonl.find_files(data):
        raise _not_recognised(data)
    return named


def _recognised(data: Path) -> str:
    """The format that the folder is in. Raises DataError unless it is exactly one."""
    _checked(data, "auto")
    name = shown_path(data)
    if not data.is_dir():
        return "jsonl"
    is_m3 = bool(m3.find_files(data))
    if not is_m3:
        # One level too deep every file may still be an object on one line, and pass for JSON lines.
        _refuse_inner(data)
    lines = sorted(file.name for file in jsonl.find_files(data) if jsonl.is_json_lines(file))
    if is_m3 and lines:
        raise DataError(f"{name}: both M3-Bench directories and JSON lines ({lines[0]!r}) are there: name the format")
    if is_m3 or lines:
        return "m3" if is_m3 else "jsonl"
    raise _not_recognised(data)


def _not_recognised(data: Path) -> DataError:
    seen = sorted(entry.name + "/" * entry.is_dir() for entry in data.iterdir())
    listed = ", ".join(map(ascii, seen[:5])) + (f" and {len(seen) - 5} more" if len(seen) > 5 else "")
    return DataError(f"{shown_path(data)}: nothing to read; the folder holds {listed}: {_EXPECTED}")


def _refuse_inner(data: Path) -> None:
    """Raises DataError for one directory of M3-Bench in place of the folder that holds it."""
    for file in jsonl.find_files(data):
        if file.name.endswith("_pretrained_mllm_eval.json"):
            raise DataError(f"{shown_path(data)}: one directory of M3-Bench: give the folder above it")
