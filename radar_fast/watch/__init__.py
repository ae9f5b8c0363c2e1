"""Checkpoints that appear while a training goes on: seen, known to be whole, held against rotation, and scored.

:mod:`radar_fast.watch.ready` says when a folder is whole, :mod:`radar_fast.watch.lookout` what there is to score,
:mod:`radar_fast.watch.holding` keeps it there, :mod:`radar_fast.watch.conversion` makes a checkpoint of a trainer's own
format, and :mod:`radar_fast.watch.loop` reads aloud. Importing this imports no torch.
"""

__all__: list[str] = []
