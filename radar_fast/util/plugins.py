"""What other packages bring by entry points: readers, protocols, engines and measures of one's own."""

import importlib.metadata
import logging
from typing import TypeVar

__all__ = ["found"]

log = logging.getLogger(__name__)

Kind = TypeVar("Kind")


def found(group: str, kind: type[Kind]) -> dict[str, Kind]:
    """Name -> object, of every installed package's entry points in ``group``, sorted by name.

    One that cannot be loaded, or is none of ``kind``, is left out with a line in the log that names it: a package that
    is broken must not keep the others from working.
    """
    there: dict[str, Kind] = {}
    for point in sorted(importlib.metadata.entry_points(group=group), key=lambda point: point.name):
        try:
            loaded = point.load()
        except Exception as error:  # whatever somebody's module raises
            log.warning("%s: %s (%s) cannot be loaded: %r; left out", group, point.name, point.value, error)
            continue
        if isinstance(loaded, kind):
            there[point.name] = loaded
        else:
            log.warning("%s: %s (%s) is no %s; left out", group, point.name, point.value, kind.__name__)
    return there
