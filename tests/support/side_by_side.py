"""Two engines on the same samples, and by how much they differ. For tests and bench/."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from radar_fast.engines import Engine, EngineOptions, open_engine
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import Protocol, open_protocol
from radar_fast.sample import Sample, Scored

Key = tuple[str, str]


def opened(
    name: str,
    model: Path,
    *,
    protocol: str = "auto",
    pixels: tuple[int, int] | None = None,
    image_backend: str = "pil",
    **options: object,
) -> tuple[Engine, Protocol]:
    """An engine on the CPU in float32, unless ``options`` say otherwise."""
    checkpoint = Checkpoint.open(model)
    least, most = pixels or (None, None)
    chosen = open_protocol(protocol, checkpoint, min_pixels=least, max_pixels=most, image_backend=image_backend)
    settings = {"device": "cpu", "dtype": "float32", **options}
    return open_engine(name, checkpoint, chosen, EngineOptions(**settings)), chosen  # type: ignore[arg-type]


def scored_by(engine: Engine, protocol: Protocol, samples: Iterable[Sample]) -> dict[Key, Scored]:
    """Sample key -> what came out; every sample once."""
    found: dict[Key, Scored] = {}
    for scored in engine.score(map(protocol.prompt, samples)):
        assert scored.sample.key not in found, scored.sample.key
        found[scored.sample.key] = scored
    return found


def largest_difference(mine: Mapping[Key, Scored], theirs: Mapping[Key, Scored]) -> float:
    """Over all raw logits and log-probabilities; both must have scored the same samples."""
    assert set(mine) == set(theirs)
    worst = 0.0
    for key, scored in mine.items():
        assert scored.reason == theirs[key].reason, (scored.reason, theirs[key].reason)
        for one, other in zip(scored.candidates, theirs[key].candidates, strict=True):
            for a, b in ((one.logits, other.logits), (one.logprobs, other.logprobs)):
                worst = max([worst, *(abs(x - y) for x, y in zip(a, b, strict=True))])
    return worst
