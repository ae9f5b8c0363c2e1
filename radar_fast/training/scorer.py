"""The score of a model while it is being trained: as it is in memory, at some of its steps, with no checkpoint written.

scorer = Scorer.from_model(model, processor, open_reader("M3-Bench"), every=500, out="scores")
for step, batch in enumerate(batches, 1):
    ...
    if summary := scorer.score(step):
        print(step, summary.overall.sds)
"""

import json
import logging
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch

from radar_fast.engines import EngineOptions
from radar_fast.engines.device import dtype_name
from radar_fast.engines.encode.encoder import Encoded
from radar_fast.engines.transformers.gathers import Gathers
from radar_fast.engines.transformers.in_memory import InMemoryEngine
from radar_fast.errors import EngineError, RadarError, UsageError, one_line
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import Protocol, open_protocol
from radar_fast.readers.stratified import stratified
from radar_fast.results.metrics import summarize
from radar_fast.results.record import Record, json_of, line_of, record_from, record_of
from radar_fast.results.summary import Summary
from radar_fast.sample import Sample
from radar_fast.training.keeping import Keeper
from radar_fast.training.lending import compute_dtype, is_sharded, lent, unwrapped
from radar_fast.training.ranks import Ranks, Turns

__all__ = ["Scorer"]

log = logging.getLogger(__name__)


class Scorer:
    """Scores a model in memory. Made by :meth:`from_model`; every rank of a training has one, and calls it at once."""

    def __init__(
        self,
        model: Any,
        checkpoint: Checkpoint,
        protocol: Protocol,
        samples: list[Sample],
        options: EngineOptions,
        *,
        every: int | None,
        autocast: torch.dtype | None,
        confidence: float | None,
        keeper: Keeper | None,
        strict: bool,
        group: Any,
    ) -> None:
        """As :meth:`from_model` calls it."""
        self.samples = tuple(samples)
        """What is scored, the same at every step."""
        self._model, self._checkpoint, self._protocol, self._options = model, checkpoint, protocol, options
        self._every, self._autocast, self._confidence = every, autocast, confidence
        self._keeper, self._strict, self._group = keeper, strict, group
        self._gathers: Gathers | None = None

    @classmethod
    def from_model(
        cls,
        model: Any,
        processor: Any,
        samples: Iterable[Sample],
        *,
        every: int | None = None,
        limit: int | None = 512,
        protocol: str = "auto",
        min_pixels: int | None = None,
        max_pixels: int | None = None,
        batch_tokens: int | None = None,
        workers: int | None = None,
        preprocess_cache: str | Path | None = None,
        autocast: torch.dtype | None = None,
        confidence: float | None = 0.95,
        out: str | Path | None = None,
        strict: bool = False,
        group: Any = None,
    ) -> Self:
        """Look at the model and choose the samples; nothing is scored, and the model is not touched.

        Args:
            model: a transformers image-text-to-text model, bare or in DDP, ``torch.compile`` or an adapter of peft;
                under FSDP 2 (``fully_shard``) the root. It may still move to another device or dtype, or be sharded,
                before it is first scored.
            processor: its transformers processor, or the folder of a checkpoint that has it.
            samples: such as :func:`radar_fast.open_reader` gives; read once.
            every: score at steps that are a multiple of it; None: whenever it is called.
            limit: take a part of the samples, :func:`~radar_fast.readers.stratified.stratified`; None: all.
            protocol: how samples are put to it; ``auto`` picks the one that fits, as for a checkpoint.
            min_pixels: least area of an image after the processor's resize; None: the protocol's own, or that of the
                folder's ``radar_fast.json``.
            max_pixels: largest area, likewise.
            batch_tokens: most token positions in one forward pass.
            workers: threads that read images.
            preprocess_cache: a folder where preprocessed images are kept from one scoring to the next.
            autocast: run the model under ``torch.autocast`` to this dtype, as its training does; None: as it is.
            confidence: of the intervals, in 0..1; None for none.
            out: write a result folder ``out/step-<step>`` each time, from the first rank.
            strict: raise what goes wrong, and end the training by it; otherwise it is logged.
            group: a ``torch.distributed`` process group, the ranks that share the samples; None: all there are.

        Raises:
            UsageError: a wrong option, a model that cannot be scored in memory, or samples of which none can be scored.
            ModelError: the processor or its chat template is none that can be used.
        """
        if every is not None and every < 1:
            raise UsageError(f"every {every}: must be at least 1")
        inner = unwrapped(model)
        chosen = stratified(samples, limit) if limit is not None else [each for each in samples if each.reason is None]
        if not chosen:
            raise UsageError("samples: none of them can be scored; check the reader, or look with radar-fast inspect")
        with tempfile.TemporaryDirectory(prefix="radar-fast-") as folder:
            checkpoint = _checkpoint_of(inner, processor, Path(folder))
            prompting = open_protocol(protocol, checkpoint, min_pixels=min_pixels, max_pixels=max_pixels)
            _ = checkpoint.processor  # read, and kept: the folder goes
        options = EngineOptions(
            batch_tokens=batch_tokens,
            workers=workers,
            worker_kind="threads",  # to fork a process that trains is asking for trouble
            attention="dense",
            preprocess_cache=None if preprocess_cache is None else Path(preprocess_cache),
        )
        keeper = None if out is None else Keeper(Path(out), chosen, prompting, checkpoint.architecture)
        return cls(
            inner,
            checkpoint,
            prompting,
            chosen,
            options,
            every=every,
            autocast=autocast,
            confidence=confidence,
            keeper=keeper,
            strict=strict,
            group=group,
        )

    def score(self, step: int) -> Summary | None:
        """Score the model as it is now, and give it back as it was.

        Every rank calls it at the same step, and gets the same summary, of all samples.

        Args:
            step: the training's.

        Returns:
            None where the step is none of ``every``, or where something went wrong and was logged.

        Raises:
            RadarError: only if ``strict``: on every rank, whichever it was that failed.
        """
        if self._every is not None and step % self._every:
            return None
        try:
            return self._score(step)
        except Exception as error:  # whatever it is, the training is worth more
            if self._strict:
                raise
            log.error("step %d: not scored: %s", step, one_line(error))
            return None

    def _score(self, step: int) -> Summary:
        device = next(self._model.parameters()).device
        ranks = Ranks(device, self._group)
        dtype = compute_dtype(self._model)
        options = replace(self._options, device=device.type, dtype=dtype_name(dtype))
        with lent(self._model):
            records, problem = self._score_share(ranks, options)
        told = ranks.gather(b"".join(map(line_of, records)) if problem is None else b"\0" + problem.encode())
        if failed := [f"rank {rank}: {each[1:].decode()}" for rank, each in enumerate(told) if each[:1] == b"\0"]:
            raise EngineError("; ".join(failed) if ranks.count > 1 else failed[0].partition(": ")[2])
        records = [record_from(json_of(line)) for each in told for line in each.splitlines(keepends=True)]
        numbers = summarize(records, samples=len(self.samples), confidence=self._confidence)
        summary = replace(numbers, step=step)
        if self._keeper is not None and ranks.rank == 0:
            self._keeper.keep(step, options, records, summary)
        return summary

    def _score_share(self, ranks: Ranks, options: EngineOptions) -> tuple[list[Record], str | None]:
        """This rank's records, or what went wrong; either way it has run along with the others until they are done."""
        turns, others = None, dict[bool, Encoded]()
        if is_sharded(self._model):
            self._gathers = self._gathers or Gathers(self._model)
            turns = Turns(ranks, self._gathers, lambda images: engine.run_along(others[images]))
        records: list[Record] = []
        problem = None
        with ExitStack() as stack:
            try:
                engine = stack.enter_context(
                    InMemoryEngine(
                        self._model, self._checkpoint, self._protocol, options, autocast=self._autocast, turns=turns
                    )
                )
                if turns is not None:
                    others |= _least(engine, self._protocol, self.samples)
            except Exception as error:
                problem = _told(error)
            if ranks.highest(problem is not None):  # nobody begins what needs all of them
                return [], problem
            try:
                if turns is not None:
                    turns.rehearse(others)
                stream = engine.score(map(self._protocol.prompt, ranks.share(self.samples)))
                records = [record_of(scored) for scored in stream]
            except Exception as error:  # kept until the other ranks are done, or they would wait for this one
                problem = _told(error)
            if turns is not None:
                turns.finish()
        return records, problem


