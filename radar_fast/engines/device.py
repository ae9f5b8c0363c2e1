"""Where and in which dtype a model runs: ``auto`` is resolved here, once for a run."""

import os
from dataclasses import replace

import torch

from radar_fast.engines.options import DEVICES, DTYPES, EngineOptions
from radar_fast.errors import UsageError
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.util.choices import check_choice

__all__ = ["cuda_available", "device_name", "dtype_name", "resolve_device", "resolve_dtype", "resolve_options"]


def cuda_available() -> bool:
    """Whether torch sees a GPU, asked of NVML: asking the driver would initialise it, and a process that has done so
    cannot fork processes that use it.
    """
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    return torch.cuda.is_available()


def resolve_device(name: str) -> torch.device:
    """``auto``, ``cpu`` or ``cuda`` -> the device.

    Raises:
        UsageError: unknown, or not to be had.
    """
    if name == "auto":
        return torch.device("cuda" if cuda_available() else "cpu")
    check_choice("device", name, DEVICES)
    if name == "cuda" and not cuda_available():
        raise UsageError("--device cuda: torch sees no CUDA device; use --device cpu, or install a CUDA build of torch")
    return torch.device(name)


def resolve_dtype(name: str, checkpoint: Checkpoint, device: torch.device) -> torch.dtype:
    """``auto`` or a name -> the dtype: the checkpoint's own on a GPU, float32 on a CPU.

    float32 holds every bfloat16 and float16 weight exactly, and CPUs compute it fastest.

    Raises:
        UsageError: an unknown name.
    """
    if name == "auto":
        name = checkpoint.dtype if device.type == "cuda" and checkpoint.dtype in DTYPES else "float32"
    check_choice("dtype", name, DTYPES)
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def resolve_options(checkpoint: Checkpoint | None, options: EngineOptions) -> EngineOptions:
    """The options with device and dtype as they will be: an engine takes them from there by name.

    Raises:
        UsageError: no checkpoint, or a device or dtype that is not to be had.
    """
    if checkpoint is None:
        raise UsageError("--model: missing; only --engine fake runs without one")
    device = resolve_device(options.device)
    dtype = resolve_dtype(options.dtype, checkpoint, device)
    return replace(options, device=device.type, dtype=dtype_name(dtype))


def dtype_name(dtype: torch.dtype) -> str:
    """``float32`` for ``torch.float32``."""
    return str(dtype).removeprefix("torch.")


def device_name(device: torch.device) -> str:
    """The GPU's own name, or ``cpu``."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
