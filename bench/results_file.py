"""A result that is written anew as more becomes known: whoever is cut off leaves the last one whole."""

from pathlib import Path

__all__ = ["keep"]


def keep(path: Path, text: str) -> None:
    """Replace ``path`` in one step. Its folder is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text)
    temporary.replace(path)
