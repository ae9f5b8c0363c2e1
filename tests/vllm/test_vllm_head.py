"""The fused head against float64, on vLLM's own layers, whole and cut over two tensor-parallel ranks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("vllm", reason="no wheel of vLLM for this platform")

SCRIPT = Path(__file__).parents[1] / "support" / "vllm_heads.py"

NOT_PLAIN = {
    "scaled and capped": "both a scale and a soft-cap",
    "rows scaled": "rows are changed before the head",
    "logits changed": "changes its logits after the head",
    "twice": "2 times per row",
}


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.full)])
def test_heads_of_vllm_layers(ranks: int, tmp_path: Path) -> None:
    """Padded rows of the weight hold what would win every softmax; 507 words are 512 rows, or 256 a rank."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_DIST_IDENT": tmp_path.name,
    }
    processes = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(rank), str(ranks), f"file://{tmp_path / 'rendezvous'}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for rank in range(ranks)
    ]
    try:
        said = [process.communicate(timeout=180) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert all(process.returncode == 0 for process in processes), said[0][1][-3000:]
    found = json.loads(said[0][0].splitlines()[-1])
    assert len(found) == 9
    for name, head in found.items():
        assert head["difference"] < 2e-5, name
        assert NOT_PLAIN.get(name, "") in head["why"], name
        assert (head["why"] == "") == (name not in NOT_PLAIN), name
    assert "scoring through compute_logits" in said[0][1]
