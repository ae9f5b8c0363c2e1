"""One pass on transformers, on a CPU or a GPU: shared prefix, tree mask, and only answer rows meet the LM head."""

import gc
import inspect
import logging
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any

import torch

from radar_fast.ahead import map_ahead
from radar_fast.checkpoint import Checkpoint
from radar_fast.engines import WINDOW, EngineOptions
from radar_fast.engines.encoding import Encoded, Encoder
from radar_fast.engines.head import LogitScaling, token_scores
from radar_fast.engines.loading import load_model, resolve_device, resolve_dtype
from radar_fast.engines.packing import Batch, batch, packed_length, plan
from radar_fast.errors import EngineError
from radar_fast.protocols import Protocol
from radar_fast.sample import Candidate, Prompt, Reason, ReasonKind, Scored

__all__ = ["TransformersEngine"]

log = logging.getLogger(__name__)

DEFAULT_BATCH_TOKENS = {"cpu": 4096, "cuda": 16384}
"""Token positions a forward pass, by device."""

SELF_CHECK_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 1.0, torch.float16: 0.25}
"""How far packed logits may be from plain ones in the self-check: far above rounding, far below a wrong mask."""


class TransformersEngine:
    """Scores prompts with a transformers image-text-to-text model.

    The first prompts are also scored the plain way (a forward a candidate, no packing, the model's own head). Where
    the two disagree, as in an architecture that builds its own attention mask, the engine says so and goes on without
    packing: slower, but right.

    Raises:
        ModelError: the checkpoint cannot be loaded.
        UsageError: the device or dtype is not to be had.
    """

    name = "transformers"

    def __init__(self, checkpoint: Checkpoint, protocol: Protocol, options: EngineOptions) -> None:
        self._device = resolve_device(options.device)
        self._dtype = resolve_dtype(options.dtype, checkpoint, self._device)
        self._budget = options.batch_tokens or DEFAULT_BATCH_TOKENS[self._device.type]
        self._workers = options.workers or min(8, len(os.sched_getaffinity(0)))
        self._encoder = Encoder(checkpoint, protocol, self._dtype)
        self._model = load_model(checkpoint, self._dtype, self._device)
        self._text_config = self._model.config.get_text_config()
        self._head = self._model.get_output_embeddings()
        self._scaling = LogitScaling(self._text_config)
        self._rope_index = getattr(self._model.model, "get_rope_index", None)
        self._packed = _attends_fully(self._text_config)
        self._checked: float | None = None
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="encode")
        if not self._packed:
            log.warning(
                "%s does not attend to all earlier tokens in every layer: scoring without packing", checkpoint.name
            )

    def score(self, prompts: Iterable[Prompt]) -> Iterator[Scored]:
        """One :class:`Scored` a prompt, reordered within each window of WINDOW prompts."""
        encoded = map_ahead(self._pool, self._encode, prompts, ahead=WINDOW)
        while window := list(islice(encoded, WINDOW)):
            ready = []
            for result in window:
                if isinstance(result, Scored):
                    yield result
                else:
                    ready.append(result)
            yield from self._score_window(ready)

    def describe(self) -> dict[str, str | int | float | bool | None]:
        """Device, dtype, the present token budget, and what the self-check found."""
        return {
            "device": self._device.type,
            "device_name": torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else "cpu",
            "dtype": str(self._dtype).removeprefix("torch."),
            "batch_tokens": self._budget,
            "workers": self._workers,
            "packed": self._packed,
            "self_check_difference": self._checked,
        }

    def close(self) -> None:
        """Stop the workers and free the model."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._model = self._head = None
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    # Before the model ------------------------------------------------------------------------------------------------

    def _encode(self, prompt: Prompt) -> Encoded | Scored:
        encoded = self._encoder.encode(prompt)
        if isinstance(encoded, Reason):
            return Scored(prompt.sample, reason=encoded)
        longest = len(encoded.prefix) + max(map(len, encoded.suffixes))
        limit = getattr(self._text_config, "max_position_embeddings", None)
        if limit is not None and longest > limit:
            detail = f"{longest} tokens with the longest candidate; the model has positions for {limit}"
            return Scored(prompt.sample, reason=Reason(ReasonKind.TOO_LONG, detail))
        return encoded

    def _prefix_positions(self, encoded: Encoded) -> torch.Tensor:
        """[P], or [axes, P] where the model numbers image tokens by row and column (M-RoPE)."""
        length = len(encoded.prefix)
        if self._rope_index is None:
            return torch.arange(length)
        if not encoded.inputs:
            return torch.arange(length).expand(3, -1)
        ids = torch.tensor([encoded.prefix])
        known = {"mm_token_type_ids": (ids == self._encoder.image_token_id).int(), **encoded.inputs}
        wanted = inspect.signature(self._rope_index).parameters
        positions, _ = self._rope_index(ids, **{name: known[name] for name in wanted if name in known})
        axes: torch.Tensor = positions[:, 0]
        return axes

    # The model -------------------------------------------------------------------------------------------------------

    def _score_window(self, window: Sequence[Encoded]) -> Iterator[Scored]:
        """Batch by batch; out of memory halves the budget for good and splits what is left anew."""
        waiting = self._batches(window)
        while waiting:
            samples = waiting.pop(0)
            try:
                scored = self._score_batch(samples)
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise EngineError(f"the model failed on {samples[0].prompt.sample.key}: {error}") from error
                del error  # its traceback holds the tensors that did not fit
                gc.collect()
                if self._device.type == "cuda":
                    torch.cuda.empty_cache()
                if len(samples) == 1:
                    detail = f"{packed_length(samples[0])} tokens do not fit the {self._device.type}'s memory"
                    yield Scored(samples[0].prompt.sample, reason=Reason(ReasonKind.OUT_OF_MEMORY, detail))
                    continue
                self._budget = max(1, min(self._budget, _area(samples)) // 2)
                log.warning("out of memory: going on with at most %d tokens a batch", self._budget)
                waiting = self._batches([sample for group in [samples, *waiting] for sample in group])
                continue
            yield from scored

    def _batches(self, samples: Sequence[Encoded]) -> list[list[Encoded]]:
        """Samples grouped by what their image tensors need to be put together, then packed under the budget."""
        alike: dict[object, list[Encoded]] = {}
        for sample in samples:
            shapes = tuple((name, value.shape[1:]) for name, value in sorted(sample.inputs.items()))
            alike.setdefault(shapes, []).append(sample)
        return [
            [group[index] for index in indices]
            for group in alike.values()
            for indices in plan(list(map(packed_length, group)), self._budget)
        ]

    @torch.inference_mode()
    def _score_batch(self, samples: Sequence[Encoded]) -> list[Scored]:
        started = time.perf_counter()
        scores = self._packed_scores(samples) if self._packed else list(map(self._plain_scores, samples))
        if self._packed and self._checked is None:
            scores = self._self_check(samples, scores)
        seconds = (time.perf_counter() - started) / len(samples)
        return [
            _scored(sample, logits, logprobs, self._computed(sample, samples), seconds)
            for sample, (logits, logprobs) in zip(samples, scores, strict=True)
        ]

    def _computed(self, sample: Encoded, samples: Sequence[Encoded]) -> int:
        if self._packed:
            return _area(samples) // len(samples)
        return sum(len(sample.prefix) + len(suffix) for suffix in sample.suffixes)

    def _packed_scores(self, samples: Sequence[Encoded]) -> list[tuple[list[float], list[float]]]:
        """A sample: logits and log-probabilities of its answer tokens, candidate after candidate."""
        packed = batch(samples, list(map(self._prefix_positions, samples)), self._device)
        names = samples[0].inputs
        inputs = {name: torch.cat([sample.inputs[name] for sample in samples]).to(self._device) for name in names}
        hidden = self._hidden(packed, inputs)
        logits, logprobs = token_scores(
            hidden.flatten(0, 1)[packed.hidden_rows], self._head, self._scaling, packed.answer_rows, packed.targets
        )
        counts = [sum(len(suffix) - sample.scored_from for suffix in sample.suffixes) for sample in samples]
        return [
            (some.tolist(), others.tolist())
            for some, others in zip(torch.split(logits, counts), torch.split(logprobs, counts), strict=True)
        ]

    def _hidden(self, packed: Batch, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        output = self._model.model(
            input_ids=packed.ids,
            attention_mask=packed.mask(self._dtype),
            position_ids=packed.positions,
            use_cache=False,
            **inputs,
        )
        hidden: torch.Tensor = output.last_hidden_state
        return hidden

    def _plain_scores(self, sample: Encoded) -> tuple[list[float], list[float]]:
        """The same without packing: a forward a candidate through the whole model, its own mask, positions and head."""
        logits: list[float] = []
        logprobs: list[float] = []
        inputs = {name: value.to(self._device) for name, value in sample.inputs.items()}
        for suffix in sample.suffixes:
            ids = torch.tensor([[*sample.prefix, *suffix]], device=self._device)
            token_inputs = {
                name: torch.nn.functional.pad(value, (0, len(suffix)))[None].to(self._device)
                for name, value in sample.token_inputs.items()
            }
            rows = torch.arange(sample.scored_from - 1, len(suffix) - 1, device=self._device) + len(sample.prefix)
            full = (
                self._model(
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    use_cache=False,
                    logits_to_keep=rows,
                    **inputs,
                    **token_inputs,
                )
                .logits[0]
                .float()
            )
            targets = torch.tensor(suffix[sample.scored_from :], device=self._device)[:, None]
            logits += full.gather(1, targets)[:, 0].tolist()
            logprobs += full.log_softmax(-1).gather(1, targets)[:, 0].clamp_max(0.0).tolist()
        return logits, logprobs

    def _self_check(
        self, samples: Sequence[Encoded], scores: list[tuple[list[float], list[float]]]
    ) -> list[tuple[list[float], list[float]]]:
        """Score the batch's shortest sample the plain way too; give up packing where the two disagree."""
        index = min(range(len(samples)), key=lambda index: packed_length(samples[index]))
        plain, _ = self._plain_scores(samples[index])
        self._checked = max(abs(a - b) for a, b in zip(plain, scores[index][0], strict=True))
        if self._checked <= SELF_CHECK_TOLERANCE[self._dtype]:
            return scores
        log.warning(
            "packed logits are off by %.3g from plain ones: this architecture does not take a tree mask; "
            "scoring without packing",
            self._checked,
        )
        self._packed = False
        return list(map(self._plain_scores, samples))


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


def _area(samples: Sequence[Encoded]) -> int:
    return max(map(packed_length, samples)) * len(samples)


def _attends_fully(text_config: Any) -> bool:
    """Whether every layer attends to all earlier tokens, as the tree mask says they do."""
    kinds = set(getattr(text_config, "layer_types", None) or ["full_attention"])
    return kinds == {"full_attention"}


def _is_out_of_memory(error: BaseException) -> bool:
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in text
