"""Hidden states -> raw logit and log-probability of given tokens, never holding more than a slice of the logits."""

import torch
from torch import nn

from radar_fast.kernels.linear_log_softmax_gather import linear_log_softmax_gather
from radar_fast.kernels.log_softmax_gather import log_softmax_gather
from radar_fast.kernels.runtime import IGNORED

__all__ = ["CHUNK_BYTES", "LogitScaling", "by_row", "token_scores"]

CHUNK_BYTES = 256 * 2**20
"""Most memory for fp32 logits at a time, of a head that can only be asked for them."""


class LogitScaling:
    """What some architectures do to logits after the head, as their text config says.

    ``final_logit_softcapping`` c: c * tanh(logits / c) (Gemma 2); ``logit_scale`` s: logits * s (Cohere);
    ``logits_scaling`` s: logits / s (Granite).
    """

    def __init__(self, config: object) -> None:
        self.softcap: float | None = getattr(config, "final_logit_softcapping", None)
        self.scale: float = (getattr(config, "logit_scale", None) or 1.0) / (
            getattr(config, "logits_scaling", None) or 1.0
        )

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        if self.scale != 1.0:
            logits = logits * self.scale
        if self.softcap is not None:
            logits = self.softcap * torch.tanh(logits / self.softcap)
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
        (logit - max) - log(sum(exp(logit - max))), which keeps its precision at large offsets and is never above 0.

    A plain linear head is fused with what follows, and its logits are summed in fp32 whatever its dtype; any other
    (an adapter around it, quantised weights) is asked for its logits, as many rows at a time as CHUNK_BYTES hold.
    """
    table, places = by_row(rows, targets, len(hidden))
    linear = _plain_linear(head, hidden.dtype)
    if linear is not None:
        logits, logprobs = linear_log_softmax_gather(
            hidden, linear.weight, table, bias=linear.bias, scale=scaling.scale, softcap=scaling.softcap
        )
    else:
        logits = torch.empty(table.shape, device=hidden.device)
        logprobs = torch.empty_like(logits)
        vocabulary = int(getattr(head, "out_features", 0)) or head(hidden[:1]).shape[-1]
        size = max(1, CHUNK_BYTES // (4 * vocabulary))
        for start in range(0, len(hidden), size):
            some = slice(start, start + size)
            logits[some], logprobs[some] = log_softmax_gather(scaling(head(hidden[some]).float()), table[some])
    return logits[rows, places], logprobs[rows, places]


def _plain_linear(head: nn.Module, dtype: torch.dtype) -> nn.Linear | None:
    """The head if it does nothing but hidden @ weight.T + bias, in the hidden states' dtype."""
    if type(head) is not nn.Linear or head.weight.dtype != dtype or not head.weight.is_contiguous():
        return None
    if head._forward_hooks or head._forward_pre_hooks:
        return None
    return head


def by_row(rows: torch.Tensor, targets: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Targets put together by row, since several candidates' first tokens are asked of one.

    Returns:
        table [count, K] int64, a row's targets in their order, then IGNORED; and places [T] int64, with
        ``table[rows[t], places[t]] == targets[t]``.
    """
    order = torch.argsort(rows, stable=True)
    amounts = torch.bincount(rows, minlength=count)
    starts = amounts.cumsum(0) - amounts
    places = torch.empty_like(rows)
    places[order] = torch.arange(len(rows), device=rows.device) - starts[rows[order]]
    table = targets.new_full((count, int(amounts.max()) if count else 1), IGNORED)
    table[rows, places] = targets
    return table, places
