"""Files that records name must lie in the data folder: a data set is no licence to read the rest of the disk."""

import os
from collections.abc import Callable
from pathlib import Path

from radar_fast.errors import DataError
from radar_fast.readers.records import Unfit, shown
from radar_fast.sample import ImageFile, ReasonKind
from radar_fast.util.printable import printable

__all__ = ["DataFolder", "annotations", "name_of", "shown_path", "task_of"]

_CACHED_FOLDERS = 1024


class DataFolder:
    """A data folder, and which paths lie inside it. One system call a path: folders are resolved once."""

    def __init__(self, root: Path, *, follow_symlinks: bool) -> None:
        self._root = os.path.abspath(root)  # noqa: PTH100 - str throughout: pathlib costs ten times as much
        self._inside = _prefix(self._root)
        self._really_inside = _prefix(os.path.realpath(self._root))
        self._follow_symlinks = follow_symlinks
        self._folders: dict[str, bool] = {}

    def image(self, relative: str, folders: tuple[str, ...] = ()) -> ImageFile:
        """The image of that path, relative to the data folder. Whether it exists is not looked at, but that the first
        of the ``folders`` counts which has it, where any are given.

        Raises Unfit: ``path-outside-data`` for a path that leaves the folder, by ``..``, by being absolute, or by a
        symlink where those are not followed; ``bad-record`` for what can be no path at all.
        """
        if folders:
            tried = [ImageFile(Path(self._checked(os.path.join(inner, relative)))) for inner in folders]  # noqa: PTH118
            return next((image for image in tried if image.size >= 0), tried[0])
        return ImageFile(Path(self._checked(relative)))

    def _checked(self, relative: str) -> str:
        path = os.path.normpath(os.path.join(self._root, relative))  # noqa: PTH118
        try:
            usable = b"\0" not in os.fsencode(path)
        except UnicodeEncodeError:
            usable = False
        if not usable:
            raise Unfit(ReasonKind.BAD_RECORD, f"image path {shown(relative)} holds characters that no file name can")
        if not path.startswith(self._inside):
            found = f"image path {shown(relative)} leads outside the data folder: move the file into it"
            raise Unfit(ReasonKind.PATH_OUTSIDE_DATA, found)
        if not self._follow_symlinks and not self._really(path):
            found = (
                f"image {shown(relative)} is reached by a symlink that leads outside the data folder: "
                "copy the file into it, or add --follow-symlinks if you trust the data"
            )
            raise Unfit(ReasonKind.PATH_OUTSIDE_DATA, found)
        return path

    def _really(self, path: str) -> bool:
        """Whether the path lies inside once symlinks are resolved."""
        if os.path.islink(path):  # noqa: PTH114
            return os.path.realpath(path).startswith(self._really_inside)
        parent = path.rpartition("/")[0]
        inside = self._folders.get(parent)
        if inside is None:
            if len(self._folders) >= _CACHED_FOLDERS:
                self._folders.clear()
            inside = self._folders[parent] = _prefix(os.path.realpath(parent)).startswith(self._really_inside)
        return inside


def task_of(file: Path) -> str:
    """What the task of a file is called: its name without what all published names end in."""
    return file.stem.removesuffix("_pretrained_mllm_eval") or file.stem


def annotations(
    files: list[Path], root: Path, *, follow_symlinks: bool, task: Callable[[Path], str] = task_of
) -> tuple[Path, ...]:
    """The annotation files in the order in which they are read, each fit to be opened, each another ``task``.

    Raises DataError for a file that is no regular file, leads outside the data folder, has a name that is no UTF-8,
    or would make the same task as another.
    """
    really_inside = _prefix(os.path.realpath(root))
    tasks: dict[str, Path] = {}
    ordered = sorted(files, key=lambda file: file.relative_to(root).as_posix())
    for file in ordered:
        name = shown_path(file)
        try:
            file.relative_to(root).as_posix().encode()
        except UnicodeEncodeError:
            raise DataError(f"{name}: the file's name is not UTF-8: rename the file") from None
        if not file.is_file():
            raise DataError(f"{name}: is no regular file, or a symlink to nothing: replace it, or take it away")
        if not follow_symlinks and not os.path.realpath(file).startswith(really_inside):
            raise DataError(
                f"{name}: is reached by a symlink that leads outside {shown_path(root)}: "
                "copy the file, or add --follow-symlinks if you trust the data"
            )
        made = task(file)
        if made in tasks:
            raise DataError(
                f"{name}: makes the same task {shown(made)} as {shown_path(tasks[made])}: rename one of them"
            )
        tasks[made] = file
    return tuple(ordered)


def name_of(folder: Path) -> str:
    """A folder's own name, as text that any file can hold: bytes that are not UTF-8 are written out."""
    return folder.absolute().name.encode("utf-8", "backslashreplace").decode()


def shown_path(path: Path) -> str:
    """A path on one line, whatever is in its name."""
    text = str(path)
    return printable(text)


def _prefix(folder: str) -> str:
    return folder.rstrip("/") + "/"
