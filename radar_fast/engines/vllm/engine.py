"""vLLM behind the seam: samples read ahead, submitted while it computes, and scored as they come back."""

import contextlib
import gc
import logging
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from radar_fast.engines.base import WINDOW, Engine, EngineReport, reason_of_targets, reason_of_weights
from radar_fast.engines.device import dtype_name
from radar_fast.engines.encode.context import EngineContext
from radar_fast.engines.options import EngineOptions
from radar_fast.engines.vllm.compat import check_version, installed_version
from radar_fast.engines.vllm.feed import Arrivals, Feed
from radar_fast.engines.vllm.flights import Counts, Flights, failed
from radar_fast.engines.vllm.packed_layout import Nonces, ordinary_ids
from radar_fast.engines.vllm.prepare import Preparer, Ready
from radar_fast.engines.vllm.process import end_waiting_when_dead, set_environment
from radar_fast.engines.vllm.startup import StartupLog, root_cause
from radar_fast.errors import EngineError, ModelError, RadarError, UsageError, one_line
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import Protocol
from radar_fast.sample import Candidate, Prompt, Reason, ReasonKind, Scored
from radar_fast.util.clock import Clock
from radar_fast.util.orphans import ending_with_us, segments_of_ours, unlink_segments

__all__ = ["VllmEngine"]

log = logging.getLogger(__name__)


