"""One pass on transformers, on a CPU or a GPU: windows of prompts, batches within a budget, and what memory allows."""

import gc
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from radar_fast.engines.base import WINDOW, Engine, EngineReport, reason_of_targets, reason_of_weights
from radar_fast.engines.device import device_name, dtype_name
from radar_fast.engines.encode.context import EngineContext
from radar_fast.engines.encode.encoder import Encoded, Encoder
from radar_fast.engines.encode.image_cache import ImageReuse
from radar_fast.engines.encode.pool import Pool, choose_worker_kind
from radar_fast.engines.options import EngineOptions
from radar_fast.engines.transformers.attention import choose_attention
from radar_fast.engines.transformers.forward import Fetch, Forward
from radar_fast.engines.transformers.loading import load_model, non_finite_weights
from radar_fast.engines.transformers.packing import packed_length, plan, plan_flat
from radar_fast.errors import EngineError
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import Protocol
from radar_fast.sample import Candidate, Prompt, Reason, ReasonKind, Scored
from radar_fast.util.ahead import map_ahead
from radar_fast.util.clock import Clock

__all__ = ["TransformersEngine"]

log = logging.getLogger(__name__)

BATCH_TOKENS = {"cpu": 4096, "cuda": 16384}
"""Most token positions per forward pass, by device."""

CACHED_BYTES = 18 * 2**20
"""Of a batch's widest activation on a CPU: with more, a model of 70 M parameters took 10 to 20% longer
(bench/results/cpu-batch-tokens.md)."""

AHEAD = 2 * WINDOW
"""Most prompts that are read ahead of the window that the model works on: two, for those that take longer to read."""

AHEAD_BYTES = 2**30
"""Most bytes of encoded images that wait for the model, beside those of the window that it works on."""


