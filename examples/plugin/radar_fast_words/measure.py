"""The measure ``candidates``."""

import numpy as np

from radar_fast import Measure

CANDIDATES = Measure(
    "candidates",
    lambda judged: judged.counts.astype(np.float64),
    interval=False,
    means="Mean number of candidates.",
)
