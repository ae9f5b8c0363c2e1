"""The scripts for schedulers and for a watch, with the scheduler's part played here."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from bench_data import write_jsonl
from checkpoint_writers import in_order, trainer

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def environment(tmp_path: Path, demo: Path) -> dict[str, str]:
    """What a job's script finds; ``radar-fast`` is that of this checkout."""
    program = tmp_path / "bin" / "radar-fast"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m radar_fast "$@"\n')
    program.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{EXAMPLES.parent}:{os.environ['PYTHONPATH']}",
        "MODEL": str(demo / "checkpoints" / "step-50"),
        "DATA": str(write_jsonl(tmp_path / "data", count=150)),
        "OUT": str(tmp_path / "out"),
        "ENGINE": "fake",
        "LOGS": str(tmp_path),
    }


def run(words: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def complete(environment: dict[str, str], shards: int) -> bool:
    run(["radar-fast", "merge", environment["OUT"]], environment)
    manifest = json.loads(Path(environment["OUT"], "run.json").read_bytes())
    summary = json.loads(Path(environment["OUT"], "summary.json").read_bytes())
    return len(manifest["merged"]) == shards and summary["complete"] and summary["step"] == 50


@pytest.mark.full
def test_one_machine(environment: dict[str, str]) -> None:
    run(["bash", str(EXAMPLES / "shards_node.sh")], environment | {"GPUS": "2"})
    assert complete(environment, 2)


@pytest.mark.full
def test_a_slurm_array(environment: dict[str, str]) -> None:
    """A task that failed is submitted alone, with SHARDS."""
    script = ["bash", str(EXAMPLES / "shards_slurm.sh")]
    slurm = {"SLURM_ARRAY_TASK_COUNT": "2", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_ID": "0"}
    run(script, environment | slurm)
    alone = {"SLURM_ARRAY_TASK_COUNT": "1", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_ID": "1", "SHARDS": "2"}
    run(script, environment | alone)
    assert complete(environment, 2)


@pytest.mark.full
def test_a_kubernetes_job(environment: dict[str, str]) -> None:
    document: Any = yaml.safe_load((EXAMPLES / "shards_kubernetes.yaml").read_text())
    job = document["spec"]
    [container] = job["template"]["spec"]["containers"]
    given = {each["name"]: each["value"] for each in container["env"]}
    assert given.keys() == {"ENGINE", "MODEL", "DATA", "OUT", "SHARDS"}
    assert int(given["SHARDS"]) == job["completions"]
    for index in range(2):
        index_of = {"JOB_COMPLETION_INDEX": str(index), "SHARDS": "2"}
        run([*container["command"], *container["args"]], environment | index_of)
    assert complete(environment, 2)


@pytest.mark.full
def test_a_watch(environment: dict[str, str], tmp_path: Path, demo: Path) -> None:
    for _ in trainer(tmp_path / "run" / "checkpoint-50", in_order(demo / "checkpoints" / "step-50")):
        pass
    watched = {"ROOT": str(tmp_path / "run"), "UNTIL": "50"}
    run(["bash", str(EXAMPLES / "watch.sh")], environment | watched)
    assert Path(environment["OUT"], "checkpoint-50", "summary.json").exists()
