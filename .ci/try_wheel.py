"""Try a wheel where it is installed: is all of the package in it, and does it give the demo's numbers?

    python -I .ci/try_wheel.py dist/radar_fast-*.whl

The interpreter is one whose environment holds the wheel and nothing of this checkout; -I and the emptied PYTHONPATH
keep the checkout out of the way.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OVERALL = 0.8225
"""SDS of the demo's last checkpoint over all of mini-M3, to the digits that README prints."""

SMOKE = """
import importlib.metadata, importlib.util
import radar_fast
from radar_fast.kernels.log_softmax_gather import log_softmax_gather
assert "site-packages" in radar_fast.__file__, f"the checkout was imported: {radar_fast.__file__}"
assert radar_fast.__version__ == importlib.metadata.version("radar-fast"), radar_fast.__version__
places = {"vllm.general_plugins": "radar_fast", "lm_eval.models": "radar-fast", "lmms_eval.models": "radar-fast"}
for group, name in places.items():
    names = {each.name for each in importlib.metadata.entry_points(group=group)}
    assert name in names, f"{name} would not be found among {group}: {names}"
assert importlib.util.find_spec("kernels") is None, "the wheel brings a top-level 'kernels'"
import torch
logits = torch.randn(3, 11)
targets = torch.tensor([0, 5, 10])
logit, logprob = log_softmax_gather(logits, targets)
assert torch.allclose(logprob, torch.log_softmax(logits, -1)[torch.arange(3), targets], atol=1e-6)
"""


def main() -> int:
    [wheel] = map(Path, sys.argv[1:])
    missing = sorted(in_checkout() - set(zipfile.ZipFile(wheel).namelist()))
    if missing:
        print(f"{wheel.name} lacks {len(missing)} files of the package:", *missing, sep="\n  ")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        run([sys.executable, "-c", SMOKE], folder)
        radar = str(Path(sys.executable).with_name("radar-fast"))
        run([radar, "demo", "--out", "demo-out"], folder)
        run([radar, "inspect", "demo-out/mini-m3"], folder)
        again = ["score", "--model", "demo-out/checkpoints/step-1600", "--data", "demo-out/mini-m3", "--out", "fake"]
        run([radar, *again, "--engine", "fake", "--limit", "4"], folder)
        summary = json.loads(Path(folder, "demo-out/results/step-1600/summary.json").read_text())
    sds = summary["overall"]["sds"]
    if not math.isclose(sds, OVERALL, abs_tol=5e-5):
        print(f"{wheel.name}: the demo's last checkpoint has SDS {sds}, not {OVERALL}")
        return 1
    print(f"{wheel.name}: complete, and the demo's last checkpoint has SDS {sds:.4f}")
    return 0


def in_checkout() -> set[str]:
    """What git keeps of the package, by its name in a wheel; the link to the kernels stands for their modules."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "radar_fast", "kernels/*.py"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    names = set(filter(None, listed.stdout.split("\0"))) - {"radar_fast/kernels"}
    return {f"radar_fast/{name}" if name.startswith("kernels/") else name for name in names}


def run(command: list[str], folder: str) -> None:
    """Run it in the folder, and show what it printed if it fails."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    sys.exit(main())
