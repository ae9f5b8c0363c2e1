"""The LM head of a vLLM model, fused with log-softmax and gather wherever it is a plain one.

What a model's ``compute_logits`` does is watched once: where it hands the rows as they are to vLLM's own
``LogitsProcessor`` with an unquantised head, and returns what that gives, the same product is computed by
:func:`~radar_fast.kernels.linear_log_softmax_gather.linear_log_softmax_gather` without logits in memory; under tensor
parallelism every rank computes its shard of the vocabulary, and the shards are merged. Anything else (a quantised or
LoRA head, rows that are scaled before it, logits that are changed after it) goes through ``compute_logits``.
"""

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from vllm.distributed import tensor_model_parallel_all_gather
from vllm.model_executor.layers.linear import UnquantizedLinearMethod
from vllm.model_executor.layers.logits_processor import LogitsProcessor
from vllm.model_executor.layers.vocab_parallel_embedding import UnquantizedEmbeddingMethod, VocabParallelEmbedding

from radar_fast.engines.head import CHUNK_BYTES
from radar_fast.kernels.linear_log_softmax_gather import linear_log_softmax_gather, linear_log_softmax_partials
from radar_fast.kernels.log_softmax_gather import log_softmax_gather
from radar_fast.kernels.reference import Partials, merge_shards

__all__ = ["AnswerHead", "PlainHead", "watch_head"]

log = logging.getLogger(__name__)

ROWS_AT_ONCE = 64
"""Rows of the first call of such a head, before the vocabulary's size is known; also the least."""


@dataclass(frozen=True)
class PlainHead:
    """A head that does nothing but (rows @ weight.T + bias), a scale or a soft-cap."""

    layer: Any
    """vLLM's layer; its weight is read at every call, since a session replaces weights."""
    bias: torch.Tensor | None
    """[V'] of this rank's shard."""
    scale: float
    softcap: float | None
    vocabulary: int
    """True size of the whole vocabulary, padding left out."""

    @property
    def parallel(self) -> bool:
        """Whether the vocabulary is cut over tensor-parallel ranks."""
        return bool(self.layer.tp_size > 1)

    def __call__(self, hidden: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """[R, D] rows and [R, K] targets -> raw logits and log-probabilities [R, K], fp32; the same on every rank."""
        options: dict[str, Any] = {"bias": self.bias, "scale": self.scale, "softcap": self.softcap}
        weight = self.layer.weight
        if not self.parallel:
            return linear_log_softmax_gather(hidden, weight, targets, vocab_size=self.vocabulary, **options)
        shard = self.layer.shard_indices
        start, stop = shard.org_vocab_start_index, min(shard.org_vocab_end_index, self.vocabulary)
        mine = linear_log_softmax_partials(
            hidden, weight, targets, vocab_start=start, shard_size=max(0, stop - start), **options
        )
        packed = torch.cat([mine.top[:, None], mine.total[:, None], mine.logit], dim=1)
        gathered = tensor_model_parallel_all_gather(packed, dim=0).view(self.layer.tp_size, *packed.shape)
        return merge_shards([Partials(part[:, 0], part[:, 1], part[:, 2:]) for part in gathered.unbind()], targets)


class AnswerHead:
    """(rows, targets) -> scores, by the fused kernel or through the model's own ``compute_logits``."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._plain: PlainHead | None = None
        self._watched = False

    @property
    def fused(self) -> bool:
        """Whether the logits never exist; known once something was scored."""
        return self._plain is not None

    def __call__(self, hidden: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Score targets.

        Args:
            hidden: [R, D] final hidden states, R at least 1.
            targets: [R, K] int64 token ids; IGNORED (-100) where a row has fewer than K.

        Returns:
            Raw logits and log-probabilities [R, K], fp32. Zeros on a tensor-parallel rank that gets no logits, and
            whose output does not count.
        """
        if not self._watched:
            self._plain, why = watch_head(self._model, hidden[:1])
            self._watched = True
            if self._plain is None:
                log.warning("scoring through compute_logits, a slice of the rows at a time: %s", why)
        if self._plain is not None:
            return self._plain(hidden, targets)
        return _through_logits(self._model.compute_logits, hidden, targets)


def watch_head(model: Any, hidden: torch.Tensor) -> tuple[PlainHead | None, str]:
    """Run ``model.compute_logits`` once and see what it does.

    Every tensor-parallel rank comes to the same result.

    Args:
        model: a vLLM model.
        hidden: [1, D] a row of final hidden states.

    Returns:
        The head, or None and why it is not a plain one.
    """
    calls: list[tuple[Any, dict[str, Any], Any]] = []

    def note(processor: Any, positional: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        names = ("lm_head", "hidden_states", "embedding_bias", "skip_gather")
        calls.append((processor, {**dict(zip(names, positional, strict=False)), **named}, output))

    with ExitStack() as hooks:
        for module in model.modules():
            if isinstance(module, LogitsProcessor):
                hooks.callback(module.register_forward_hook(note, with_kwargs=True).remove)
        result = model.compute_logits(hidden)
    if len(calls) != 1:
        return None, f"{type(model).__name__} calls vLLM's logits processor {len(calls)} times per row"
    [(processor, given, output)] = calls
    layer = given["lm_head"]
    for reason, holds in _conditions(processor, layer, given, hidden):
        if not holds:
            return None, reason
    if result is not output:
        return None, f"{type(model).__name__} changes its logits after the head"
    vocabulary = min(processor.org_vocab_size, layer.org_vocab_size)
    return PlainHead(layer, given.get("embedding_bias"), float(processor.scale), processor.soft_cap, vocabulary), ""


def _conditions(processor: Any, layer: Any, given: dict[str, Any], hidden: torch.Tensor) -> list[tuple[str, bool]]:
    """What must hold for a plain head, each with what to say where it does not."""
    method = type(getattr(layer, "quant_method", None))
    handed = given["hidden_states"]
    weight = getattr(layer, "weight", None)
    return [
        (f"{type(processor).__name__} is no plain logits processor", type(processor) is LogitsProcessor),
        ("the head's input is logits", not processor.logits_as_input),
        (f"{type(layer).__name__} is no plain head", isinstance(layer, VocabParallelEmbedding)),
        (f"the head is quantised ({method.__name__})", method in (UnquantizedEmbeddingMethod, UnquantizedLinearMethod)),
        ("rows are changed before the head", handed.data_ptr() == hidden.data_ptr() and handed.shape == hidden.shape),
        ("the head has both a scale and a soft-cap", processor.soft_cap is None or processor.scale == 1.0),
        (
            "the head's weights are not in the dtype of its rows",
            isinstance(weight, torch.Tensor) and weight.dtype == hidden.dtype and weight.stride(-1) == 1,
        ),
    ]


def _through_logits(
    compute_logits: Callable[[torch.Tensor], torch.Tensor | None], hidden: torch.Tensor, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    logits, logprobs = (torch.zeros(targets.shape, dtype=torch.float32, device=hidden.device) for _ in range(2))
    start, size = 0, ROWS_AT_ONCE
    while start < len(hidden):
        some = slice(start, start + size)
        slab = compute_logits(hidden[some])
        if slab is None:  # gathered on another tensor-parallel rank, whose output is the one that counts
            return logits, logprobs
        logits[some], logprobs[some] = log_softmax_gather(slab, targets[some])
        start += size
        size = max(ROWS_AT_ONCE, CHUNK_BYTES // (4 * slab.shape[-1]))
    return logits, logprobs
