"""Every error that radar-fast raises on purpose.

    RadarError                 one clear line for the user; the CLI prints it and exits with 2
    ├── UsageError             an option, argument or field mapping is wrong or contradicts another
    ├── DataError              the benchmark folder or one of its files cannot be read at all
    ├── ModelError             the checkpoint folder cannot be loaded, or needs what is not allowed
    │   └── IncompleteError    a file of it is not there yet: the same command may work later
    ├── ResultsError           the result folder cannot be written, or belongs to another configuration
    │   └── BusyError          another process is writing to it: the same command may work later
    └── EngineError            the engine failed in a way that no single sample explains

A problem of one *sample* is no exception: the sample comes out ``unscored`` with a
:class:`~radar_fast.sample.Reason`, and the run goes on.
"""

from pathlib import Path

__all__ = [
    "BusyError",
    "DataError",
    "EngineError",
    "IncompleteError",
    "ModelError",
    "RadarError",
    "ResultsError",
    "UsageError",
    "one_line",
]


class RadarError(Exception):
    """Base of all errors here. The message names the file, field or option, what was found, and what to do.

    For programs the same stands in fields. Whoever raises it gives the path; what is not given is read from the
    message, which has one form everywhere: ``<option or file>: <what was found>; <what to do>``.
    """

    def __init__(
        self, message: str = "", *, path: Path | None = None, option: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message)
        where, colon, rest = message.partition(": ")
        named = where.split(" ")[0] if where.startswith("--") else None
        told = where.removeprefix(named or "").strip() if colon else ""
        self.option = option or named
        """The option at fault, such as ``--min-pixels``; None where none is."""
        self.path = path or (Path(told) if "/" in told and "://" not in told else None)
        """The file or folder at fault; None where none is, or it has no folder before it."""
        self.hint = hint or (rest.rpartition("; ")[2] if "; " in rest else None)
        """What to do; None where the message does not say."""


class UsageError(RadarError):
    """An option, argument or field mapping is wrong."""


class DataError(RadarError):
    """The benchmark folder, or a whole file in it, cannot be read."""


class ModelError(RadarError):
    """The checkpoint folder cannot be loaded."""


class IncompleteError(ModelError):
    """A file that the checkpoint's own index names is not there; the same command may work once it is."""


class ResultsError(RadarError):
    """The result folder cannot be used: not writable, of another configuration, or in use."""


class BusyError(ResultsError):
    """The result folder is in use by another process; the same command may work once that has ended."""


class EngineError(RadarError):
    """The engine failed as a whole; what was scored before stays in the journal."""


def one_line(error: BaseException, limit: int = 400) -> str:
    """What another library's error says, on one line of at most ``limit`` characters: to stand within one of ours.

    Its semicolons become commas, since what follows one in ours is what to do.
    """
    text = " ".join(str(error).split()).replace("; ", ", ") or type(error).__name__
    return text if len(text) <= limit else text[: limit - 3] + "..."
