"""The seam between a round and whatever takes part in it, and our engines behind that seam."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from typing import Protocol as Interface

from radar_fast.engines import EngineOptions, open_engine
from radar_fast.errors import EngineError
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import Protocol, open_protocol
from radar_fast.results.journal import Journal
from radar_fast.results.record import record_of
from radar_fast.sample import Sample, Scored

__all__ = ["Contender", "EngineContender", "Outcome", "Setup"]


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a contender's process is told at its start. Plain values: it travels as JSON."""

    name: str
    """Of an engine or a peer."""
    model: str
    """The checkpoint folder."""
    protocol: str
    """As on the command line."""
    min_pixels: int | None
    """As on the command line."""
    max_pixels: int | None
    """As on the command line."""
    options: EngineOptions
    """Those that it takes, device and dtype resolved: the same for all."""
    sglang: str | None = None
    """Address of the server that the peer of that name asks."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Setup":
        """The way back of :meth:`to_dict`."""
        return cls(**{**values, "options": EngineOptions(**values["options"])})

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        values = asdict(self)
        cache = self.options.preprocess_cache
        values["options"]["preprocess_cache"] = None if cache is None else str(cache)
        return values

    @property
    def checkpoint(self) -> Checkpoint:
        """The model, opened anew each time."""
        return Checkpoint.open(Path(self.model))

    def open_protocol(self, checkpoint: Checkpoint) -> Protocol:
        """The prompt."""
        return open_protocol(self.protocol, checkpoint, min_pixels=self.min_pixels, max_pixels=self.max_pixels)


@dataclass(frozen=True)
class Outcome:
    """What a round gave."""

    logits: list[list[list[float]]]
    """A sample, in the order given; a candidate; a token: raw logits. Empty of a peer that gives none."""
    tokens_computed: int
    """Token positions that the language model computed, padding counted."""
    stages: Mapping[str, float] = field(default_factory=dict)
    """Stage -> seconds, of those that are known; see :mod:`radar_fast.util.clock`."""
    logprobs: list[list[list[float]]] | None = None
    """Log-probabilities likewise, of whoever has them: what a peer without raw logits is compared by."""


class Contender(Interface):
    """An engine or a peer, loaded."""

    def score(self, samples: Sequence[Sample], folder: Path) -> Outcome:
        """Score every sample, and write what came out into ``folder``, which is empty.

        Raises:
            EngineError: one of them could not be scored.
        """
        ...

    def forget(self) -> None:
        """Drop what is cached of samples scored before, so that no round lives on an earlier one."""
        ...

    def describe(self) -> Mapping[str, Any]:
        """Settings and versions, for the record."""
        ...

    def close(self) -> None:
        """Free the device."""
        ...


class EngineContender:
    """One of our engines as ``radar-fast score`` runs it: prompts in, a journal out."""

    def __init__(self, setup: Setup) -> None:
        checkpoint = setup.checkpoint
        self._name = setup.name
        self._protocol = setup.open_protocol(checkpoint)
        self._engine = open_engine(setup.name, checkpoint, self._protocol, setup.options)

    def score(self, samples: Sequence[Sample], folder: Path) -> Outcome:
        """See :class:`Contender`."""
        before = self._engine.describe()
        scored: dict[tuple[str, str], Scored] = {}
        writing = 0.0
        with Journal.open(folder / "samples.jsonl") as journal:
            for result in self._engine.score(map(self._protocol.prompt, samples)):
                if result.reason is not None:
                    raise EngineError(f"{self._name}: {result.sample.id} of {result.sample.task}: {result.reason}")
                started = time.perf_counter()
                journal.append([record_of(result)])
                writing += time.perf_counter() - started
                scored[result.sample.key] = result
        spent = self._engine.describe().since(before).seconds
        stages = {part: seconds for part, seconds in spent.items() if part != "startup"}
        ordered = [scored[sample.key] for sample in samples]
        return Outcome(
            [[list(candidate.logits) for candidate in result.candidates] for result in ordered],
            sum(result.tokens_computed for result in ordered),
            {**stages, "write": writing},
            [[list(candidate.logprobs) for candidate in result.candidates] for result in ordered],
        )

    def forget(self) -> None:
        """See :class:`Contender`."""
        self._engine.drop_caches()

    def describe(self) -> Mapping[str, Any]:
        """What the engine says of itself, without its clocks."""
        import torch

        report = self._engine.describe()
        described = {"version": report.version, "device": report.device, "device_name": report.device_name}
        return {
            **described,
            "dtype": report.dtype,
            **report.settings,
            **report.counts,
            "threads": torch.get_num_threads(),
        }

    def close(self) -> None:
        """See :class:`Contender`."""
        self._engine.close()
