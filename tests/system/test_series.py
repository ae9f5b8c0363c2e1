"""Several checkpoints in one command: one engine, a folder each, and the numbers of each scored alone."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny import write_qwen2vl

from radar_fast.config import RunConfig
from radar_fast.demo import write_checkpoints, write_mini_m3
from radar_fast.demo.show import PIXELS
from radar_fast.engines import Engine, EngineOptions
from radar_fast.engines import session as module
from radar_fast.engines.encode import encoder as encoding
from radar_fast.engines.session import EngineSession
from radar_fast.errors import ModelError, UsageError
from radar_fast.images import read_image
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import open_protocol
from radar_fast.run import score, score_series
from radar_fast.sample import AnyImage, Prompt, Scored

STEPS = ("step-100", "step-1600", "step-800")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    write_mini_m3(folder / "mini-m3", samples_per_task=8)
    write_checkpoints(folder / "checkpoints")
    return folder


def config(demo: Path, out: Path, engine: str = "transformers") -> RunConfig:
    model = demo / "checkpoints" / STEPS[0]
    return RunConfig(
        model=model, data=demo / "mini-m3", out=out, engine=engine, device="cpu", min_pixels=PIXELS, max_pixels=PIXELS
    )


def lines(out: Path) -> dict[tuple[str, str], Any]:
    read = map(json.loads, (out / "samples.jsonl").read_text().splitlines())
    return {(line["task"], line["id"]): {**line, "seconds": 0} for line in read}


def test_each_has_the_numbers_it_has_alone(demo: Path, tmp_path: Path) -> None:
    models = [demo / "checkpoints" / step for step in STEPS]
    together = score_series(config(demo, tmp_path / "together"), models)
    assert list(together) == list(STEPS)
    for step, model in zip(STEPS, models, strict=True):
        one = config(demo, tmp_path / "alone" / step)
        alone = score(RunConfig(**{**vars(one), "model": model}))
        assert together[step]["tasks"] == alone["tasks"]
        assert lines(tmp_path / "together" / step) == lines(tmp_path / "alone" / step), "to the bit"
    assert together["step-100"]["overall"]["sds"] != together["step-1600"]["overall"]["sds"]
    assert sorted(path.name for path in (tmp_path / "together").iterdir()) == sorted(STEPS), "no cache is left behind"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the images that are decoded from here on."""
    names: list[str] = []

    def noted(image: AnyImage) -> Any:
        names.append(image.name)
        return read_image(image)

    monkeypatch.setattr(encoding, "read_image", noted)
    return names


def test_the_second_pays_no_preprocessing(demo: Path, tmp_path: Path, decoded: list[str]) -> None:
    """But for the one image with which the engine sees that what it kept is as good as new."""
    alone = score(config(demo, tmp_path / "alone"))
    once, checks = len(decoded), 1
    assert once > 50
    decoded.clear()
    summaries = score_series(config(demo, tmp_path / "out"), [demo / "checkpoints" / step for step in STEPS[:2]])
    assert len(decoded) <= once + checks
    first, second = (summaries[step]["engine"] for step in STEPS[:2])
    assert second["self_check_difference"] is not None, "other weights are checked anew"
    for entry in (alone["engine"], first, second):
        for stage in ("survey", "fingerprint", "engine", "first_sample", "scoring", "write"):
            assert entry[f"{stage}_seconds"] >= 0


def test_a_named_cache_is_kept(demo: Path, tmp_path: Path, decoded: list[str]) -> None:
    models = [demo / "checkpoints" / step for step in STEPS[:2]]
    asked = RunConfig(**{**vars(config(demo, tmp_path / "out")), "preprocess_cache": tmp_path / "cache"})
    score_series(asked, models)
    assert any((tmp_path / "cache").rglob("*.safetensors"))
    decoded.clear()
    score(RunConfig(**{**vars(asked), "model": models[0], "out": tmp_path / "again"}))
    assert len(decoded) <= 1


def test_resumed_a_series_scores_what_is_left(demo: Path, tmp_path: Path) -> None:
    models = [demo / "checkpoints" / step for step in STEPS[:2]]
    whole = score_series(config(demo, tmp_path / "out"), models)
    shutil.rmtree(tmp_path / "out" / STEPS[1])
    again = score_series(config(demo, tmp_path / "out"), models)
    assert [entry["tasks"] for entry in again.values()] == [entry["tasks"] for entry in whole.values()]


def test_two_folders_of_one_name_are_refused(demo: Path, tmp_path: Path) -> None:
    models = [demo / "checkpoints" / STEPS[0], tmp_path / STEPS[0]]
    with pytest.raises(UsageError, match=r"step-100 is the name of 2 folders"):
        score_series(config(demo, tmp_path / "out"), models)


def test_on_the_command_line(demo: Path, tmp_path: Path) -> None:
    models = [word for step in STEPS for word in ("--model", str(demo / "checkpoints" / step))]
    out = tmp_path / "out"
    words = ["score", "--engine", "fake", *models, "--data", str(demo / "mini-m3"), "--out", str(out)]
    result = subprocess.run([sys.executable, "-m", "radar_fast", *words], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert all(step in result.stdout for step in STEPS)
    assert "SDS by directory" in result.stdout
    assert all((out / step / "summary.json").exists() for step in STEPS)


# The engine that is kept ---------------------------------------------------------------------------------------------


class Counting:
    """An engine that notes what is done to it."""

    name = "counting"

    def __init__(self, notes: list[str]) -> None:
        self.notes = notes
        notes.append("opened")

    def score(self, prompts: Iterable[Prompt]) -> Iterator[Scored]:
        raise NotImplementedError

    def describe(self) -> dict[str, str | int | float | bool | None]:
        return {}

    def load_weights(self, path: Path) -> None:
        if not (path / "model.safetensors").exists():
            raise ModelError("torn")
        self.notes.append(path.name)

    def close(self) -> None:
        self.notes.append("closed")


def test_an_engine_is_kept_only_for_what_fits_it(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []

    def made(*_: object) -> Engine:
        return Counting(notes)

    monkeypatch.setattr(module, "open_engine", made)
    first, second = (Checkpoint.open(demo / "checkpoints" / step) for step in STEPS[:2])
    other = Checkpoint.open(write_qwen2vl(tmp_path / "other"))
    torn = tmp_path / "torn"
    shutil.copytree(demo / "checkpoints" / STEPS[0], torn)
    (torn / "model.safetensors").unlink()
    protocol = open_protocol("qwen2vl", first)
    options = EngineOptions(device="cpu", expected=100)
    with EngineSession() as session:
        session.open("transformers", first, protocol, options)
        session.open("transformers", second, protocol, EngineOptions(device="cpu", expected=7))
        assert notes == ["opened", "step-1600"]
        session.open("transformers", other, protocol, options)
        assert notes[2:] == ["closed", "opened"], "another model"
        session.open("transformers", other, protocol, EngineOptions(device="cpu", batch_tokens=64))
        assert notes[4:] == ["closed", "opened"], "other options"
        session.open("transformers", first, protocol, options)
        with pytest.raises(ModelError, match="torn"):
            session.open("transformers", Checkpoint.open(torn), protocol, options)
        assert notes[-1] == "closed", "an engine with half its weights scores nothing"
    assert notes.count("opened") == notes.count("closed")
