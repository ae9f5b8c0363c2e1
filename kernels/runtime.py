"""Where Triton runs, which implementation a call gets, and the checks that all host functions share."""

import logging
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

try:
    import triton
except ImportError:  # CPU builds of torch bring none
    triton = None

__all__ = [
    "IGNORED",
    "IMPLEMENTATIONS",
    "INTERPRETED",
    "LOG2_E",
    "capability",
    "check_logit_shape",
    "check_targets",
    "choose",
    "jit",
    "on_device",
    "processors",
    "two_dimensional",
]

log = logging.getLogger(__name__)

IGNORED = -100
"""A target of this value is skipped: both its numbers are 0. torch's cross_entropy ignores the same one."""

IMPLEMENTATIONS = ("auto", "triton", "torch")

INTERPRETED = triton is not None and os.environ.get("TRITON_INTERPRET") == "1"
"""Whether kernels run in Triton's interpreter, on CPU tensors too. Read once, as Triton itself reads it."""

LOG2_E = 1.4426950408889634
"""exp(x) is exp2(LOG2_E * x). The GPU has exp2 alone, and `tl.exp` guards against denormal numbers as well."""

FLOATS = (torch.float32, torch.bfloat16, torch.float16)

VARYING = frozenset({"count", "per_row", "share", "start"})
"""Names of kernels' arguments that differ from call to call: rows, targets a row, tiles a program, a shard's start."""

_warned: set[str] = set()


def jit(function: Callable[..., Any]) -> Any:
    """``triton.jit`` where there is Triton; elsewhere the function as it is, never called.

    Triton compiles anew for an argument that is 1, or a multiple of 16: those of VARYING, which change from call to
    call, gain nothing by it and are left as they are.

    A kernel's parameters are annotated as what they are inside, ``tl.tensor``, scalars too: ``int`` would mean i32 to
    Triton, which then no longer specializes on a stride of 1 or a multiple of 16.
    """
    if triton is None:
        return function
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    return triton.jit(function, do_not_specialize=[name for name in names if name in VARYING])


def on_device(device: torch.device) -> AbstractContextManager[Any]:
    """Make ``device`` the current one: Triton launches on the current GPU, wherever the tensors are."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def capability(device: torch.device) -> tuple[int, int] | None:
    """(major, minor) of an NVIDIA GPU; None of anything else."""
    if device.type != "cuda" or torch.version.hip is not None:
        return None
    return torch.cuda.get_device_capability(device)


def processors(device: torch.device) -> int:
    """How many programs an NVIDIA GPU runs side by side, one a multiprocessor; of anything else a few."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 4


def choose(impl: str, device: torch.device) -> str:
    """What ``impl`` comes to for tensors on ``device``: "triton" or "torch".

    ``auto`` is Triton on NVIDIA GPUs from Ampere on, torch elsewhere. A GPU that gets torch is worth a warning, once a
    reason: the twins are right everywhere, but slower.

    Raises:
        ValueError: ``impl`` is none of IMPLEMENTATIONS.
        RuntimeError: ``impl="triton"`` where Triton cannot run.
    """
    if impl not in IMPLEMENTATIONS:
        raise ValueError(f"impl={impl!r}: one of {', '.join(IMPLEMENTATIONS)}")
    if impl == "torch":
        return "torch"
    obstacle = _obstacle(device)
    if impl == "triton":
        if obstacle is not None:
            raise RuntimeError(f"impl='triton': {obstacle}; use impl='auto' or impl='torch'")
        return "triton"
    if device.type == "cpu":  # interpreted or not: the interpreter is for tests, and a thousand times slower
        return "torch"
    if obstacle is not None:
        if obstacle not in _warned:
            _warned.add(obstacle)
            log.warning("no fused kernels: %s; using torch instead, which is slower", obstacle)
        return "torch"
    return "triton"


def _obstacle(device: torch.device) -> str | None:
    """Why Triton cannot run there, or None."""
    if triton is None:
        return "triton is not installed"
    if INTERPRETED:
        return None
    if device.type != "cuda":
        return f"the tensors are on {device.type}, not on a GPU (for CPU tensors, TRITON_INTERPRET=1 interprets)"
    found = capability(device)
    if found is None:
        return "the kernels were only ever compiled for NVIDIA GPUs"
    if found < (8, 0):
        return f"{torch.cuda.get_device_name(device)} is older than Ampere"
    return None


def check_logit_shape(name: str, tensor: torch.Tensor, dimensions: int) -> None:
    """Raise unless ``tensor`` has that many dimensions and is bf16, fp16 or fp32."""
    if tensor.ndim != dimensions:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}; {dimensions} dimensions are wanted")
    if tensor.dtype not in FLOATS:
        raise TypeError(f"{name} is {tensor.dtype}; float32, bfloat16 or float16 is wanted")


def check_targets(targets: torch.Tensor, rows: int, low: int, high: int | None, device: torch.device) -> None:
    """Raise unless ``targets`` is [rows] or [rows, K] of int32 or int64 on ``device``.

    Their values are looked at on a CPU only, from ``low`` to below ``high``: elsewhere every call would wait for them.
    """
    if targets.ndim not in (1, 2) or targets.shape[0] != rows:
        raise ValueError(f"targets has shape {tuple(targets.shape)}; [{rows}] or [{rows}, K] is wanted")
    if targets.dtype not in (torch.int32, torch.int64):
        raise TypeError(f"targets is {targets.dtype}; int64 or int32 is wanted")
    if targets.device != device:
        raise ValueError(f"targets is on {targets.device}, the other tensors on {device}")
    if device.type != "cpu" or torch.compiler.is_compiling() or not targets.numel():
        return
    wrong = (targets < low) & (targets != IGNORED)
    if high is not None:
        wrong |= targets >= high
    if bool(wrong.any()):
        first = int(targets[wrong][0])
        bound = f"{low}..{high - 1}" if high is not None else f"{low} or more"
        raise ValueError(f"target {first} is out of range: {bound} is wanted, or {IGNORED} to ignore a row")


def two_dimensional(targets: torch.Tensor) -> torch.Tensor:
    """[N] or [N, K] -> [N, K], contiguous."""
    return (targets[:, None] if targets.ndim == 1 else targets).contiguous()