class VllmEngine(Engine):
    """Scores prompts with vLLM and the candidate pooler of :mod:`radar_fast.engines.vllm.pooler`.

    Raises:
        UsageError: no vLLM, one of another version, an unknown engine argument, or a device that it is not built for.
        ModelError: vLLM does not have the architecture, or cannot load the checkpoint.
    """

    name = "vllm"

    def __init__(
        self, checkpoint: Checkpoint, protocol: Protocol, options: EngineOptions, context: EngineContext
    ) -> None:
        """``options``: with device and dtype resolved."""
        check_version()
        checkpoint.require_sound()
        set_environment()
        started = time.perf_counter()
        self._checkpoint, self._protocol = checkpoint, protocol
        self._device = options.device
        self._dtype: torch.dtype = getattr(torch, options.dtype)
        self._log = context.log
        self._engine = self._start(options)
        self._vocabulary = int(self._engine.vllm_config.model_config.get_vocab_size())
        self._unsound = self._non_finite()
        self._device_name = _device_name(self._device)
        self._arrivals = Arrivals(self._engine)
        end_waiting_when_dead(self._engine)
        self._segments = segments_of_ours()
        self._clock = Clock()
        self._preparer = Preparer(self._engine, checkpoint, protocol, options, context, self._clock)
        self._request, self._request_refused = self._choose_request(options)
        self._flights = Flights(self._engine, self._nonces() if self._request == "one" else None)
        self._scoring = False
        self._shared = 0.0  # seconds of computing that finished samples have been given
        self._encoded_before, self._last = 0, (0, False)
        self._encoded_before, _ = self._worker_counts()  # what profile and warm-up runs encoded
        self._clock.add("startup", time.perf_counter() - started)

    def score(self, prompts: Iterable[Prompt]) -> Iterator[Scored]:
        """One :class:`Scored` per prompt, as they finish; samples of one image are put together within a window."""
        if self._unsound is not None:
            yield from (Scored(prompt.sample, reason=self._unsound) for prompt in prompts)
            return
        if self._scoring:
            raise EngineError("score: another score() of this engine is still under way; use up what it yields first")
        self._scoring = True
        feed = Feed(_by_image(prompts), self._preparer.submit, self._arrivals)
        try:
            while True:
                self._arrivals.forget()
                feed.read(self._flights.pace.step)
                if not feed and not self._flights:
                    return
                while feed.ready and self._flights.room:
                    if (unscored := self._launch(feed)) is not None:
                        yield unscored
                if self._flights and self._arrivals.step_is_there:
                    yield from self._step(feed)
                elif (feed or self._flights) and not (feed.ready and self._flights.room):
                    with self._clock.measure("compute" if self._flights else "wait"):
                        self._arrivals.wait()
        finally:
            self._scoring = False
            feed.cancel()
            if self._flights:  # the consumer left early
                self._flights.abort()

    def load_weights(self, path: Path) -> None:
        """Go on with another checkpoint that differs in its weights alone, in the same engine, and count anew.

        Not while a :meth:`score` is under way. Everything that vLLM computed with the old weights is dropped.

        Raises:
            ModelError: no checkpoint, one of another architecture, tokenizer or preprocessing, or one that cannot be
                loaded; in the last case the engine must not be used any more.
            EngineError: samples are in flight.
        """
        if self._scoring:
            raise EngineError("load_weights: samples are still being scored; use up what score() yields first")
        started = time.perf_counter()
        checkpoint = self._checkpoint.successor(path)
        checkpoint.require_sound()
        try:
            self._engine.collective_rpc("radar_load_weights", args=(str(checkpoint.path),))
            self.drop_caches()
        except Exception as error:
            raise ModelError(f"{path}: vLLM cannot load these weights: {one_line(error)}", path=path) from error
        self._checkpoint = checkpoint
        self._unsound = self._non_finite()
        self._encoded_before, _ = self._worker_counts()
        self._last, self._flights.counts = (0, False), Counts()
        self._preparer.count_anew()
        self._clock.take()
        self._shared = 0.0
        self._clock.add("startup", time.perf_counter() - started)

    def drop_caches(self) -> None:
        """Forget the KV blocks, encoder outputs and images of samples scored before. Not while they are being scored.

        Raises:
            EngineError: vLLM did not.
        """
        self._engine.reset_mm_cache()
        self._engine.reset_encoder_cache()
        if not self._engine.reset_prefix_cache():
            raise EngineError("vLLM did not reset its prefix cache; blocks of earlier samples are still in it")

    def describe(self) -> EngineReport:
        """With how vLLM schedules, and the engine's own counts."""
        config = self._engine.vllm_config if self._engine else None
        settings: dict[str, str | int | float | bool | None] = {
            "request": self._request,
            "request_refused": self._request_refused,
            "workers": self._preparer.workers,
            "worker_kind": self._preparer.worker_kind,
            "prepared_images": self._preparer.takes_prepared_images,
        }
        if config is not None:
            encoded, fused = self._worker_counts()
            self._last = (encoded - self._encoded_before, fused)
            settings |= {
                "batch_tokens": int(config.scheduler_config.max_num_batched_tokens),
                "block_size": int(config.cache_config.block_size),
                "whole_requests": not config.scheduler_config.enable_chunked_prefill,
                "tensor_parallel": int(config.parallel_config.tensor_parallel_size),
                "fused_head": fused,
            }
        counts = self._flights.counts
        return EngineReport(
            name=self.name,
            version=installed_version(),
            device=self._device,
            device_name=self._device_name,
            dtype=dtype_name(self._dtype),
            settings=settings,
            counts={
                "requests": counts.requests,
                "packed_requests": counts.packed_requests,
                "prefix_cache_hits": counts.prefix_cache_hits,
                "resubmissions": counts.resubmissions,
                "images_encoded": self._last[0],
                "processor_runs": self._preparer.processor_runs,
            },
            seconds=self._clock.seconds(),
        )

    def close(self) -> None:
        """Stop the workers and vLLM's processes, and free the device."""
        self._preparer.close()
        engine, self._engine = self._engine, None
        if engine is not None:
            with contextlib.suppress(Exception):
                engine.engine_core.shutdown()
            del engine
            gc.collect()
            unlink_segments(self._segments)  # a worker that was killed left them

    # Before vLLM -----------------------------------------------------------------------------------------------------

    def _start(self, options: EngineOptions) -> Any:
        from vllm import LLMEngine
        from vllm.engine.arg_utils import EngineArgs
        from vllm.platforms import current_platform

        from radar_fast.engines.vllm.options import arguments_for, check_plugin

        if current_platform.device_type != self._device:
            raise UsageError(
                f"--engine vllm --device {self._device}: this vLLM is built for {current_platform.device_type}; use "
                f"--device {current_platform.device_type}, or --engine transformers"
            )
        arguments = arguments_for(self._checkpoint, self._protocol, options)
        check_plugin(arguments)
        log = StartupLog()
        try:
            with ending_with_us(), log:
                return LLMEngine.from_engine_args(EngineArgs(**arguments))
        except RadarError:
            raise
        except Exception as error:
            where = log.keep(self._log)
            cause = root_cause(error, log.text)
            raise ModelError(
                f"{self._checkpoint.path}: vLLM cannot load it: {cause}{where}", path=self._checkpoint.path
            ) from error

    def _choose_request(self, options: EngineOptions) -> tuple[str, str | None]:
        """How samples go to vLLM, ``one`` or ``per-candidate``, and why not in one request where that was wanted."""
        wanted = options.request
        if wanted == "auto":
            wanted = "one" if self._device == "cpu" else "per-candidate"  # what has been measured, and where
        if wanted != "one":
            return "per-candidate", None
        refused = next(filter(None, self._engine.collective_rpc("radar_pack_requests")), None)
        if refused is None:
            return "one", None
        if options.request == "one":
            log.warning("--request one: %s; every sample goes as a request a candidate", refused)
        return "per-candidate", refused

    def _nonces(self) -> Nonces:
        tokenizer = self._checkpoint.processor.tokenizer
        rows = self._engine.vllm_config.model_config.get_vocab_size()
        return Nonces(ordinary_ids(tokenizer, rows))

    def _non_finite(self) -> Reason | None:
        """Why no sample can be scored, if it is the weights."""
        found = [name for names in self._engine.collective_rpc("radar_non_finite") for name in names]
        return reason_of_weights(self._checkpoint.name, list(dict.fromkeys(found)))

    # vLLM ------------------------------------------------------------------------------------------------------------

    def _launch(self, feed: Feed) -> Scored | None:
        """Hand vLLM the next sample; Scored where it cannot be scored."""
        ready = feed.take()
        if not isinstance(ready, Ready):
            return ready
        with self._clock.measure("submit"):
            refused = self._beyond(ready) or self._flights.launch(ready)
        if refused is not None:
            feed.done(ready)
        return refused

    def _beyond(self, ready: Ready) -> Scored | None:
        """Refused, where an answer token has no row in the head; None where all have."""
        asked = (token for request in ready.plan.requests for tokens in request.targets for token in tokens)
        refused = reason_of_targets(asked, self._vocabulary)
        return None if refused is None else Scored(ready.prompt.sample, reason=refused)

    def _step(self, feed: Feed) -> Iterator[Scored]:
        """What an engine step has finished."""
        with self._clock.measure("compute"):
            try:
                outputs = self._engine.step()
            except Exception as error:
                raise failed(error) from error
        if done := self._flights.collect(outputs):
            computed = self._clock.seconds()["compute"]
            share, self._shared = (computed - self._shared) / len(done), computed
            for ready in done:
                feed.done(ready)
                yield _scored(ready, share)

    def _worker_counts(self) -> tuple[int, bool]:
        """Of all workers: images are encoded by the first stage of a pipeline and rows scored by the last; the ranks
        of a stage all see the same.
        """
        try:
            encoded, fused = map(max, *self._engine.collective_rpc("radar_counts"), (0, False))
        except Exception:  # a dead engine is reported where it was asked to score
            before, (encoded, fused) = self._encoded_before, self._last
            return before + encoded, fused
        return int(encoded), bool(fused)


