"""A published dataset on disk -> Iterator[Sample]; one file for each format.

The seam is :class:`Reader`: something to iterate, as often as needed. Samples in = scored + unscored: a record that
cannot be scored comes out with its ``reason``. Only a file or folder that cannot be read as a whole raises DataError.
A format is a line of the table here, ``_FORMATS``.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from radar_fast.errors import DataError, UsageError
from radar_fast.readers import folder, jsonl, m3, mathverse, parquet, pgps9k, vlmevalkit
from radar_fast.readers.layout import PRESETS, Layout, layout_of
from radar_fast.readers.paths import shown_path
from radar_fast.readers.selection import Selection
from radar_fast.sample import Sample
from radar_fast.util.choices import check_choice
from radar_fast.util.plugins import found

__all__ = ["FORMATS", "PRESETS", "Format", "Reader", "ReaderOptions", "Selection", "open_reader"]


class Reader(Protocol):
    """Samples of a dataset on disk."""

    @property
    def format(self) -> str:
        """One of :data:`FORMATS`."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The annotation files, sorted."""

    @property
    def root(self) -> Path:
        """The data folder. Nothing outside it is read."""

    def __iter__(self) -> Iterator[Sample]:
        """All samples, each time anew; one at a time. Raises DataError where a file cannot be read as a whole."""


def open_reader(
    data: str | Path,
    *,
    format: str = "auto",  # noqa: A002 - called as the command line's option is
    fields: Mapping[str, str] | None = None,
    classes: str | None = None,
    preset: str | None = None,
    fields_file: str | Path | None = None,
    follow_symlinks: bool = False,
) -> Reader:
    """The reader of a data folder; for ``jsonl``, ``vlmevalkit`` and ``parquet`` a single file will do.

    For ``jsonl`` and ``parquet``, ``preset`` names a published layout, ``fields_file`` is a TOML file that says one
    (:mod:`radar_fast.readers.layout`), and ``fields`` maps our field names to the dataset's and overrules both;
    ``classes`` names the class texts of a ``folder``. Unless ``follow_symlinks``, no symlink may lead outside the
    folder. Nothing but names, and for ``auto`` how files begin, is read yet. Raises UsageError for a wrong option and
    DataError for a folder that is missing, empty, ambiguous or not recognised, and a layout that says nothing.
    """
    data = Path(data)
    check_choice("format", format, FORMATS)
    try:
        layout = layout_of(fields, preset=preset, file=fields_file)
    except OSError as error:
        raise DataError(
            f"--fields {fields_file}: cannot be read ({error.strerror or error}): check the file"
        ) from error
    options = ReaderOptions(layout, classes, follow_symlinks)
    try:
        chosen = _recognised(data, options) if format == "auto" else _named(data, _FORMATS[format], options)
        for option, value, formats in (
            ("--preset", preset, _MAPPED),
            ("--fields", fields_file, _MAPPED),
            ("--field", fields, _MAPPED),
            ("--classes", classes, ("folder",)),
        ):
            if value and chosen.name not in formats:
                given = ", ".join(value) if isinstance(value, Mapping) else value
                found = f"{option}: {given} is for {' and '.join(formats)}, but {shown_path(data)} is read as"
                raise UsageError(f"{found} {chosen.name}: remove it")
        return chosen.open(data, options)
    except OSError as error:
        name = shown_path(Path(error.filename or data))
        raise DataError(f"{name}: cannot be read ({error.strerror or error}): check the folder") from error


@dataclass(frozen=True, slots=True)
class ReaderOptions:
    """What a reader may be told beside the folder: those options of :func:`open_reader`."""

    layout: Layout
    """For records under any names."""
    classes: str | None
    """For folders of classes."""
    follow_symlinks: bool
    """Whether images may lie outside the folder, behind links."""


@dataclass(frozen=True, slots=True)
class Format:
    """How to tell and open one format; an entry point in ``radar_fast.readers`` is one."""

    name: str
    """As on the command line."""
    needs: str
    """What a folder of this format holds, for messages."""
    files: Callable[[Path], list[Path]]
    """The files in a folder that would be read."""
    open: Callable[[Path, ReaderOptions], Reader]
    tells: Callable[[Path, ReaderOptions], bool] = lambda *_: True
    """Whether such a file really is of this format, from how it begins: other formats may have files of that name."""
    why_not: Callable[[Path], str | None] = lambda _: None
    """What a file of that name lacks, for messages; None where that is not known."""
    endings: tuple[str, ...] = ()
    """Of a single file that may stand for a folder."""


