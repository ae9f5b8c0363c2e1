"""How many engines a farm has, and what each of them takes."""

import math
from dataclasses import dataclass

from radar_fast.errors import UsageError

__all__ = ["FarmOptions"]


@dataclass(frozen=True, kw_only=True)
class FarmOptions:
    """The options of ``radar-fast farm`` that ``score`` has not. No score depends on them.

    Raises:
        UsageError: at birth, where an option cannot be right.
    """

    address: str = "auto"
    """The Ray cluster: ``auto`` (the one that runs here or that ``RAY_ADDRESS`` names, else as ``local``), ``local``
    (one for this farm alone, on this machine), or ``HOST:PORT``."""
    engines: int | None = None
    """How many; None: as many as there is room for."""
    gpus_per_engine: float | None = None
    """GPUs of each, a fraction where several share one; None: as many as its tensor and pipeline parallel sizes ask for
    where there are GPUs, else none."""
    cpus_per_engine: float | None = None
    """CPU cores of each; None: its share of its machine's, at most 8 for one with GPUs."""

    def __post_init__(self) -> None:
        if not self.address.strip():
            raise UsageError("--address: is empty; it is auto, local, or HOST:PORT")
        if self.engines is not None and self.engines < 1:
            raise UsageError(f"--engines {self.engines}: must be at least 1")
        for name, least in (("gpus_per_engine", 0.0), ("cpus_per_engine", 0.0)):
            value = getattr(self, name)
            flag = f"--{name.replace('_', '-')}"
            if value is not None and not least <= value < math.inf:
                raise UsageError(f"{flag} {value}: must be at least 0, and finite")
        gpus = self.gpus_per_engine
        if gpus is not None and gpus > 1 and gpus != int(gpus):
            raise UsageError(f"--gpus-per-engine {gpus}: more than one is a whole number; a fraction shares one GPU")
