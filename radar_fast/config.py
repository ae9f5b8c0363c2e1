"""What one run is asked to do: one frozen object, checked when it is made."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from radar_fast.conditions import CANDIDATES, WITHOUT
from radar_fast.engines import ENGINES, EngineOptions, check_engine
from radar_fast.errors import UsageError
from radar_fast.protocols import IMAGE_BACKENDS, PROTOCOLS
from radar_fast.readers import FORMATS, PRESETS
from radar_fast.shard import Shard
from radar_fast.steps import check_step_pattern
from radar_fast.util.choices import check_choice, check_one_of
from radar_fast.util.paths import checked_path

__all__ = ["RunConfig"]


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The options of ``radar-fast score``. Paths may be given as text.

    Raises:
        UsageError: at birth, where an option cannot be right.
    """

    data: Path
    """The benchmark folder."""
    out: Path
    """The result folder: made if absent, resumed if it belongs to the same configuration."""
    model: Path | None = None
    """The checkpoint folder; None only with an engine that runs no model."""
    format: str = "auto"
    """The benchmark's format: ``auto``, or one of :data:`radar_fast.readers.FORMATS`."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """For jsonl and parquet: our field name -> the dataset's; overrules ``preset`` and ``fields_file``."""
    preset: str | None = None
    """For jsonl and parquet: one of :data:`radar_fast.readers.PRESETS`, a published layout."""
    fields_file: Path | None = None
    """For jsonl and parquet: a TOML file that says how the dataset is laid out."""
    classes: str | None = None
    """For folder: a TOML file with the class texts, or the name of one that comes along; None: its ``classes.toml``."""
    candidates: str = "text"
    """``text``: the options are scored; ``letter``: they are listed in the question and their letters scored."""
    without: str | None = None
    """``image`` or ``text``: ask every question without it."""
    tasks: tuple[str, ...] = ()
    """Score only tasks whose name matches one of these globs; empty: all."""
    limit: int | None = None
    """Score at most this many samples of each task, the first ones."""
    abilities: tuple[tuple[str, str], ...] = ()
    """(task glob, ability) pairs that overrule the dataset's abilities; the first match wins."""
    protocol: str = "auto"
    """``auto``, or one of :data:`radar_fast.protocols.PROTOCOLS`."""
    min_pixels: int | None = None
    """Least area of an image after the processor's resize, in pixels; None: the protocol's own."""
    max_pixels: int | None = None
    """Largest area, likewise."""
    image_backend: str = "pil"
    """What the checkpoint's image processor resizes with: one of :data:`radar_fast.protocols.IMAGE_BACKENDS`."""
    engine: str = "auto"
    """``auto``, or a name in :data:`radar_fast.engines.ENGINES`."""
    options: EngineOptions = field(default_factory=EngineOptions)
    """How the engine is to run."""
    shard: Shard | None = None
    """Score only this part, into a folder of its own in ``out``; ``I/N`` may be given as text."""
    step_from: str | None = None
    """Where the training step stands in a checkpoint's path: a regular expression with one group; None: see
    :func:`radar_fast.steps.step_of`."""
    official_out: Path | None = None
    """Also write the published scripts' files here."""
    trust_remote_code: bool = False
    """Run code that lies in the checkpoint folder."""
    follow_symlinks: bool = False
    """Read images that a link in the data folder points to, wherever they lie."""

    def __post_init__(self) -> None:
        for name in ("data", "out", "model", "official_out", "fields_file"):
            if (given := getattr(self, name)) is not None:
                option = "--fields" if name == "fields_file" else f"--{name.replace('_', '-')}"
                object.__setattr__(self, name, checked_path(option, given))
        if isinstance(self.tasks, str):
            object.__setattr__(self, "tasks", (self.tasks,))
        if isinstance(self.shard, str):
            object.__setattr__(self, "shard", Shard.parse(self.shard))
        if self.step_from is not None:
            check_step_pattern(self.step_from)
        if self.shard is not None and self.official_out is not None:
            raise UsageError("--official-out: a shard is no whole benchmark; give it to radar-fast merge")
        check_choice("format", self.format, FORMATS)
        check_engine(self.engine)
        check_choice("protocol", self.protocol, PROTOCOLS)
        check_one_of("image-backend", self.image_backend, IMAGE_BACKENDS)
        check_one_of("candidates", self.candidates, CANDIDATES)
        if self.preset is not None:
            check_one_of("preset", self.preset, PRESETS)
        if self.without is not None:
            check_one_of("without", self.without, WITHOUT)
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit {self.limit}: must be at least 1")
        if self.model is None and (self.engine == "auto" or ENGINES[self.engine].needs_checkpoint):
            without = ", ".join(name for name, spec in ENGINES.items() if not spec.needs_checkpoint)
            raise UsageError(f"--engine {self.engine}: needs --model; only --engine {without} runs without one")
        for option, folder in (("out", self.out), ("official-out", self.official_out)):
            if folder is not None and folder.resolve() == self.data.resolve():
                raise UsageError(f"--{option} {folder}: is the data folder itself; results need a folder of their own")

    @property
    def folder(self) -> Path:
        """Where the results are: ``out``, or the shard's own folder in it."""
        return self.out if self.shard is None else self.out / self.shard.folder

    def to_dict(self) -> dict[str, Any]:
        """For the manifest: every option under its name, the engine's among them; paths absolute, as text."""
        values = asdict(self) | {"shard": None if self.shard is None else str(self.shard)}
        options = values.pop("options")
        values |= {"engine_args" if name == "arguments" else name: value for name, value in options.items()}
        return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value.resolve())
    return dict(value) if isinstance(value, Mapping) else value
