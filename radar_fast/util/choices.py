"""A value that must be one of a few names, and what to say where it is none of them."""

import difflib
from collections.abc import Iterable

from radar_fast.errors import UsageError
from radar_fast.util.printable import printable

__all__ = ["check_choice", "check_one_of", "did_you_mean"]


def check_choice(option: str, value: str, choices: Iterable[str]) -> None:
    """Raise UsageError unless ``value`` is ``auto`` or one of ``choices``."""
    check_one_of(option, value, ("auto", *choices))


def check_one_of(option: str, value: str, choices: Iterable[str]) -> None:
    """Raise UsageError, which names the choices and the closest of them, unless ``value`` is one of them.

    ``option`` is the option's name without its dashes.
    """
    known = tuple(choices)
    if value not in known:
        shown = printable(value)
        raise UsageError(f"--{option} {shown}: unknown{did_you_mean(value, known)}; it is one of {', '.join(known)}")


def did_you_mean(value: str, known: Iterable[str]) -> str:
    """``, did you mean ...?`` with the closest of the known names; empty where none is close."""
    close = difflib.get_close_matches(value, list(known), 1)
    return f", did you mean {close[0]}?" if close else ""