def _device_name(device: str) -> str:
    """The device's name. vLLM asks NVML for it; torch would initialise CUDA in a process that has no use of it."""
    from vllm.platforms import current_platform

    return device if device == "cpu" else str(current_platform.get_device_name())


def _by_image(prompts: Iterable[Prompt]) -> Iterator[Prompt]:
    """Window by window, prompts of the same images next to each other, else in order."""
    stream = iter(prompts)
    while window := list(islice(stream, WINDOW)):
        groups: dict[tuple[str, ...], list[Prompt]] = {}
        for number, prompt in enumerate(window):
            key = tuple(image.key for image in prompt.images) or (f"without images: {number}",)
            groups.setdefault(key, []).append(prompt)
        for group in groups.values():
            yield from group


def _scored(ready: Ready, seconds: float) -> Scored:
    cost: dict[str, Any] = {
        "tokens_computed": ready.tokens_computed,
        "tokens_minimal": ready.tokens_minimal,
        "seconds": seconds,
    }
    pairs = [[ready.scores[request][index] for request, index in candidate] for candidate in ready.plan.places]
    if not all(abs(value) < float("inf") for candidate in pairs for pair in candidate for value in pair):
        detail = "the model gave an infinite logit or one that is no number; try --dtype float32"
        return Scored(ready.prompt.sample, reason=Reason(ReasonKind.NON_FINITE, detail), **cost)
    candidates = tuple(
        Candidate(tuple(logit for logit, _ in candidate), tuple(logprob for _, logprob in candidate))
        for candidate in pairs
    )
    return Scored(ready.prompt.sample, candidates, **cost)
