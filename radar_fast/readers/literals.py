"""Lists that a table holds as text, in Python's or in JSON's notation -> their items. Nothing is evaluated.

Tables of benchmarks write a list of options as ``str(list)``, and mix both notations. What Python would take and is no
list of plain values (names, sums, strings side by side without a comma) is refused: side by side Python would make one
string of two options.
"""

import re

from radar_fast.readers.records import Unfit, shown
from radar_fast.sample import ReasonKind

__all__ = ["MAX_ITEMS", "is_list", "items_of"]

MAX_ITEMS = 1024

_STRING = re.compile(r"""'((?:[^'\\]++|\\.)*+)'|"((?:[^"\\]++|\\.)*+)\"""", re.DOTALL)
_NUMBER = re.compile(r"[-+]?(?:\d{1,20}(?:\.\d{0,20})?|\.\d{1,20})(?:[eE][-+]?\d{1,3})?(?![\w.])")
_WORD = re.compile(r"(?:None|null|True|true|False|false)(?!\w)")
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{1,3}|\r\n|.)", re.DOTALL)
_PLAIN = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "a": "\a", "\n": "", "\r\n": ""}
_SPACE = re.compile(r"\s*")
_WORDS = {"None": "None", "null": "None", "True": "True", "true": "True", "False": "False", "false": "False"}


def is_list(text: str) -> bool:
    """Whether the text is written as a list: the rule of VLMEvalKit's ``toliststr``."""
    return text.startswith("[") and text.endswith("]")


def items_of(text: str, name: str) -> tuple[str, ...]:
    """The items of a list as text: strings unescaped, numbers as written, ``None`` and booleans as Python writes them.

    Raises Unfit (``bad-record``) for what is no list of those, or has more than :data:`MAX_ITEMS`.
    """
    text = text.strip()
    if not is_list(text):
        raise _no_list(name, text, "does not stand in [ ]")
    items: list[str] = []
    at, end = _skip(text, 1), len(text) - 1
    while at < end:
        if len(items) == MAX_ITEMS:
            raise _no_list(name, text, f"has more than {MAX_ITEMS} items")
        if match := _STRING.match(text, at, end):
            inner = match[1] if match[1] is not None else match[2]
            items.append(_unescaped(inner) if "\\" in inner else inner)
        elif match := _NUMBER.match(text, at, end):
            items.append(match[0])
        elif match := _WORD.match(text, at, end):
            items.append(_WORDS[match[0]])
        else:
            raise _no_list(name, text, f"holds {shown(text[at : at + 20])}, which is no string or number")
        at = _skip(text, match.end())
        if at == end:
            break
        if text[at] != ",":
            raise _no_list(name, text, f"lacks a comma before {shown(text[at : at + 20])}")
        at = _skip(text, at + 1)
    return tuple(items)


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _unescaped(text: str) -> str:
    def plain(match: re.Match[str]) -> str:
        body = match[1]
        if body[0] in "xuU" and len(body) > 1:
            code = int(body[1:], 16)
            return chr(code) if code < 0x110000 else match[0]
        if body[0] in "01234567":
            return chr(int(body, 8))
        if body in _PLAIN:
            return _PLAIN[body]
        # As in Python, a backslash before anything else stays: LaTeX is full of them.
        return body if body in "\\'\"" else match[0]

    whole = _ESCAPE.sub(plain, text)
    # JSON writes what lies beyond 16 bits as two halves, which are one letter.
    return whole.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if _halves(whole) else whole


def _halves(text: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def _no_list(name: str, text: str, found: str) -> Unfit:
    return Unfit(ReasonKind.BAD_RECORD, f"{name} is {shown(text)}, which {found}: give a list such as ['a', 'b']")