class TransformersEngine(Engine):
    """Scores prompts with a transformers image-text-to-text model, by a
    :class:`~radar_fast.engines.transformers.forward.Forward`.

    Raises:
        ModelError: the checkpoint cannot be loaded.
    """

    name = "transformers"

    def __init__(
        self, checkpoint: Checkpoint, protocol: Protocol, options: EngineOptions, context: EngineContext
    ) -> None:
        """``options``: with device and dtype resolved."""
        self._checkpoint, self._scoring = checkpoint, False
        self._clock = Clock()
        self._processes: Pool | None = None
        with self._clock.measure("startup"):
            try:
                self._open(checkpoint, protocol, options, context)
            except BaseException:
                if self._processes is not None:
                    self._processes.close()
                raise

    def _open(self, checkpoint: Checkpoint, protocol: Protocol, options: EngineOptions, context: EngineContext) -> None:
        self._device = torch.device(options.device)
        self._dtype: torch.dtype = getattr(torch, options.dtype)
        self._workers = options.worker_count
        self._attention = choose_attention(options.attention, self._device, self._dtype)
        reuse = ImageReuse(options.preprocess_cache, int(options.preprocess_cache_gb * 1e9))
        self._worker_kind = choose_worker_kind(options, context, protocol, checkpoint)
        if self._worker_kind == "processes":  # first of all: they get ready while the model loads
            self._processes = Pool(
                self._workers, checkpoint, protocol, self._dtype, reuse, self._clock, fork_server=context.fork_server
            )
        self._encoder = Encoder(checkpoint, protocol, self._dtype, self._clock, reuse)
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="encode")
        self._forward = self._load(checkpoint)
        self._budget = options.batch_tokens or _batch_tokens(self._device, self._forward.text_config, self._dtype)

    def _load(self, checkpoint: Checkpoint) -> Forward:
        model = load_model(checkpoint, self._dtype, self._device)
        self._unsound = reason_of_weights(checkpoint.name, non_finite_weights(model))
        image = self._encoder.image_token_id
        return Forward(model, checkpoint.name, self._attention, self._dtype, self._device, image, self._clock)

    def score(self, prompts: Iterable[Prompt]) -> Iterator[Scored]:
        """One :class:`Scored` per prompt, reordered within each window of WINDOW prompts."""
        if self._unsound is not None:
            yield from (Scored(prompt.sample, reason=self._unsound) for prompt in prompts)
            return
        encoded = map_ahead(self._pool, self._encode, prompts, AHEAD, size=_bytes, most=AHEAD_BYTES)
        self._scoring = True
        try:
            while True:
                with self._clock.measure("wait"):
                    window = list(islice(encoded, WINDOW))
                if not window:
                    return
                yield from (result for result in window if isinstance(result, Scored))
                yield from self._score_window([result for result in window if isinstance(result, Encoded)])
        finally:
            self._scoring = False
            encoded.close()

    def describe(self) -> EngineReport:
        """With the present token budget, what the self-check found, and where the time went."""
        return EngineReport(
            name=self.name,
            version=version("transformers"),
            device=self._device.type,
            device_name=device_name(self._device),
            dtype=dtype_name(self._dtype),
            settings={
                "batch_tokens": self._budget,
                "workers": self._workers,
                "worker_kind": self._worker_kind,
                "packed": self._forward.packed,
                "attention": self._forward.attention if self._forward.packed else None,
                "self_check_difference": self._forward.self_check_difference,
            },
            seconds=self._clock.seconds(),
        )

    def load_weights(self, path: Path) -> None:
        """Go on with another checkpoint that differs in its weights alone, and count anew; the workers stay.

        Raises:
            ModelError: no checkpoint, or it differs in more; the engine is as it was. Or its weights cannot be loaded;
                then the engine must not be used any more.
            EngineError: samples are in flight.
        """
        if self._scoring:
            raise EngineError("load_weights: samples are still being scored; use up what score() yields first")
        checkpoint = self._checkpoint.successor(path)
        self._clock.take()
        with self._clock.measure("startup"):
            self._drop_model()  # first: there may be no room for both
            self._attention = self._forward.attention  # what did not work with this architecture is not tried again
            self._forward = self._load(checkpoint)
        self._checkpoint = checkpoint

    def close(self) -> None:
        """Stop the workers and free the model."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._processes is not None:
            self._processes.close()
        self._pool.shutdown(wait=True)
        self._drop_model()

    def _drop_model(self) -> None:
        self._forward.drop_model()
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    # Before the model ------------------------------------------------------------------------------------------------

    def _encode(self, prompt: Prompt) -> Encoded | Scored:
        encoded = (self._processes or self._encoder).encode(prompt)
        if isinstance(encoded, Reason):
            return Scored(prompt.sample, reason=encoded)
        longest = len(encoded.prefix) + max(map(len, encoded.suffixes))
        limit = getattr(self._forward.text_config, "max_position_embeddings", None)
        if limit is not None and longest > limit:
            detail = f"{longest} tokens with the longest candidate; the model has positions for {limit}"
            return Scored(prompt.sample, reason=Reason(ReasonKind.TOO_LONG, detail))
        targets = (token for suffix in encoded.suffixes for token in suffix[encoded.scored_from :])
        refused = reason_of_targets(targets, self._forward.vocabulary)
        return encoded if refused is None else Scored(prompt.sample, reason=refused)

    # The model -------------------------------------------------------------------------------------------------------

    def _score_window(self, window: Sequence[Encoded]) -> Iterator[Scored]:
        """Batch by batch, on a GPU each begun before the one before it is waited for; out of memory halves the budget
        for good and splits what is left anew.
        """
        if window and self._forward.untried:
            with self._clock.measure("compute"):
                self._forward.try_attention(self._batches(window)[-1][-3:])
        waiting = self._batches(window)
        flying: _Begun | None = None
        while waiting:
            samples = waiting.pop(0)
            try:
                begun = self._begin(samples)
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise _failed(samples, error) from error
                del error  # its traceback holds the tensors that did not fit
                gc.collect()
                if self._device.type == "cuda":
                    torch.cuda.empty_cache()
                if flying is not None:  # it is in the way
                    yield from self._finish(flying)
                    flying = None
                    waiting.insert(0, samples)
                    continue
                if len(samples) == 1:
                    detail = f"{packed_length(samples[0])} tokens do not fit the {self._device.type}'s memory"
                    yield Scored(samples[0].prompt.sample, reason=Reason(ReasonKind.OUT_OF_MEMORY, detail))
                    continue
                self._budget = max(1, min(self._budget, self._area(samples)) // 2)
                log.warning("out of memory: going on with at most %d tokens per batch", self._budget)
                waiting = self._batches([sample for group in [samples, *waiting] for sample in group])
                continue
            if flying is not None:
                yield from self._finish(flying)
            flying = begun if self._overlaps else None
            if flying is None:
                yield from self._finish(begun)
        if flying is not None:
            yield from self._finish(flying)

    def _batches(self, samples: Sequence[Encoded]) -> list[list[Encoded]]:
        """Samples grouped by what their image tensors need to be put together, then packed under the budget."""
        alike: dict[object, list[Encoded]] = {}
        for sample in samples:
            shapes = tuple((name, value.shape[1:]) for name, value in sorted(sample.inputs.items()))
            alike.setdefault(shapes, []).append(sample)
        return [
            [group[index] for index in indices]
            for group in alike.values()
            for indices in self._plan(list(map(packed_length, group)), self._budget)
        ]

    @property
    def _plan(self) -> Callable[[Sequence[int], int], list[list[int]]]:
        return plan if self._forward.in_rows else plan_flat

    def _area(self, samples: Sequence[Encoded]) -> int:
        """Token positions of the batch, padding counted."""
        lengths = list(map(packed_length, samples))
        return max(lengths) * len(samples) if self._forward.in_rows else sum(lengths)

    @property
    def _overlaps(self) -> bool:
        """Whether the device computes on while the host goes on."""
        return self._device.type == "cuda"

    def _begin(self, samples: Sequence[Encoded]) -> "_Begun":
        started, before = time.perf_counter(), self._apart()
        fetch = self._forward.begin(samples)
        return _Begun(samples, fetch, time.perf_counter() - started, self._apart() - before)

    def _finish(self, begun: "_Begun") -> list[Scored]:
        samples = begun.samples
        started, before = time.perf_counter(), self._apart()
        try:
            scores = begun.fetch()
        except (RuntimeError, MemoryError) as error:
            raise _failed(samples, error) from error
        passed = begun.seconds + time.perf_counter() - started
        self._clock.add("compute", passed)
        self._clock.add("language", max(0.0, passed - begun.apart - (self._apart() - before)))
        seconds = passed / len(samples)
        return [
            _scored(sample, logits, logprobs, self._computed(sample, samples), seconds)
            for sample, (logits, logprobs) in zip(samples, scores, strict=True)
        ]

    def _apart(self) -> float:
        """Seconds so far that the clock counts to the vision tower and the head."""
        seconds = self._clock.seconds()
        return seconds.get("vision", 0.0) + seconds.get("head", 0.0)

    def _computed(self, sample: Encoded, samples: Sequence[Encoded]) -> int:
        """Its share of the positions of its batch."""
        if self._forward.packed:
            return self._area(samples) // len(samples) if self._forward.in_rows else packed_length(sample)
        return sum(len(sample.prefix) + len(suffix) for suffix in sample.suffixes)


@dataclass(frozen=True, slots=True)
class _Begun:
    """A batch that the device was given."""

    samples: Sequence[Encoded]
    fetch: Fetch
    seconds: float
    """That giving it took."""
    apart: float
    """Of them what was counted to parts of their own."""


def _failed(samples: Sequence[Encoded], error: BaseException) -> EngineError:
    return EngineError(f"the model failed on {samples[0].prompt.sample.key}: {error}")


def _scored(sample: Encoded, logits: list[float], logprobs: list[float], computed: int, seconds: float) -> Scored:
    cost = {"tokens_computed": computed, "tokens_minimal": sample.tokens_minimal, "seconds": seconds}
    make = partial(Scored, sample.prompt.sample, **cost)  # type: ignore[arg-type] # one dict of int, int and float
    if not all(abs(value) < float("inf") for value in (*logits, *logprobs)):
        detail = "the model gave an infinite logit or one that is no number; try --dtype float32"
        return make(reason=Reason(ReasonKind.NON_FINITE, detail))
    candidates = []
    start = 0
    for suffix in sample.suffixes:
        stop = start + len(suffix) - sample.scored_from
        candidates.append(Candidate(tuple(logits[start:stop]), tuple(logprobs[start:stop])))
        start = stop
    return make(candidates=tuple(candidates))


def _bytes(encoded: Encoded | Scored) -> int:
    return sum(tensor.nbytes for tensor in encoded.inputs.values()) if isinstance(encoded, Encoded) else 0


def _batch_tokens(device: torch.device, text_config: Any, dtype: torch.dtype) -> int:
    """Token positions per forward pass; on a CPU no more than its caches hold between two operations, 256 at least."""
    most = BATCH_TOKENS[device.type]
    if device.type != "cpu":
        return most
    width: int = getattr(text_config, "intermediate_size", None) or 4 * text_config.hidden_size
    return max(256, min(most, CACHED_BYTES // (width * dtype.itemsize)))


def _is_out_of_memory(error: BaseException) -> bool:
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in text
