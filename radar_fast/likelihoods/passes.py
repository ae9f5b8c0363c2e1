"""Tokens of a context and of its continuations -> log-likelihood and whether greedy decoding would say it.

The harness asks something that a Scored does not hold: whether each token is the likeliest of all. So the head is asked
for a batch's rows of logits, in slices, in place of what the engines fuse.
"""

import gc
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from radar_fast.engines.encode.encoder import Encoded
from radar_fast.engines.head import CHUNK_BYTES
from radar_fast.engines.transformers.forward import Forward, TokenScores
from radar_fast.engines.transformers.packing import Batch, Flat, packed_length, plan
from radar_fast.errors import EngineError
from radar_fast.sample import Prompt, Sample
from radar_fast.util.clock import Clock

__all__ = ["BATCH_TOKENS", "Group", "Passes", "Said", "encoded"]

log = logging.getLogger(__name__)

BATCH_TOKENS = {"cpu": 4096, "cuda": 16384}
"""Most token positions in one forward pass, by device."""

Said = tuple[float, bool]
"""Log-likelihood (natural), and whether every token is the likeliest."""

Group = tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]
"""Token ids of a context, at least one, and of each of its continuations, likewise."""

_NOBODY = Prompt(Sample("", "", "", "", (), (), 0), (), "", ())


class Passes:
    """Scores groups in few forward passes: each context once, all its continuations below it."""

    def __init__(self, model: Any, name: str, dtype: torch.dtype, device: torch.device, budget: int) -> None:
        """``model``: a transformers model with an LM head over a base model; ``budget``: most tokens in a pass."""
        image = getattr(model.config, "image_token_id", -1)  # positions of an image's tokens hang on which they are
        self._forward = _MarginForward(model, name, "dense", dtype, device, image, Clock())
        self._device, self._budget = device, budget

    def __call__(self, groups: Sequence[Encoded]) -> Iterator[tuple[int, list[Said]]]:
        """Index of a group, and what is said of its continuations: every group once, in no order.

        Raises:
            EngineError: one group alone does not fit the device.
        """
        waiting = [list(batch) for batch in plan(list(map(packed_length, groups)), self._budget)]
        while waiting:
            batch = waiting.pop(0)
            try:
                scores = self._forward([groups[index] for index in batch])
            except torch.OutOfMemoryError as error:
                if len(batch) == 1:
                    tokens = packed_length(groups[batch[0]])
                    raise EngineError(
                        f"{tokens} tokens do not fit the device: {error}; give a smaller max_length"
                    ) from None
                gc.collect()
                torch.cuda.empty_cache()
                half = len(batch) // 2
                waiting[:0] = [batch[:half], batch[half:]]
                log.warning("out of memory with %d contexts: going on with %d", len(batch), half)
                continue
            for index, (margins, logprobs) in zip(batch, scores, strict=True):
                yield index, _said(groups[index], margins, logprobs)


def encoded(group: Group) -> Encoded:
    """A group of text, as a forward pass takes it."""
    context, continuations = group
    return Encoded(_NOBODY, context, continuations, 0)


def _said(group: Encoded, margins: list[float], logprobs: list[float]) -> list[Said]:
    found: list[Said] = []
    start = 0
    for suffix in group.suffixes:
        stop = start + len(suffix) - group.scored_from
        found.append((sum(logprobs[start:stop]), all(margin >= 0.0 for margin in margins[start:stop])))
        start = stop
    return found


class _MarginForward(Forward):
    """Gives a token's logit less the largest of its row in the logit's place: 0 where it is the likeliest."""

    def _answers(self, packed: Batch | Flat, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = self._hidden(packed, inputs).flatten(0, 1)[packed.hidden_rows]
        rows, targets = packed.answer_rows.to(self._device), packed.targets.to(self._device)
        margins = torch.empty(len(rows), device=self._device)
        logprobs = torch.empty_like(margins)
        size = max(1, CHUNK_BYTES // (4 * int(self.text_config.vocab_size)))
        for start in range(0, len(hidden), size):
            logits = self._scaling(self._head(hidden[start : start + size]).float())
            mine = (rows >= start) & (rows < start + size)
            chosen, places = targets[mine], rows[mine] - start
            picked = logits[places, chosen]
            margins[mine] = picked - logits.max(-1).values[places]
            logprobs[mine] = picked - logits.logsumexp(-1)[places]
        return margins, logprobs

    def _plain_scores(self, sample: Encoded) -> TokenScores:
        margins: list[float] = []
        logprobs: list[float] = []
        inputs = {name: value.to(self._device) for name, value in sample.inputs.items()}
        for suffix in sample.suffixes:
            ids = torch.tensor([[*sample.prefix, *suffix]], device=self._device)
            extra = {
                name: torch.nn.functional.pad(value, (0, len(suffix)))[None].to(self._device)
                for name, value in sample.token_inputs.items()
            }
            logits = self._model(input_ids=ids, use_cache=False, **inputs, **extra).logits[0].float()
            rows = logits[len(sample.prefix) - 1 + sample.scored_from : -1]
            targets = torch.tensor(suffix[sample.scored_from :], device=self._device)
            picked = rows.gather(1, targets[:, None])[:, 0]
            margins += (picked - rows.max(-1).values).tolist()
            logprobs += (picked - rows.logsumexp(-1)).tolist()
        return margins, logprobs
