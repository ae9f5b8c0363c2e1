"""Standard output, as wide as it is."""

from rich.console import Console

__all__ = ["standard_output"]


def standard_output(*, for_events: bool = False) -> Console:
    """A console there; on standard error where the other is taken ``for_events``. A log has no width of its own and
    gets what a table needs, so that nothing wraps in it."""
    console = Console(stderr=for_events)
    return console if console.is_terminal else Console(stderr=for_events, width=160)
