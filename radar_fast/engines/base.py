"""The seam between the pipeline and whatever runs a model: :class:`Engine`, what it says of itself, and its row in the
table of engines."""

import logging
from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from radar_fast.engines.options import EngineOptions
from radar_fast.engines.stream import streamed
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import Protocol
from radar_fast.sample import Prompt, Reason, ReasonKind, Scored
from radar_fast.util.clock import PARTS
from radar_fast.util.closing import Closing

if TYPE_CHECKING:
    from radar_fast.engines.encode.context import EngineContext

__all__ = ["WINDOW", "Engine", "EngineReport", "EngineSpec", "reason_of_targets", "reason_of_weights"]

log = logging.getLogger(__name__)

WINDOW = 64
"""Prompts that are scheduled together. An engine may reorder and batch freely within the WINDOW prompts that start at
a multiple of WINDOW, but never across, so that a resumed run which drops whole windows batches as an uninterrupted
one does, and gives the same bits."""

Setting = str | int | float | bool | None


@dataclass(frozen=True, kw_only=True)
class EngineReport:
    """What an engine says of itself."""

    name: str
    """As on the command line."""
    device: str
    """``cpu``, ``cuda``, or ``none`` where no model runs."""
    device_name: str
    """The GPU's own name; ``cpu`` or ``none`` otherwise."""
    dtype: str
    """``float32``, ``bfloat16``, ``float16`` or ``none``."""
    version: str | None = None
    """Of the library that runs the model."""
    settings: Mapping[str, Setting] = field(default_factory=dict)
    """How it runs: batching, workers, what a self-check found."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """What it has counted since it was opened or took its present weights."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Part of the work (:data:`radar_fast.util.clock.PARTS`) -> seconds since then, of the parts that were timed."""

    @property
    def title(self) -> str:
        """What a person calls it, e.g. ``vLLM 0.32`` for 0.32.0+cpu."""
        name = "vLLM" if self.name == "vllm" else self.name
        return name if self.version is None else f"{name} {self.version.partition('+')[0].removesuffix('.0')}"

    def since(self, earlier: "EngineReport") -> "EngineReport":
        """The same with only what was counted and timed after ``earlier``."""
        counts = {name: count - earlier.counts.get(name, 0) for name, count in self.counts.items()}
        seconds = {part: some - earlier.seconds.get(part, 0.0) for part, some in self.seconds.items()}
        return replace(self, counts=counts, seconds=seconds)

    def to_dict(self) -> dict[str, Setting]:
        """For JSON, flat: name, version, device, dtype, settings, counts, and ``<part>_seconds``, None if not timed."""
        timed = {f"{part}_seconds": round(self.seconds[part], 6) if part in self.seconds else None for part in PARTS}
        return {
            "name": self.name,
            "version": self.version,
            "device": self.device,
            "device_name": self.device_name,
            "dtype": self.dtype,
            **self.settings,
            **self.counts,
            **timed,
        }


class Engine(Closing):
    """Scores prompts. A context manager, which closes it."""

    name: str
    """As on the command line."""

    @abstractmethod
    def score(self, prompts: Iterable[Prompt]) -> Iterator[Scored]:
        """Score every prompt, lazily, in any order within a window: exactly one :class:`Scored` for each.

        Raises:
            EngineError: the engine as a whole failed. A prompt that alone cannot be scored comes out unscored.
        """

    def stream(self, prompts: Iterable[Prompt]) -> AsyncGenerator[Scored, None]:
        """:meth:`score` for asyncio: ``async for scored in engine.stream(prompts)``. One at a time.

        It runs in a thread of its own, which reads ``prompts``. A caller that leaves early, or is cancelled, gets
        control back once the pass under way is done; ``contextlib.aclosing`` sees to it at once.

        Raises:
            EngineError: as :meth:`score`.
        """
        return streamed(iter(self.score(prompts)))

    @abstractmethod
    def describe(self) -> EngineReport:
        """What the run's manifest should say of it."""

    @abstractmethod
    def load_weights(self, path: Path) -> None:
        """Go on with another checkpoint that differs in its weights alone, and count anew. Not while scoring.

        Raises:
            ModelError: it differs in more, or cannot be loaded; in the last case the engine is of no use any more.
            EngineError: samples are still being scored.
        """

    def drop_caches(self) -> None:
        """Forget whatever is kept of samples scored before, so that the next ones are computed from nothing. Not while
        scoring.

        Raises:
            EngineError: it cannot.
        """

    @abstractmethod
    def close(self) -> None:
        """Free the device. Calling it twice is fine."""


def reason_of_targets(targets: Iterable[int], rows: int | None) -> Reason | None:
    """Why a sample cannot be scored: an answer token that the LM head has no row for. None where all have one.

    Looked at before anything reaches a device: there nobody looks, and such a token has NaN for its numbers.

    Args:
        targets: token ids of the answers.
        rows: of the head; None: not known.
    """
    beyond = [token for token in targets if rows is not None and not 0 <= token < rows]
    if not beyond:
        return None
    detail = f"an answer has the token id {beyond[0]}, and the model's LM head {rows} rows"
    return Reason(ReasonKind.UNKNOWN_TOKEN, f"{detail}; take the tokenizer that belongs to the model")


def reason_of_weights(name: str, non_finite: Sequence[str]) -> Reason | None:
    """Why no sample of a checkpoint is scored: weights that are infinite or no number. None where all are numbers.

    Args:
        name: the checkpoint's.
        non_finite: names of such weights.
    """
    if not non_finite:
        return None
    more = f" and {len(non_finite) - 1} more weights" if len(non_finite) > 1 else ""
    found = f"{name}: {non_finite[0]}{more} hold values that are infinite or no number"
    log.warning("%s; no sample is scored", found)
    return Reason(ReasonKind.NON_FINITE, f"{found}; the training has diverged, or the file is damaged")


@dataclass(frozen=True, kw_only=True)
class EngineSpec:
    """A row of the table of engines. None of its functions but ``open`` loads weights."""

    name: str
    """As on the command line."""
    open: Callable[[Checkpoint | None, Protocol, EngineOptions, "EngineContext"], Engine]
    """Load it, with options that ``resolve`` has returned. Raises UsageError for one that is not to be had, ModelError
    for a checkpoint that it cannot load."""
    resolve: Callable[[Checkpoint | None, EngineOptions], EngineOptions]
    """The options with ``auto`` replaced in device and dtype. Raises UsageError where they are not to be had."""
    identity: Callable[[EngineOptions], dict[str, str]]
    """What must be the same for scores to stand side by side, its name apart, from resolved options."""
    protocol: Callable[[EngineOptions], Protocol] | None = None
    """How samples are put to the model, where the engine settles it and not the user; from resolved options."""
    takes: frozenset[str] = frozenset()
    """Names of the options (:class:`EngineOptions`) that it takes and not every engine does."""
    available: Callable[[EngineOptions], tuple[bool, str]]
    """Whether ``auto`` may take it here, and why or why not."""
    needs_checkpoint: bool = True
    """Whether it runs a model."""
