"""What is settled before a weight is loaded: which checkpoint, protocol, engine and options, and the run's identity."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from radar_fast.config import RunConfig
from radar_fast.engines import EngineOptions, EngineSpec, choose_engine
from radar_fast.errors import UsageError
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.models.vocabulary import tokenizer_notes
from radar_fast.protocols import Protocol, open_protocol, prompt_digest
from radar_fast.results.folder import IDENTITY
from radar_fast.util.clock import Clock

__all__ = ["Prepared", "prepare"]


@dataclass(frozen=True)
class Prepared:
    """A checkpoint on a benchmark, checked and fingerprinted; nothing is written and no weight loaded yet."""

    name: str
    """What progress calls it."""
    config: RunConfig
    """As it was asked for."""
    checkpoint: Checkpoint | None
    """None only where the engine runs no model and none was named."""
    protocol: Protocol
    """How samples are put to the engine."""
    spec: EngineSpec
    """Of the engine."""
    why: str
    """Why it is that engine, where ``auto`` chose it; else empty."""
    options: EngineOptions
    """As ``spec.resolve`` returned them, on this machine."""
    identity: Mapping[str, Any]
    """See :class:`~radar_fast.results.manifest.Manifest`."""
    notes: tuple[str, ...]
    """What a person should know before it is scored, a line each."""

    @property
    def runs_it(self) -> Checkpoint | None:
        """The checkpoint, where the engine runs it."""
        return self.checkpoint if self.spec.needs_checkpoint else None


def prepare(config: RunConfig, benchmark: Mapping[str, Any], clock: Clock, name: str) -> Prepared:
    """Open and check everything but the engine; torch and transformers are imported in here.

    Args:
        config: what is asked.
        benchmark: the identity of that of ``config.data``: :meth:`radar_fast.benchmark.Benchmark.identity`. Whoever
            runs the engine need not have read the data.
        clock: is told what the libraries and the fingerprint took.
        name: what progress calls it.

    Raises:
        UsageError, ModelError, IncompleteError: for what is wrong with the options or the checkpoint.
    """
    with clock.measure("libraries"):  # torch and transformers are imported in here, and a tokenizer read
        checkpoint = None
        if config.model is not None:
            checkpoint = Checkpoint.open(config.model, trust_remote_code=config.trust_remote_code)
        spec, why = choose_engine(config.engine, config.options)
        runs_it = checkpoint if spec.needs_checkpoint else None
        notes = _sound(runs_it) if runs_it else []
        options = spec.resolve(checkpoint, config.options)
        protocol = _protocol(config, checkpoint, spec, options)
        if runs_it:
            notes += [*tokenizer_notes(runs_it), *protocol.notes]
    with clock.measure("fingerprint"):
        identity: dict[str, Any] = {
            "version": IDENTITY,
            "model": {"files": checkpoint.fingerprint()} if checkpoint else None,
            **benchmark,
            "protocol": dict(protocol.settings),
            "prompt": prompt_digest(protocol),
            "engine": {"name": spec.name, **spec.identity(options)},
        }
    return Prepared(name, config, checkpoint, protocol, spec, why, options, identity, tuple(notes))


def _protocol(config: RunConfig, checkpoint: Checkpoint | None, spec: EngineSpec, options: EngineOptions) -> Protocol:
    if spec.protocol is None:
        least, most = config.min_pixels, config.max_pixels
        return open_protocol(
            config.protocol, checkpoint, min_pixels=least, max_pixels=most, image_backend=config.image_backend
        )
    usual = RunConfig(data=config.data, out=config.out, engine=config.engine)
    for option in ("protocol", "min_pixels", "max_pixels", "image_backend"):
        if getattr(config, option) != getattr(usual, option):
            raise UsageError(
                f"--{option.replace('_', '-')} {getattr(config, option)}: with --engine {spec.name} the server settles "
                "how samples are put to its model; leave it out"
            )
    return spec.protocol(options)


def _sound(checkpoint: Checkpoint) -> list[str]:
    """See that its weights can be trusted, and how its files are before anything else of them is read; what to say."""
    _ = checkpoint.state
    return checkpoint.require_sound()
