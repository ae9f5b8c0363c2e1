"""``radar-fast gate``: whether a training run may go on, by a policy."""

from pathlib import Path

import rich_click as click

from radar_fast.cli.help import Command
from radar_fast.cli.status import NO_GO, UNDECIDED, leave
from radar_fast.cli.types import PATH

__all__ = ["gate"]

_STATUSES = """Exit status: 0 go; 1 no-go: a rule is broken; 3 undecided: no rule is broken, but not all are met with
the confidence asked for, or a run is not complete; 2 the input or the usage is wrong."""


@click.command(cls=Command, epilog=_STATUSES)
@click.argument("first", metavar="A", type=PATH)
@click.argument("second", metavar="B", type=PATH)
@click.option("--policy", type=PATH, metavar="FILE.toml", required=True, help="The rules.")
@click.option("--json", "file", type=PATH, metavar="FILE", help="Also write everything to FILE.")
def gate(first: Path, second: Path, policy: Path, file: Path | None) -> None:
    """Decide by a policy whether result folder B may follow A: go, no-go or undecided, a line a rule.

    The intervals of the paired differences are corrected for the number of rules.
    """
    from radar_fast.gate import Verdict, read_policy
    from radar_fast.gate import gate as gated
    from radar_fast.util.atomic import write_json_atomic

    found = gated(first, second, read_policy(policy))
    for decision in found.decisions:
        click.echo(f"{decision.verdict.value}: {decision.reason}")
    for note in found.notes:
        click.echo(f"undecided: {note}")
    click.echo(found.verdict.value)
    if file is not None:
        write_json_atomic(file, found.to_dict())
    leave({Verdict.GO: 0, Verdict.NO_GO: NO_GO, Verdict.UNDECIDED: UNDECIDED}[found.verdict])
