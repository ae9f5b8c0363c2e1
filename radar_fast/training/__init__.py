"""Scores of a model while it is being trained, from its own training loop or transformers' Trainer."""

from radar_fast.training.callback import ScorerCallback, numbers_of
from radar_fast.training.scorer import Scorer

__all__ = ["Scorer", "ScorerCallback", "numbers_of"]
