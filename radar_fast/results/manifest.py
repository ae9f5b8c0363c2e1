"""``run.json``: what the samples of a result folder are of, and what scored them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from radar_fast.errors import ResultsError
from radar_fast.steps import named_step

__all__ = ["FORMAT", "Manifest"]

FORMAT = 1
"""Of ``run.json``; raised when an older reader could misread it."""
SHARD_FIELDS = ("index", "count", "samples")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What ``run.json`` says; the fields are its keys, beside ``format``."""

    identity: Mapping[str, Any]
    """What must be the same for two runs' samples to stand in one journal: ``version`` of what it is made of,
    ``model``, ``data``, ``prompt``, ``protocol``, ``engine``, and ``conditions`` where they are not the usual ones.
    Nested mappings with strings and numbers."""
    configuration: Mapping[str, Any]
    """The options as given, for the record."""
    created: str = ""
    """When the run was started first: ISO 8601, UTC."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Library -> version, of those that can change a score or a time."""
    machine: Mapping[str, str] = field(default_factory=dict)
    """``platform`` and ``python``."""
    engine: Mapping[str, object] = field(default_factory=dict)
    """What the engine said of itself when it was last closed; empty before."""
    images: Mapping[str, object] = field(default_factory=dict)
    """What the benchmark's image files were: see :class:`~radar_fast.results.witness.ImageWitness`; empty without."""
    step: int | None = None
    """The checkpoint's training step; None where nothing says it."""
    shard: Mapping[str, int] = field(default_factory=dict)
    """``index`` and ``count`` where the samples are those of a shard, and how many ``samples`` it has; else empty."""
    finished: Mapping[str, object] = field(default_factory=dict)
    """How data, checkpoint, options and journal were when the job was done: :mod:`radar_fast.finished`; else empty."""
    merged: tuple[Mapping[str, object], ...] = ()
    """Of each shard that the samples were merged from: ``shard``, how many ``samples`` it had, which images were
    ``absent``, and its own ``created``, ``versions``, ``machine`` and ``engine``; else empty."""

    @property
    def samples(self) -> int | None:
        """How many samples the benchmark has, as it was selected; None where that is not on record."""
        data = self.identity.get("data")
        count = data.get("samples") if isinstance(data, Mapping) else None
        return count if isinstance(count, int) else None

    @property
    def shard_name(self) -> str | None:
        """``I/N`` where the samples are those of a shard."""
        return "{index}/{count}".format_map(self.shard) if self.shard else None

    @property
    def expected(self) -> int | None:
        """How many samples the folder is to hold: of a shard its own, else all; None where that is not on record."""
        return self.shard["samples"] if self.shard else self.samples

    @property
    def model(self) -> str | None:
        """The checkpoint folder, as it was given; None for an engine without one."""
        model = self.configuration.get("model")
        return model if isinstance(model, str) else None

    def to_dict(self) -> dict[str, object]:
        """What ``run.json`` holds; ``engine`` once there is something to say."""
        document: dict[str, object] = {
            "format": FORMAT,
            "created": self.created,
            "configuration": self.configuration,
            "identity": self.identity,
            "versions": self.versions,
            "machine": self.machine,
        }
        if self.step is not None:
            document["step"] = self.step
        for name in ("shard", "images", "engine", "finished", "merged"):
            if said := getattr(self, name):
                document[name] = said
        return document

    @classmethod
    def from_dict(cls, document: object) -> Self:
        """What :meth:`to_dict` gave. Raises ResultsError for what is no manifest, or one of another format."""
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise ResultsError(f"not of format {FORMAT}; another version of radar-fast wrote it")
        for name in ("identity", "configuration"):
            if not isinstance(document.get(name), dict):
                raise ResultsError(f"has no {name}; another program has written to it")
        more = {
            name: document[name]
            for name in ("versions", "machine", "engine", "images", "shard", "finished")
            if isinstance(document.get(name), dict)
        }
        if more.get("shard") and not all(type(more["shard"].get(name)) is int for name in SHARD_FIELDS):
            raise ResultsError(f"shard: has not {', '.join(SHARD_FIELDS)}; another program has written to it")
        step, merged = document.get("step"), document.get("merged")
        return cls(
            document["identity"],
            document["configuration"],
            str(document.get("created", "")),
            step=step if type(step) is int else _named(document["configuration"]),
            merged=tuple(one for one in merged if isinstance(one, dict)) if isinstance(merged, list) else (),
            **more,
        )


def _named(configuration: Mapping[str, Any]) -> int | None:
    """The step that the checkpoint's folder says by its name: earlier versions did not write it down."""
    model = configuration.get("model")
    return named_step(Path(model)) if isinstance(model, str) else None
