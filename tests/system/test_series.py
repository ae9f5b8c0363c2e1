"""Several checkpoints in one command: one engine, a folder each, and the numbers of each scored alone."""

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_line import run_cli
from tiny import write_qwen2vl

from radar_fast.config import RunConfig
from radar_fast.demo.show import PIXELS
from radar_fast.engines import ENGINES, Engine, EngineOptions, EngineReport
from radar_fast.engines.encode import encoder as encoding
from radar_fast.engines.session import EngineSession
from radar_fast.errors import ModelError, UsageError
from radar_fast.images import read_image
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import open_protocol
from radar_fast.run import score
from radar_fast.sample import AnyImage, Prompt, Scored
from radar_fast.series import checkpoint_name, plan_jobs, score_series

STEPS = ("step-100", "step-1600", "step-800")


def config(demo: Path, out: Path, engine: str = "transformers") -> RunConfig:
    model = demo / "checkpoints" / STEPS[0]
    return RunConfig(
        model=model,
        data=demo / "mini-m3",
        out=out,
        engine=engine,
        options=EngineOptions(device="cpu"),
        min_pixels=PIXELS,
        max_pixels=PIXELS,
        limit=4,
    )


def lines(out: Path) -> dict[tuple[str, str], Any]:
    read = map(json.loads, (out / "samples.jsonl").read_text().splitlines())
    return {(line["task"], line["id"]): {**line, "seconds": 0} for line in read}


