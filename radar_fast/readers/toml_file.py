"""TOML files that users write for us, bounded: what is no such file costs neither memory nor time."""

import re
import tomllib
from pathlib import Path
from typing import Any

from radar_fast.errors import DataError
from radar_fast.readers.paths import shown_path

__all__ = ["MAX_BYTES", "load_toml"]

MAX_BYTES = 2**20
"""Of a file: ten thousand classes take less."""
_MAX_PARTS = 16
"""Of a dotted key. Python's parser takes memory with the square of their number."""
_QUOTED = re.compile(r'"""(?:[^\\]|\\.)*?"""|\'\'\'.*?\'\'\'|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|#[^\n]*', re.DOTALL)
_DOTTED = re.compile(rf"(?<![\w\"-])(?:[\w\"-]+[ \t]*\.[ \t]*){{{_MAX_PARTS}}}")
_DIGITS = re.compile(r"(?<![\w-])(?:0[xob][\da-fA-F_]{100}|[\d_]{100})")
_MAX_DEPTH = 32
"""Of lists and tables within each other."""


def load_toml(file: Path) -> dict[str, Any]:
    """What the file says. Raises DataError for what is no TOML in UTF-8, too large or too deep, and no regular file."""
    name = shown_path(file)
    try:
        # Before opening: to open a pipe would wait for its writer, and devices have no end.
        if not file.is_file():
            raise DataError(f"{name}: is no regular file: give a file in TOML")
        with file.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror or error}): check the file") from error
    if len(raw) > MAX_BYTES:
        raise DataError(f"{name}: is larger than {MAX_BYTES} bytes: give a smaller file")
    try:
        text = raw.decode()
        bare = _QUOTED.sub('""', text)
        if _DIGITS.search(bare):
            raise DataError(f"{name}: a number of more than a hundred digits: give a smaller one, or a text in quotes")
        if _DOTTED.search(bare) or _depth(bare) > _MAX_DEPTH:
            found = f"a key of {_MAX_PARTS} parts or more, or more than {_MAX_DEPTH} levels of lists and tables"
            raise DataError(f"{name}: {found}: make it flatter")
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also numbers that Python refuses to convert
        raise DataError(f"{name}: not TOML in UTF-8 ({' '.join(str(error).split())[:200]}): repair it") from error


def _depth(bare: str) -> int:
    depth = most = 0
    for mark in re.findall(r"[\[\]{}]", bare):
        depth += 1 if mark in "[{" else -1
        most = max(most, depth)
    return most
