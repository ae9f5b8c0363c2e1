"""What happens to a prompt before vLLM: read, tokenised, preprocessed, laid out as its input, cut into requests."""

import logging
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import torch

from radar_fast.engines.encode.context import EngineContext
from radar_fast.engines.encode.encoder import Encoded, Encoder, failed_processor, refused_images
from radar_fast.engines.encode.image_cache import ImageReuse
from radar_fast.engines.encode.pool import Pool, choose_worker_kind
from radar_fast.engines.encode.tokens import Split, Tokens, least_positions
from radar_fast.engines.options import EngineOptions
from radar_fast.engines.vllm.compat import wants_raw_pixels
from radar_fast.engines.vllm.preprocessor import Preprocessor, same_input
from radar_fast.engines.vllm.requests import Plan, image_uuid, plan_requests
from radar_fast.errors import one_line
from radar_fast.images import content_digest
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import Protocol
from radar_fast.sample import Prompt, Reason, ReasonKind, Scored
from radar_fast.util.clock import Clock

__all__ = ["Preparer", "Ready"]

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Ready:
    """A sample that is ready to be submitted, and what has come back of it."""

    prompt: Prompt
    shared: dict[str, Any]
    """vLLM's input for the shared prefix, images included."""
    plan: Plan
    tokens_minimal: int
    """See :func:`~radar_fast.engines.encode.tokens.least_positions`."""
    nbytes: int
    """Of its image tensors."""
    scores: dict[int, list[list[float]]] = field(default_factory=dict)
    """A request: [logit, log-probability] of each of its lookups."""
    tokens_computed: int = 0


