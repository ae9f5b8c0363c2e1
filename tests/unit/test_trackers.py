"""Trackers: what is told to the real libraries comes back, twice is once, and a failing one costs no score."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bench_data import write_jsonl
from command_line import run_cli
from some_series import write_series
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import radar_fast
from radar_fast import trackers
from radar_fast.trackers import TRACKERS, numbers_of
from radar_fast.trackers.ledger import Ledger


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_series(tmp_path_factory.mktemp("trackers") / "results", 3)


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Tag -> (step, value), as TensorBoard itself reads them."""
    read = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    read.Reload()
    return {tag: [(event.step, event.value) for event in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def test_tensorboard_reads_what_was_exported_and_twice_adds_nothing(results: Path, tmp_path: Path) -> None:
    said = [run_cli("export", results, "--to", "tensorboard", "--out", tmp_path).stdout for _ in range(2)]
    assert said[0].endswith("3 of 3 steps are new\n")
    assert said[1].endswith("0 of 3 steps are new\n")
    found = scalars(tmp_path / "Some-Bench")
    [grown] = radar_fast.growth(results)
    for name, curve in {
        **grown.abilities,
        "overall": grown.overall,
        "directory/MMBench": grown.directories["MMBench"],
    }.items():
        for end in ("", "_low", "_high"):
            expected = [getattr(entry, f"sds{end}") for entry in curve.entries]
            assert [step for step, _ in found[f"radar/{name}/sds{end}"]] == [100, 200, 300]
            assert [value for _, value in found[f"radar/{name}/sds{end}"]] == pytest.approx(expected, rel=1e-6)
    assert [value for _, value in found["radar/unscored"]] == [3.0] * 3


def test_a_new_step_alone_is_added(results: Path, tmp_path: Path) -> None:
    out = tmp_path / "board"
    run_cli("export", results / "step-100", "--to", "tensorboard", "--out", out)
    assert "2 of 3 steps are new" in run_cli("export", results, "--to", "tensorboard", "--out", out).stdout
    assert [step for step, _ in scalars(out / "Some-Bench")["radar/overall/sds"]] == [100, 200, 300]


def test_score_tells_each_checkpoint_as_it_is_scored(tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "data")
    for step in (100, 200):
        out = tmp_path / "results" / f"step-{step}"
        result = run_cli("score", "--engine", "fake", "--data", data, "--out", out, "--track", "tensorboard")
        assert result.exit_code == 0, result.stderr
        [run] = [path for path in (out / "tracking" / "tensorboard").iterdir() if path.is_dir()]
        summary = json.loads((out / "summary.json").read_text())
        [(at, value)] = scalars(run)["radar/overall/sds"]
        assert at == step
        assert value == pytest.approx(summary["overall"]["sds"], rel=1e-6)


def test_a_tracker_that_fails_costs_no_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr("radar_fast.trackers.progress.open_tracker", broken)
    data, out = write_jsonl(tmp_path / "data"), tmp_path / "step-7"
    result = run_cli("score", "--engine", "fake", "--data", data, "--out", out, "--track", "tensorboard")
    assert result.exit_code == 0, result.stderr
    assert "--track tensorboard: failed, and is not told any more: no route to host. The scores are safe" in (
        result.stdout + result.stderr
    ).replace("\n", " ")
    assert json.loads((out / "summary.json").read_text())["complete"] is True


def test_a_shard_is_not_tracked(tmp_path: Path) -> None:
    """Its numbers are of a part of the benchmark, and would stand at the step of the whole."""
    data, out = write_jsonl(tmp_path / "data"), tmp_path / "step-7"
    words = ["score", "--engine", "fake", "--data", data, "--out", out, "--shard", "0/1", "--track", "tensorboard"]
    result = run_cli(*words)
    assert result.exit_code == 0, result.stderr
    assert "not tracked: it is a part of the benchmark" in (result.stdout + result.stderr).replace("\n", " ")
    assert not (out / "tracking").exists()


def test_watch_tells_each_checkpoint_once_and_what_was_scored_before_it(demo: Path, tmp_path: Path) -> None:
    root, out, data = tmp_path / "run", tmp_path / "out", write_jsonl(tmp_path / "data")
    for step in (50, 100):
        shutil.copytree(demo / "checkpoints" / f"step-{step}", root / f"step-{step}")
    words = ["watch", root, "--data", data, "--engine", "fake", "--out", out, "--once", "--ready", "model.safetensors"]
    assert run_cli(*words, "--until", 50).exit_code == 0, "by a watch that told nobody"
    for _ in range(2):
        result = run_cli(*words, "--track", "tensorboard")
        assert result.exit_code == 0, result.stderr
    assert "SDS" not in result.stdout
    [run] = [path for path in (out / "tracking" / "tensorboard").iterdir() if path.is_dir()]
    assert [step for step, _ in scalars(run)["radar/overall/sds"]] == [50, 100]


def test_what_is_not_installed_is_said_before_anything_is_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("radar_fast.trackers.importlib.util.find_spec", lambda _: None)
    data, out = write_jsonl(tmp_path / "data"), tmp_path / "step-7"
    result = run_cli("score", "--engine", "fake", "--data", data, "--out", out, "--track", "wandb")
    assert (result.exit_code, out.exists()) == (2, False)
    assert "--track wandb: wandb is not installed: pip install '.[wandb]'" in result.stderr
    monkeypatch.undo()
    assert (
        "tensorbord: unknown, did you mean tensorboard"
        in run_cli("export", tmp_path, "--to", "tensorbord", "--out", out).stderr
    )


def test_numbers_are_finite_and_named_as_documented(results: Path) -> None:
    summary = radar_fast.summarize(results / "step-100")
    numbers = numbers_of(summary.abilities, summary.directories, summary.overall)
    assert all(math.isfinite(value) for value in numbers.values())
    assert {"radar/reasoning/sds_low", "radar/overall/accuracy_high", "radar/directory/counting/sds"} <= set(numbers)


def test_a_ledger_that_was_damaged_is_said(tmp_path: Path) -> None:
    (tmp_path / "radar-fast-wandb.json").write_text("{")
    with pytest.raises(radar_fast.ResultsError, match=r"radar-fast-wandb\.json: cannot be read: .*; remove it"):
        Ledger(tmp_path, "wandb")


@pytest.mark.full
def test_wandb_offline_holds_what_was_exported(results: Path, tmp_path: Path) -> None:
    """In a process of its own: wandb starts a service, and leaves it to the end of the process."""
    command = [sys.executable, "-m", "radar_fast", "export", str(results), "--to", "wandb", "--out", str(tmp_path)]
    environment = {**os.environ, "WANDB_MODE": "online", "WANDB_API_KEY": "0" * 40}
    said = [
        subprocess.run(command, capture_output=True, text=True, check=True, env=environment, timeout=300).stdout
        for _ in range(2)
    ]
    assert said[0].endswith("3 of 3 steps are new\n")
    assert said[1].endswith("0 of 3 steps are new\n")
    [file] = tmp_path.rglob("run-*.wandb")
    data = file.read_bytes()
    [grown] = radar_fast.growth(results)
    for value in grown.overall.values():
        assert json.dumps(value).encode() in data, "values are JSON in its records"
    assert b"radar/overall/sds" in data


CHECKS = {
    "mlflow": """
from mlflow.tracking import MlflowClient
client = MlflowClient(tracking_uri=f"sqlite:///{out}/mlflow.db")
[run] = client.search_runs([client.get_experiment_by_name("radar-fast").experiment_id])
found = [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, "radar/overall/sds")]
""",
    "trackio": """
import sqlite3, pathlib
[file] = [each for each in pathlib.Path(out).rglob("*.db")]
rows = sqlite3.connect(file).execute("select metrics from metrics order by step").fetchall()
found = [(row["radar/step"], row["radar/overall/sds"]) for row in (json.loads(each) for [each] in rows)]
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKS)
def test_trackers_that_do_not_go_with_vllm(name: str, results: Path, tmp_path: Path) -> None:
    """In an environment of its own: their libraries ask for versions that vLLM's exclude."""
    root, venv, out = Path(trackers.__file__).parents[2], tmp_path / "venv", tmp_path / "out"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    needs = {"mlflow": ["mlflow-skinny", "sqlalchemy", "alembic", "sqlparse"], "trackio": ["trackio"]}[name]
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)$", (root / "constraints.txt").read_text(), re.MULTILINE))
    needs = [f"{need}=={pinned[need]}" for need in needs] + ["numpy", "orjson", "rich", "rich-click"]
    subprocess.run([venv / "bin" / "pip", "install", "-q", *needs], check=True)
    environment = {**os.environ, "PYTHONPATH": str(root)}
    export = [
        str(venv / "bin" / "python"),
        "-c",
        f"""
import json, sys
from radar_fast.exports import export
results, out = sys.argv[1:]
first, second = ("".join(export([results], "{name}", out)) for _ in range(2))
assert first.endswith("3 of 3 steps are new"), first
assert second.endswith("0 of 3 steps are new"), second
{CHECKS[name]}
print(json.dumps(found))
""",
        str(results),
        str(out),
    ]
    done = subprocess.run(export, capture_output=True, text=True, env=environment, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    [grown] = radar_fast.growth(results)
    found = json.loads(done.stdout.splitlines()[-1])
    assert [step for step, _ in found] == [100, 200, 300]
    assert [value for _, value in found] == pytest.approx(list(grown.overall.values()))


def test_every_tracker_has_a_check() -> None:
    assert set(TRACKERS) == {"tensorboard", "wandb", *CHECKS}