def _told(error: Exception) -> str:
    if not isinstance(error, RadarError):
        log.debug("scoring failed", exc_info=error)
    return one_line(error)


def _checkpoint_of(model: Any, processor: Any, folder: Path) -> Checkpoint:
    """The checkpoint that the model would be saved as, weights apart; made in ``folder`` of a processor in memory."""
    if isinstance(processor, str | Path):
        return Checkpoint.open(processor)
    if not hasattr(processor, "save_pretrained") or not hasattr(processor, "tokenizer"):
        raise UsageError(
            f"processor: {type(processor).__name__} is no transformers processor with a tokenizer; give the one of the "
            "model, or the folder of a checkpoint that has it"
        )
    processor.save_pretrained(folder)
    config = {"architectures": [type(model).__name__], **model.config.to_dict()}
    (folder / "config.json").write_text(json.dumps(config, default=str))
    return Checkpoint.open(folder)


def _least(engine: InMemoryEngine, protocol: Protocol, samples: Iterable[Sample]) -> dict[bool, Encoded]:
    """With images or without -> a sample with as few as there are, encoded."""
    found: dict[bool, Encoded] = {}
    for sample in sorted(samples, key=lambda sample: len(sample.images)):
        kind = bool(sample.images)
        if kind not in found and isinstance(encoded := engine.encode(protocol.prompt(sample)), Encoded):
            found[kind] = encoded
        if len(found) == 2:
            break
    return found
