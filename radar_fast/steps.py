"""The training step of a checkpoint: from what its folder is called, what its trainer wrote down, or a pattern given.

Names: ``step-2000``, ``step_2000``, ``step2000``, ``iter_0002000``, ``global_step2000``, ``checkpoint-2000``, also
within a longer name (``qwen2-vl-step-2000-hf``), and of a folder above (``iter_0002000/hf``).
"""

import re
from pathlib import Path

import orjson

from radar_fast.errors import UsageError

__all__ = ["check_step_pattern", "named_step", "step_of"]

_NUMBER = r"[-_=]?([0-9]{1,15})(k?)(?![A-Za-z0-9]|[-_.][0-9])"
"""``20k`` is 20000. A number with another beside it, as in a date or a version, is no step."""
_NAMES = tuple(
    re.compile(rf"(?<![A-Za-z]){word}{_NUMBER}", re.IGNORECASE)
    for word in ("(?:global[-_]?)?steps?", "iter(?:ation)?", "(?:checkpoint|ckpt)")
)
"""The more telling word first: ``checkpoint-2-step-500`` is step 500."""
_ABOVE = 2
"""Folders above a checkpoint whose names are looked at: ``global_step_100/actor/huggingface``."""
_LONGEST_STATE = 64 * 2**20
"""Bytes of a trainer_state.json, whose log grows with the training, from where on it is not read."""


def step_of(folder: Path, pattern: str | None = None) -> int | None:
    """The training step of the checkpoint in a folder.

    Args:
        folder: the checkpoint. Its own name counts before that of a folder that it links to.
        pattern: a regular expression with one group, the number; it is searched in the absolute path, and nothing else
            is looked at. None: the name of the folder, then those of folders above, then ``trainer_state.json``.

    Returns:
        The step; None where nothing says it.

    Raises:
        UsageError: ``pattern`` is given and finds no number.
    """
    if pattern is not None:
        return _matched(folder.absolute(), pattern)
    for path in (folder.absolute(), folder.resolve()):
        if (step := named_step(path)) is not None:
            return step
    return _trainer_step(folder)


def named_step(path: Path) -> int | None:
    """The step that the name of a folder says, or the names of the two above it; None where none does."""
    for name in (path.name, *(above.name for above in list(path.parents)[:_ABOVE])):
        for telling in _NAMES:
            if found := telling.search(name):
                return int(found[1]) * (1000 if found[2] else 1)
    return None


def check_step_pattern(pattern: str) -> None:
    """Raise UsageError unless the text can be the ``pattern`` of :func:`step_of`."""
    try:
        groups = re.compile(pattern).groups
    except (re.error, RecursionError, OverflowError) as error:
        raise UsageError(f"--step-from {pattern}: is no regular expression: {error}") from None
    if groups != 1:
        raise UsageError(f"--step-from {pattern}: needs one group, around the number: 'run-([0-9]+)'; found {groups}")


def _matched(folder: Path, pattern: str) -> int:
    found = re.search(pattern, str(folder))
    if found is None:
        raise UsageError(f"--step-from {pattern}: is not in {folder}; it is searched in a checkpoint's whole path")
    text = found[1] or ""
    if not re.fullmatch("[0-9]{1,15}", text):
        raise UsageError(f"--step-from {pattern}: its group gives {text!r} for {folder}, which is no whole number")
    return int(text)


def _trainer_step(folder: Path) -> int | None:
    """``global_step`` of what the Trainer of transformers leaves beside a checkpoint; None without."""
    file = folder / "trainer_state.json"
    try:
        if not file.is_file() or file.stat().st_size > _LONGEST_STATE:
            return None
        document = orjson.loads(file.read_bytes())
    except (OSError, ValueError):  # it is no part of the checkpoint: whatever it is, the checkpoint is scored
        return None
    step = document.get("global_step") if isinstance(document, dict) else None
    return step if type(step) is int and step >= 0 else None
