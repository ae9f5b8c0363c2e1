"""vLLM engines for tests: they take long to start, and a process can have one at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from side_by_side import opened

from radar_fast.engines import Engine
from radar_fast.protocols import Protocol

if TYPE_CHECKING:
    from radar_fast.engines.vllm.engine import VllmEngine

__all__ = ["Engines", "per_candidate"]


class Engines:
    """The engine that is open stays open, for whoever next asks for the same; another one takes its place."""

    def __init__(self) -> None:
        self._open: tuple[Engine, Protocol] | None = None
        self._asked: object = None

    def open(
        self, model: Path, *, pixels: tuple[int, int] | None = None, anew: bool = False, **options: Any
    ) -> tuple[Engine, Protocol]:
        """A vLLM engine in float32, with the weights of ``model``: leave it so, and do not close it.

        With ``anew`` it has never seen other weights, and nobody gets it after you: do with it what you like.
        """
        asked = repr((model, pixels, sorted(options.items())))
        if self._open is None or anew or asked != self._asked:
            self.close()
            self._open = opened("vllm", model, pixels=pixels, **options)
            self._asked = None if anew else asked
        return self._open

    def close(self) -> None:
        if self._open is not None:
            engine, _ = self._open
            self._open = self._asked = None
            engine.close()


@contextmanager
def per_candidate(engine: "VllmEngine") -> Iterator[None]:
    """With every sample as a request a path, in an engine that sends one request a sample."""
    nonces, engine._flights._nonces = engine._flights._nonces, None
    try:
        yield
    finally:
        engine._flights._nonces = nonces
