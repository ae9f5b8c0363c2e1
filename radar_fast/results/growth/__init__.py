"""How abilities grow over the steps of a training run, from result folders alone.

:func:`growth` reads them; what it gives is a :class:`Growth` for each benchmark.
"""

from radar_fast.results.growth.build import growth
from radar_fast.results.growth.curves import Curve, Flips, Growth, SampleTable, Step, Trend

__all__ = ["Curve", "Flips", "Growth", "SampleTable", "Step", "Trend", "growth"]
