"""An engine that outlives its checkpoint: the next one that differs in its weights alone takes its place in it."""

from dataclasses import replace
from types import TracebackType
from typing import Self

from radar_fast.engines import Engine, EngineOptions, open_engine
from radar_fast.engines.encode.fork_server import ForkServer
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import Protocol

__all__ = ["EngineSession"]


class EngineSession:
    """Holds at most one open engine; to be used as a context, which closes it."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._checkpoint: Checkpoint | None = None
        self._made_for: object = None
        self._fork_server: ForkServer | None = None

    def get_ready(self, name: str, options: EngineOptions) -> None:
        """Start what takes long and needs no checkpoint, while the caller imports what needs one."""
        if name != "fake" and self._engine is None and self._fork_server is None and options.prefers_processes:
            self._fork_server = ForkServer()

    def open(self, name: str, checkpoint: Checkpoint | None, protocol: Protocol, options: EngineOptions) -> Engine:
        """The engine with this checkpoint in it: the one that is open, if it can take it, else a new one.

        Not while the engine is scoring. It counts anew for each checkpoint.

        Raises:
            UsageError, ModelError: as :func:`radar_fast.engines.open_engine`; no engine is open afterwards.
        """
        made_for = (name, dict(protocol.settings), replace(options, expected=None))
        try:
            if self._fits(checkpoint, made_for) and self._engine is not None and checkpoint is not None:
                self._engine.load_weights(checkpoint.path)
            else:
                self._close_engine()
                self._engine = open_engine(name, checkpoint, protocol, replace(options, fork_server=self._fork_server))
        except BaseException:
            self.close()
            raise
        self._checkpoint, self._made_for = checkpoint, made_for
        return self._engine

    def close(self) -> None:
        """Close the engine, if one is open, and what was made ready for one. Calling it twice is fine."""
        self._close_engine()
        fork_server, self._fork_server = self._fork_server, None
        if fork_server is not None:
            fork_server.close()

    def _close_engine(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _fits(self, checkpoint: Checkpoint | None, made_for: object) -> bool:
        if self._engine is None or checkpoint is None or self._checkpoint is None or made_for != self._made_for:
            return False
        return not self._checkpoint.differing_files(checkpoint)
