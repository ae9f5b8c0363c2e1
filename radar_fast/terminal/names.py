"""Names made short enough for a table: without what they all share."""

from collections.abc import Sequence

__all__ = ["Short", "shortened", "step_labels"]

_SEPARATORS = "_- /:"


class Short(dict[str, str]):
    """Name -> short name, of names that were shortened together."""

    prefix: str = ""
    """What all of them began with."""
    suffix: str = ""
    """What all of them ended with."""

    def heading(self, text: str) -> str:
        """A column's heading that also says what was left out: ``task (*_32)``."""
        return f"{text} ({self.prefix}*{self.suffix})" if self.prefix or self.suffix else text


def shortened(names: Sequence[str]) -> Short:
    """Names without the words that all of them begin or end with; a word ends at one of ``_- /:``."""
    distinct = sorted(set(names))
    short = Short((name, name) for name in distinct)
    if len(distinct) < 2:
        return short
    prefix = _common_start(distinct)
    prefix = prefix[: 1 + max(map(prefix.rfind, _SEPARATORS))]
    suffix = _common_start([name[::-1] for name in distinct])[::-1]
    starts = [place for place in map(suffix.find, _SEPARATORS) if place >= 0]
    suffix = suffix[min(starts) :] if starts else ""
    if any(len(name) <= len(prefix) + len(suffix) for name in distinct):
        prefix, suffix = "", suffix if all(len(name) > len(suffix) for name in distinct) else ""
    short.prefix, short.suffix = prefix, suffix
    short.update({name: name[len(prefix) : len(name) - len(suffix)] for name in distinct})
    return short


def step_labels(names: Sequence[str]) -> list[str]:
    """What tells checkpoints of one series apart: ``step-100`` and ``step-1600`` are ``100`` and ``1600``, and
    ``iter100`` and ``iter150`` are ``100`` and ``150``."""
    if len(set(names)) < 2:
        return list(names)
    prefix = _common_start(list(names))
    letters = prefix.rstrip("0123456789.")
    prefix = letters if letters and all(name[len(letters) :][:1].isdecimal() for name in names) else ""
    rest = [name[len(prefix) :] for name in names]
    short = shortened(rest)
    return [short[label] for label in rest]


def _common_start(texts: Sequence[str]) -> str:
    """The characters that all of them begin with."""
    first, last = min(texts), max(texts)  # of all texts, these two have the least in common
    length = next((place for place, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), None)
    return first if length is None else first[:length]
