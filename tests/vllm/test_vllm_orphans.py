"""A run that is killed leaves no process and no shared memory behind: vLLM's, the encoders', a contender's."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("vllm", reason="no wheel of vLLM for this platform")

from processes import Marked
from served import served

from radar_fast.demo import write_checkpoints, write_mini_m3
from radar_fast.demo.show import PIXELS
from radar_fast.engines.vllm.serve import options_for
from radar_fast.readers import open_reader
from radar_fast.util.orphans import STARTER

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


@pytest.mark.full
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_so_does_a_killed_server(demo: Path, tmp_path: Path, number: signal.Signals) -> None:
    """Whatever becomes of its process group: only the server itself is told."""
    marked = Marked()
    with served(demo / "checkpoints" / "step-800", tmp_path, environment=marked.environment) as (_, process):
        assert any("EngineCore" in line for line in marked.processes().values())
        process.send_signal(number)
        process.wait(timeout=60)
        assert marked.left_after(SECONDS) == ({}, set())


PLAIN = """
import sys
from radar_fast.engines.vllm.serve import _know_cpu_build
_know_cpu_build()
from vllm.entrypoints.cli.main import main
if __name__ == "__main__":
    main()
"""
"""``vllm serve`` as vLLM starts it, where vLLM goes by the name of its CPU build; our part is the plugin."""


@pytest.mark.full
def test_so_does_a_plain_server_that_has_the_plugin(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has named a starter there: vLLM's own processes watch their parent."""
    monkeypatch.delenv(STARTER, raising=False)
    program = tmp_path / "vllm_plain.py"
    program.write_text(PLAIN)
    checkpoint = demo / "checkpoints" / "step-800"
    marked = Marked(VLLM_USE_V2_MODEL_RUNNER="0")
    words = ("serve", str(checkpoint), *options_for(checkpoint))
    with served(checkpoint, tmp_path, environment=marked.environment, program=(str(program), *words)) as (_, process):
        assert any("EngineCore" in line for line in marked.processes().values())
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=60)
        assert marked.left_after(SECONDS) == ({}, set())


KILLS = tuple(map(int, os.environ.get("RADAR_FAST_KILLS", "20,10").split(",")))
"""How many by SIGKILL and by SIGTERM."""


@pytest.mark.slow
def test_many_kills_lose_nothing_and_score_nothing_twice(demo: Path, tmp_path: Path) -> None:
    """A run is killed and resumed at random moments, some of them while it starts, until all have been dealt."""
    rng = random.Random(13)
    signals = [signal.SIGKILL] * KILLS[0] + [signal.SIGTERM] * KILLS[1]
    rng.shuffle(signals)
    wanted = {sample.key for sample in open_reader(demo / "mini-m3")}
    counts = Counter[str]()
    runs = 0
    while signals:
        out = tmp_path / f"out-{runs}"
        runs += 1
        finished = False
        while not finished:
            marked = Marked(VLLM_ENABLE_V1_MULTIPROCESSING="1")
            words = command(demo, out, "--worker-kind", "processes", "--workers", "1")
            number = signals[-1] if signals else None
            status = killed_at_random(words, number, marked, out / "samples.jsonl", rng)
            if number is not None and status in (-signal.SIGKILL, 128 + signal.SIGTERM):
                counts[signals.pop().name] += 1
                sys.stdout.write(f"{dict(counts)}\n")
                sys.stdout.flush()
                processes, segments = marked.left_after(SECONDS)
                counts["orphans"] += len(processes)
                counts["segments"] += len(segments)
                assert counts["orphans"] + counts["segments"] == 0, (processes, segments)
            finished = status == 0
            assert status in (0, -signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGTERM), status
        lines = [json.loads(line) for line in (out / "samples.jsonl").read_bytes().splitlines()]
        keys = Counter((line["task"], line["id"]) for line in lines)
        counts["lost"] += len(wanted - keys.keys())
        counts["twice"] += sum(count > 1 for count in keys.values())
    sys.stdout.write(f"{dict(counts)} in {runs} runs of {len(wanted)} samples\n")
    assert counts["lost"] == counts["twice"] == 0


def killed_at_random(
    words: list[str], number: signal.Signals | None, marked: Marked, journal: Path, rng: random.Random
) -> int:
    """Run, and kill soon after the journal has grown, one time in four at any moment before; its exit status."""
    before = journal.stat().st_size if journal.exists() else 0
    early, late = rng.uniform(1, 30) if rng.random() < 0.25 else 1e9, rng.uniform(0, 1)
    with subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=marked.environment
    ) as process:
        started = time.monotonic()
        while number is not None and process.poll() is None:
            grown = journal.exists() and journal.stat().st_size > before
            if grown or time.monotonic() - started > early:
                time.sleep(late if grown else 0)
                marked.processes()  # whose names are theirs
                process.send_signal(number)
                break
            time.sleep(0.01)
        return process.wait(timeout=600)


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
