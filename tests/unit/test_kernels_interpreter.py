"""The kernels' tests under Triton's interpreter, in a process of their own: it is chosen before triton is imported."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed"),
    pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="this is such a process"),
]


def interpreted(marks: str) -> int:
    """Run the kernels' cases with these marks; how many there were, all of them passed."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", marks, "-k", "triton or batch"]
    result = subprocess.run(
        [*command, "tests/unit/test_kernels_matrix.py"],
        cwd=ROOT,
        env={**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-2000:]
    passed = re.search(r"(\d+) passed", result.stdout)
    assert passed is not None
    assert "skipped" not in result.stdout
    return int(passed[1])


def test_a_slice_of_the_matrix() -> None:
    """Every operation, layout and kind of value once, on small shapes."""
    assert interpreted("not slow and not large") > 80


@pytest.mark.full
def test_the_rest_of_the_matrix() -> None:
    assert interpreted("not slow and large") > 100
