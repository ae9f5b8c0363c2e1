"""What is to run on a GPU, run here: the same scripts and commands, a pretended GPU, the kernels interpreted.

A visit to a GPU machine is minutes long. Whatever would end it for a reason that can be seen without a GPU, a name that
does not exist, a contender that is absent or runs out of memory, an option that is refused, is to be seen here.
"""

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from processes import uncovered

from radar_fast.cli.bench import bench

ROOT = Path(__file__).resolve().parents[2]

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
TINY = ("--rounds", "2", "--quick", "--dtype", "float16")


def on_a_gpu(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """A script of bench/, on a pretended GPU."""
    pretended = {"PRETEND_GPU": "1", "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])
    return subprocess.run(
        [sys.executable, *map(str, words)],
        env={**uncovered(), **pretended, "PYTHONPATH": paths, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def last_line(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


@needs_triton
@pytest.mark.full
def test_the_kernels_bench_goes_on_whatever_a_peer_does(tmp_path: Path) -> None:
    shapes = ("--shape", "K1:2:507", "--shape", "K2:3:300:64", "--shape", "K2:70:300:64")
    done = on_a_gpu("bench/kernels.py", *TINY, *shapes, "--out", tmp_path, PRETEND_OUT_OF_MEMORY="logsumexp")
    assert done.returncode == 0, done.stdout + done.stderr
    report = last_line(done)
    assert report["machine"] == "Pretended GPU"
    by_name: dict[str, list[dict[str, Any]]] = {}
    for row in report["rows"]:
        by_name.setdefault(row["name"], []).append(row)
    for name in ("floor", "ours"):
        assert len(by_name[name]) == 3, done.stdout
        assert all(row["graph"] and row["ms"] > 0 and row["peak_bytes"] == 2**20 for row in by_name[name])
    assert [row["failed"] for row in by_name["torch logsumexp"]] == ["out of memory"]
    assert len(by_name["product + K1"]) == 2
    absent = {"TRL", "Liger", "CCE", "quack"}  # none of them is among what the tests install
    assert absent <= set(report["missing"])
    for name in absent:
        assert f"not compared: {name} (" in done.stdout
    assert "failed: out of memory" in done.stdout
    [kept] = tmp_path.iterdir()
    assert json.loads(kept.read_text())["rows"] == report["rows"]


@needs_triton
@pytest.mark.full
def test_tuning_hides_no_error(tmp_path: Path) -> None:
    sweep = ("--vocabulary", "300", "--depths", "64", "--rows", "3", "--rounds", "2", "--most", "2")
    done = on_a_gpu("bench/tune_kernels.py", *sweep, "--out", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = last_line(done)["rows"]
    assert [(row["kernel"], len(row["tried"]), row["failed"]) for row in rows] == [("K1", 2, []), ("K2", 2, [])]
    [kept] = tmp_path.iterdir()
    assert json.loads(kept.read_text())["rows"] == rows
    # One candidate's launch breaks: it is said, with the reason, and the other is timed.
    failing = on_a_gpu("bench/tune_kernels.py", *sweep, PRETEND_OUT_OF_MEMORY="empty_like")
    reasons = [failed["reason"] for row in last_line(failing)["rows"] for failed in row["failed"]]
    assert reasons
    assert set(reasons) == {"out of memory"}
    assert "launches: out of memory" in failing.stdout


@needs_triton
@pytest.mark.full
def test_the_first_visit_from_end_to_end(tmp_path: Path) -> None:
    """All that does not need vLLM: its part, on a CPU, is a row with the reason (test_bench.py has it on a CPU)."""
    parts = ("installed", "kernels", "transformers, flex", "transformers, cascade")
    chosen = [word for part in parts for word in ("--part", part)]
    done = on_a_gpu("bench/gpu_visit.py", "check", "--dry-run", "--out", tmp_path, *chosen)
    ended = {
        each["name"]: each for each in map(json.loads, (tmp_path / "gpu-visit-check.jsonl").read_text().splitlines())
    }
    assert list(ended) == list(parts)
    assert ended["installed"]["status"] == "done", ended["installed"]["said"]
    assert ended["kernels"]["status"] == "done", ended["kernels"]["said"]
    assert "0 failed" in ended["kernels"]["said"]
    assert "K2 persistent, 2 a processor" in ended["kernels"]["said"]
    assert ended["transformers, flex"]["status"] == "done", ended["transformers, flex"]["said"]
    [line] = (tmp_path / "gpu-check-flex.jsonl").read_text().splitlines()
    report = json.loads(line)
    assert report["complete"]
    assert report["device"] == "cuda"
    assert [row["name"] for row in report["rows"]] == ["transformers", "published"]
    ours = report["rows"][0]
    assert ours["settings"]["attention"] == "flex"
    assert ours["settings"]["worker_kind"] == "processes"
    assert all(row["agrees"] and row["peak_memory_mib"] for row in report["rows"])
    # cascade wants flash-attn: its reason is said, the published algorithm is measured all the same.
    assert ended["transformers, cascade"]["status"] == "failed (exit status 1)"
    assert "--attention cascade: needs the flash-attn package" in ended["transformers, cascade"]["said"]
    [line] = (tmp_path / "gpu-check-cascade.jsonl").read_text().splitlines()
    failed, measured = json.loads(line)["rows"]
    assert "flash-attn" in failed["failed"]
    assert measured["name"] == "published"
    assert "not measured" in (tmp_path / "gpu-check-cascade.md").read_text()
    assert done.returncode == 1


@needs_triton
@pytest.mark.full
def test_the_race_goes_on_without_vllm(tmp_path: Path) -> None:
    """vLLM of a CPU cannot be raced on a GPU: a reason a contender, and the others are measured."""
    done = on_a_gpu("bench/gpu_visit.py", "race", "--dry-run", "--out", tmp_path)
    [line] = (tmp_path / "gpu-qwen2vl-2b.jsonl").read_text().splitlines()
    report = json.loads(line)
    assert report["complete"], done.stdout
    rows = {row["name"]: row for row in report["rows"]}
    assert list(rows) == ["vllm", "transformers", "vllm-prompt-logprobs", "published"]
    assert "built for cpu" in rows["vllm"]["failed"]
    assert rows["vllm-prompt-logprobs"]["failed"]
    for name in ("transformers", "published"):
        assert rows[name]["agrees"], rows[name]
        assert rows[name]["samples_per_second"] > 0
    assert rows["transformers"]["ratios"]["published"]["median"] > 0
    assert "built for cpu" in (tmp_path / "gpu-qwen2vl-2b.md").read_text()


@pytest.mark.parametrize("visit", ["check", "kernels", "race"])
def test_what_a_visit_asks_of_the_bench_is_an_option_of_it(visit: str) -> None:
    """As on the day, not as in a dry run: an option that click would refuse."""
    gpu_visit = script("gpu_visit")
    asked = [part.command for part in gpu_visit.VISITS[visit](small=False) if part.command[0] == "bench/record.py"]
    assert len(asked) == {"check": 4, "kernels": 0, "race": 1}[visit]
    for command in asked:
        words = command[command.index("--") + 1 :]
        context = bench.make_context("bench", [str(word) for word in words])
        assert context.params["device"] == "cuda"


def script(name: str) -> ModuleType:
    """A module of bench/."""
    sys.path.insert(0, str(ROOT / "bench"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(ROOT / "bench"))


def test_a_visit_leaves_what_was_found_when_it_is_cut_off(tmp_path: Path) -> None:
    done = on_a_gpu("bench/gpu_visit.py", "kernels", "--seconds", "1", "--out", tmp_path)
    assert done.returncode == 1
    lines = (tmp_path / "gpu-visit-kernels.jsonl").read_text().splitlines()
    assert [json.loads(line)["status"] for line in lines] == ["left out: no time"] * 2


def test_the_plan_is_three_commands_of_less_than_eight_minutes() -> None:
    done = subprocess.run(["make", "gpu-plan"], cwd=ROOT, capture_output=True, text=True, check=True)
    commands = [line for line in done.stdout.splitlines() if "python bench/" in line]
    assert [line.split()[-1] for line in commands] == ["check", "kernels", "race"]
    wrong = subprocess.run(
        [sys.executable, "bench/gpu_visit.py", "race", "--part", "x"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert wrong.returncode == 2
    assert "--part x: race has race" in wrong.stderr
