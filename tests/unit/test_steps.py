"""The training step of a checkpoint, from its folder's name, its trainer, or a pattern; and where it is written."""

import json
from pathlib import Path

import pytest
from bench_data import write_jsonl

from radar_fast import RunConfig, UsageError, score
from radar_fast.results.folder import ResultFolder
from radar_fast.results.manifest import Manifest
from radar_fast.steps import named_step, step_of


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("step-2000", 2000),
        ("step_2000", 2000),
        ("step2000", 2000),
        ("iter_0002000", 2000),
        ("global_step2000", 2000),
        ("checkpoint-2000", 2000),
        ("qwen2-vl-step-2000-hf", 2000),
        ("step1000-tokens4B", 1000),
        ("epoch=3-step=1000", 1000),
        ("checkpoint-2-step-500", 500),
        ("step-20k", 20_000),
        ("Step-7", 7),
        ("step-0", 0),
        ("iter_0002000/hf", 2000),
        ("global_step_100/actor/huggingface", 100),
        ("checkpoint-2024-11-30", None),
        ("step-1.5", None),
        ("step-4B", None),
        ("footstep-3", None),
        ("Qwen2-VL-2B", None),
        ("final", None),
        ("step-9/a/b/c", None),
    ],
)
def test_names_of_trainers(name: str, step: int | None) -> None:
    assert named_step(Path("/runs", name)) == step


def test_what_the_trainer_wrote_down_counts_where_the_name_says_nothing(tmp_path: Path) -> None:
    for name, content in {
        "last": '{"global_step": 700, "log_history": []}',
        "step-5": '{"global_step": 700}',
        "torn": '{"global_step": 70',
        "odd": '{"global_step": true}',
        "list": "[700]",
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "trainer_state.json").write_text(content)
    assert {path.name: step_of(path) for path in tmp_path.iterdir()} == {
        "last": 700,
        "step-5": 5,
        "torn": None,
        "odd": None,
        "list": None,
    }


def test_a_link_has_its_own_name_first(tmp_path: Path) -> None:
    (tmp_path / "step-300").mkdir()
    for name in ("latest", "step-7"):
        (tmp_path / name).symlink_to(tmp_path / "step-300")
    assert [step_of(tmp_path / name) for name in ("latest", "step-7")] == [300, 7]


def test_a_pattern_of_ones_own(tmp_path: Path) -> None:
    folder = tmp_path / "run-0450" / "weights"
    assert step_of(folder, r"run-([0-9]+)/weights$") == 450
    with pytest.raises(UsageError, match=r"--step-from try-\(\[0-9\]\+\): is not in .*/run-0450/weights"):
        step_of(folder, "try-([0-9]+)")
    with pytest.raises(UsageError, match=r"gives 'weights' for .*, which is no whole number"):
        step_of(folder, "/([a-z]+)$")


@pytest.mark.parametrize(
    ("pattern", "said"), [("run-[0-9]+", "needs one group"), ("(a)(b)", "found 2"), ("(", "is no regular expression")]
)
def test_a_pattern_that_cannot_be_one_is_refused_at_once(tmp_path: Path, pattern: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        RunConfig(data=tmp_path, out=tmp_path / "out", engine="fake", step_from=pattern)


def test_it_is_in_run_json_and_summary_json_and_may_come_later(demo: Path, tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "data", count=3)
    model = demo / "checkpoints" / "step-1600"
    config = RunConfig(data=data, out=tmp_path / "out", model=model, engine="fake")
    assert score(config).step == 1600
    folder = ResultFolder(config.out)
    assert folder.manifest().step == folder.read_summary().step == json.loads(folder.run.read_bytes())["step"] == 1600
    again = RunConfig(data=data, out=tmp_path / "out", model=model, engine="fake", step_from="step-([0-9]{2})")
    assert score(again).step == folder.manifest().step == 16
    assert score(RunConfig(data=data, out=tmp_path / "none", engine="fake")).step is None
    assert "step" not in json.loads((tmp_path / "none" / "run.json").read_bytes())


def test_folders_of_earlier_versions_have_the_step_of_their_checkpoints_name() -> None:
    document = {"format": 1, "identity": {}, "configuration": {"model": "/ckpt/step-40"}}
    assert Manifest.from_dict(document).step == 40
    assert Manifest.from_dict(document | {"step": 3}).step == 3
    assert Manifest.from_dict(document | {"configuration": {"model": None}}).step is None