_MAPPED = ("jsonl", "parquet")
_FORMATS = {
    entry.name: entry
    for entry in (
        *found("radar_fast.readers", Format).values(),
        Format(
            "m3",
            "<directory>/*.json in one of its published directories, or <directory>/*_pretrained_mllm_eval.json",
            m3.find_files,
            lambda data, options: m3.M3Reader.open(data, follow_symlinks=options.follow_symlinks),
        ),
        Format(
            "jsonl",
            "*.jsonl or *.json directly in the folder: one object a line, or one list or object of records",
            jsonl.find_files,
            lambda data, options: jsonl.JsonlReader.open(
                data, layout=options.layout, follow_symlinks=options.follow_symlinks
            ),
            lambda file, options: jsonl.is_json_lines(file, options.layout.records),
            endings=(".jsonl", ".json"),
        ),
        Format(
            "vlmevalkit",
            "*.tsv directly in the folder, with columns index, question and image or image_path",
            vlmevalkit.find_files,
            lambda data, options: vlmevalkit.VLMEvalKitReader.open(data, follow_symlinks=options.follow_symlinks),
            lambda file, _: vlmevalkit.is_table(file),
            vlmevalkit.why_no_table,
            (".tsv",),
        ),
        Format(
            "pgps9k",
            "test.json, one object prob_<n> -> record with diagram, choices and the parsing_ fields",
            pgps9k.find_files,
            lambda data, options: pgps9k.PGPS9KReader.open(data, follow_symlinks=options.follow_symlinks),
        ),
        Format(
            "mathverse",
            "*.json, one list of records with problem_version and query_wo",
            mathverse.find_files,
            lambda data, options: mathverse.MathVerseReader.open(data, follow_symlinks=options.follow_symlinks),
        ),
        Format(
            "folder",
            f"a folder for each class, and {folder.FILE} (or --classes)",
            folder.find_files,
            lambda data, options: folder.FolderReader.open(
                data, classes=options.classes, follow_symlinks=options.follow_symlinks
            ),
        ),
        Format(
            "parquet",
            "*.parquet in the folder or in those directly in it",
            parquet.find_files,
            lambda data, options: parquet.ParquetReader.open(
                data, layout=options.layout, follow_symlinks=options.follow_symlinks
            ),
            lambda file, _: parquet.is_parquet(file),
            endings=(".parquet",),
        ),
    )
}


FORMATS = tuple(_FORMATS)
"""Names, beside ``auto``."""


def _named(data: Path, chosen: Format, options: ReaderOptions) -> Format:
    """The format that the user named, if there is something of it. Raises DataError."""
    _check_there(data)
    if not data.is_dir():
        if not chosen.endings:
            raise DataError(f"{shown_path(data)}: not a folder: {chosen.name} needs {chosen.needs}", path=data)
        if data.suffix not in chosen.endings:
            found = f"{shown_path(data)}: neither a folder nor a {' or '.join(chosen.endings)} file"
            raise DataError(f"{found}: {chosen.name} needs {chosen.needs}")
    elif not chosen.files(data) and not options.classes:
        if chosen.name == "m3":
            _refuse_inner(data)
        raise _not_recognised(data, [chosen])
    return chosen


def _recognised(data: Path, options: ReaderOptions) -> Format:
    """The format that the folder is in. Raises DataError unless it is exactly one."""
    _check_there(data)
    if options.classes:
        return _FORMATS["folder"]
    if not data.is_dir():
        for chosen in _FORMATS.values():
            if data.suffix in chosen.endings:
                return chosen
        endings = ", ".join(f"{ending} ({entry.name})" for entry in _FORMATS.values() for ending in entry.endings)
        raise DataError(f"{shown_path(data)}: neither a folder nor a file of a known ending: {endings}", path=data)
    if not m3.find_files(data):
        # One level too deep every file may still be an object on one line, and pass for JSON lines.
        _refuse_inner(data)
    found = {
        entry.name: [file for file in entry.files(data) if entry.tells(file, options)] for entry in _FORMATS.values()
    }
    # What a format with a shape of its own takes may be one object on one line as well.
    taken = {file for name, files in found.items() if name != "jsonl" for file in files}
    found["jsonl"] = [file for file in found["jsonl"] if file not in taken]
    seen = {name: min(files) for name, files in found.items() if files}
    if not seen:
        raise _not_recognised(data, list(_FORMATS.values()))
    if len(seen) > 1:
        listed = " and ".join(f"{name} ({file.relative_to(data).as_posix()!a})" for name, file in seen.items())
        raise DataError(f"{shown_path(data)}: both {listed} are there: name one with --format", path=data)
    return _FORMATS[next(iter(seen))]


def _check_there(data: Path) -> None:
    if not data.exists():
        raise DataError(f"{shown_path(data)}: no such file or folder: check the path", path=data)
    if data.is_dir() and not any(data.iterdir()):
        raise DataError(f"{shown_path(data)}: the folder is empty: check the path", path=data)


def _not_recognised(data: Path, wanted: list[Format]) -> DataError:
    seen = sorted(entry.name + "/" * entry.is_dir() for entry in data.iterdir())
    listed = ", ".join(map(ascii, seen[:5])) + (f" and {len(seen) - 5} more" if len(seen) > 5 else "")
    lacking = next((why for entry in wanted for file in sorted(entry.files(data)) if (why := entry.why_not(file))), "")
    needs = "; ".join(f"{entry.name} needs {entry.needs}" for entry in wanted)
    found = f"{shown_path(data)}: nothing to read; the folder holds {listed}"
    return DataError(f"{found}; {lacking}: {needs}" if lacking else f"{found}: {needs}")


def _refuse_inner(data: Path) -> None:
    """Raises DataError for one directory of M3-Bench in place of the folder that holds it."""
    for file in jsonl.find_files(data):
        if file.name.endswith("_pretrained_mllm_eval.json"):
            raise DataError(f"{shown_path(data)}: one directory of M3-Bench: give the folder above it", path=data)
