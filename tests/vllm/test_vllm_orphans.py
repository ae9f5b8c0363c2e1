"""A run that is killed leaves no process and no shared memory behind: vLLM's, the encoders', a contender's."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("vllm", reason="no wheel of vLLM for this platform")

from processes import Marked

from radar_fast.demo import write_checkpoints, write_mini_m3
from radar_fast.demo.show import PIXELS

SECONDS = 5.0
"""Within which everything must be gone."""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    write_mini_m3(folder / "mini-m3", samples_per_task=24)
    write_checkpoints(folder / "checkpoints")
    return folder


def command(demo: Path, out: Path, *options: str) -> list[str]:
    base = [sys.executable, "-m", "radar_fast", "score", "--engine", "vllm", "--device", "cpu"]
    model = ["--model", str(demo / "checkpoints" / "step-800"), "--data", str(demo / "mini-m3"), "--out", str(out)]
    return [*base, *model, "--min-pixels", str(PIXELS), "--max-pixels", str(PIXELS), *options]


def killed(words: list[str], number: signal.Signals, marked: Marked, journal: Path, after: float | None) -> int | None:
    """Run until the journal holds something, or for so many seconds; its exit status once the signal was sent."""
    with subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=marked.environment
    ) as process:
        started = time.monotonic()
        while process.poll() is None:
            if after is not None and time.monotonic() - started >= after:
                break
            if after is None and journal.exists() and journal.stat().st_size:
                assert len(marked.processes()) > 1, "vLLM runs in this very process"
                break
            time.sleep(0.01)
        process.send_signal(number)
        return process.wait(timeout=60)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("workers", ["threads", "processes"])
def test_a_killed_run_leaves_nothing(demo: Path, tmp_path: Path, number: signal.Signals, workers: str) -> None:
    marked = Marked(VLLM_ENABLE_V1_MULTIPROCESSING="1")
    words = command(demo, tmp_path / "out", "--worker-kind", workers, "--workers", "2")
    status = killed(words, number, marked, tmp_path / "out" / "samples.jsonl", None)
    assert status == (-signal.SIGKILL if number == signal.SIGKILL else 128 + signal.SIGTERM)
    assert marked.left_after(SECONDS) == ({}, set())


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(6))
def test_so_does_one_that_is_killed_while_it_starts(demo: Path, tmp_path: Path, attempt: int) -> None:
    """At a random moment; libraries are being imported in several processes then."""
    marked = Marked(VLLM_ENABLE_V1_MULTIPROCESSING="1")
    words = command(demo, tmp_path / "out", "--worker-kind", "processes", "--workers", "2")
    after = random.Random(attempt).uniform(1, 25)
    killed(words, signal.SIGKILL, marked, tmp_path / "none", after)
    assert marked.left_after(SECONDS) == ({}, set())


TWO = {"VLLM_ENABLE_V1_MULTIPROCESSING": "1", "VLLM_CPU_OMP_THREADS_BIND": "0|1"}
"""The environment of an engine with two workers, which talk through shared memory."""


@pytest.mark.slow
def test_so_does_a_killed_run_of_two_workers(demo: Path, tmp_path: Path) -> None:
    marked = Marked(**TWO)
    words = command(demo, tmp_path / "out", "--engine-arg", "tensor_parallel_size=2")
    killed(words, signal.SIGKILL, marked, tmp_path / "out" / "samples.jsonl", None)
    assert marked.left_after(SECONDS) == ({}, set())


@pytest.mark.slow
@pytest.mark.parametrize("title", ["EngineCore", "Worker"])
def test_so_does_a_run_of_which_one_process_is_killed(demo: Path, tmp_path: Path, title: str) -> None:
    marked = Marked(**TWO)
    out = tmp_path / "out"
    words = command(demo, out, "--engine-arg", "tensor_parallel_size=2")
    with subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=marked.environment
    ) as process:
        while process.poll() is None and not (
            (out / "samples.jsonl").exists() and (out / "samples.jsonl").stat().st_size
        ):
            time.sleep(0.01)
        victims = [pid for pid, line in marked.processes().items() if title in line]
        assert victims, marked.processes()
        os.kill(victims[0], signal.SIGKILL)
        assert process.wait(timeout=90) == 2
    assert marked.left_after(SECONDS) == ({}, set())
