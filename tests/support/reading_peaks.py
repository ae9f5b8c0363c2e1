"""What reading a benchmark takes, measured where nothing else allocates: tracemalloc counts all threads of a process,
and a test's process has those that earlier tests' libraries have left."""

import json
import subprocess
import sys
from pathlib import Path

__all__ = ["peaks_of_reading"]

_CODE = """
import json, sys, tracemalloc
from pathlib import Path
from radar_fast.readers import open_reader
folders = [Path(name) for name in sys.argv[1:]]
sum(1 for _ in open_reader(folders[0]))  # what is imported by the way is no reader's memory
peaks = []
for folder in folders:
    reader = open_reader(folder)
    tracemalloc.start()
    sum(1 for _ in reader)
    peaks.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
print(json.dumps(peaks))
"""


def peaks_of_reading(*folders: Path) -> list[int]:
    """Most bytes that Python has held while all samples of each folder were read, in a process of their own."""
    result = subprocess.run(
        [sys.executable, "-c", _CODE, *map(str, folders)], capture_output=True, text=True, check=True
    )
    peaks: list[int] = json.loads(result.stdout)
    return peaks
