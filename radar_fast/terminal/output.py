"""Standard output, as wide as it is."""

from rich.console import Console

__all__ = ["standard_output"]


def standard_output() -> Console:
    """A console there. A log has no width of its own and gets what a table needs, so that nothing wraps in it."""
    console = Console()
    return console if console.is_terminal else Console(width=160)
