"""Options that are called by letters: an answer as a letter, and options that stand in the question's text."""

import re

__all__ = ["letter_of", "letters_of_columns", "split_options"]

_LETTER = re.compile(r"[(\[]?([A-Za-z])[)\].:]{0,2}")
_COLUMN = re.compile(r"(?:.*[_\- ])?([A-Za-z])", re.DOTALL)
_LINE = re.compile(r"[^\S\n]*\(?([A-Z])[.):][^\S\n]+(\S.*)")
_INSTRUCTION = re.compile(r"\s*(?:Please|Answer|Choose|Select)\b")


def letter_of(text: str) -> str | None:
    """The letter of ``A``, ``(B)``, ``c.``, ``[D]``, ``E)`` and the like, as a capital; None for anything else."""
    match = _LETTER.fullmatch(text.strip())
    return match[1].upper() if match else None


def letters_of_columns(names: tuple[str, ...]) -> tuple[str, ...]:
    """What options are called that have a column each: by the letters that the columns' names end in (``B``,
    ``choice_b``), or by their places."""
    found = tuple(match[1].upper() if (match := _COLUMN.fullmatch(name)) else "" for name in names)
    if all(found) and len(set(found)) == len(found):
        return found
    return tuple(chr(ord("A") + place) for place in range(len(names)))


def split_options(question: str) -> tuple[str, tuple[str, ...]]:
    """The text before the lines ``A. ...``, ``B. ...`` of a question, and what these say; no options where there are
    not two such lines.

    A line without the letter that is due continues the option before it, but an order to the reader, such as "Please
    answer directly with only the letter", ends them and is left out.
    """
    lines = question.split("\n")
    starts = [at for at, line in enumerate(lines) if (match := _LINE.fullmatch(line)) and match[1] == "A"]
    if not starts:
        return question, ()
    options: list[str] = []
    for line in lines[starts[-1] :]:
        match = _LINE.fullmatch(line)
        if match and match[1] == chr(ord("A") + len(options)):
            options.append(match[2].strip())
        elif _INSTRUCTION.match(line):
            break
        elif line.strip():
            options[-1] += f"\n{line.rstrip()}"
    if len(options) < 2:
        return question, ()
    return "\n".join(lines[: starts[-1]]).rstrip(), tuple(options)
