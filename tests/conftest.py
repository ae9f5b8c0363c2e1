"""Fixtures that several modules share. Checkpoints are random but real: the true architecture and file formats."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")

ROOT = Path(__file__).resolve().parents[1]
PUZZLEVQA = ROOT.parent / "shared" / "data" / "puzzlevqa"


@pytest.fixture(scope="session")
def puzzlevqa() -> Path:
    """Real input: 200 samples as published."""
    if not PUZZLEVQA.is_dir():
        pytest.skip("../shared/data/puzzlevqa is not beside this checkout")
    return PUZZLEVQA


@pytest.fixture(scope="session")
def qwen2vl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Qwen2-VL base checkpoint."""
    from tiny import write_qwen2vl

    return write_qwen2vl(tmp_path_factory.mktemp("model") / "tiny-qwen2vl")


@pytest.fixture(scope="session")
def qwen2vl_chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a chat template that takes roles, as the Instruct checkpoints have."""
    from tiny import ROLE_TEMPLATE, write_qwen2vl

    return write_qwen2vl(tmp_path_factory.mktemp("model") / "tiny-qwen2vl-chat", template=ROLE_TEMPLATE)
