"""Text from outside, as it may be shown."""

__all__ = ["printable"]


def printable(text: str) -> str:
    """``text``; where it holds control characters, which a terminal would obey, line ends or halves of a surrogate
    pair, as an ASCII literal."""
    return text if text.isprintable() else ascii(text)
