"""An engine that outlives its checkpoint: the next one that differs in its weights alone takes its place in it."""

from pathlib import Path

from radar_fast.engines import ENGINES, Engine, EngineContext, EngineOptions, EngineReport, EngineSpec
from radar_fast.engines.encode.context import prefers_processes
from radar_fast.engines.encode.fork_server import ForkServer
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import Protocol
from radar_fast.util.closing import Closing

__all__ = ["EngineSession"]


class EngineSession(Closing):
    """Holds at most one open engine; to be used as a context, which closes it."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._checkpoint: Checkpoint | None = None
        self._made_for: object = None
        self._fork_server: ForkServer | None = None
        self.kept: EngineReport | None = None
        """What the engine had counted when the last :meth:`open` found it with this very checkpoint in it; None where
        it was opened anew or took other weights, and hence counts from nothing."""
        self.anew = False
        """Whether the last :meth:`open` loaded an engine, and not only weights into one."""

    def get_ready(self, name: str, options: EngineOptions, expected: int) -> None:
        """Start what takes long and needs no checkpoint, while the caller imports what needs one."""
        runs_a_model = name not in ENGINES or ENGINES[name].needs_checkpoint
        if runs_a_model and self._engine is None and self._fork_server is None and prefers_processes(options, expected):
            self._fork_server = ForkServer()

    def open(
        self,
        spec: EngineSpec,
        checkpoint: Checkpoint | None,
        protocol: Protocol,
        options: EngineOptions,
        *,
        expected: int | None = None,
        log: Path | None = None,
    ) -> Engine:
        """The engine with this checkpoint in it: the one that is open, if it can take it, else a new one.

        Not while the engine is scoring.

        Args:
            spec: of the engine.
            checkpoint: None only where it runs no model.
            protocol: how samples are put to it.
            options: as ``spec.resolve`` has returned them.
            expected: how many prompts are to come.
            log: where a long account of why it does not start may be written.

        Raises:
            UsageError, ModelError: as ``spec.open``; no engine is open afterwards.
        """
        made_for = (spec.name, dict(protocol.settings), options)
        try:
            self.kept, self.anew = None, False
            if self._fits(checkpoint, made_for) and self._engine is not None and checkpoint is not None:
                if (
                    self._checkpoint is not None
                    and self._checkpoint.path == checkpoint.path
                    and self._checkpoint.state == checkpoint.state
                ):
                    self.kept = self._engine.describe()
                else:
                    self._engine.load_weights(checkpoint.path)
            else:
                self._close_engine()
                context = EngineContext(expected=expected, fork_server=self._fork_server, log=log)
                self._engine, self.anew = spec.open(checkpoint, protocol, options, context), True
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

    def _fits(self, checkpoint: Checkpoint | None, made_for: object) -> bool:
        if self._engine is None or checkpoint is None or self._checkpoint is None or made_for != self._made_for:
            return False
        return not self._checkpoint.differing_files(checkpoint)
