"""``--convert``: a user's own command makes a checkpoint of a trainer's format, in a folder that goes afterwards."""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from radar_fast.errors import ModelError, UsageError
from radar_fast.util.orphans import ending_with_us
from radar_fast.util.reaper import reaping

__all__ = ["Conversion"]

_SHOWN = 300
"""Characters of a command's last line that an error shows."""


@dataclass(frozen=True)
class Conversion:
    """A command line in which ``{input}`` and ``{output}`` stand for two folders. It is run as it is, by no shell.

    Raises:
        UsageError: at birth, where it is none.
    """

    command: str
    timeout: float = 3600.0
    """Seconds after which it is ended, with all that it has started."""

    def __post_init__(self) -> None:
        try:
            words = shlex.split(self.command)
        except ValueError as error:
            raise UsageError(f"--convert {self.command}: cannot be taken apart: {error}") from None
        for field in ("{input}", "{output}"):
            if not any(field in word for word in words[1:]):
                raise UsageError(f"--convert {self.command}: has no {field}, the folder that it reads or writes")
        if self.timeout <= 0:
            raise UsageError(f"--convert-timeout {self.timeout:g}: must be more than 0 seconds")

    @contextlib.contextmanager
    def converted(self, source: Path, scratch: Path, log: Path) -> Iterator[Path]:
        """The checkpoint that the command makes of ``source``, until the context ends.

        Should this process be killed, the command ends soon after it, with all that it has started.

        Args:
            source: the trainer's folder.
            scratch: is made, is where the command runs, and goes at the end, whatever it is.
            log: gets all that the command says, also where it succeeds.

        Raises:
            ModelError: it fails, takes too long, or makes no checkpoint.
        """
        shutil.rmtree(scratch, ignore_errors=True)
        output = scratch / source.name
        try:
            try:
                scratch.mkdir(parents=True)
                log.parent.mkdir(parents=True, exist_ok=True)
                self._run(source.absolute(), output.absolute(), scratch, log)
            except OSError as error:
                raise ModelError(f"--convert: {source.name} cannot be converted: {error}") from None
            if not (output / "config.json").is_file():
                raise ModelError(
                    f"--convert: made no checkpoint of {source.name}: there is no config.json in its {{output}}; see "
                    f"{log}"
                )
            yield output
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _run(self, source: Path, output: Path, scratch: Path, log: Path) -> None:
        words = [
            word.replace("{input}", str(source)).replace("{output}", str(output)) for word in shlex.split(self.command)
        ]
        with log.open("wb") as said, reaping():
            try:
                with ending_with_us():
                    process = subprocess.Popen(  # noqa: S603 - the user's own command, asked for by --convert
                        words,
                        cwd=scratch,
                        stdin=subprocess.DEVNULL,
                        stdout=said,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
            except OSError as error:
                raise UsageError(f"--convert: {words[0]} cannot be started: {error.strerror}") from None
            try:
                status = process.wait(self.timeout)
            except subprocess.TimeoutExpired:
                raise ModelError(
                    f"--convert: {source.name} took more than {self.timeout:g} s, and was ended; see {log}, or raise "
                    "--convert-timeout"
                ) from None
            finally:
                with contextlib.suppress(OSError):  # all that it has started, with it or left behind by it
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if status:
            how = f"by signal {-status}" if status < 0 else f"with status {status}"
            raise ModelError(f"--convert: ended {how} for {source.name}: {_last_line(log)}; see {log}")


def _last_line(log: Path) -> str:
    """What a command said last."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        lines = file.read().decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
    return last[:_SHOWN]
