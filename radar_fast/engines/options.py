"""How an engine is to run: every option of it once, with its default and its check."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from radar_fast.errors import UsageError
from radar_fast.util.choices import check_choice

__all__ = ["ATTENTIONS", "DEVICES", "DTYPES", "REQUESTS", "WORKER_KINDS", "EngineOptions"]

DEVICES = ("cpu", "cuda")
DTYPES = ("float32", "bfloat16", "float16")
WORKER_KINDS = ("threads", "processes")
ATTENTIONS = ("dense", "split", "cascade", "flex")
REQUESTS = ("one", "per-candidate")


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """How an engine is to run.

    ``device``, ``dtype`` and those ``arguments`` that do more than place and schedule may change a score, and are part
    of a run's identity. Nothing else here may.

    Raises:
        UsageError: at birth, where an option cannot be right.
    """

    device: str = "auto"
    """``auto`` (a GPU where there is one), or one of :data:`DEVICES`."""
    dtype: str = "auto"
    """``auto`` (the checkpoint's own on a GPU, float32 on a CPU), or one of :data:`DTYPES`."""
    batch_tokens: int | None = None
    """Most token positions in one forward pass, padding counted; None lets the engine choose for its device."""
    workers: int | None = None
    """Threads or processes that read and preprocess images; None: one for each core, at most 8."""
    worker_kind: str = "auto"
    """One of :data:`WORKER_KINDS`, or ``auto``: processes where they pay, which is on several cores and for many
    prompts."""
    preprocess_cache: Path | None = None
    """A folder where either engine keeps preprocessed images for other checkpoints with the same image processor; made
    if absent. vLLM takes them from there for models whose processor can be handed what is preprocessed already."""
    preprocess_cache_gb: float = 100.0
    """Largest size of that folder, in gigabytes (10^9 bytes)."""
    attention: str = "auto"
    """The transformers engine's attention: ``dense`` (a mask), ``split`` (prefixes causally, a mask for candidates),
    ``cascade`` (flash-attn), ``flex`` (FlexAttention), or ``auto``: split on a CPU; on a GPU cascade where flash-attn
    is installed, else flex."""
    request: str = "auto"
    """How a sample goes to vLLM: as ``one`` request where that can be, or as one ``per-candidate`` that needs its own;
    ``auto``: one on a CPU, per candidate on a GPU, where one has not been tried."""
    url: str | None = None
    """Of the server that the http engine asks, such as ``http://node-7:8000``."""
    arguments: Mapping[str, str] = field(default_factory=dict)
    """vLLM's own engine arguments, name -> value as text."""

    def __post_init__(self) -> None:
        check_choice("device", self.device, DEVICES)
        check_choice("dtype", self.dtype, DTYPES)
        check_choice("worker-kind", self.worker_kind, WORKER_KINDS)
        check_choice("attention", self.attention, ATTENTIONS)
        check_choice("request", self.request, REQUESTS)
        for name in ("batch_tokens", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{self.flag(name)} {value}: must be at least 1")
        if not 0 < self.preprocess_cache_gb < math.inf:
            raise UsageError(f"--preprocess-cache-gb {self.preprocess_cache_gb}: must be above 0, and finite")
        if isinstance(self.preprocess_cache, str):
            object.__setattr__(self, "preprocess_cache", Path(self.preprocess_cache))

    @property
    def worker_count(self) -> int:
        """``workers``, or what None stands for on this machine."""
        return self.workers or min(8, len(os.sched_getaffinity(0)))

    def changed(self) -> list[str]:
        """Names of the options that do not have their defaults."""
        defaults = EngineOptions()
        return [each.name for each in fields(self) if getattr(self, each.name) != getattr(defaults, each.name)]

    @staticmethod
    def flag(name: str) -> str:
        """The option's name on the command line."""
        return "--engine-arg" if name == "arguments" else f"--{name.replace('_', '-')}"
