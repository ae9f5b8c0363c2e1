"""Hidden states -> raw logit and log-probability of given tokens, never holding more than a slice of the logits."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from radar_fast.kernels.linear_log_softmax_gather import linear_log_softmax_gather
from radar_fast.kernels.log_softmax_gather import log_softmax_gather
from radar_fast.kernels.runtime import IGNORED

__all__ = ["CHUNK_BYTES", "Indices", "LogitScaling", "by_row", "on_device", "token_scores"]

Indices: TypeAlias = npt.NDArray[np.int64]

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
        rows: [T] int64 indices into ``hidden``, on the host.
        targets: [T] int64 token ids, on the host.

    Returns:
        logits [T] and log-probabilities [T], fp32, on the device of ``hidden``. The log-probability is
        (logit - max) - log(sum(exp(logit - max))), which keeps its precision at large offsets and is never above 0.

    Nothing waits for the device.

    A plain linear head is fused with what follows, and its logits are summed in fp32 whatever its dtype; any other
    (an adapter around it, quantised weights) is asked for its logits, as many rows at a time as CHUNK_BYTES hold.
    """
    table, places = on_device(hidden.device, *by_row(rows.numpy(), targets.numpy(), len(hidden)))
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
    return logits.flatten().index_select(0, places), logprobs.flatten().index_select(0, places)


def _plain_linear(head: nn.Module, dtype: torch.dtype) -> nn.Linear | None:
    """The head if it does nothing but hidden @ weight.T + bias, in the hidden states' dtype."""
    if type(head) is not nn.Linear or head.weight.dtype != dtype or not head.weight.is_contiguous():
        return None
    if head._forward_hooks or head._forward_pre_hooks:
        return None
    return head


def by_row(rows: Indices, targets: Indices, count: int) -> tuple[Indices, Indices]:
    """Targets put together by row, since several candidates' first tokens are asked of one.

    Args:
        rows: [T] int64, each below ``count``.
        targets: [T] int64 token ids.
        count: of rows.

    Returns:
        table [count, K] int64, a row's targets in their order, then IGNORED; and places [T] int64 in the flat table,
        with ``table.ravel()[places[t]] == targets[t]``.
    """
    order = np.argsort(rows, kind="stable")
    amounts = np.bincount(rows, minlength=count)
    starts = amounts.cumsum() - amounts
    columns = np.empty_like(rows)
    columns[order] = np.arange(len(rows)) - starts[rows[order]]
    width = int(amounts.max()) if count else 1
    table = np.full((count, width), IGNORED, dtype=np.int64)
    table[rows, columns] = targets
    return table, rows * width + columns


def on_device(device: torch.device, *arrays: Indices) -> list[torch.Tensor]:
    """Indices made on the host -> on the device, in one copy that nothing waits for."""
    buffer = torch.empty(sum(array.size for array in arrays), dtype=torch.int64, pin_memory=device.type == "cuda")
    np.concatenate([array.ravel() for array in arrays], out=buffer.numpy())
    moved = buffer.to(device, non_blocking=True)
    parts = torch.split(moved, [array.size for array in arrays])
    return [part.view(array.shape) for part, array in zip(parts, arrays, strict=True)]
