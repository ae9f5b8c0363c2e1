"""Paths that a user gives: what cannot be one is said before anything is done."""

import os
from pathlib import Path

from radar_fast.errors import UsageError

__all__ = ["checked_path"]

LONGEST_NAME = 255
"""Bytes of a file's name on all common file systems."""


def checked_path(option: str, given: str | Path) -> Path:
    """The path that an option names.

    Raises:
        UsageError: it is empty, which would mean the working directory without saying so, or no file can be called so.
    """
    text = os.fspath(given)
    if not text:
        raise UsageError(f"{option}: is empty: name a file or folder, or . for the working directory")
    if "\0" in text:
        raise UsageError(f"{option} {text!r}: holds a NUL character, which no path can")
    path = Path(given)
    for name in path.parts:
        try:
            length = len(os.fsencode(name))
        except UnicodeEncodeError:
            raise UsageError(f"{option} {text!a}: holds a character that no path can") from None
        if length > LONGEST_NAME:
            short = f"{name[:20]}..."
            raise UsageError(f"{option}: {short!a} is a name of {length} bytes; a file's has at most {LONGEST_NAME}")
    return path
