"""What one run is asked to do: one frozen object, checked when it is made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from radar_fast.errors import UsageError

__all__ = ["DEVICES", "DTYPES", "ENGINES", "FORMATS", "PROTOCOLS", "RunConfig", "check_choice"]

FORMATS = ("m3", "jsonl")
ENGINES = ("transformers", "vllm", "fake")
DEVICES = ("cpu", "cuda")
DTYPES = ("float32", "bfloat16", "float16")
PROTOCOLS = ("qwen2vl", "chat")


def check_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise UsageError unless ``value`` is ``auto`` or one of ``choices``."""
    if value not in ("auto", *choices):
        raise UsageError(f"--{option} {value}: unknown; it is one of auto, {', '.join(choices)}")


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
    """The benchmark's format: ``auto``, ``m3`` or ``jsonl``."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """For jsonl: our field name -> the dataset's."""
    tasks: str | None = None
    """Score only tasks whose name matches this glob."""
    limit: int | None = None
    """Score at most this many samples a task, the first ones."""
    abilities: tuple[tuple[str, str], ...] = ()
    """(task glob, ability) pairs that overrule the dataset's abilities; the first match wins."""
    protocol: str = "auto"
    """``auto``, ``qwen2vl`` or ``chat``."""
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
    """Threads that read and preprocess images; None: one a core, at most 8."""
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
        check_choice("protocol", self.protocol, PROTOCOLS)
        for option, value in (("limit", self.limit), ("batch-tokens", self.batch_tokens), ("workers", self.workers)):
            if value is not None and value < 1:
                raise UsageError(f"--{option} {value}: must be at least 1")
        if self.model is None and self.engine != "fake":
            raise UsageError(f"--engine {self.engine}: needs --model; only --engine fake runs without one")
        for option, folder in (("out", self.out), ("official-out", self.official_out)):
            if folder is not None and folder.resolve() == self.data.resolve():
                raise UsageError(f"--{option} {folder}: is the data folder itself; results need a folder of their own")
