"""One pass on transformers, on a CPU or a GPU: shared prefix, tree attention, and only answer rows meet the LM head."""

import gc
import inspect
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from radar_fast.engines.base import WINDOW, Engine, EngineReport
from radar_fast.engines.device import device_name, dtype_name
from radar_fast.engines.encode.context import EngineContext
from radar_fast.engines.encode.encoder import Encoded, Encoder
from radar_fast.engines.encode.image_cache import ImageReuse
from radar_fast.engines.encode.pool import Pool, choose_worker_kind
from radar_fast.engines.head import LogitScaling, token_scores
from radar_fast.engines.options import EngineOptions
from radar_fast.engines.transformers.attention import choose_attention, install, over, uninstall
from radar_fast.engines.transformers.cascade import Cascade
from radar_fast.engines.transformers.flex import Flex
from radar_fast.engines.transformers.loading import load_model
from radar_fast.engines.transformers.packing import Batch, Flat, batch, flat, packed_length, plan, plan_flat
from radar_fast.engines.transformers.timing import DeviceTimer
from radar_fast.errors import EngineError, one_line
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import Protocol
from radar_fast.sample import Candidate, Prompt, Reason, ReasonKind, Scored
from radar_fast.util.ahead import map_ahead
from radar_fast.util.clock import Clock

__all__ = ["TransformersEngine"]

log = logging.getLogger(__name__)

BATCH_TOKENS = {"cpu": 4096, "cuda": 16384}
"""Most token positions a forward pass, by device."""

CACHED_BYTES = 18 * 2**20
"""Of a batch's widest activation on a CPU: with more, a model of 70 M parameters took 10 to 20% longer
(bench/results/cpu-batch-tokens.md)."""

AHEAD = 2 * WINDOW
"""Most prompts that are read ahead of the window that the model works on: two, for those that take longer to read."""

AHEAD_BYTES = 2**30
"""Most bytes of encoded images that wait for the model, beside those of the window that it works on."""

SELF_CHECK_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 1.0, torch.float16: 0.25}
"""How far packed logits may be from plain ones in the self-check: far above rounding, far below a wrong mask."""


