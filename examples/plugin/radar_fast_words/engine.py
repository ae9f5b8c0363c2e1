"""The engine ``shortest``."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from radar_fast import Candidate, Engine, EngineReport, EngineSpec, Prompt, Scored


class ShortestEngine(Engine):
    """Prefers short candidates."""

    name = "shortest"

    def score(self, prompts: Iterable[Prompt]) -> Iterator[Scored]:
        for prompt in prompts:
            yield Scored(prompt.sample, tuple(Candidate((-float(len(text)),), (-1.0,)) for text in prompt.candidates))

    def describe(self) -> EngineReport:
        return EngineReport(name=self.name, device="none", device_name="none", dtype="none")

    def load_weights(self, path: Path) -> None:
        """It has none."""

    def close(self) -> None:
        """Nothing to free."""


SHORTEST = EngineSpec(
    name="shortest",
    open=lambda *_: ShortestEngine(),
    resolve=lambda _, options: options,
    identity=lambda _: {"device": "none", "dtype": "none"},
    available=lambda _: (False, "it runs no model"),
    needs_checkpoint=False,
)
