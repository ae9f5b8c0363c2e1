"""``radar-fast`` in this process: what a command says and its exit status, without the seconds that a process takes."""

from dataclasses import dataclass

from click.testing import CliRunner

__all__ = ["Result", "run_cli"]


@dataclass(frozen=True)
class Result:
    """What came of a command."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def returncode(self) -> int:
        """As :mod:`subprocess` calls it, so that a check takes the outcome of a process too."""
        return self.exit_code


def run_cli(*arguments: object) -> Result:
    """Run ``radar-fast`` with these arguments; an exception that no user may see is raised here."""
    from radar_fast.cli import main

    result = CliRunner().invoke(main, list(map(str, arguments)), prog_name="radar-fast")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Result(result.exit_code, result.stdout, result.stderr)