class TransformersEngine(Engine):
    """Scores prompts with a transformers image-text-to-text model.

    The first prompts are also scored the plain way (a forward a candidate, no packing, the model's own head). Where
    the two disagree, as in an architecture that builds its own attention mask, the engine says so and goes on without
    packing: slower, but right. Attention without a mask (``cascade``, ``flex``) gives way to the mask first.

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
        self._take(load_model(checkpoint, self._dtype, self._device), checkpoint.name)
        self._budget = options.batch_tokens or _batch_tokens(self._device, self._text_config, self._dtype)

    def _take(self, model: Any, name: str) -> None:
        """Score with ``model`` from now on, which nothing is known of yet."""
        self._model = model
        self._text_config = self._model.config.get_text_config()
        self._head = self._model.get_output_embeddings()
        self._scaling = LogitScaling(self._text_config)
        self._rope_index = getattr(self._model.model, "get_rope_index", None)
        self._packed = _attends_fully(self._text_config)
        self._checked: float | None = None
        self._timer = DeviceTimer(self._clock, self._device)
        tower = self._model.get_encoder(modality="image")
        if tower is not self._model:
            self._timer.watch(tower, "vision")
        if not self._packed:
            log.warning("%s does not attend to all earlier tokens in every layer: scoring without packing", name)
            self._attention = "dense"
        if self._attention != "dense":
            try:
                install(self._model, flash_vision=self._attention == "cascade" and self._device.type == "cuda")
            except ValueError as error:
                self._use_mask(one_line(error))

    def score(self, prompts: Iterable[Prompt]) -> Iterator[Scored]:
        """One :class:`Scored` a prompt, reordered within each window of WINDOW prompts."""
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
                "packed": self._packed,
                "attention": self._attention if self._packed else None,
                "self_check_difference": self._checked,
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
            self._take(load_model(checkpoint, self._dtype, self._device), checkpoint.name)
        self._checkpoint = checkpoint

    def close(self) -> None:
        """Stop the workers and free the model."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._processes is not None:
            self._processes.close()
        self._pool.shutdown(wait=True)
        self._drop_model()

    def _drop_model(self) -> None:
        self._model = self._head = self._rope_index = None
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    # Before the model ------------------------------------------------------------------------------------------------

    def _encode(self, prompt: Prompt) -> Encoded | Scored:
        encoded = (self._processes or self._encoder).encode(prompt)
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
        if window and self._packed and self._attention != "dense" and self._checked is None:
            with self._clock.measure("compute"), torch.inference_mode():
                self._try_attention(window)
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
                self._budget = max(1, min(self._budget, self._area(samples)) // 2)
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
            for indices in self._plan(list(map(packed_length, group)), self._budget)
        ]

    @property
    def _plan(self) -> Callable[[Sequence[int], int], list[list[int]]]:
        return plan if self._attention == "dense" else plan_flat

    def _area(self, samples: Sequence[Encoded]) -> int:
        """Token positions of the batch, padding counted."""
        lengths = list(map(packed_length, samples))
        return max(lengths) * len(samples) if self._attention == "dense" else sum(lengths)

    @torch.inference_mode()
    def _score_batch(self, samples: Sequence[Encoded]) -> list[Scored]:
        started = time.perf_counter()
        before = self._clock.seconds()
        if not self._packed:
            scores = list(map(self._plain_scores, samples))
        else:
            scores = self._packed_scores(samples)
            if self._checked is None:
                scores = self._self_check(samples, scores)
        self._timer.collect()
        passed = time.perf_counter() - started
        self._clock.add("compute", passed)
        now = self._clock.seconds()
        others = sum(now.get(part, 0.0) - before.get(part, 0.0) for part in ("vision", "head"))
        self._clock.add("language", max(0.0, passed - others))
        seconds = passed / len(samples)
        return [
            _scored(sample, logits, logprobs, self._computed(sample, samples), seconds)
            for sample, (logits, logprobs) in zip(samples, scores, strict=True)
        ]

    def _computed(self, sample: Encoded, samples: Sequence[Encoded]) -> int:
        if self._packed:
            return packed_length(sample) if self._attention != "dense" else self._area(samples) // len(samples)
        return sum(len(sample.prefix) + len(suffix) for suffix in sample.suffixes)

    def _packed_scores(self, samples: Sequence[Encoded]) -> list[tuple[list[float], list[float]]]:
        """A sample: logits and log-probabilities of its answer tokens, candidate after candidate."""
        lay = batch if self._attention == "dense" else flat
        packed = lay(samples, list(map(self._prefix_positions, samples)), self._device)
        names = samples[0].inputs
        inputs = {name: torch.cat([sample.inputs[name] for sample in samples]).to(self._device) for name in names}
        hidden = self._hidden(packed, inputs)
        with self._timer.measure("head"):
            logits, logprobs = token_scores(
                hidden.flatten(0, 1)[packed.hidden_rows], self._head, self._scaling, packed.answer_rows, packed.targets
            )
        counts = [sum(len(suffix) - sample.scored_from for suffix in sample.suffixes) for sample in samples]
        return [
            (some.tolist(), others.tolist())
            for some, others in zip(torch.split(logits, counts), torch.split(logprobs, counts), strict=True)
        ]

    def _hidden(self, packed: Batch | Flat, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        run = partial(self._model.model, input_ids=packed.ids, position_ids=packed.positions, use_cache=False, **inputs)
        if isinstance(packed, Batch):
            output = run(attention_mask=packed.mask(self._dtype))
        else:
            layout = Cascade(packed) if self._attention == "cascade" else Flex(packed)
            with over(layout):
                # Four axes: transformers hands such a mask on as it is, instead of making one of all tokens times all.
                output = run(attention_mask=torch.zeros(1, 1, 1, 1, dtype=self._dtype, device=self._device))
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

    def _try_attention(self, window: Sequence[Encoded]) -> None:
        """Score a few samples without a mask and one of them the plain way; take the mask where they disagree.

        Before the window is batched: with a mask its batches are others.
        """
        samples = self._batches(window)[-1][-3:]
        try:
            plain, _ = self._plain_scores(samples[-1])
            if self._agree(plain, self._packed_scores(samples)[-1][0]):
                return
        except (RuntimeError, TypeError, ValueError, LookupError, MemoryError) as error:
            self._use_mask(one_line(error))
        else:
            self._use_mask(f"its logits are off by {self._checked:.3g} from plain ones")
        self._checked = None

    def _self_check(
        self, samples: Sequence[Encoded], scores: list[tuple[list[float], list[float]]]
    ) -> list[tuple[list[float], list[float]]]:
        """Score the batch's shortest sample the plain way too; give up packing where the two disagree."""
        index = min(range(len(samples)), key=lambda index: packed_length(samples[index]))
        plain, _ = self._plain_scores(samples[index])
        if self._agree(plain, scores[index][0]):
            return scores
        log.warning(
            "packed logits are off by %.3g from plain ones: this architecture does not take a tree mask; "
            "scoring without packing",
            self._checked,
        )
        self._packed = False
        return list(map(self._plain_scores, samples))

    def _agree(self, plain: list[float], packed: list[float]) -> bool:
        self._checked = max(abs(a - b) for a, b in zip(plain, packed, strict=True))
        return self._checked <= SELF_CHECK_TOLERANCE[self._dtype]

    def _use_mask(self, why: str) -> None:
        log.warning(
            "attention %s does not work with this architecture (%s): going on with a mask", self._attention, why
        )
        uninstall(self._model)
        self._attention = "dense"


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
    """Token positions a forward pass; on a CPU no more than its caches hold between two operations, 256 at least."""
    most = BATCH_TOKENS[device.type]
    if device.type != "cpu":
        return most
    width: int = getattr(text_config, "intermediate_size", None) or 4 * text_config.hidden_size
    return max(256, min(most, CACHED_BYTES // (width * dtype.itemsize)))


def _attends_fully(text_config: Any) -> bool:
    """Whether every layer attends to all earlier tokens, as the tree mask says they do."""
    if kinds := getattr(text_config, "layer_types", None):
        return set(kinds) == {"full_attention"}
    # Mistral and others of its age have one window for all layers, and no kinds.
    return not (getattr(text_config, "sliding_window", None) and getattr(text_config, "use_sliding_window", True))


def _is_out_of_memory(error: BaseException) -> bool:
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in text
