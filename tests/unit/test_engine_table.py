"""The table of engines: a third engine is one file and one row, and every option is taken by somebody."""

from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from bench_data import write_jsonl

from radar_fast import Candidate, Engine, EngineOptions, EngineReport, EngineSpec, Prompt, RunConfig, Scored, score
from radar_fast.engines import ENGINES, check_engine, choose_engine
from radar_fast.errors import UsageError


class LengthEngine(Engine):
    """Prefers long candidates."""

    name = "length"
    closed = 0

    def score(self, prompts: Iterable[Prompt]) -> Iterator[Scored]:
        for prompt in prompts:
            candidates = tuple(Candidate((float(len(text)),), (-1.0,)) for text in prompt.candidates)
            yield Scored(prompt.sample, candidates, tokens_computed=1, tokens_minimal=1)

    def describe(self) -> EngineReport:
        return EngineReport(name=self.name, version="3.1", device="none", device_name="none", dtype="none")

    def load_weights(self, path: Path) -> None:
        raise AssertionError(f"{path}: it has no weights")

    def close(self) -> None:
        type(self).closed += 1


LENGTH = EngineSpec(
    name="length",
    open=lambda *_: LengthEngine(),
    resolve=lambda _, options: options,
    identity=lambda _: {"device": "none", "dtype": "none"},
    available=lambda _: (False, "for this test"),
    needs_checkpoint=False,
)


def test_a_third_engine_is_a_class_and_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="--engine length: unknown"):
        check_engine("length")
    monkeypatch.setitem(ENGINES, "length", LENGTH)
    data = write_jsonl(tmp_path / "data", 8)
    closed = LengthEngine.closed
    summary = score(RunConfig(data=data, out=tmp_path / "out", engine="length"))
    assert 0 < (summary.overall.accuracy or 0) < 1, "dark blue is the longest of two"
    assert (summary.engine.name, summary.engine.version) == ("length", "3.1")
    assert LengthEngine.closed == closed + 1, "an engine is a context manager"
    with pytest.raises(UsageError, match="--engine-arg: only --engine vllm takes it, and this is --engine length"):
        choose_engine("length", EngineOptions(arguments={"seed": "1"}))


def test_what_single_engines_take_are_options() -> None:
    known = {field.name for field in fields(EngineOptions)}
    for spec in ENGINES.values():
        assert spec.takes <= known


def test_the_nearest_name_is_offered() -> None:
    with pytest.raises(UsageError, match="did you mean transformers"):
        check_engine("transformer")
