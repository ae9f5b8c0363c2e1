"""What every test finds: the environment, fixtures that several modules share, and the order of the modules.

Checkpoints are random but real: the true architecture and file formats.
"""

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from vllm_engines import Engines

ROOT = Path(__file__).resolve().parents[1]
SUPPORT = ROOT / "tests" / "support"

ENVIRONMENT = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",  # read at import: a command that runs in this process sets it too late
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",  # the models are tiny, and the other core has a worker of its own
    "TRANSFORMERS_VERBOSITY": "error",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
}
"""Defaults for this process and all that it starts; what the caller set stays."""


def prepare_environment() -> None:
    """The defaults, and the shim for torchvision: here, and by PYTHONPATH in every process that a test starts."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    folders = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if SUPPORT not in (Path(folder).resolve() for folder in folders if folder):
        os.environ["PYTHONPATH"] = os.pathsep.join([str(SUPPORT), *filter(None, folders)])
    there = getattr(sys.modules.get("sitecustomize"), "__file__", None)
    if there is None or Path(there).resolve().parent != SUPPORT:  # Python found none at its start, or another one
        spec = importlib.util.spec_from_file_location("torchvision_shim", SUPPORT / "sitecustomize.py")
        assert spec is not None
        assert spec.loader is not None
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


prepare_environment()

ROOMS = ("vllm", "system", "models", "unit")
"""The order in which they run: what takes long must not be what one worker is left with at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    tests = ROOT / "tests"
    items.sort(key=lambda item: ROOMS.index(item.path.relative_to(tests).parts[0]))


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``mini-m3`` at half its size (256 samples), and ``checkpoints``: the demo's six. Read only."""
    from radar_fast.demo import write_checkpoints, write_mini_m3

    folder = tmp_path_factory.mktemp("demo")
    write_mini_m3(folder / "mini-m3", samples_per_task=16)
    write_checkpoints(folder / "checkpoints")
    return folder


@pytest.fixture(scope="session")
def puzzlevqa() -> Path:
    """Real input: ten samples of PuzzleVQA as published. Read only."""
    from puzzles import SLICE

    return SLICE


@pytest.fixture(scope="session")
def qwen2vl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Qwen2-VL base checkpoint. Read only."""
    from tiny import write_qwen2vl

    return write_qwen2vl(tmp_path_factory.mktemp("model") / "tiny-qwen2vl")


@pytest.fixture(scope="session")
def qwen2vl_chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a chat template that takes roles, as the Instruct checkpoints have. Read only."""
    from tiny import ROLE_TEMPLATE, write_qwen2vl

    return write_qwen2vl(tmp_path_factory.mktemp("model") / "tiny-qwen2vl-chat", template=ROLE_TEMPLATE)


@pytest.fixture(scope="session")
def engines() -> Iterator["Engines"]:
    """Where a vLLM engine is asked for."""
    from vllm_engines import Engines

    made = Engines()
    yield made
    made.close()