def test_each_has_the_numbers_it_has_alone(demo: Path, tmp_path: Path) -> None:
    models = [demo / "checkpoints" / step for step in STEPS]
    together = {run.name: run.summary for run in score_series(config(demo, tmp_path / "together"), models)}
    assert list(together) == list(STEPS)
    for step, model in zip(STEPS, models, strict=True):
        one = config(demo, tmp_path / "alone" / step)
        alone = score(replace(one, model=model))
        assert together[step].tasks == alone.tasks
        assert lines(tmp_path / "together" / step) == lines(tmp_path / "alone" / step), "to the bit"
    assert together["step-100"].overall.sds != together["step-1600"].overall.sds
    assert sorted(path.name for path in (tmp_path / "together").iterdir()) == sorted(STEPS), "no cache is left behind"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the images that are decoded from here on."""
    names: list[str] = []

    def noted(image: AnyImage, *rgb: Any) -> Any:
        names.append(image.name)
        return read_image(image, *rgb)

    monkeypatch.setattr(encoding, "read_image", noted)
    return names


def test_the_second_pays_no_preprocessing(demo: Path, tmp_path: Path, decoded: list[str]) -> None:
    """But for the one image with which the engine sees that what it kept is as good as new."""
    alone = score(config(demo, tmp_path / "alone"))
    once, checks = len(decoded), 1
    assert once > 50
    decoded.clear()
    runs = score_series(config(demo, tmp_path / "out"), [demo / "checkpoints" / step for step in STEPS[:2]])
    assert len(decoded) <= once + checks
    first, second = (run.summary.engine.to_dict() for run in runs)
    assert second["self_check_difference"] is not None, "other weights are checked anew"
    for entry in (alone.engine.to_dict(), first, second):
        for stage in ("survey", "fingerprint", "engine", "first_sample", "scoring", "write"):
            assert entry[f"{stage}_seconds"] >= 0


def test_a_named_cache_is_kept(demo: Path, tmp_path: Path, decoded: list[str]) -> None:
    models = [demo / "checkpoints" / step for step in STEPS[:2]]
    kept = EngineOptions(device="cpu", preprocess_cache=tmp_path / "cache")
    asked = replace(config(demo, tmp_path / "out"), options=kept)
    score_series(asked, models)
    assert any((tmp_path / "cache").rglob("*.safetensors"))
    decoded.clear()
    score(replace(asked, model=models[0], out=tmp_path / "again"))
    assert len(decoded) <= 1


def test_resumed_a_series_scores_what_is_left(demo: Path, tmp_path: Path) -> None:
    models = [demo / "checkpoints" / step for step in STEPS[:2]]
    whole = score_series(config(demo, tmp_path / "out"), models)
    shutil.rmtree(tmp_path / "out" / STEPS[1])
    again = score_series(config(demo, tmp_path / "out"), models)
    assert [run.summary.tasks for run in again] == [run.summary.tasks for run in whole]


def test_two_folders_of_one_name_are_refused(demo: Path, tmp_path: Path) -> None:
    models = [demo / "checkpoints" / STEPS[0], tmp_path / STEPS[0]]
    with pytest.raises(UsageError, match=r"step-100 is the name of 2 folders"):
        score_series(config(demo, tmp_path / "out"), models)


def test_on_the_command_line(demo: Path, tmp_path: Path) -> None:
    models = [word for step in STEPS for word in ("--model", str(demo / "checkpoints" / step))]
    out = tmp_path / "out"
    result = run_cli("score", "--engine", "fake", *models, "--data", demo / "mini-m3", "--out", out)
    assert result.exit_code == 0, result.stderr
    assert all(step in result.stdout for step in STEPS)
    assert "SDS by directory" in result.stdout
    assert all((out / step / "summary.json").exists() for step in STEPS)


def test_results_lie_by_benchmark_where_there_are_several(demo: Path, tmp_path: Path) -> None:
    other = tmp_path / "other-m3"
    shutil.copytree(demo / "mini-m3" / "physical_reasoning", other / "physical_reasoning")
    models = [demo / "checkpoints" / step for step in STEPS[:2]]
    runs = score_series(config(demo, tmp_path / "out", "fake"), models, [demo / "mini-m3", other])
    found = [(run.benchmark, run.name, run.out.relative_to(tmp_path / "out")) for run in runs]
    assert found == [(data, step, Path(data, step)) for data in ("mini-m3", "other-m3") for step in STEPS[:2]]
    whole, part = runs[0].summary, runs[2].summary
    assert all(whole.tasks[task] == entry for task, entry in part.tasks.items())
    assert 0 < len(part.tasks) < len(whole.tasks)


def test_jobs_load_each_checkpoint_once() -> None:
    jobs = plan_jobs([Path("a"), Path("b")], ["x", "y"], Path("out"))
    assert [(str(job.model), job.benchmark) for job in jobs] == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    assert [job.out for job in plan_jobs([Path("a")], ["x"], Path("out"))] == [Path("out")]
    assert [job.out for job in plan_jobs([Path("a")], ["x", "y"], Path("out"))] == [Path("out/x/a"), Path("out/y/a")]
    with pytest.raises(UsageError, match="--data: x is the name of 2 folders"):
        plan_jobs([Path("a")], ["x", "x"], Path("out"))


def test_a_name_may_come_from_the_folders_above(tmp_path: Path) -> None:
    folders = [tmp_path / f"iter_{number}" / "hf" for number in (100, 200)]
    with pytest.raises(UsageError, match=r"hf is the name of 2 folders.*--name '\{parent\}'"):
        plan_jobs(folders, ["x"], Path("out"))
    assert [job.name for job in plan_jobs(folders, ["x"], Path("out"), "{parent}")] == ["iter_100", "iter_200"]
    assert checkpoint_name(folders[0], "{grandparent}-{parent}") == f"{tmp_path.name}-iter_100"
    for wrong in ("{step}", "{name", "", "a/{name}", "..", "{name.__class__}"):
        with pytest.raises(UsageError, match="--name"):
            checkpoint_name(folders[0], wrong)


# The engine that is kept ---------------------------------------------------------------------------------------------


class Counting(Engine):
    """An engine that notes what is done to it."""

    name = "counting"

    def __init__(self, notes: list[str]) -> None:
        self.notes = notes
        notes.append("opened")

    def score(self, prompts: Iterable[Prompt]) -> Iterator[Scored]:
        raise NotImplementedError

    def describe(self) -> EngineReport:
        return EngineReport(name=self.name, device="none", device_name="none", dtype="none", counts={"asked": 7})

    def load_weights(self, path: Path) -> None:
        if not (path / "model.safetensors").exists():
            raise ModelError("torn")
        self.notes.append(path.name)

    def close(self) -> None:
        self.notes.append("closed")


def test_an_engine_is_kept_only_for_what_fits_it(demo: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    spec = replace(ENGINES["fake"], name="counting", open=lambda *_: Counting(notes), needs_checkpoint=True)
    first, second = (Checkpoint.open(demo / "checkpoints" / step) for step in STEPS[:2])
    other = Checkpoint.open(write_qwen2vl(tmp_path / "other"))
    torn = tmp_path / "torn"
    shutil.copytree(demo / "checkpoints" / STEPS[0], torn)
    (torn / "model.safetensors").unlink()
    protocol = open_protocol("qwen2vl", first)
    options = EngineOptions(device="cpu")
    with EngineSession() as session:
        session.open(spec, first, protocol, options, expected=100)
        assert session.kept is None
        session.open(spec, second, protocol, options, expected=7)
        assert notes == ["opened", "step-1600"]
        assert session.kept is None, "it counts anew"
        engine = session.open(spec, second, protocol, options, expected=7)
        assert notes == ["opened", "step-1600"], "the same checkpoint is not loaded twice"
        assert session.kept is not None
        assert engine.describe().since(session.kept).counts == {"asked": 0}
        session.open(spec, other, protocol, options)
        assert notes[2:] == ["closed", "opened"], "another model"
        session.open(spec, other, protocol, EngineOptions(device="cpu", batch_tokens=64))
        assert notes[4:] == ["closed", "opened"], "other options"
        session.open(spec, first, protocol, options)
        with pytest.raises(ModelError, match="torn"):
            session.open(spec, Checkpoint.open(torn), protocol, options)
        assert notes[-1] == "closed", "an engine with half its weights scores nothing"
    assert notes.count("opened") == notes.count("closed")
