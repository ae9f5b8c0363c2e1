"""The transformers engine's row in the table of engines. Imports no torch until a function is called."""

from radar_fast.engines.base import Engine, EngineSpec
from radar_fast.engines.encode.context import EngineContext
from radar_fast.engines.options import EngineOptions
from radar_fast.errors import UsageError
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import Protocol

__all__ = ["SPEC"]


def _open(checkpoint: Checkpoint | None, protocol: Protocol, options: EngineOptions, context: EngineContext) -> Engine:
    from radar_fast.engines.transformers.engine import TransformersEngine

    if checkpoint is None:
        raise UsageError("--engine transformers: needs --model")
    return TransformersEngine(checkpoint, protocol, options, context)


def _resolve(checkpoint: Checkpoint | None, options: EngineOptions) -> EngineOptions:
    from radar_fast.engines.device import resolve_options

    return resolve_options(checkpoint, options)


SPEC = EngineSpec(
    name="transformers",
    open=_open,
    resolve=_resolve,
    identity=lambda options: {"device": options.device, "dtype": options.dtype},
    takes=frozenset({"attention"}),
    available=lambda _: (True, ""),
)
