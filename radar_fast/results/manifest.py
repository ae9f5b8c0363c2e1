"""``run.json``: what the samples of a result folder are of, and what scored them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from radar_fast.errors import ResultsError

__all__ = ["FORMAT", "Manifest"]

FORMAT = 1
"""Of ``run.json``; raised when an older reader could misread it."""


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

    @property
    def samples(self) -> int | None:
        """How many samples the benchmark has, as it was selected; None where that is not on record."""
        data = self.identity.get("data")
        count = data.get("samples") if isinstance(data, Mapping) else None
        return count if isinstance(count, int) else None

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
        more = {"images": self.images, "engine": self.engine}
        return document | {name: value for name, value in more.items() if value}

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
            for name in ("versions", "machine", "engine", "images")
            if isinstance(document.get(name), dict)
        }
        return cls(document["identity"], document["configuration"], str(document.get("created", "")), **more)
