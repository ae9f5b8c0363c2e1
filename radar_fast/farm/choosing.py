"""Which job an engine without work is to open.

One that is free takes the next job whose checkpoint no other engine has, so that each checkpoint is loaded as few times
as can be; where there is none left, it helps with the job that has the most left.
"""

from collections.abc import Sequence

from radar_fast.farm.at_work import EngineAtWork
from radar_fast.farm.jobs import FarmJob, State

__all__ = ["DEPTH", "next_job"]

DEPTH = 4
"""Windows that an engine holds: one that is scored and the three that it may read ahead (two windows, and what is begun
of the next). More would only wait there, and be lost with it."""
WORTH_HELPING = 2 * DEPTH * 64
"""Samples that a job must have left before another engine loads its checkpoint too."""


def next_job(engine: EngineAtWork, engines: Sequence[EngineAtWork], jobs: Sequence[FarmJob]) -> FarmJob | None:
    """See the module; None where there is nothing for it now.

    Args:
        engine: has nothing to do.
        engines: all of them.
        jobs: all of them, in the order in which they are to be begun.
    """
    others = [other for other in engines if other is not engine and other.job is not None]
    held = {other.job.config.model for other in others if other.job is not None}
    mine = engine.job.config.model if engine.job is not None else None
    # Where it has died of loading one, another engine is to try, if there is one.
    lonely = sum(not other.given_up for other in engines) == 1
    allowed = [job for job in jobs if lonely or engine.number not in job.died_in]
    waiting = [job for job in allowed if job.state is State.WAITING]
    unopened = [job for job in waiting if not any(other.job is job for other in others)]
    for wanted in (
        [job for job in unopened if mine is not None and job.config.model == mine],
        [job for job in unopened if job.config.model not in held],
        unopened,
    ):
        if wanted:
            return wanted[0]
    begun = [job for job in allowed if job.state in (State.WAITING, State.RUNNING) and job is not engine.job]
    in_need = [
        job
        for job in begun
        if job.samples_left >= WORTH_HELPING
        or (job.samples_left and (job.has_suspects or not any(other.job is job for other in others)))
    ]
    return max(in_need, key=lambda job: job.samples_left, default=None)
