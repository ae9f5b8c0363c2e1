"""Pixel bounds that a checkpoint brings along, for those who train one at a resolution of their own.

    radar_fast.json       {"min_pixels": 3136, "max_pixels": 3136}

lies beside ``config.json``. It is ours alone: the bounds in ``preprocessor_config.json`` are never read as such, since
every published checkpoint has some there, and the published scripts overrule them.
"""

from pathlib import Path

import orjson

from radar_fast.errors import ModelError, one_line
from radar_fast.models.small_files import read_whole

__all__ = ["BOUNDS", "pixel_bounds"]

BOUNDS = "radar_fast.json"
"""Its name; as every other ``.json`` it is part of the checkpoint's fingerprint."""

_KEYS = {"min_pixels", "max_pixels"}


def pixel_bounds(folder: Path) -> tuple[int, int] | None:
    """Least and largest area of an image after the processor's resize, in pixels; None where the folder has no say.

    Raises:
        ModelError: the file cannot be read, or holds anything but both bounds.
    """
    path = folder / BOUNDS
    try:
        found = orjson.loads(read_whole(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read: {one_line(error)}", path=path) from None
    if not isinstance(found, dict) or set(found) != _KEYS or any(type(value) is not int for value in found.values()):
        what = f"found {str(found)[:100]!r}"
        raise ModelError(
            f"{path}: takes min_pixels and max_pixels, two whole numbers, and nothing else; {what}", path=path
        )
    return found["min_pixels"], found["max_pixels"]
