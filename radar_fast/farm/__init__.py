"""Many engines at once: jobs handed out in windows, records written by one process, and what becomes of those that die.

The driver (:mod:`radar_fast.farm.driver`) knows engines only through the seam of :mod:`radar_fast.farm.crew`; on Ray
they are actors, each with a :class:`~radar_fast.farm.host.EngineHost` in it. Importing this imports neither torch nor
Ray.
"""

__all__: list[str] = []
