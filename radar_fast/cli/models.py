"""``radar-fast models`` and ``compose``: which checkpoints can be scored, and how one becomes such."""

from pathlib import Path

import rich_click as click

from radar_fast.cli.help import Command
from radar_fast.cli.types import PATH
from radar_fast.terminal.output import standard_output

__all__ = ["compose", "models"]


@click.command(cls=Command)
def models() -> None:
    """List the model families, their prompts, and what of each has been checked."""
    from rich.table import Table

    from radar_fast.models.families import FAMILIES, checked_by

    table = Table(header_style="bold", pad_edge=False, box=None, padding=(0, 2, 0, 0))
    for heading in ("family", "architecture", "protocol", "checked on"):
        table.add_column(heading, overflow="fold")
    for family in FAMILIES:
        table.add_row(family.name, ", ".join(family.architectures) or "-", family.protocol, checked_by(family))
    standard_output().print(table)
    for family in FAMILIES:
        if family.how:
            click.echo(f"{family.name}: first {family.how}")
    click.echo("checked on: a tiny model with random weights equals a plain loop there; docs/models.md says which loop")


@click.command(cls=Command)
@click.option("--llm", type=PATH, metavar="DIR", required=True, help="Language model, or a checkpoint of LLaVA's code.")
@click.option("--vision", type=PATH, metavar="DIR", required=True, help="CLIP or SigLIP folder.")
@click.option("--projector", type=PATH, metavar="FILE", help="mm_projector.bin, where --llm does not hold it.")
@click.option("--out", type=PATH, metavar="DIR", required=True, help="The folder to make.")
def compose(llm: Path, vision: Path, projector: Path | None, out: Path) -> None:
    """Assemble a LLaVA checkpoint from its published parts, as one folder for --model."""
    from radar_fast.models.llava import compose as assemble

    made = assemble(llm, vision, out, projector)
    click.echo(
        f"{made.out}: {made.weights} weights, {made.image_tokens} tokens for each image ({made.image_token}), "
        f"protocol {made.protocol}"
    )
