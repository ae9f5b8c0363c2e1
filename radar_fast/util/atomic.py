"""Whole files, replaced in one step: whoever reads or resumes finds the old file or the new one, never half of one."""

import contextlib
import math
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from radar_fast.errors import ResultsError
from radar_fast.util.codec import encode

__all__ = ["cannot", "new_folder", "sync_folder", "write_bytes_atomic", "write_json_atomic"]


_OPEN_FILE = re.compile(r"/(?:dev/|proc/self/)(stdout|stderr|fd/\d+)")


def write_json_atomic(path: Path, value: object) -> None:
    """Write ``value`` as indented JSON so that ``path`` holds either all of it or what was there before.

    Raises ResultsError where it cannot be written, or holds what JSON cannot say: as in orjson, but for NaN and
    infinity, which would silently become null.
    """
    if _has_non_finite(value):
        raise ResultsError(f"{path} was not written: it would hold a number that is infinite or no number")
    try:
        data = encode(value, indent=True)
    except ValueError as error:
        raise ResultsError(f"{path} was not written: {error}") from error
    write_bytes_atomic(path, data)


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Replace ``path`` by a file of ``data`` in one step, after it has reached the disk. Raises ResultsError.

    Where ``path`` is a link, what it points to is replaced. A pipe, a terminal or another device is no file that could
    be: the data are written to it.
    """
    try:
        if _is_special(path):
            _write_through(path, data)
            return
        path = path.resolve() if path.is_symlink() else path
    except OSError as error:
        raise cannot("write", path, error) from error
    except (ValueError, RuntimeError) as error:  # a NUL byte in the name; links in a circle
        raise ResultsError(f"cannot write {str(path)!r}: {error}") from error
    # A short name, so that it fits wherever the file's own does; in the same folder, as a rename needs.
    temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise cannot("write", path, error) from error
    except ValueError as error:  # a NUL byte or a lone surrogate in the name
        raise ResultsError(f"cannot write {str(path)!r}: {error}") from error
    finally:
        with contextlib.suppress(OSError, ValueError):
            temporary.unlink(missing_ok=True)  # there only if something failed
    sync_folder(path.parent)


def _is_special(path: Path) -> bool:
    if path.absolute().parts[:2] in (("/", "dev"), ("/", "proc")):
        return True  # /dev/stdout may be a regular file, which somebody else has opened, and means by its name there
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _write_through(path: Path, data: bytes) -> None:
    for stream in (sys.stdout, sys.stderr):  # what was printed before stands before
        stream.flush()
    # A name of an open file: where that is a regular one, opening it anew would start at its beginning.
    ours = _OPEN_FILE.fullmatch(str(path.absolute()))
    number = {"stdout": 1, "stderr": 2}.get(ours[1]) or int(ours[1].rpartition("/")[2]) if ours else None
    descriptor = os.dup(number) if number is not None else os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to write into, which becomes ``path`` when all is written; if anything is raised, nothing is left.

    ``path`` must not be there, or be an empty folder. Raises ResultsError.
    """
    temporary = path.absolute().parent / f".{secrets.token_hex(8)}.tmp"
    try:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise ResultsError(f"{path} is not an empty folder: name another, or empty it")
        temporary.mkdir(parents=True)
        yield temporary
        temporary.rename(path)
    except OSError as error:
        raise cannot("write", Path(error.filename or path), error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # there only if something failed
    sync_folder(path.absolute().parent)


def sync_folder(folder: Path) -> None:
    """Have the disk confirm the names in a folder: a crash may otherwise lose a new file's name."""
    with contextlib.suppress(OSError):  # some network file systems cannot; they order renames by themselves
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def cannot(verb: str, path: Path, error: OSError) -> ResultsError:
    """The error to raise where the operating system refuses to ``verb`` a file."""
    return ResultsError(f"cannot {verb} {path}: {error.strerror}. Check the folder, its permissions and the disk")


def _has_non_finite(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_non_finite, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_has_non_finite, value))
    return isinstance(value, float) and not math.isfinite(value)
