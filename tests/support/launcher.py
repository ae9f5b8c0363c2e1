"""Triton's own launcher for a GPU that is not there: every launch of a kernel becomes a compilation.

Compiling with a hand-made signature does not show what the launcher does to arguments: one that is 1 becomes a
constant, one that 16 divides is marked so. Here it runs on CPU tensors that nobody reads, with a driver that claims a
chip.
"""

import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from radar_fast.kernels import linear_log_softmax_gather as k2
from radar_fast.kernels import log_softmax_gather as k1

__all__ = ["Compiled", "compiling_for"]

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"


@dataclass(frozen=True)
class Compiled:
    """A launch's machine code."""

    name: str
    """The kernel's."""
    code: Any
    """Triton's."""

    @property
    def ir(self) -> str:
        """With the layouts."""
        return str(self.code.asm["ttgir"])

    @property
    def shared(self) -> int:
        """Bytes of shared memory."""
        return int(self.code.metadata.shared)

    @cached_property
    def machine_code(self) -> str:
        """Disassembled."""
        return _tool("nvdisasm", self.code.asm["cubin"], "--print-code")

    @property
    def instructions(self) -> int:
        """Of the machine code, without what pads its end."""
        lines = re.findall(r"^\s+/\*[0-9a-f]+\*/\s+(.*?);", self.machine_code, re.MULTILINE)
        return sum(not line.startswith("NOP") for line in lines)

    @cached_property
    def resources(self) -> tuple[int, int]:
        """Registers a thread, and bytes a thread that are spilled or on the stack."""
        report = _tool("cuobjdump", self.code.asm["cubin"], "--dump-resource-usage")
        found = re.search(r"REG:(\d+) STACK:(\d+) .*LOCAL:(\d+)", report)
        assert found is not None, report
        registers, stack, local = map(int, found.groups())
        return registers, stack + local


def _tool(name: str, cubin: bytes, option: str) -> str:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        return subprocess.run([TOOLS / name, option, file.name], capture_output=True, text=True, check=True).stdout


class _NoDriver:
    """What the launcher asks a driver for."""

    def __init__(self, chip: int) -> None:
        self._chip = chip

    def get_current_device(self) -> int:
        return self._chip  # compiled kernels are kept by device

    def get_current_stream(self, device: int) -> int:  # noqa: ARG002 - Triton's interface
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self._chip, 32)

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")


@contextmanager
def compiling_for(chip: int) -> Iterator[list[Compiled]]:
    """Within, host functions called with CPU tensors and ``impl="triton"`` compile for ``chip``, as 90 for sm_90.

    Gives the launches so far; what the functions return means nothing.
    """
    launched: list[Compiled] = []

    def launcher(kernel: Any, grid: Any) -> Any:
        def launch(*arguments: Any, **options: Any) -> Any:
            code = JITFunction.run(kernel, *arguments, grid=grid, warmup=True, **options)
            code = code.result() if hasattr(code, "result") else code
            launched.append(Compiled(kernel.__name__, code))
            return code

        return launch

    with ExitStack() as patched:
        patched.enter_context(mock.patch.dict(driver.__dict__))  # there is no other driver to go back to
        driver.set_active(_NoDriver(chip))
        patched.enter_context(mock.patch.object(JITFunction, "__getitem__", launcher))
        for module in (k1, k2):
            patched.enter_context(mock.patch.object(module, "capability", return_value=(chip // 10, chip % 10)))
            patched.enter_context(mock.patch.object(module, "choose", return_value="triton"))
        yield launched