class Preparer:
    """Makes prompts ready, in threads, and where that pays in processes behind them.

    Images go the way of the transformers engine: decoded and preprocessed by the encoder, once for samples that share
    them, from the store of preprocessed images where there is one; vLLM's processor then lays out what was made of
    them. Where a model's processor does not take them so, which is found out with the first image by doing both, the
    processor gets the images themselves.
    """

    def __init__(
        self,
        engine: Any,
        checkpoint: Checkpoint,
        protocol: Protocol,
        options: EngineOptions,
        context: EngineContext,
        clock: Clock,
    ) -> None:
        self.workers = options.worker_count
        self._checkpoint = checkpoint.path
        self.worker_kind = choose_worker_kind(options, context, protocol, checkpoint)
        dtype: torch.dtype = getattr(torch, options.dtype)
        reuse = ImageReuse(options.preprocess_cache, int(options.preprocess_cache_gb * 1e9))
        raw = wants_raw_pixels(engine)
        self._processes: Pool | None = None
        if self.worker_kind == "processes":
            self._processes = Pool(
                self.workers, checkpoint, protocol, dtype, reuse, clock, raw_pixels=raw, fork_server=context.fork_server
            )
        self._encoder = Encoder(checkpoint, protocol, dtype, clock, reuse, raw_pixels=raw)
        self._clock = clock
        self._preprocess = Preprocessor(engine, self._encoder.image_processor)
        self._limit = int(engine.vllm_config.model_config.max_model_len)
        self._lays_out: bool | None = None
        self._models: dict[int, dict[str, Any] | None] = {}  # images in a prompt: an input to assemble others like
        self._deciding = threading.Lock()
        self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="encode")

    @property
    def processor_runs(self) -> int:
        """Samples that vLLM's processor has run for."""
        return self._preprocess.runs

    @property
    def takes_prepared_images(self) -> bool | None:
        """Whether vLLM's processor is handed what the encoder made of images; None before the first image."""
        return self._lays_out

    def count_anew(self) -> None:
        """Forget the count."""
        self._preprocess.runs = 0

    def submit(self, prompt: Prompt) -> Future[Ready | Scored]:
        """Have a thread make ``prompt`` ready; Scored where that cannot be."""
        return self._pool.submit(self._prepare, prompt)

    def close(self) -> None:
        """Stop the threads and processes."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._processes is not None:
            self._processes.close()
        self._pool.shutdown(wait=True)

    def _prepare(self, prompt: Prompt) -> Ready | Scored:
        if not prompt.images:
            tokens = self._tokens(prompt)
            if isinstance(tokens, Reason):
                return Scored(prompt.sample, reason=tokens)
            return self._ready(prompt, tokens.split, {"type": "token", "prompt_token_ids": list(tokens.prefix)})
        try:
            if self._lays_out is None:
                with self._deciding:
                    if self._lays_out is None:
                        return self._decide(prompt)
            made = self._laid_out(prompt) if self._lays_out else self._processed(prompt)
        except (ValueError, OSError) as error:
            return Scored(prompt.sample, reason=refused_images(prompt, error))
        except (TypeError, ArithmeticError, LookupError, AttributeError, RuntimeError, MemoryError) as error:
            raise failed_processor(self._checkpoint, error) from error
        if isinstance(made, Reason):
            return Scored(prompt.sample, reason=made)
        return self._ready(prompt, *made)

    def _tokens(self, prompt: Prompt) -> Tokens | Reason:
        with self._clock.measure("tokenise"):
            return self._encoder.tokenise(prompt)

    def _processed(self, prompt: Prompt) -> tuple[Split, dict[str, Any]] | Reason:
        """vLLM's processor on the images themselves. Raises ValueError where it refuses one."""
        with self._clock.measure("decode"):
            images = self._encoder.read_images(prompt)
        if isinstance(images, Reason):
            return images
        tokens = self._tokens(prompt)
        if isinstance(tokens, Reason):
            return tokens
        with self._clock.measure("preprocess"):
            return tokens.split, self._preprocess(tokens.prefix, images, list(map(image_uuid, images)))

    def _laid_out(self, prompt: Prompt) -> tuple[Split, dict[str, Any]] | Reason:
        """vLLM's processor on what the encoder made of the images."""
        encoded = (self._processes or self._encoder).encode(prompt)
        if isinstance(encoded, Reason):
            return encoded
        with self._clock.measure("lay_out"):
            shared = self._assembled(encoded) or self._lay_out(encoded)
        if _same_prefix(shared, encoded):
            self._learn(shared, encoded)
            return Split(len(encoded.prefix), encoded.suffixes, encoded.scored_from), shared
        log.warning("vLLM expands the images of %s otherwise than transformers", prompt.sample.key)
        return self._processed(prompt)

    def _decide(self, prompt: Prompt) -> Ready | Scored:
        """The first prompt with images, both ways: whether the two come to the same. No decision where it is unfit."""
        made = self._processed(prompt)
        if isinstance(made, Reason):
            return Scored(prompt.sample, reason=made)
        split, shared = made
        try:
            encoded = self._encoder.encode(prompt)
            if isinstance(encoded, Encoded):
                again = self._lay_out(encoded, counted=False)
                self._lays_out = same_input(shared, again) and _same_prefix(again, encoded)
                if self._lays_out:
                    shared = again  # it names its images as all others will be named
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            log.info("vLLM's processor takes no preprocessed images: %s", one_line(error))
            self._lays_out = False
        return self._ready(prompt, split, shared)

    def _lay_out(self, encoded: Encoded, *, counted: bool = True) -> dict[str, Any]:
        return self._preprocess.lay_out(encoded.unexpanded, encoded.inputs, _names(encoded), counted=counted)

    def _assembled(self, encoded: Encoded) -> dict[str, Any] | None:
        """The same without running vLLM's processor, where that has been seen to come to the same."""
        like = self._models.get(len(encoded.prompt.images))
        return like and self._preprocess.assemble(like, encoded.prefix, encoded.inputs, _names(encoded))

    def _learn(self, shared: dict[str, Any], encoded: Encoded) -> None:
        """See, with the first prompt of so many images, whether assembling comes to what vLLM's processor laid out."""
        images = len(encoded.prompt.images)
        if images in self._models:
            return
        self._models[images] = None
        try:
            made = self._preprocess.assemble(shared, encoded.prefix, encoded.inputs, _names(encoded))
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            log.info("vLLM's input is not assembled without its processor: %s", one_line(error))
            return
        names = ("mm_hashes", "mm_placeholders")
        if made is not None and same_input(shared, made) and all(made[name] == shared[name] for name in names):
            self._models[images] = {**shared, "mm_kwargs": {}, "mm_hashes": {}}  # whose images are not kept

    def _ready(self, prompt: Prompt, split: Split, shared: Mapping[str, Any]) -> Ready | Scored:
        expanded = shared["prompt_token_ids"]
        kept = list(expanded[: len(expanded) - split.scored_from])
        longest = len(kept) + max(map(len, split.suffixes))
        if longest > self._limit:
            detail = f"{longest} tokens with the longest candidate; the model has positions for {self._limit}"
            return Scored(prompt.sample, reason=Reason(ReasonKind.TOO_LONG, detail))
        plan = plan_requests(split.suffixes, split.scored_from)
        least = least_positions(len(kept), split.suffixes)
        return Ready(prompt, {**shared, "prompt_token_ids": kept}, plan, least, _nbytes(shared))


def _names(encoded: Encoded) -> list[str]:
    """What tells its images from others in vLLM's caches."""
    return list(map(content_digest, encoded.prompt.images))


def _nbytes(shared: Mapping[str, Any]) -> int:
    values = (
        value for items in shared.get("mm_kwargs", {}).values() for item in items for value in item.get_data().values()
    )
    return sum(value.nbytes for value in values if isinstance(value, torch.Tensor))


def _same_prefix(shared: Mapping[str, Any], encoded: Encoded) -> bool:
    """Whether vLLM and transformers expand the prompt's images alike."""
    ids: Sequence[int] = shared["prompt_token_ids"]
    return list(ids[: len(ids) - encoded.scored_from]) == list(encoded.prefix)
