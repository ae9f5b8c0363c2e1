"""What one run is asked to do: one frozen object, checked when it is made."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from radar_fast.errors import UsageError

__all__ = [
    "ATTENTIONS",
    "CANDIDATES",
    "DEVICES",
    "DTYPES",
    "ENGINES",
    "FORMATS",
    "PROTOCOLS",
    "WITHOUT",
    "WORKER_KINDS",
    "RunConfig",
    "check_choice",
    "check_one_of",
]

FORMATS = ("m3", "jsonl", "vlmevalkit", "pgps9k", "mathverse", "folder", "parquet")
ENGINES = ("transformers", "vllm", "fake")
DEVICES = ("cpu", "cuda")
WORKER_KINDS = ("threads", "processes")
ATTENTIONS = ("dense", "cascade", "flex")
DTYPES = ("float32", "bfloat16", "float16")
PROTOCOLS = ("qwen2vl", "internvl", "plain", "llava", "llava-med", "chat")
CANDIDATES = ("text", "letter")
WITHOUT = ("image", "text")


def check_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise UsageError unless ``value`` is ``auto`` or one of ``choices``."""
    check_one_of(option, value, ("auto", *choices))


def check_one_of(option: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise UsageError unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise UsageError(f"--{option} {value}: unknown; it is one of {', '.join(choices)}")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The options of ``radar-fast score``.

    Raises:
        UsageError: at birth, where an option cannot be right.
    """

    data: Path
    """The benchmark folder."""
    out: Path
    """The result folder: made if absent, resumed if it belongs to the same configuration."""
    model: Path | None = None
    """The checkpoint folder; None only with the fake engine."""
    format: str = "auto"
    """The benchmark's format: ``auto``, or one of :data:`FORMATS`."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """For jsonl and parquet: our field name -> the dataset's."""
    classes: str | None = None
    """For folder: a TOML file with the class texts, or the name of one that comes along; None: its ``classes.toml``."""
    candidates: str = "text"
    """``text``: the options are scored; ``letter``: they are listed in the question and their letters scored."""
    without: str | None = None
    """``image`` or ``text``: ask every question without it."""
    tasks: str | None = None
    """Score only tasks whose name matches this glob."""
    limit: int | None = None
    """Score at most this many samples a task, the first ones."""
    abilities: tuple[tuple[str, str], ...] = ()
    """(task glob, ability) pairs that overrule the dataset's abilities; the first match wins."""
    protocol: str = "auto"
    """``auto``, or one of :data:`PROTOCOLS`."""
    min_pixels: int | None = None
    """Least area of an image after the processor's resize, in pixels; None: the protocol's own."""
    max_pixels: int | None = None
    """Largest area, likewise."""
    engine: str = "auto"
    """``auto``, ``transformers``, ``vllm`` or ``fake``."""
    device: str = "auto"
    """``auto``, ``cpu`` or ``cuda``."""
    dtype: str = "auto"
    """``auto``, ``float32``, ``bfloat16`` or ``float16``."""
    batch_tokens: int | None = None
    """Most token positions a forward pass; None: the engine's choice."""
    workers: int | None = None
    """Threads or processes that read and preprocess images; None: one a core, at most 8."""
    worker_kind: str = "auto"
    """``auto``, ``threads`` or ``processes``: see :class:`radar_fast.engines.EngineOptions`."""
    attention: str = "auto"
    """``auto``, ``dense``, ``cascade`` or ``flex``: likewise."""
    preprocess_cache: Path | None = None
    """A folder where preprocessed images are kept for other checkpoints; made if absent."""
    preprocess_cache_gb: float = 100.0
    """Most gigabytes (10^9 bytes) of it."""
    engine_args: Mapping[str, str] = field(default_factory=dict)
    """vLLM's own engine arguments, name -> value as text; with ``engine`` vllm only."""
    official_out: Path | None = None
    """Also write the published scripts' files here."""
    trust_remote_code: bool = False
    """Run code that lies in the checkpoint folder."""
    follow_symlinks: bool = False
    """Read images that a link in the data folder points to, wherever they lie."""

    def __post_init__(self) -> None:
        check_choice("format", self.format, FORMATS)
        check_choice("engine", self.engine, ENGINES)
        check_choice("device", self.device, DEVICES)
        check_choice("dtype", self.dtype, DTYPES)
        check_choice("worker-kind", self.worker_kind, WORKER_KINDS)
        check_choice("attention", self.attention, ATTENTIONS)
        if not 0 < self.preprocess_cache_gb < math.inf:
            raise UsageError(f"--preprocess-cache-gb {self.preprocess_cache_gb}: must be above 0, and finite")
        check_choice("protocol", self.protocol, PROTOCOLS)
        check_one_of("candidates", self.candidates, CANDIDATES)
        if self.without is not None:
            check_one_of("without", self.without, WITHOUT)
        for option, value in (("limit", self.limit), ("batch-tokens", self.batch_tokens), ("workers", self.workers)):
            if value is not None and value < 1:
                raise UsageError(f"--{option} {value}: must be at least 1")
        if self.model is None and self.engine != "fake":
            raise UsageError(f"--engine {self.engine}: needs --model; only --engine fake runs without one")
        for option, folder in (("out", self.out), ("official-out", self.official_out)):
            if folder is not None and folder.resolve() == self.data.resolve():
                raise UsageError(f"--{option} {folder}: is the data folder itself; results need a folder of their own")
