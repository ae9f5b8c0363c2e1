"""What a fresh machine can be shown: mini-M3, a small generated benchmark, and tiny checkpoints trained on its kind."""

from radar_fast.demo.mini_m3 import write_mini_m3
from radar_fast.demo.series import write_checkpoints

__all__ = ["write_checkpoints", "write_mini_m3"]
