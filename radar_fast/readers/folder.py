"""Classification data sets that are folders: ``DATA/[<split>/]<class>/<image>``, the class is the folder.

What the classes are called, in words to score, is said in a TOML file, ``DATA/classes.toml`` or one named by the user:

    question = "What is in the picture?"    # the same for every image
    ability = "perception"                  # optional
    graded = true                           # optional: the classes are grades, in this order
    split_at = 2                            # optional, for graded classes: the first above a split into two, from 0

    [classes]                               # folder -> candidate, in the order in which they are scored and listed
    0 = "no fracture"
    1 = "a fracture"

Every image is a sample with all classes as candidates. Every split is a task of its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from radar_fast.errors import DataError, UsageError
from radar_fast.readers.paths import DataFolder, name_of, shown_path
from radar_fast.readers.records import Unfit, shown
from radar_fast.readers.toml_file import load_toml
from radar_fast.sample import Part, ReasonKind, Sample
from radar_fast.util.printable import printable

__all__ = ["EXAMPLES", "FILE", "ClassTexts", "FolderReader", "find_files"]

FILE = "classes.toml"
"""Where the texts are looked for, in the data folder."""
_SHIPPED = Path(__file__).with_name("examples")
EXAMPLES = tuple(sorted(file.stem for file in _SHIPPED.glob("*.toml")))
"""Class texts that come with the package; their names can be given in place of a file."""

_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
_TEXTS = {"question": None, "ability": "other"}
_KNOWN = ("question", "ability", "graded", "split_at", "classes")


def find_files(data: Path) -> list[Path]:
    """``classes.toml`` directly in a folder; empty if it is not there."""
    file = data / FILE
    return [file] if file.is_file() else []


@dataclass(frozen=True)
class ClassTexts:
    """What a TOML file says of the classes."""

    question: str
    """Asked of every image."""
    classes: dict[str, str]
    """Folder -> candidate, in order; two or more."""
    ability: str = "other"
    """What it is said to measure."""
    graded: bool = False
    """Whether the classes are grades, in this order."""
    split_at: int | None = None
    """Place of the first grade above a split into two; None without one."""

    @classmethod
    def read(cls, file: Path) -> "ClassTexts":
        """Raises DataError, with the file and the field, for what is no such file."""
        name = shown_path(file)
        fields = load_toml(file)
        for field in fields:
            if field not in _KNOWN:
                raise DataError(f"{name}: field {shown(field)} is unknown: use {', '.join(_KNOWN)}")
        classes = _classes(fields.get("classes"), name)
        graded = fields.get("graded", False)
        if not isinstance(graded, bool):
            raise DataError(f"{name}: field 'graded' is {shown(graded)}: it is true or false")
        split_at = fields.get("split_at")
        if split_at is not None:
            if not graded:
                raise DataError(f"{name}: field 'split_at' is for graded classes: add graded = true, or take it away")
            if type(split_at) is not int or not 0 < split_at < len(classes):
                found = f"field 'split_at' is {shown(split_at)}: counted from 0, it is 1 to {len(classes) - 1}"
                raise DataError(f"{name}: {found}")
        question, ability = (_text(fields.get(field, default), field, name) for field, default in _TEXTS.items())
        return cls(question, classes, ability, graded, split_at)


def _text(value: object, field: str, name: str) -> str:
    if not isinstance(value, str) or not value.strip():
        found = "missing" if value is None else shown(value)
        raise DataError(f"{name}: field {field!r} is {found}: give a text")
    return value


def _classes(value: object, name: str) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) < 2:
        found = "missing" if value is None else shown(value)
        raise DataError(f"{name}: table 'classes' is {found}: give two or more, folder = text")
    seen: dict[str, str] = {}
    for folder, text in value.items():
        if folder in ("", ".", "..") or any(letter in folder for letter in "/\\\0"):
            raise DataError(f"{name}: class {shown(folder)} cannot be a folder: give the folder's name")
        if not isinstance(text, str) or not text.strip():
            raise DataError(f"{name}: class {shown(folder)} is {shown(text)}: give the text to score")
        if text in seen:
            raise DataError(f"{name}: classes {shown(seen[text])} and {shown(folder)} have the same text: change one")
        seen[text] = folder
    return dict(value)


@dataclass(frozen=True)
class FolderReader:
    """Reads a folder for each class lazily, one image at a time, and as often as asked.

    Iterating raises DataError where a folder cannot be listed. An image in a folder that is no class, and a folder
    within a class, come out unscored.
    """

    root: Path
    """The data folder."""
    files: tuple[Path, ...]
    """The file with the class texts."""
    texts: ClassTexts
    """What it says."""
    follow_symlinks: bool = False
    """Whether symlinks may lead outside the data folder."""
    format: ClassVar[str] = "folder"

    @classmethod
    def open(cls, data: Path, *, classes: str | None = None, follow_symlinks: bool = False) -> "FolderReader":
        """``classes`` is a TOML file, or the name of one that comes with the package; None: ``DATA/classes.toml``.

        Raises UsageError for a name or file that is not there, DataError for a file that does not say what it must
        and a folder without one folder of a class.
        """
        file = _file(data, classes)
        reader = cls(data, (file,), ClassTexts.read(file), follow_symlinks)
        if not any(True for _ in reader._splits()):
            listed = ", ".join(map(shown, reader.texts.classes))
            raise DataError(
                f"{shown_path(data)}: no folder of a class, nor one level below: expected [<split>/]<class>/ with the "
                f"classes of {shown_path(file)} ({listed})",
                path=data,
            )
        return reader

    def __iter__(self) -> Iterator[Sample]:
        folder = DataFolder(self.root, follow_symlinks=self.follow_symlinks)
        for split in self._splits():
            for inner in _folders(self.root / split):
                for entry in _entries(self.root / split / inner):
                    is_folder = entry.is_dir()
                    # What is left over here: lists, thumbnails and the like.
                    if (is_folder and inner in self.texts.classes) or entry.name.lower().endswith(_ENDINGS):
                        yield self._sample(split, inner, entry.name, is_folder, folder)

    def _splits(self) -> Iterator[str]:
        """Folders that hold classes, relative to the root: ``""`` where those lie in the root itself."""
        if self._holds_classes(self.root):
            yield ""
        for name in _folders(self.root):
            if name not in self.texts.classes and self._holds_classes(self.root / name):
                if not _is_utf8(name):
                    raise DataError(f"{str(self.root / name)!a}: the folder's name is not UTF-8: rename it")
                yield name

    def _holds_classes(self, folder: Path) -> bool:
        return any(name in self.texts.classes for name in _folders(folder))

    def _sample(self, split: str, inner: str, name: str, is_folder: bool, folder: DataFolder) -> Sample:
        root = name_of(self.root)
        path = "/".join(filter(None, (split, inner, name)))
        usable = _is_utf8(path)
        shown_name = path if usable else ascii(path)
        classes = list(self.texts.classes)
        parts: tuple[Part, ...] = ()
        candidates: tuple[str, ...] = ()
        answer, reason = 0, None
        metadata: dict[str, str | int] = {"question": self.texts.question, "file": shown_name}
        try:
            if not usable:
                raise Unfit(ReasonKind.BAD_RECORD, "the file's name is not UTF-8: rename the file")
            if inner not in self.texts.classes:
                found = f"folder {shown(inner)} is no class of {self.files[0].name}: name it there, or take it away"
                raise Unfit(ReasonKind.BAD_RECORD, found)
            if is_folder:
                raise Unfit(ReasonKind.BAD_RECORD, "is a folder within a class: move its images up, or take it away")
            parts = (folder.image(path), self.texts.question)
            candidates, answer = tuple(self.texts.classes.values()), classes.index(inner)
            metadata |= {"class": inner} | self._graded()
        except Unfit as unfit:
            reason = unfit.reason(printable(shown_name))
        task = f"{root}_{split}" if split else root
        unique = shown_name.removeprefix(f"{split}/") if split else shown_name
        return Sample(unique, task, root, self.texts.ability, parts, candidates, answer, metadata, reason, ordered=True)

    def _graded(self) -> dict[str, str | int]:
        if not self.texts.graded:
            return {}
        split: dict[str, str | int] = {} if self.texts.split_at is None else {"split_at": self.texts.split_at}
        return {"graded": len(self.texts.classes), **split}


def _file(data: Path, classes: str | None) -> Path:
    if classes is None:
        if found := find_files(data):
            return found[0]
        raise UsageError(
            f"{shown_path(data)}: no {FILE} in it: put one there, or name one with --classes FILE or one that comes "
            f"along ({', '.join(EXAMPLES)})",
            path=data,
        )
    if classes in EXAMPLES:
        return _SHIPPED / f"{classes}.toml"
    if not Path(classes).is_file():
        raise UsageError(
            f"--classes {shown_path(Path(classes))}: no such file, and none that comes along ({', '.join(EXAMPLES)})"
        )
    return Path(classes)


def _entries(folder: Path) -> list[Path]:
    """What is in a folder and not hidden, sorted by name. Raises DataError if it cannot be listed."""
    try:
        return sorted(
            (entry for entry in folder.iterdir() if not entry.name.startswith(".")), key=lambda path: path.name
        )
    except OSError as error:
        raise DataError(
            f"{shown_path(folder)}: cannot be read ({error.strerror or error}): check the folder", path=folder
        ) from error


def _folders(folder: Path) -> list[str]:
    return [entry.name for entry in _entries(folder) if entry.is_dir()]


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # Python stands lone surrogates in for other bytes
        return False
    return True
