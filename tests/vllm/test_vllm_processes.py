"""The vLLM engine as users run it: the command line, several processes, killed, resumed, and with a dying worker."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm", reason="no wheel of vLLM for this platform")

from radar_fast.demo.show import PIXELS

pytestmark = pytest.mark.full

BOUND = 1e-4


@pytest.fixture(scope="module")
def plain(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, Any]]:
    """What the transformers engine says, through the same command."""
    out = tmp_path_factory.mktemp("plain") / "out"
    result = subprocess.run(command(demo, out, "transformers"), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return lines(out)


def command(demo: Path, out: Path, engine: str = "vllm", *options: str) -> list[str]:
    base = [sys.executable, "-m", "radar_fast", "score", "--engine", engine, "--device", "cpu"]
    model = ["--model", str(demo / "checkpoints" / "step-800"), "--data", str(demo / "mini-m3"), "--out", str(out)]
    return [*base, *model, "--min-pixels", str(PIXELS), "--max-pixels", str(PIXELS), *options]


def lines(out: Path) -> dict[tuple[str, str], dict[str, Any]]:
    read = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    found = {(line["task"], line["id"]): line for line in read}
    assert len(found) == len(read), "a sample stands in the journal twice"
    return found


def worst(mine: dict[tuple[str, str], dict[str, Any]], theirs: dict[tuple[str, str], dict[str, Any]]) -> float:
    return max(
        abs(a - b)
        for key, line in mine.items()
        for name in ("logits", "logprobs")
        for one, other in zip(line[name], theirs[key][name], strict=True)
        for a, b in zip(one, other, strict=True)
    )


def test_tensor_parallel_of_two_gives_the_same_numbers(demo: Path, plain: Any, tmp_path: Path) -> None:
    several = {**os.environ, "VLLM_ENABLE_V1_MULTIPROCESSING": "1", "VLLM_CPU_OMP_THREADS_BIND": "0|1"}
    words = command(demo, tmp_path / "out", "vllm", "--engine-arg", "tensor_parallel_size=2")
    result = subprocess.run(words, capture_output=True, text=True, check=False, env=several, timeout=300)
    assert result.returncode == 0, result.stderr[-3000:]
    found = lines(tmp_path / "out")
    assert set(found) == set(plain)
    assert worst(found, plain) <= BOUND
    engine = json.loads((tmp_path / "out" / "summary.json").read_text())["engine"]
    assert engine["tensor_parallel"] == 2
    assert engine["requests"] > 0
    assert engine["images_encoded"] > 0
    assert {"prefix_cache_hits", "resubmissions", "processor_runs", "startup_seconds", "wait_seconds"} <= set(engine)


def test_killed_and_resumed_nothing_is_lost_or_twice(demo: Path, plain: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    journal = out / "samples.jsonl"
    for kept in (1, 30_000):
        with subprocess.Popen(command(demo, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and (journal.stat().st_size if journal.exists() else 0) < kept:
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
    assert journal.stat().st_size > 0
    result = subprocess.run(command(demo, out), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    found = lines(out)
    assert set(found) == set(plain)
    assert worst(found, plain) <= BOUND


def children(pid: int) -> list[int]:
    """Of a process, and theirs."""
    mine = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*mine, *(grandchild for child in mine for grandchild in children(child))]


def test_a_worker_that_dies_gives_a_clear_error_and_what_was_scored_stays(demo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    journal = out / "samples.jsonl"
    several = {**os.environ, "VLLM_ENABLE_V1_MULTIPROCESSING": "1"}
    words = command(demo, out)
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=several) as process:
        while process.poll() is None and (journal.stat().st_size if journal.exists() else 0) < 1:
            time.sleep(0.002)
        workers = [
            pid for pid in children(process.pid) if b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        assert workers, "the engine does not run in a process of its own"
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        try:
            _, errors = process.communicate(timeout=90)
        finally:
            process.kill()
    said = [line for line in errors.splitlines() if line.startswith("radar-fast: vLLM")]
    assert process.returncode == 2, errors[-3000:]
    assert len(said) == 1, errors[-3000:]
    assert "vLLM failed" in said[0]
    assert "the same command goes on" in said[0]
    kept = len(lines(out))
    assert kept > 0


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("tensor_paralel_size=2", ["tensor_paralel_size", "did you mean tensor_parallel_size"]),
        ("block_size=7", ["cannot load"]),
    ],
)
def test_wrong_engine_arguments(demo: Path, tmp_path: Path, option: str, words: list[str]) -> None:
    """Those that test_vllm_options.py cannot tell: how they look on the command line, and vLLM's own refusal."""
    result = subprocess.run(
        command(demo, tmp_path / "out", "vllm", "--engine-arg", option), capture_output=True, text=True, check=False
    )
    assert result.returncode == 2, result.stderr[-2000:]
    assert "Traceback" not in result.stderr or words == ["cannot load"]  # vLLM writes its own
    said = [line for line in result.stderr.splitlines() if line.startswith("radar-fast:")][-1]
    for word in words:
        assert word in said
