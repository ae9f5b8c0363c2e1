"""A process that trains nothing and saves as the Trainer does: piece by piece, at uneven times, and rotates.

    python slow_trainer.py ROOT KEEP SECONDS CHECKPOINT...

The checkpoints' folders are called step-N; ROOT gets checkpoint-N of each.
"""

import random
import sys
import time
from pathlib import Path

from checkpoint_writers import in_order, rotated, trainer

root, keep, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
rng = random.Random(1)
for checkpoint in map(Path, sys.argv[4:]):
    time.sleep(rng.uniform(0, 4 * seconds))
    for _ in trainer(root / f"checkpoint-{checkpoint.name.rpartition('-')[2]}", in_order(checkpoint)):
        time.sleep(rng.uniform(0, seconds / 10))
    rotated(root, keep)
