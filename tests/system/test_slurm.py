"""The script for Slurm on a real one: preempted, told to try again, merged, and the numbers of one process."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import run_cli
from slurm_cluster import SlurmCluster, install_slurm

from radar_fast.config import RunConfig
from radar_fast.results.journal import Journal
from radar_fast.run import score

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    if why := install_slurm():
        pytest.skip(why)
    with SlurmCluster(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


def write_questions(path: Path, count: int) -> Path:
    records = [
        {"id": f"q{number}", "question": f"What is {number}?", "options": ["a", "b b"], "answer": "a"}
        for number in range(count)
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def lines(out: Path) -> dict[tuple[str, str], Any]:
    read = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    by_key = {(line["task"], line["id"]): {**line, "seconds": 0} for line in read}
    assert len(by_key) == len(read), "nothing twice"
    return by_key


def submitted(slurm: SlurmCluster, folder: Path, *words: object) -> dict[str, str]:
    """Write the script, run it as a person would, and say what it submitted: ``array`` and ``merge`` -> job id."""
    result = run_cli("farm", *words, "--slurm", "--partition low --ntasks 1")
    assert result.exit_code == 0, result.stderr
    script = folder / "job.sh"
    script.write_text(result.stdout)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    told = subprocess.run(
        ["bash", script], env={**slurm.environment, "PATH": path}, capture_output=True, text=True, check=True
    )
    return dict(line.split(": ") for line in told.stdout.splitlines())


def wait_for(file: Path) -> None:
    end = time.monotonic() + 600
    while not (file.exists() and file.stat().st_size):
        assert time.monotonic() < end, file
        time.sleep(0.05)


def test_shards_that_are_preempted_and_merged(tmp_path: Path, slurm: SlurmCluster) -> None:
    data = write_questions(tmp_path / "q.jsonl", 60_000)
    out = tmp_path / "out"
    jobs = submitted(slurm, tmp_path, "--engine", "fake", "--data", data, "--out", out, "--engines", 3)
    first = out / "shard-00000-of-00003" / "samples.jsonl"
    wait_for(first)
    slurm.run("sbatch", "--wait", "--partition", "high", "--ntasks", "2", "--output", "/dev/null", "--wrap", "sleep 1")
    assert "Restarts=1" in slurm.state(jobs["array"])
    slurm.wait_for(jobs["merge"], 1800)
    score(RunConfig(engine="fake", data=data, out=tmp_path / "alone"))
    assert lines(out) == lines(tmp_path / "alone")


def test_a_task_that_is_told_to_try_again_does(tmp_path: Path, slurm: SlurmCluster) -> None:
    """Somebody else writes to the folder of a shard: exit status 75."""
    data = write_questions(tmp_path / "q.jsonl", 500)
    out = tmp_path / "out"
    busy = out / "shard-00001-of-00002"
    busy.mkdir(parents=True)
    with Journal.open(busy / "samples.jsonl"):
        jobs = submitted(slurm, tmp_path, "--engine", "fake", "--data", data, "--out", out, "--engines", 2)
        log = out / "logs" / f"slurm-{jobs['array']}_1.log"
        wait_for(log)
        end = time.monotonic() + 600
        while "exit status 75; back into the queue" not in log.read_text():
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)
    slurm.wait_for(jobs["merge"], 1800)
    assert len(lines(out)) == 500


def test_a_task_for_each_checkpoint(tmp_path: Path, slurm: SlurmCluster) -> None:
    data = write_questions(tmp_path / "q.jsonl", 200)
    models = []
    for number in (1, 2):
        folder = tmp_path / f"step-{number}"
        folder.mkdir()
        (folder / "config.json").write_text('{"model_type": "qwen2_vl"}')
        (folder / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
        models.append(folder)
    words = ["--engine", "fake", "--protocol", "qwen2vl", "--data", data, "--out", tmp_path / "out", "--model", *models]
    jobs = submitted(slurm, tmp_path, *words)
    assert set(jobs) == {"array"}
    slurm.wait_for(jobs["array"], 900)
    assert "nothing was left to score" not in run_cli("score", *words).stderr
    for folder in models:
        assert len(lines(tmp_path / "out" / folder.name)) == 200
