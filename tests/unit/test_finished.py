"""A job that is done is known as done without torch, data or weights; and is looked at again where anything changed."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from bench_data import write_jsonl
from command_line import run_cli

from radar_fast import RunConfig, score
from radar_fast.finished import data_state, known_as_finished
from radar_fast.results.folder import ResultFolder


@pytest.fixture(scope="module")
def done(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``data``, ``model`` and ``out`` of a run that is done. Read only."""
    root = tmp_path_factory.mktemp("finished")
    write_jsonl(root / "data")
    shutil.copytree(demo / "checkpoints" / "step-50", root / "model")
    assert score(config(root)).complete
    return root


def config(root: Path) -> RunConfig:
    return RunConfig(data=root / "data", model=root / "model", out=root / "out", engine="fake")


def known(asked: RunConfig) -> bool:
    return known_as_finished(asked, data_state(asked)) is not None


@pytest.fixture
def job(done: Path, tmp_path: Path) -> RunConfig:
    """The same in folders of its own, run once more, since a copy of the checkpoint has other inodes."""
    root = Path(shutil.copytree(done, tmp_path / "root"))
    shutil.rmtree(root / "out")
    score(config(root))
    assert known(config(root))
    return config(root)


def test_it_answers_with_its_summary_and_imports_no_torch(done: Path) -> None:
    code = (
        "import sys, radar_fast.benchmark as benchmark; benchmark.survey = None\n"
        "from radar_fast.cli import main\n"
        "try: main()\n"
        "finally: heavy = {'torch', 'transformers', 'vllm'} & set(sys.modules); assert not heavy, heavy"
    )
    words = ["--engine", "fake", "--data", done / "data", "--model", done / "model", "--out", done / "out"]
    asked = [sys.executable, "-c", code, "score", *map(str, words)]
    result = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "nothing was left to score" in result.stdout
    assert "colours" in result.stdout


def again(path: Path) -> None:
    """The same content at another time."""
    os.utime(path, ns=(1, 1))


def shorten(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


@pytest.mark.parametrize(
    "change",
    [
        lambda job: (job.data / "more.jsonl").touch(),
        lambda job: again(job.data / "3.png"),
        lambda job: again(job.data / "colours.jsonl"),
        lambda job: (job.data / "5.png").unlink(),
        lambda job: again(job.model / "config.json"),
        lambda job: again(job.model / "model.safetensors"),
        lambda job: again(job.folder / "samples.jsonl"),
        lambda job: shorten(job.folder / "samples.jsonl"),
        lambda job: (job.folder / "summary.json").unlink(),
        lambda job: (job.folder / "run.json").unlink(),
        lambda job: shutil.rmtree(job.model),
        lambda job: shutil.rmtree(job.data),
    ],
)
def test_whatever_has_changed_is_looked_at(job: RunConfig, change: Callable[[RunConfig], object]) -> None:
    change(job)
    assert not known(job)


def test_other_options_are_another_job(done: Path) -> None:
    asked = config(done)
    assert known(replace(asked, official_out=done / "official"))
    for other in ({"limit": 3}, {"without": "image"}, {"step_from": "m(o)del"}, {"follow_symlinks": True}):
        assert not known(replace(asked, **other))


def test_what_may_be_tried_again_is_not_done(tmp_path: Path) -> None:
    asked = RunConfig(data=write_jsonl(tmp_path / "data"), out=tmp_path / "out", engine="fake")
    missing = asked.data / "3.png"
    missing.rename(tmp_path / "kept.png")
    score(asked)
    assert not known(asked)
    (tmp_path / "kept.png").rename(missing)
    assert score(asked).overall.unscored == 0
    assert known(asked)


def test_a_series_starts_only_what_is_left(done: Path, tmp_path: Path) -> None:
    models = [Path(shutil.copytree(done / "model", tmp_path / f"step-{step}")) for step in (300, 20, 100)]
    words = ["score", "--engine", "fake", "--data", done / "data", "--out", tmp_path / "out", "--model"]
    assert run_cli(*words, *models[:2]).exit_code == 0
    more = run_cli(*words, *models)
    assert more.exit_code == 0, more.stderr
    assert "2 of 3 are done already" in more.stdout
    assert "step-100: SDS" in more.stdout
    assert "step-300: SDS" not in more.stdout
    table = next(line for line in more.stdout.splitlines() if line.startswith("task"))
    assert table.split()[1:4] == ["20", "100", "300"], "in the order of their steps"
    last = run_cli(*words, *models)
    assert "done already" not in last.stdout
    assert "samples in" not in last.stdout, "the data are not read"


def test_shards_are_known_too(done: Path, tmp_path: Path) -> None:
    from radar_fast.shard import Shard

    asked = RunConfig(data=done / "data", out=tmp_path / "out", engine="fake", shard=Shard(0, 2))
    score(asked)
    assert known(asked)
    assert not known(replace(asked, shard=Shard(1, 2)))
    assert ResultFolder(asked.folder).manifest().finished["data"] == data_state(asked)
