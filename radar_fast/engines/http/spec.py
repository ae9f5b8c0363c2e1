"""The http engine's row in the table of engines. Imports no httpx until a function is called."""

import json
from dataclasses import replace

from radar_fast.engines.base import Engine, EngineSpec
from radar_fast.engines.encode.context import EngineContext
from radar_fast.engines.options import EngineOptions
from radar_fast.errors import UsageError
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import Protocol
from radar_fast.sample import Prompt, Sample

__all__ = ["SPEC"]


def _open(checkpoint: Checkpoint | None, protocol: Protocol, options: EngineOptions, context: EngineContext) -> Engine:  # noqa: ARG001
    from radar_fast.engines.http.engine import HttpEngine

    return HttpEngine(options)


def _resolve(checkpoint: Checkpoint | None, options: EngineOptions) -> EngineOptions:
    from radar_fast.engines.http.client import ask_info

    if options.url is None:
        raise UsageError("--engine http: needs --url, the address of a server: http://node-7:8000")
    if checkpoint is not None:
        raise UsageError(f"--model {checkpoint.path}: the server at {options.url} has its own; leave it out")
    for name in ("device", "dtype", "batch_tokens", "worker_kind", "preprocess_cache"):
        if name in options.changed():
            raise UsageError(f"{options.flag(name)}: with --engine http the server settles it; leave it out")
    info = ask_info(options.url)
    return replace(options, device=info.device, dtype=info.dtype)


def _identity(options: EngineOptions) -> dict[str, str]:
    """The server's own word: where it is does not count, what it runs does."""
    from radar_fast.engines.http.client import ask_info

    assert options.url is not None
    info = ask_info(options.url)
    return {"device": info.device, "dtype": info.dtype, "served": json.dumps(dict(info.identity), sort_keys=True)}


def _protocol(options: EngineOptions) -> Protocol:
    """Samples go as they are: the server puts them to its model."""
    from radar_fast.engines.http.client import ask_info

    assert options.url is not None
    settings = dict(ask_info(options.url).protocol)
    return Protocol(str(settings.get("name", "served")), _as_it_is, lambda image: image, settings=settings)


def _as_it_is(sample: Sample) -> Prompt:
    return Prompt(sample, tuple(part for part in sample.parts if isinstance(part, str)), "", sample.candidates)


SPEC = EngineSpec(
    name="http",
    open=_open,
    resolve=_resolve,
    identity=_identity,
    protocol=_protocol,
    takes=frozenset({"url"}),
    available=lambda _: (False, "it needs --url"),
    needs_checkpoint=False,
)
