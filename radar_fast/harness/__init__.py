"""radar-fast under lm-evaluation-harness: importing this makes the model ``radar-fast`` known to it.

``python -m radar_fast.harness`` is the harness's own command with that model in it.
"""

from radar_fast.harness.model import RadarLM

__all__ = ["RadarLM"]
