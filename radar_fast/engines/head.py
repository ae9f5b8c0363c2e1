"""Hidden states -> raw logit and log-probability of given tokens, never holding more than a slice of the logits."""

import torch
from torch import nn

__all__ = ["CHUNK_BYTES", "LogitScaling", "token_scores"]

CHUNK_BYTES = 256 * 2**20
"""Most memory for fp32 logits at a time."""


class LogitScaling:
    """What some architectures do to logits after the head, as their text config says.

    ``final_logit_softcapping`` c: c * tanh(logits / c) (Gemma 2); ``logit_scale`` s: logits * s (Cohere);
    ``logits_scaling`` s: logits / s (Granite).
    """

    def __init__(self, config: object) -> None:
        self._softcap = getattr(config, "final_logit_softcapping", None)
        self._scale = (getattr(config, "logit_scale", None) or 1.0) / (getattr(config, "logits_scaling", None) or 1.0)

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        if self._scale != 1.0:
            logits = logits * self._scale
        if self._softcap is not None:
            logits = self._softcap * torch.tanh(logits / self._softcap)
        return logits


def token_scores(
    hidden: torch.Tensor, head: nn.Module, scaling: LogitScaling, rows: torch.Tensor, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Raw logit and log-probability of ``targets[t]`` at hidden state ``rows[t]``.

    Args:
        hidden: [R, D] final hidden states, any floating dtype.
        head: the LM head, [*, D] -> [*, V].
        scaling: applied to the logits.
        rows: [T] int64 indices into ``hidden``.
        targets: [T] int64 token ids.

    Returns:
        logits [T] and log-probabilities [T], fp32, on the device of ``hidden``. The log-probability is
        (logit - max) - log(sum(exp(logits - max))), which keeps its precision at large offsets and is never above 0.
    """
    logits = torch.empty(len(targets), device=hidden.device)
    logprobs = torch.empty_like(logits)
    vocabulary = int(getattr(head, "out_features", 0)) or head(hidden[:1]).shape[-1]
    size = max(1, CHUNK_BYTES // (4 * vocabulary))
    for start in range(0, len(hidden), size):
        slab = scaling(head(hidden[start : start + size]).float())
        top = slab.max(dim=-1, keepdim=True).values
        logsum = (slab - top).exp_().sum(dim=-1).log_()
        here = ((rows >= start) & (rows < start + size)).nonzero()[:, 0]
        local = rows[here] - start
        picked = slab[local, targets[here]]
        logits[here] = picked
        logprobs[here] = ((picked - top[local, 0]) - logsum[local]).clamp_max_(0.0)
    return logits, logprobs
