"""Copies to a GPU, on one that is pretended: what the driver alone can pin is asked for when memory is made."""

import os
import subprocess
import sys

from processes import uncovered

COPY = """
import torch
from radar_fast.engines.transformers.transfer import joined, moved, to_host

device, rows = torch.device("cuda"), torch.arange(12).view(3, 2, 2)
assert torch.equal(moved(rows, device), rows)
assert torch.equal(joined([rows, rows + 1], device), torch.cat([rows, rows + 1]))
assert torch.equal(to_host(rows.float())(), rows.float())
"""


def test_what_is_copied_is_what_arrives() -> None:
    environment = {**os.environ, **(uncovered() or {}), "PRETEND_GPU": "1"}
    result = subprocess.run(
        [sys.executable, "-c", COPY], capture_output=True, text=True, check=False, timeout=120, env=environment
    )
    assert result.returncode == 0, result.stderr
