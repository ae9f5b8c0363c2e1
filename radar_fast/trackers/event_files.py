"""TensorBoard's event files, written without TensorFlow and without torch."""

from pathlib import Path
from typing import Any

from radar_fast.trackers.base import Numbers

__all__ = ["open_run"]


class _EventFiles:
    def __init__(self, folder: Path) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._events: Any = event_pb2
        self._summaries: Any = summary_pb2
        self._writer: Any = EventFileWriter(str(folder))

    def log(self, step: int, numbers: Numbers) -> None:
        """One event with a scalar a key."""
        values = [self._summaries.Summary.Value(tag=key, simple_value=value) for key, value in numbers.items()]
        self._writer.add_event(self._events.Event(step=step, summary=self._summaries.Summary(value=values)))

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


def open_run(name: str, folder: Path, run: str, *, local: bool) -> _EventFiles:  # noqa: ARG001 - as all trackers
    """Event files in ``folder/run``."""
    return _EventFiles(folder / run)
