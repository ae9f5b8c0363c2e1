"""Exit statuses, and how a command leaves with one."""

from typing import TYPE_CHECKING, NoReturn

import click

from radar_fast.sample import ReasonKind

if TYPE_CHECKING:
    from radar_fast.results.summary import Summary

__all__ = ["INTERRUPTED", "NO_GO", "TRY_AGAIN", "UNDECIDED", "UNSCORED", "WRONG", "exit_by", "leave"]

UNSCORED = 1
"""Done, but something was left out: samples that could not be scored, or did not fit."""
WRONG = 2
"""The input or the usage is wrong; nothing was done."""
NO_GO = 1
"""Of a gate: a rule is broken."""
UNDECIDED = 3
"""Of a gate: no rule is broken, but not all are met with the confidence asked for."""
TRY_AGAIN = 75
"""The same command may succeed later: ``EX_TEMPFAIL`` of sysexits.h."""
INTERRUPTED = 130
"""Ctrl-C, as a shell reports it: 128 and the number of the signal."""


def leave(status: int) -> NoReturn:
    """End the command with an exit status."""
    raise click.exceptions.Exit(status)


def exit_by(*summaries: "Summary") -> None:
    """Leave with UNSCORED if a sample of any of them is unscored for a reason other than the 12-image rule."""
    if any(set(summary.overall.reasons) - {ReasonKind.TOO_MANY_IMAGES} for summary in summaries):
        leave(UNSCORED)
