"""A watch beside a training: each checkpoint scored once, none half-written, though both it and they go."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bench_data import write_jsonl
from checkpoint_writers import in_order, trainer
from command_line import run_cli
from processes import Marked, uncovered

ROOT = Path(__file__).resolve().parents[2]
TRAINER = ROOT / "tests" / "support" / "slow_trainer.py"


def records(out: Path) -> dict[tuple[str, str], Any]:
    read = list(map(json.loads, (out / "samples.jsonl").read_text().splitlines()))
    found = {(line["task"], line["id"]): {**line, "seconds": 0} for line in read}
    assert len(found) == len(read)
    return found


@contextmanager
def watching(words: list[object], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "radar_fast", "watch", *map(str, words)],
            stdout=said,
            stderr=subprocess.STDOUT,
            env=uncovered(),
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@pytest.mark.full
def test_a_training_that_rotates_and_a_watch_that_is_killed(demo: Path, tmp_path: Path) -> None:
    root, out, log = tmp_path / "run", tmp_path / "out", tmp_path / "log"
    root.mkdir()
    steps = (50, 100, 200, 400, 1600)
    options: list[object] = ["--data", demo / "mini-m3", "--limit", 1, "--engine", "transformers", "--out"]
    words = [root, *options, out, "--poll", 0.1, "--until", 1600]
    checkpoints = [str(demo / "checkpoints" / f"step-{step}") for step in steps]
    with subprocess.Popen([sys.executable, str(TRAINER), str(root), "2", "1", *checkpoints]) as training:
        with watching(words, log) as first:
            while not list(out.glob("*/summary.json")) and first.poll() is None:
                time.sleep(0.02)
            other = run_cli("watch", *words)
            assert (other.exit_code, "another watch writes to it" in other.stderr) == (75, True)
            first.send_signal(signal.SIGKILL)
        with watching(words, log) as second:
            assert second.wait(timeout=600) == 0, log.read_text()
        assert training.wait() == 0
    told = log.read_text()
    for step in steps:
        name = f"checkpoint-{step}"
        summary = json.loads((out / name / "summary.json").read_text())
        assert (summary["complete"], summary["step"]) == (True, step)
        assert len(re.findall(rf"{name}: SDS", told)) <= 1
        assert str(root / name) == json.loads((out / name / "run.json").read_text())["configuration"]["model"]
    assert not re.search("not scored|abandoned|went before", told), told
    assert sorted(path.name for path in root.iterdir()) == ["checkpoint-1600", "checkpoint-400"], "nothing of ours"
    alone = run_cli("score", "--model", demo / "checkpoints" / "step-50", *options, tmp_path / "alone")
    assert alone.exit_code == 0
    assert records(out / "checkpoint-50") == records(tmp_path / "alone"), "which had been removed when it was scored"


@pytest.mark.full
def test_a_training_of_torchs_distributed_checkpoints(demo: Path, tmp_path: Path) -> None:
    """Real ones, converted by the script of the examples."""
    from safetensors.torch import load_file
    from torch.distributed.checkpoint.state_dict_saver import save

    checkpoint = demo / "checkpoints" / "step-400"
    save({"model": load_file(checkpoint / "model.safetensors")}, checkpoint_id=tmp_path / "run" / "step-400")
    (tmp_path / "run" / "step-800").mkdir()
    (tmp_path / "run" / "step-800" / ".metadata").write_bytes(b"torn")
    options: list[object] = ["--data", demo / "mini-m3", "--limit", 1, "--engine", "transformers", "--out"]
    convert = f"{sys.executable} {ROOT / 'examples' / 'dcp_to_hf.py'} {{input}} {{output}} {checkpoint}"
    watched = run_cli("watch", tmp_path / "run", *options, tmp_path / "out", "--once", "--convert", convert)
    assert watched.exit_code == 1, "one cannot be converted"
    assert "step-800: --convert: ended with status 1 for step-800: " in watched.stderr
    assert (tmp_path / "out" / "converting" / "step-800.log").read_text()
    assert sorted(path.name for path in (tmp_path / "out" / "converting").iterdir()) == ["step-400.log", "step-800.log"]
    assert run_cli("score", "--model", checkpoint, *options, tmp_path / "alone").exit_code == 0
    assert records(tmp_path / "out" / "step-400") == records(tmp_path / "alone")


@pytest.mark.full
def test_once_and_again(tmp_path: Path, demo: Path) -> None:
    """Without a model: what is done is known by the result folders, and what is not whole does not hold it up."""
    root, out = tmp_path / "run", tmp_path / "out"
    data = write_jsonl(tmp_path / "colours", count=5)
    files = in_order(demo / "checkpoints" / "step-50")
    for step in (7, 8):
        for _ in trainer(root / f"checkpoint-{step}", files):
            pass
    for _ in trainer(root / "checkpoint-9", files):
        if (root / "checkpoint-9" / "optimizer.pt").exists():
            break
    words = ["watch", root, "--data", data, "--engine", "fake", "--out", out, "--once", "--ready", "auto"]
    first = run_cli(*words)
    assert first.exit_code == 0, first.stderr
    assert "checkpoint-9: not whole, lacks trainer_state.json" in first.stdout
    assert re.search(r"checkpoint-7: ready: trainer_state.json(.|\n)*checkpoint-8: SDS", first.stdout)
    before = (out / "checkpoint-7" / "samples.jsonl").stat().st_mtime_ns
    again = run_cli(*words, "--every", 7)
    assert again.exit_code == 0
    assert "SDS" not in again.stdout
    assert "nothing was left to score" in again.stdout
    assert (out / "checkpoint-7" / "samples.jsonl").stat().st_mtime_ns == before
    assert not (out / "preprocessed").exists()
    assert run_cli("watch", tmp_path / "none", *words[2:]).exit_code == 2


@pytest.mark.full
def test_on_ray(tmp_path: Path, demo: Path) -> None:
    """A cluster of its own, which ends with it; on transformers to the last bit."""
    root, out = tmp_path / "run", tmp_path / "out"
    for step in (50, 400, 1600):
        shutil.copytree(demo / "checkpoints" / f"step-{step}", root / f"step-{step}")
    options: list[object] = ["--data", demo / "mini-m3", "--limit", 2, "--engine", "transformers", "--device", "cpu"]
    more = ["--once", "--ready", "model.safetensors", "--track", "tensorboard", "--out", out]
    placed = ["--address", "local", "--engines", 2, "--cpus-per-engine", 1]
    marked = Marked(RAY_USAGE_STATS_ENABLED="0")
    words = [sys.executable, "-m", "radar_fast", "watch", root, *options, *more, *placed]
    result = subprocess.run(list(map(str, words)), capture_output=True, text=True, env=marked.environment, check=False)
    assert result.returncode == 0, result.stderr
    assert "2 engines, 1 CPU cores for each" in result.stdout
    for step in (50, 400, 1600):
        assert len(re.findall(rf" step-{step}: SDS", result.stdout)) == 1
    assert (out / "tracking" / "tensorboard" / "radar-fast-tensorboard.json").exists()
    models = [root / f"step-{step}" for step in (50, 400, 1600)]
    assert run_cli("score", "--model", *models, *options, "--out", tmp_path / "alone").exit_code == 0
    for model in models:
        assert records(out / model.name) == records(tmp_path / "alone" / model.name)
    processes, _ = marked.left_after(60)
    assert processes == {}, "Ray's are gone too"
