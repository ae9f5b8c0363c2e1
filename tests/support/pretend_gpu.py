"""A GPU's clocks, counters and tensors, pretended on a machine without one: what scripts do on a GPU can be run.

Tensors asked for on ``cuda`` are made on the CPU; events, streams, graphs and memory counters answer something
plausible; a captured graph is not replayed, so the times mean nothing. The kernels run in Triton's interpreter where
``TRITON_INTERPRET=1`` stands. :mod:`sitecustomize` installs it in every process that has ``PRETEND_GPU=1``:

    PRETEND_GPU=1 TRITON_INTERPRET=1 PYTHONPATH=tests/support python bench/kernels.py --quick --shape K1:2:507

What vLLM's front end decides for a GPU is :mod:`pretend_cuda`'s business.
"""

import contextlib
import importlib.abc
import importlib.util
import os
import sys
import time
import types
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

NAME = "Pretended GPU"
PROCESSORS = 4
OUT_OF_MEMORY = frozenset(filter(None, os.environ.get("PRETEND_OUT_OF_MEMORY", "").split(",")))
"""Names of functions of torch that run out of memory, as ``logsumexp``."""


class OnCpu(TorchFunctionMode):
    """Puts what is asked for on a GPU on the CPU, and leaves out pinning, which only a GPU's driver can do."""

    def __torch_function__(
        self, function: Any, _types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(function, "__name__", "") in OUT_OF_MEMORY:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB")
        if function is torch.device:
            return function(*args, **(kwargs or {}))
        options = {name: _on_cpu(value) for name, value in (kwargs or {}).items() if name != "pin_memory"}
        return function(*map(_on_cpu, args), **options)


def _on_cpu(value: Any) -> Any:
    named = isinstance(value, str) and value.partition(":")[0] == "cuda"
    return torch.device("cpu") if named or (isinstance(value, torch.device) and value.type == "cuda") else value


class Event:
    """Marks a moment of the host's clock."""

    def __init__(self, enable_timing: bool = False) -> None:
        self.timed, self.at = enable_timing, 0.0

    def record(self, _stream: object = None) -> None:
        self.at = time.perf_counter()

    def synchronize(self) -> None:
        assert self.at, "never recorded"

    def elapsed_time(self, stop: "Event") -> float:
        assert self.timed
        assert stop.timed
        return 1e3 * (stop.at - self.at)


class Stream:
    def wait_stream(self, _other: "Stream") -> None:
        pass


class CUDAGraph:
    """Knows whether something was captured, and refuses to be replayed before that."""

    captured = False

    def replay(self) -> None:
        assert self.captured, "nothing was captured"


@contextlib.contextmanager
def graph(made: CUDAGraph, pool: object = None) -> Iterator[None]:  # noqa: ARG001 - torch's interface
    yield
    made.captured = True


class Memory:
    """Grows by a MiB whenever it is asked."""

    held = 0

    def allocated(self) -> int:
        self.held += 2**20
        return self.held

    def free(self) -> tuple[int, int]:
        return 80 * 2**30 - self.allocated(), 80 * 2**30


def install() -> None:
    """For this process and thread, until it ends."""
    memory, stream = Memory(), Stream()
    cuda: Any = torch.cuda
    properties = types.SimpleNamespace(
        name=NAME,
        major=9,
        minor=0,
        multi_processor_count=PROCESSORS,
        total_memory=80 * 2**30,
        warp_size=32,
        regs_per_multiprocessor=65536,
        max_threads_per_multi_processor=2048,
        shared_memory_per_multiprocessor=228 * 1024,
        shared_memory_per_block_optin=227 * 1024,
    )
    for name, value in {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "get_device_name": lambda _device=None: NAME,
        "get_device_capability": lambda _device=None: (9, 0),
        "get_device_properties": lambda _device=None: properties,
        "synchronize": lambda _device=None: None,
        "empty_cache": lambda: None,
        "manual_seed_all": lambda _seed: None,
        "get_rng_state": lambda _device="cuda": torch.zeros(16, dtype=torch.uint8),  # torch.compile puts it back
        "set_rng_state": lambda _state, _device="cuda": None,
        "memory_allocated": memory.allocated,
        "max_memory_allocated": memory.allocated,
        "reset_peak_memory_stats": lambda: None,
        "mem_get_info": memory.free,
        "graph_pool_handle": lambda: object(),
        "Event": Event,
        "Stream": Stream,
        "CUDAGraph": CUDAGraph,
        "graph": graph,
        "stream": lambda _stream: contextlib.nullcontext(),
        "current_stream": lambda: stream,
    }.items():
        setattr(cuda, name, value)
    OnCpu().__enter__()  # type: ignore[no-untyped-call] # torch's
    sys.meta_path.insert(0, _Patches())


def _patch_kernels(module: Any) -> None:
    """The kernels' host functions take these CPU tensors for a GPU's."""
    choose = module.choose
    device = torch.device("cuda")
    module.choose = lambda impl, _device: choose(impl, device)
    module.capability = lambda _device: (9, 0)
    module.processors = lambda _device: PROCESSORS


def _patch_roofline(module: Any) -> None:
    module.SIDES["cuda"] = (64,)


AFTER = {
    "radar_fast.kernels.log_softmax_gather": _patch_kernels,
    "radar_fast.kernels.linear_log_softmax_gather": _patch_kernels,
    "radar_fast.bench.roofline": _patch_roofline,
}


class _Patches(importlib.abc.MetaPathFinder):
    """Changes modules of ours as they are imported, which may be never."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:  # noqa: ARG002 - the interface's
        patch = AFTER.get(fullname)
        if patch is None:
            return None
        sys.meta_path.remove(self)
        try:
            spec: Any = importlib.util.find_spec(fullname)
        finally:
            sys.meta_path.insert(0, self)
        run = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            run(module)
            patch(module)

        spec.loader.exec_module = exec_module
        return spec
