"""How help looks: plain, in groups, readable at 80 columns."""

import inspect

import rich_click as click
from rich.text import Text

__all__ = ["HELP", "Command"]

HELP = click.RichHelpConfiguration(
    theme="cyan2-slim", enable_theme_env_var=False, max_width=100, text_markup=None, default_string="\\[default: {}]"
)


class Command(click.RichCommand):
    """A command whose help has its paragraphs apart, and its examples as they are written."""

    def format_help_text(self, ctx: click.RichContext, formatter: click.RichHelpFormatter) -> None:  # type: ignore[override] # as rich-click's own # noqa: ARG002
        """Write the paragraphs, each with a blank line below it; one with indented lines keeps its lines."""
        for paragraph in inspect.cleandoc(self.help or "").split("\n\n"):
            lines = paragraph.splitlines()
            as_written = any(line.startswith(" ") for line in lines)
            formatter.write(Text(paragraph if as_written else " ".join(lines)), "", sep="\n")
