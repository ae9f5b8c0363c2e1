"""In what two runs differ, in words that a person would look for: an option, a file, the data."""

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["told_differences"]

_OPTIONS = {
    "protocol.name": "--protocol",
    "protocol.min_pixels": "--min-pixels",
    "protocol.max_pixels": "--max-pixels",
    "protocol.image_backend": "--image-backend",
    "engine.name": "--engine",
    "engine.device": "--device",
    "engine.dtype": "--dtype",
    "engine.arguments": "--engine-arg",
    "conditions.candidates": "--candidates",
    "conditions.without": "--without",
    "data.format": "--format",
}
"""A leaf of the identity -> the option that sets it."""

_OF_DATA = {
    "tasks": "--tasks",
    "limit": "--limit",
    "format": "--format",
    "fields": "--field",
    "preset": "--preset",
    "fields_file": "--fields",
    "classes": "--classes",
    "abilities": "--ability",
    "data": "--data",
}
"""A key of the configuration -> the option, of those that decide which samples there are and what they say."""


def told_differences(
    old: Mapping[str, Any], new: Mapping[str, Any], old_options: Mapping[str, Any], new_options: Mapping[str, Any]
) -> list[str]:
    """One line for each difference between two identities.

    Args:
        old: an identity, see :class:`~radar_fast.results.manifest.Manifest`.
        new: another.
        old_options: the options with which the first was made, as the manifest records them.
        new_options: those of the other.
    """
    said: list[str] = []
    for where, before, after in _leaves(old, new):
        if where in _OPTIONS:
            said.append(f"{_OPTIONS[where]} was {_short(before)}, is {_short(after)}")
        elif where.startswith("model.files."):
            said.append(_told_file(where.removeprefix("model.files."), before, after))
        elif where in ("data.sha256", "data.samples"):
            said += _told_data(old, new, old_options, new_options)
        elif where == "prompt":
            said.append("the prompt is rendered otherwise (a chat template that prints the date does so every day)")
        else:
            said.append(f"{where} was {_short(before)}, is {_short(after)}")
    return list(dict.fromkeys(said))


def _leaves(old: Any, new: Any, where: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(path, old value, new value) of every leaf in which two nested mappings differ."""
    if old is None and isinstance(new, Mapping):
        old = {}
    if new is None and isinstance(old, Mapping):
        new = {}
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from _leaves(old.get(key), new.get(key), f"{where}.{key}" if where else str(key))
    elif old != new:
        yield where, old, new


def _told_file(name: str, before: Any, after: Any) -> str:
    if before is None or after is None:
        return f"--model: {name} {'was not there' if before is None else 'is not there any more'}"
    return f"--model: {name} is another"


def _told_data(
    old: Mapping[str, Any], new: Mapping[str, Any], old_options: Mapping[str, Any], new_options: Mapping[str, Any]
) -> list[str]:
    """By which options the samples differ; that the data do, where all options are the same."""
    said = [
        f"{option} was {_short(old_options.get(name))}, is {_short(new_options.get(name))}"
        for name, option in _OF_DATA.items()
        if name != "data" and (old_options.get(name) or None) != (new_options.get(name) or None)
    ]
    if said:
        return said
    counts = [(side.get("data") or {}).get("samples") for side in (old, new)]
    had = f"{counts[0]} samples, now {counts[1]}" if counts[0] != counts[1] else f"{counts[0]} samples, now others"
    return [f"--data: the data are not what they were: {had}"]


def _short(value: Any) -> str:
    if value is None or value in ([], (), {}):
        return "not given"
    if isinstance(value, list | tuple):
        value = " ".join(map(str, value))
    elif isinstance(value, Mapping):
        value = " ".join(f"{name}={inner}" for name, inner in value.items())
    text = str(value)
    return text if len(text) <= 40 else f"{text[:32]}..."
