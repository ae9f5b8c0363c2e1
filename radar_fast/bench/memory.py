"""Peaks of memory: of a process and its children on the host, and of a contender on a shared device."""

import contextlib
from pathlib import Path
from typing import Any

__all__ = ["DeviceLedger", "family", "peak_host_mib"]


def peak_host_mib(pid: int) -> float:
    """Most resident memory so far of the process ``pid`` and of its children that are alive, in MiB.

    The sum of their ``VmHWM`` (proc(5)), which counts mapped weight files and what libraries share: an upper bound
    where there are several processes.
    """
    return sum(map(_high_water_mib, family(pid)))


def family(root: int) -> list[int]:
    """Process ids of ``root`` and of all that descend from it and are alive."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                # "pid (name) state ppid ...": the name may hold spaces and brackets, so count from its last bracket.
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    family = [root]
    for member in family:  # grows while it is walked
        family += [pid for pid, parent in parents.items() if parent == member]
    return family


def _high_water_mib(pid: int) -> float:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


class DeviceLedger:
    """How much of a GPU each contender has come to hold, whatever processes it runs in.

    Contenders take turns, so what the device's free memory loses during a turn is that contender's. Allocators keep
    what they once held, so the sum over its turns is its peak: its context, weights, activations, and for vLLM the
    KV cache that it reserves. Nothing else may use the device meanwhile.
    """

    def __init__(self, device: str) -> None:
        self._cuda: Any = None
        if device == "cuda":
            import torch

            self._cuda = torch.cuda
        self._held: dict[str, float] = {}
        self._free = 0.0

    def begin(self) -> None:
        """A turn begins."""
        self._free = self._free_mib()

    def end(self, name: str) -> None:
        """The turn of ``name`` has ended."""
        self._held[name] = self._held.get(name, 0.0) + self._free - self._free_mib()

    def peak_mib(self, name: str) -> float | None:
        """What ``name`` holds, in MiB; None without a GPU."""
        return self._held.get(name, 0.0) if self._cuda is not None else None

    def _free_mib(self) -> float:
        return float(self._cuda.mem_get_info()[0]) / 2**20 if self._cuda is not None else 0.0
