"""The demo's checkpoints: one tiny Qwen2-VL at several steps of its training, as the repository keeps them.

The files that all steps share lie once in ``checkpoints/common``, the weights in ``checkpoints/step-<N>``;
``train.py`` made them.
"""

import shutil
from pathlib import Path

from radar_fast.errors import UsageError

__all__ = ["COMMON", "write_checkpoints"]

_KEPT = Path(__file__).parent / "checkpoints"
COMMON = _KEPT / "common"
"""What all checkpoints share: config, tokenizer, image processor and chat template."""


def write_checkpoints(folder: Path) -> list[Path]:
    """Write each checkpoint as a complete folder ``folder/step-<N>``; return them in order of training.

    Raises UsageError where one of them is already there.
    """
    steps = sorted(_KEPT.glob("step-*"), key=lambda path: int(path.name.removeprefix("step-")))
    written = []
    for step in steps:
        target = folder / step.name
        if target.exists():
            raise UsageError(f"{target} is already there: a checkpoint is written into a folder of its own")
        target.mkdir(parents=True)
        for source in (COMMON, step):
            for file in sorted(source.iterdir()):
                shutil.copyfile(file, target / file.name)
        written.append(target)
    return written
