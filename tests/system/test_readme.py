"""What README promises, run as it is written."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_library_example_runs(tmp_path: Path) -> None:
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 10
    demo = [sys.executable, "-m", "radar_fast", "demo", "--out", "demo-out", "--data-only"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'tests/support'}:{ROOT}"}
    subprocess.run(demo, cwd=tmp_path, env=environment, check=True, capture_output=True)
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, check=False, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert re.search(r"SDS 0\.8\d+ over 511 samples", result.stdout)


def test_every_link_leads_somewhere() -> None:
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
