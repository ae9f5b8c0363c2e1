"""The scorer in transformers' Trainer."""

import logging
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback

from radar_fast.results.summary import Summary
from radar_fast.training.scorer import Scorer

__all__ = ["ScorerCallback", "numbers_of"]

log = logging.getLogger(__name__)


class ScorerCallback(TrainerCallback):  # type: ignore[misc] # transformers is untyped here
    """Scores the model at the end of every step that the scorer wants.

    ``trainer.add_callback(ScorerCallback(scorer, trainer.log))`` also sends the numbers where the trainer's own go.
    """

    def __init__(self, scorer: Scorer, report: Callable[[dict[str, float]], object] | None = None) -> None:
        """``report``: gets what :func:`numbers_of` makes of each summary, such as ``trainer.log``."""
        self.scorer = scorer
        """As given."""
        self.summaries: dict[int, Summary] = {}
        """Step -> what was found, so far."""
        self._report = report

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002 - transformers'
        """Score, if this step is one of the scorer's."""
        summary = self.scorer.score(state.global_step)
        if summary is None:
            return
        self.summaries[state.global_step] = summary
        if self._report is not None:
            self._report(numbers_of(summary))


def numbers_of(summary: Summary) -> dict[str, float]:
    """What a tracker gets: ``radar/sds``, ``radar/accuracy`` and ``radar/unscored``, and the first two of each
    ability under ``radar/<ability>/``; of those that are there."""
    entries = {"": summary.overall, **{f"{name}/": entry for name, entry in summary.abilities.items()}}
    found: dict[str, float] = {"radar/unscored": summary.overall.unscored}
    for prefix, entry in entries.items():
        for name in ("sds", "accuracy"):
            value = entry.estimates[name].value
            if value is not None:
                found[f"radar/{prefix}{name}"] = value
    return found
