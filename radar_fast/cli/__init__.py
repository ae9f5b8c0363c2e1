"""The command line: parse, delegate, and translate errors once.

Exit status: 0 done; 1 done, but some samples could not be scored; 2 the input or the usage is wrong; 75 the same
command may succeed later (``EX_TEMPFAIL``); 130 interrupted; 143 asked to end (SIGTERM).
"""

import io
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

import rich_click as click
from click.exceptions import Abort, NoSuchOption

from radar_fast.cli.bench import bench
from radar_fast.cli.data import convert, inspect
from radar_fast.cli.demo import demo
from radar_fast.cli.export import export
from radar_fast.cli.farm import farm
from radar_fast.cli.gate import gate
from radar_fast.cli.growth import growth
from radar_fast.cli.help import HELP, Command
from radar_fast.cli.jobs import status
from radar_fast.cli.merge import merge
from radar_fast.cli.models import compose, models
from radar_fast.cli.report import report
from radar_fast.cli.results import compare, summarize
from radar_fast.cli.score import score
from radar_fast.cli.status import INTERRUPTED, TRY_AGAIN, WRONG
from radar_fast.cli.watch import watch
from radar_fast.errors import BusyError, IncompleteError, RadarError
from radar_fast.util.choices import did_you_mean
from radar_fast.util.signals import end_when_asked

__all__ = ["main"]


class _Group(Command, click.RichGroup):  # type: ignore[misc] # as RichGroup itself
    """Where every error becomes one line on standard error and an exit status."""

    def main(  # type: ignore[override] # click's overloads tell apart what returns
        self, args: Sequence[str] | None = None, *, standalone_mode: bool = True, **extra: Any
    ) -> Any:
        """Run the command, and leave the process unless ``standalone_mode`` is off."""
        _print_anything()
        if not standalone_mode:
            return super().main(args, standalone_mode=False, **extra)
        try:
            status = super().main(args, standalone_mode=False, **extra)
        except click.ClickException as error:
            _say(_said_by_click(error))
            status = WRONG
        except (BusyError, IncompleteError) as error:
            _say(str(error))
            status = TRY_AGAIN
        except RadarError as error:
            _say(str(error))
            status = WRONG
        except (Abort, KeyboardInterrupt):
            _say("interrupted")
            status = INTERRUPTED
        sys.exit(status)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """As click does, but an unknown command is told the closest."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            known = self.list_commands(ctx)
            raise click.UsageError(
                f"{name}: no such command{did_you_mean(name, known)}; it is one of {', '.join(known)}"
            )
        return super().resolve_command(ctx, args)


def _print_anything() -> None:
    """A text that the terminal's encoding has no bytes for is printed in escapes: a task may be called anything."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _say(text: str) -> None:
    click.echo(f"radar-fast: {' '.join(text.split())}", err=True)


def _said_by_click(error: click.ClickException) -> str:
    text = error.format_message().rstrip(".")
    ctx = getattr(error, "ctx", None)
    if isinstance(error, NoSuchOption):
        known = [name for param in ctx.command.get_params(ctx) for name in param.opts] if ctx is not None else []
        text = f"{error.option_name}: no such option{did_you_mean(error.option_name, known)}"
    return text if ctx is None or ctx.parent is None else f"{text}; see radar-fast {ctx.info_name} --help"


_COMPLETION = 'Completion in bash: eval "$(_RADAR_FAST_COMPLETE=bash_source radar-fast)"; zsh and fish likewise.'


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]}, epilog=_COMPLETION)
@click.rich_config(help_config=HELP)
@click.version_option(package_name="radar-fast")
@click.command_panel("Scoring", commands=["score", "farm", "watch", "demo"])
@click.command_panel("Benchmarks and checkpoints", commands=["inspect", "convert", "models", "compose"])
@click.command_panel(
    "Results", commands=["status", "summarize", "merge", "compare", "growth", "report", "gate", "export"]
)
@click.command_panel("Speed", commands=["bench"])
def main() -> None:
    """RADAR's Soft Discrimination Score for multimodal checkpoints: how much does a checkpoint prefer the correct
    answer to its distractors? No fine-tuning, no decoding, one pass over a shared prefix."""
    end_when_asked()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    logging.basicConfig(format="radar-fast: %(message)s", level=logging.WARNING)


_SCORING = (score, farm, watch, demo)
_DATA = (inspect, convert, models, compose)
_RESULTS = (status, summarize, merge, compare, growth, report, gate, export)
for _command in (*_SCORING, *_DATA, *_RESULTS, bench):
    main.add_command(_command)
