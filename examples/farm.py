"""Score checkpoints with many engines at once, and follow the farm while it runs.

    python examples/farm.py DATA OUT CHECKPOINT...

RAY_ADDRESS names the Ray cluster, on whose machines all of these must have the same paths; without it one is started on
this machine.
"""

import os
import sys
from pathlib import Path

from radar_fast import FailedRun, FarmOptions, FarmState, RunConfig, score_farm


def follow(state: FarmState) -> None:
    """Called several times a second."""
    if state.fresh and state.fresh % 1024 == 0:
        print(f"{state.done} of {state.samples} samples, {state.at_work} engines at work")


def main(data: str, out: str, checkpoints: list[str]) -> int:
    config = RunConfig(data=Path(data), out=Path(out), model=Path(checkpoints[0]))
    farm = FarmOptions(address=os.environ.get("RAY_ADDRESS", "local"))
    runs = score_farm(config, checkpoints, farm=farm, watch=follow)
    for run in runs:
        if isinstance(run, FailedRun):
            print(f"{run.name}: not scored: {run.error}")
        else:
            print(f"{run.name}: SDS {run.summary.overall.sds or 0:.4f} over {run.summary.overall.scored} samples")
    return 1 if any(isinstance(run, FailedRun) for run in runs) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
