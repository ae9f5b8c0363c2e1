"""What one bench is asked to do: one frozen object, checked when it is made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from radar_fast.config import DEVICES, DTYPES, ENGINES, PROTOCOLS, check_choice
from radar_fast.errors import UsageError

__all__ = ["PEERS", "BenchConfig"]

PEERS = ("published", "per-candidate", "vllm-prompt-logprobs", "vllm-token-ids")
GENERATED_CANDIDATES = 4


@dataclass(frozen=True, kw_only=True)
class BenchConfig:
    """The options of ``radar-fast bench``.

    Raises:
        UsageError: at birth, where an option cannot be right.
    """

    model: str
    """A checkpoint folder, a config.json, a folder with one, or a name that :mod:`radar_fast.bench.models` knows."""
    tokenizer: Path | None = None
    """Where tokenizer and image processor come from, for a config alone."""
    data: Path | None = None
    """The benchmark folder; None generates pictures."""
    format: str = "auto"
    """The benchmark's format."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """For jsonl: our field name -> the dataset's."""
    engines: tuple[str, ...] = ("transformers",)
    """Engines of ours; the first contender is what the others' logits are compared with."""
    peers: tuple[str, ...] = ("published",)
    """Names of PEERS."""
    candidates: int | None = None
    """Candidates a sample; None: as the data have them, 4 for generated pictures."""
    samples: int = 32
    """Samples a round."""
    rounds: int = 3
    """Timed rounds, after one that is not."""
    words: int = 0
    """Before a generated question: for prompts that are long texts."""
    size: tuple[int, int] = (336, 1000)
    """Least and largest side of generated pictures, in pixels."""
    protocol: str = "auto"
    """The prompt, as for ``score``."""
    min_pixels: int | None = None
    """Least area of an image after the processor's resize, in pixels."""
    max_pixels: int | None = None
    """Largest area, likewise."""
    device: str = "auto"
    """``auto``, ``cpu`` or ``cuda``."""
    dtype: str = "auto"
    """``auto``, ``float32``, ``bfloat16`` or ``float16``."""
    batch_tokens: int | None = None
    """Most token positions a forward pass of an engine."""
    workers: int | None = None
    """Threads that read and preprocess images, of an engine."""
    engine_args: Mapping[str, str] = field(default_factory=dict)
    """vLLM's own engine arguments, for the vLLM engine and the vLLM peers alike."""
    plot: Path | None = None
    """Where to write a picture of the result."""

    def __post_init__(self) -> None:
        check_choice("device", self.device, DEVICES)
        check_choice("dtype", self.dtype, DTYPES)
        check_choice("protocol", self.protocol, PROTOCOLS)
        for option, names, known in (("engines", self.engines, ENGINES), ("peers", self.peers, PEERS)):
            for name in names:
                if name not in known:
                    raise UsageError(f"--{option} {name}: unknown; it is one of {', '.join(known)}")
            if len(set(names)) < len(names):
                raise UsageError(f"--{option} {','.join(names)}: each can be named once")
        if not self.engines and not self.peers:
            raise UsageError("--engines and --peers: both are empty; name at least one")
        for option, value, least in (
            ("candidates", self.candidates, 2),
            ("samples", self.samples, 1),
            ("rounds", self.rounds, 1),
            ("question-words", self.words, 0),
            ("batch-tokens", self.batch_tokens, 1),
            ("workers", self.workers, 1),
        ):
            if value is not None and value < least:
                raise UsageError(f"--{option} {value}: must be at least {least}")
        least_side, largest_side = self.size
        if not 28 <= least_side <= largest_side <= 4096:
            raise UsageError(f"--size {least_side}-{largest_side}: sides are from 28 to 4096 pixels, the smaller first")
        if self.engine_args and not any(name.startswith("vllm") for name in self.contenders):
            raise UsageError("--engine-arg: for the vLLM engine and peers, and none of them is named")
        if self.plot is not None and self.plot.suffix != ".png":
            raise UsageError(f"--plot {self.plot}: a PNG is written; give a name that ends in .png")

    @property
    def contenders(self) -> tuple[str, ...]:
        """Engines, then peers, in the order in which they are named."""
        return *self.engines, *self.peers
