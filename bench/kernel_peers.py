"""Whom the kernels are compared with: (name, how to make the call). A peer that is not installed raises ImportError."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from stopwatch import Call
from torch.nn import functional

from radar_fast.kernels import log_softmax_gather as k1_module
from radar_fast.kernels.linear_log_softmax_gather import linear_log_softmax_gather, unfused
from radar_fast.kernels.log_softmax_gather import log_softmax_gather
from radar_fast.kernels.runtime import jit

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = tl = None

__all__ = ["OURS", "Peers", "k1_peers", "k2_peers", "product", "reader"]

Peers = Iterator[tuple[str, Callable[[], Call]]]

OURS = "ours"
"""The name of the fused kernel among its peers."""

READ_BLOCK = 8192


@jit
def _read_kernel(x: tl.tensor, out: tl.tensor, size: tl.tensor, BLOCK: tl.constexpr) -> None:  # noqa: N803
    """Reads BLOCK values, writes one: the bandwidth that reading can have."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + tl.program_id(0), tl.max(tl.load(x + at, mask=at < size, other=0.0).to(tl.float32), 0))


def reader(x: torch.Tensor, *, on_gpu: bool) -> Call:
    """A call that reads ``x`` once."""
    if not on_gpu:
        return lambda: x.amax()
    flat = x.view(-1)
    programs = triton.cdiv(flat.numel(), READ_BLOCK)
    out = torch.empty(programs, device=x.device)
    return lambda: _read_kernel[(programs,)](flat, out, flat.numel(), BLOCK=READ_BLOCK, num_warps=8)


def product(hidden: torch.Tensor, weight: torch.Tensor) -> Call:
    """A call of the bare product, by cuBLAS on a GPU."""
    return lambda: hidden @ weight.t()


def torch_k1(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return logits.log_softmax(-1, dtype=torch.float32).gather(1, targets[:, None])


def logsumexp_k1(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return logits.gather(1, targets[:, None])[:, 0].float() - logits.float().logsumexp(-1)


def without_split(logits: torch.Tensor, targets: torch.Tensor) -> Any:
    """Our kernel as most are written: a program a row."""
    kept = k1_module.MAX_PROGRAMS_Y
    k1_module.MAX_PROGRAMS_Y = 1
    try:
        return log_softmax_gather(logits, targets)
    finally:
        k1_module.MAX_PROGRAMS_Y = kept


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """``torch.compile`` for this shape alone: without the reset all shapes would share one code object, and what was
    compiled for the third would be what is timed from then on, with dynamic sizes."""
    torch._dynamo.reset()
    return torch.compile(function, dynamic=False)


def k1_peers(logits: torch.Tensor, targets: torch.Tensor, *, quick: bool, on_gpu: bool) -> Peers:
    """Log-softmax gather over given logits."""

    def calling(function: Callable[..., Any], *given: Any, **options: Any) -> Call:
        return functools.partial(function, logits, *(given or (targets,)), **options)

    yield OURS, lambda: calling(log_softmax_gather)
    if on_gpu:
        yield "ours, no split", lambda: calling(without_split)
    yield "torch log_softmax", lambda: calling(torch_k1)
    yield "torch logsumexp", lambda: calling(logsumexp_k1)
    yield "torch cross_entropy", lambda: calling(functional.cross_entropy, reduction="none")
    if not quick:
        yield "torch.compile", lambda: calling(compiled(logsumexp_k1))
    if on_gpu:
        vllm = ("vllm.v1.worker.gpu.sample.logprob", "compute_token_logprobs")
        yield "vLLM", lambda: calling(_imported(*vllm), targets[:, None])
        yield "quack", lambda: calling(_imported("quack.cross_entropy", "cross_entropy_fwd"))
        yield "TRL", lambda: calling(_imported("trl.trainer.utils", "selective_log_softmax"))
        # It writes gradients over its input where that needs them; ours needs none.
        liger = ("liger_kernel.transformers.functional", "liger_cross_entropy")
        yield "Liger", lambda: calling(_imported(*liger), reduction="none")


def k2_peers(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, *, quick: bool, on_gpu: bool) -> Peers:
    """The same with the LM head before it."""

    def calling(function: Callable[..., Any], **options: Any) -> Call:
        return functools.partial(function, hidden, weight, targets, **options)

    def with_k1(h: torch.Tensor, w: torch.Tensor, t: torch.Tensor) -> Any:
        if not on_gpu:
            return log_softmax_gather(h @ w.t(), t)
        return unfused(h, w, t[:, None], None, 1.0, None, len(w))  # as below ``fused_from`` of kernels/configs.py

    def with_log_softmax(h: torch.Tensor, w: torch.Tensor, t: torch.Tensor) -> Any:
        return torch_k1(h @ w.t(), t)

    def with_logsumexp(h: torch.Tensor, w: torch.Tensor, t: torch.Tensor) -> Any:
        return logsumexp_k1(h @ w.t(), t)

    yield OURS, lambda: calling(linear_log_softmax_gather)
    yield "product + K1", lambda: calling(with_k1)
    yield "product + log_softmax", lambda: calling(with_log_softmax)
    yield "torch linear_ce", lambda: calling(_imported("torch.nn.functional", "linear_cross_entropy"), reduction="none")
    if not quick:
        yield "torch.compile", lambda: calling(compiled(with_logsumexp))
    if on_gpu:
        yield "CCE", lambda: calling(_imported("cut_cross_entropy", "linear_cross_entropy"), reduction="none")
        liger = ("liger_kernel.transformers.functional", "liger_fused_linear_cross_entropy")
        yield "Liger", lambda: calling(_imported(*liger), reduction="none")


def _imported(module: str, name: str) -> Any:
    """Raises ImportError where the module is absent, or is of a version without that name."""
    found = getattr(importlib.import_module(module), name, None)
    if found is None:
        raise ImportError(f"{module} has no {name}")
    return found
