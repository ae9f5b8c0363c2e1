"""An engine without a model: deterministic, fast, public. For users' tests and ours."""

import hashlib
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

from radar_fast.engines.base import Engine, EngineReport, EngineSpec
from radar_fast.images import read_image
from radar_fast.sample import Candidate, Markup, Placeholder, Prompt, Reason, Scored

__all__ = ["SPEC", "FakeEngine"]


class FakeEngine(Engine):
    """Scores by hashing: the same prompt gets the same numbers on every machine, and every one of a sample's images is
    read, so that a benchmark's own problems show as they would with a model. A word counts as a token."""

    name = "fake"

    def score(self, prompts: Iterable[Prompt]) -> Iterator[Scored]:
        """One :class:`Scored` a prompt, in order."""
        for prompt in prompts:
            yield _score(prompt)

    def describe(self) -> EngineReport:
        """No device and no dtype."""
        return EngineReport(name=self.name, device="none", device_name="none", dtype="none")

    def load_weights(self, path: Path) -> None:
        """Nothing to load: its scores depend on the prompts alone."""

    def close(self) -> None:
        """Nothing to free."""


def _score(prompt: Prompt) -> Scored:
    for image in prompt.images:
        if isinstance(problem := read_image(image), Reason):
            return Scored(prompt.sample, reason=problem)
    prefix = "".join(_text(part) for part in prompt.parts)
    candidates = tuple(_candidate(prefix, text) for text in prompt.candidates)
    tokens = len(prefix.split()) + sum(len(candidate.logits) for candidate in candidates)
    return Scored(prompt.sample, candidates, tokens_computed=tokens, tokens_minimal=tokens)


def _text(part: str | Markup | Placeholder) -> str:
    return part if isinstance(part, str) else part.text


def _candidate(prefix: str, text: str) -> Candidate:
    draws = [_draw(f"{prefix}\0{text}\0{position}") for position in range(max(1, len(text.split())))]
    # Multiples of 1/256 are exact in fp32, so the journal's numbers are what a test expects to the bit.
    return Candidate(
        logits=tuple(math.floor(draw * 20 * 256) / 256 for draw in draws),
        logprobs=tuple(-math.floor(draw * 10 * 256) / 256 for draw in draws),
    )


def _draw(text: str) -> float:
    """A number in [0, 1) that looks random and depends on nothing but the text."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:6]) / 2**48


SPEC = EngineSpec(
    name="fake",
    open=lambda *_: FakeEngine(),
    resolve=lambda _, options: options,
    identity=lambda _: {"device": "none", "dtype": "none"},
    available=lambda _: (False, "it runs no model"),
    needs_checkpoint=False,
)
