"""Every script of ``examples/``, run as its first line says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(name: str, *words: str | Path) -> str:
    """What the script prints."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'tests/support'}:{ROOT}"}
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name), *map(str, words)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.full
def test_training_loop(tmp_path: Path) -> None:
    said = run("training_loop.py", tmp_path)
    assert [line.split(":")[0] for line in said.splitlines()] == ["step 2", "step 4"]
    assert (tmp_path / "scores" / "step-4" / "summary.json").exists()
