"""What the exports of single checkpoints share: a name that a file can have, and a time that does not change."""

import datetime
import re

__all__ = ["started", "written_as"]


def written_as(name: str) -> str:
    """The name with ``_`` for whatever a file's name had better not hold."""
    return re.sub(r"[^\w.-]+", "_", name).strip("._") or "_"


def started(created: str) -> datetime.datetime:
    """When a run was started, from its ``run.json``; the epoch where that does not say. So the same run has the same
    file names every time."""
    try:
        return datetime.datetime.fromisoformat(created).astimezone(datetime.UTC)
    except ValueError:
        return datetime.datetime.fromtimestamp(0, datetime.UTC)
