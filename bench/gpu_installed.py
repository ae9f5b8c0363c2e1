"""What a GPU machine has of what radar-fast needs: python bench/gpu_installed.py

Imports every module that the engines, peers and kernels are made of, and names everything that is missing at once. A
checkout that is not installed is installed where it stands, without its dependencies: vLLM's own processes know the
pooler by its entry point alone. Prints a table, then one JSON line. Exit status 1: something that is needed is missing.
"""

import importlib
import importlib.metadata
import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NEEDED = ("torch", "numpy", "orjson", "PIL", "rich", "rich_click", "click", "transformers", "safetensors")
OPTIONAL = ("triton", "vllm", "flash_attn", "ijson", "blake3", "pytest")
OURS = (
    "radar_fast.cli",
    "radar_fast.bench.race",
    "radar_fast.bench.worker",
    "radar_fast.bench.peers",
    "radar_fast.engines.transformers.engine",
    "radar_fast.kernels.linear_log_softmax_gather",
)
OF_VLLM = ("radar_fast.bench.vllm_peers", "radar_fast.engines.vllm.engine", "radar_fast.engines.vllm.pooler")


def main() -> int:
    found: dict[str, str] = {"python": platform.python_version(), "checkout": installed()}
    for name in (*NEEDED, *OPTIONAL):
        found[name] = imported(name)
    for name in (*OURS, *(OF_VLLM if not found["vllm"].startswith("missing") else ())):
        found[name] = imported(name)
    found["gpu"] = gpu()
    for name, said in found.items():
        print(f"{name:<50}{said}")
    print(json.dumps({"bench": "gpu_installed", "found": found}))
    bad = [name for name, said in found.items() if said.startswith("missing") and name not in OPTIONAL]
    return int(bool(bad))


def imported(name: str) -> str:
    """The version, or what went wrong."""
    try:
        module: Any = importlib.import_module(name)
    except Exception as error:  # a library may fail in any way when it is imported
        lines = str(error).splitlines()
        return f"missing: {type(error).__name__}: {lines[0][:160] if lines else ''}"
    return str(getattr(module, "__version__", "ok"))


def installed() -> str:
    """Whether vLLM's processes will find the pooler; installs the checkout where they would not."""
    if entry_point():
        return "ok"
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "-e", str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        return f"missing: pip install -e . failed: {lines[-1][:160] if lines else done.returncode}"
    return "installed now"


def entry_point() -> bool:
    return any(point.name == "radar_fast" for point in importlib.metadata.entry_points(group="vllm.general_plugins"))


def gpu() -> str:
    try:
        import torch
    except ImportError:
        return "missing: no torch"
    if not torch.cuda.is_available():
        return "missing: torch sees no GPU"
    major, minor = torch.cuda.get_device_capability()
    free, total = torch.cuda.mem_get_info()
    return (
        f"{torch.cuda.get_device_name()}, sm_{major}{minor}, {total / 2**30:.0f} GiB ({free / 2**30:.0f} free), CUDA "
        f"{torch.version.cuda}"
    )


if __name__ == "__main__":
    sys.exit(main())
