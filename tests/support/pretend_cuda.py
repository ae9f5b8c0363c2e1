"""A machine with one H100, pretended on one without: what vLLM's front end decides for CUDA can be read on a CPU.

:func:`install` goes before the first import of vLLM. Whatever would reach a driver is written down in ``DRIVER`` with
where it was asked for, and the start of a process in ``STARTED`` with its start method, instead of being done.
"""

import multiprocessing.process
import os
import sys
import traceback
import types
from typing import Any

import torch

DRIVER: list[str] = []
"""Each call that would have initialised CUDA: its name and the innermost of our lines on the way to it."""
STARTED: list[tuple[str, str]] = []
"""Each process that was to start: its start method, and what ``VLLM_WORKER_MULTIPROC_METHOD`` said."""


class ProcessStarted(BaseException):
    """Raised in place of starting a process; nothing of vLLM's catches it."""


def _driver(name: str, value: Any) -> Any:
    def call(*_: Any, **__: Any) -> Any:
        ours = [frame for frame in traceback.extract_stack() if "/radar_fast/" in frame.filename]
        DRIVER.append(f"{name} from {ours[-1].filename}:{ours[-1].lineno}" if ours else name)
        return value

    return call


def _start(process: Any) -> None:
    STARTED.append((type(process)._start_method, os.environ.get("VLLM_WORKER_MULTIPROC_METHOD", "")))
    raise ProcessStarted


def install(*, platform: bool = True) -> None:
    """Make torch, and with ``platform`` vLLM, believe that there is a GPU."""
    torch.cuda._is_compiled = lambda: True
    torch.cuda._device_count_nvml = lambda: 1
    torch._C._cuda_getDeviceCount = _driver("cudaGetDeviceCount", 1)
    # Imported by name where torch is one for CUDA.
    torch._C._cuda_getCurrentRawStream = lambda device: 0  # noqa: ARG005 - torch's name
    torch.cuda._lazy_init = _driver("torch.cuda._lazy_init", None)
    setattr(multiprocessing.process.BaseProcess, "start", _start)  # noqa: B010 - no method, to the type checker
    if platform:
        install_platform()


def _uncalled(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return lambda *_, **__: None


def install_platform() -> None:
    """Make vLLM believe it, which imports parts of vLLM."""
    # The compiled operators of a CUDA build: imported for their registration, and asked what they support.
    for name in ("vllm._C", "vllm._C_stable_libtorch", "vllm._moe_C", "vllm._moe_C_stable_libtorch"):
        sys.modules.setdefault(name, types.ModuleType(name))
    flash = types.ModuleType("vllm.vllm_flash_attn")
    flash.__getattr__ = lambda name: _uncalled(name)  # type: ignore[method-assign]
    sys.modules[flash.__name__] = flash
    import vllm.platforms
    from vllm.platforms import cuda, interface

    class H100(cuda.CudaPlatformBase):  # type: ignore[misc] # vLLM is untyped here
        """What NVML says of one."""

        @classmethod
        def get_device_name(cls, device_id: int = 0) -> str:  # noqa: ARG003 - vLLM's interface
            return "NVIDIA H100 80GB HBM3"

        @classmethod
        def get_device_capability(cls, device_id: int = 0) -> Any:  # noqa: ARG003
            return interface.DeviceCapability(9, 0)

        @classmethod
        def get_device_total_memory(cls, device_id: int = 0) -> int:  # noqa: ARG003
            return 80 * 2**30

        @classmethod
        def is_fully_connected(cls, physical_device_ids: list[int]) -> bool:  # noqa: ARG003
            return True

    vllm.platforms.current_platform = H100()
    import vllm._custom_ops as ops

    for name in dir(ops):
        if "_supports_" in name:
            setattr(ops, name, lambda *_, **__: False)
