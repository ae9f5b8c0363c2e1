"""What one bench is asked to do: one frozen object, checked when it is made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from radar_fast.bench.table import PEERS, takes
from radar_fast.engines import ENGINES, EngineOptions
from radar_fast.errors import UsageError
from radar_fast.protocols import PROTOCOLS
from radar_fast.util.choices import check_choice

__all__ = ["GENERATED_CANDIDATES", "BenchConfig"]

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
    letters: bool = False
    """Whether options are listed and their letters scored, as ``score --candidates letter`` does."""
    sglang: str | None = None
    """Address of an SGLang server with the same model, for the peer of that name."""
    samples: int = 32
    """Samples a round."""
    rounds: int = 3
    """Timed rounds, after one that is not."""
    seconds: float | None = None
    """About how long all timed rounds of a contender may take together: a slow one scores the first samples only. None:
    all score all."""
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
    options: EngineOptions = field(default_factory=EngineOptions)
    """As for ``score``; each contender gets those that it takes."""
    report: Path | None = None
    """Where the report is written too, anew after every round: what is known when the bench is cut off."""
    plot: Path | None = None
    """Where to write a picture of the result."""

    def __post_init__(self) -> None:
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
        ):
            if value is not None and value < least:
                raise UsageError(f"--{option} {value}: must be at least {least}")
        if self.seconds is not None and not self.seconds > 0:
            raise UsageError(f"--seconds {self.seconds}: must be above 0")
        if ("sglang" in self.peers) != (self.sglang is not None):
            raise UsageError("--peers sglang and --sglang URL: one needs the other")
        if self.sglang is not None and not self.sglang.startswith(("http://", "https://")):
            raise UsageError(f"--sglang {self.sglang}: an address is wanted, as http://localhost:30000")
        least_side, largest_side = self.size
        if not 28 <= least_side <= largest_side <= 4096:
            raise UsageError(f"--size {least_side}-{largest_side}: sides are from 28 to 4096 pixels, the smaller first")
        shared = {option for spec in ENGINES.values() for option in spec.takes}
        for option in self.options.changed():
            if option in shared and not any(option in takes(name) for name in self.contenders):
                takers = ", ".join(name for name in (*ENGINES, *PEERS) if option in takes(name))
                raise UsageError(f"{self.options.flag(option)}: for {takers}, and none of them is named")
        if self.plot is not None and self.plot.suffix != ".png":
            raise UsageError(f"--plot {self.plot}: a PNG is written; give a name that ends in .png")

    @property
    def contenders(self) -> tuple[str, ...]:
        """Engines, then peers, in the order in which they are named."""
        return *self.engines, *self.peers
