"""A farm on real Ray: the numbers of one process, whoever is killed, and nothing left behind."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import run_cli
from processes import Marked

from radar_fast.config import RunConfig
from radar_fast.demo.show import PIXELS
from radar_fast.engines import EngineOptions
from radar_fast.errors import ResultsError, UsageError
from radar_fast.farm.options import FarmOptions
from radar_fast.farm.scoring import score_farm
from radar_fast.farm.state import FarmState, read_state
from radar_fast.run import score
from radar_fast.series import FailedRun, ScoredRun, score_series
from radar_fast.terminal.progress import SilentProgress

ray = pytest.importorskip("ray")

DEADLY = "deadly"
"""The id of a sample that the engines of this module's cluster die of."""
QUIET = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
    "RAY_memory_monitor_refresh_ms": "0",  # else it kills engines for what other programs take
    "RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES": "100000000",
}
Node = Any


def write_questions(path: Path, count: int, deadly: int | None = None) -> Path:
    """Without images; number ``deadly`` is the deadly one."""
    names = [DEADLY if number == deadly else f"q{number}" for number in range(count)]
    records = [{"id": name, "question": f"What of {name}?", "options": ["a", "b b"], "answer": "a"} for name in names]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def lines(out: Path) -> dict[tuple[str, str], Any]:
    read = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    by_key = {(line["task"], line["id"]): {**line, "seconds": 0} for line in read}
    assert len(by_key) == len(read), "nothing twice"
    return by_key


def numbers(out: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return {name: summary[name] for name in ("tasks", "directories", "abilities", "overall")}


def same(out: Path, alone: Path) -> None:
    assert lines(out) == lines(alone), "to the last bit"
    assert numbers(out) == numbers(alone)


def fake(data: Path, out: Path) -> RunConfig:
    return RunConfig(engine="fake", data=data, out=out)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two machines in one: the head with two logical GPUs, and one that tests add and remove."""
    from ray.cluster_utils import Cluster

    deadly = Path(__file__).parents[1] / "support" / "deadly"
    before = dict(os.environ)
    os.environ.update(QUIET, RADAR_TEST_DEADLY=DEADLY)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(deadly), os.environ["PYTHONPATH"]])
    made = None
    try:
        made = Cluster(initialize_head=True, head_node_args=node(gpus=2))
        ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
        yield made
    finally:
        ray.shutdown()
        if made is not None:
            made.shutdown()
        os.environ.clear()
        os.environ.update(before)


def node(gpus: int) -> dict[str, Any]:
    return {"num_cpus": 2, "num_gpus": gpus, "object_store_memory": 100_000_000, "include_dashboard": False}


def killing(when: Callable[[FarmState], int | None]) -> tuple[Callable[[FarmState], None], list[int]]:
    """Kills, once, the process that ``when`` names; and the list that it is then in."""
    killed: list[int] = []

    def watch(state: FarmState) -> None:
        if not killed and (pid := when(state)):
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    return watch, killed


def below(pid: int) -> list[int]:
    """Processes that a process has started, and those that they have, the last ones last."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        for child in (task / "children").read_text().split():
            found += [int(child), *below(int(child))]
    return found


@pytest.mark.full
def test_on_the_command_line(tmp_path: Path) -> None:
    """A cluster of its own; a folder that ``score`` goes on with, or in this case knows as done."""
    data = write_questions(tmp_path / "q.jsonl", 1000)
    words = ["--engine", "fake", "--data", data, "--out", tmp_path / "step-7"]
    farm = [sys.executable, "-m", "radar_fast", "farm", *map(str, words), "--address", "local", "--engines", "2"]
    farm += ["--cpus-per-engine", "1", "--track", "tensorboard"]
    marked = Marked(**QUIET)
    result = subprocess.run(farm, capture_output=True, text=True, env=marked.environment, check=False)
    assert result.returncode == 0, result.stderr
    assert "2 engines, 1 CPU cores for each" in result.stdout
    assert "1000 samples in" in result.stdout
    assert result.stderr == ""
    processes, _ = marked.left_after(60)
    assert processes == {}, "Ray's are gone too"
    score(fake(data, tmp_path / "alone"))
    same(tmp_path / "step-7", tmp_path / "alone")
    again = run_cli("score", *words)
    assert "nothing was left to score" in again.stdout
    assert {log.name for log in (tmp_path / "step-7" / "logs").iterdir()} == {"engine-0.log", "engine-1.log"}
    assert (tmp_path / "step-7" / "tracking" / "tensorboard" / "radar-fast-tensorboard.json").exists()


@pytest.mark.parametrize(
    ("address", "told"), [("127.0.0.1:1", "there is no Ray cluster"), ("head", "is auto, local, or HOST:PORT")]
)
def test_no_cluster(tmp_path: Path, address: str, told: str) -> None:
    data = write_questions(tmp_path / "q.jsonl", 10)
    result = run_cli("farm", "--engine", "fake", "--data", data, "--out", tmp_path / "out", "--address", address)
    assert result.exit_code == 2
    assert f"--address {address}: {told}" in result.stderr


@pytest.mark.full
def test_checkpoints_to_the_bit_whoever_is_killed(demo: Path, tmp_path: Path, cluster: Any) -> None:  # noqa: ARG001
    """On transformers: an engine, then an encoding worker; a third checkpoint is half a file."""
    steps = ("step-200", "step-1600")
    torn = tmp_path / "step-400"
    shutil.copytree(demo / "checkpoints" / "step-400", torn)
    weights = torn / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    models = [*(demo / "checkpoints" / step for step in steps), torn]
    config = RunConfig(
        model=models[0],
        data=demo / "mini-m3",
        out=tmp_path / "farm",
        engine="transformers",
        options=EngineOptions(device="cpu", worker_kind="processes", workers=2),
        min_pixels=PIXELS,
        max_pixels=PIXELS,
    )
    engine, killed = killing(lambda state: state.engines[0].pid if state.engines[0].samples > 0 else None)
    worker, ended = killing(lambda state: (below(state.engines[1].pid) or [0])[-1] if state.fresh > 64 else None)

    def watch(state: FarmState) -> None:
        engine(state)
        worker(state)

    half = FarmOptions(engines=2, gpus_per_engine=0.5, cpus_per_engine=0.5)
    runs = score_farm(config, models, farm=half, watch=watch)
    assert killed
    assert ended
    assert [type(run) for run in runs] == [ScoredRun, ScoredRun, FailedRun]
    assert "step-400" in str(runs[2].error if isinstance(runs[2], FailedRun) else "")
    alone = RunConfig(**{**vars(config), "out": tmp_path / "alone"})
    score_series(alone, models[:2])
    for step in steps:
        same(tmp_path / "farm" / step, tmp_path / "alone" / step)
    state = read_state(tmp_path / "farm")
    assert (state.state, state.jobs_done, state.jobs_failed) == ("done", 2, 1)
    assert state.engines[0].deaths == 1


@pytest.mark.full
def test_a_machine_is_removed(tmp_path: Path, cluster: Any) -> None:
    data = write_questions(tmp_path / "q.jsonl", 12_000)
    score(fake(data, tmp_path / "alone"))
    second = cluster.add_node(**node(gpus=2))
    removed: list[Node] = []

    def watch(state: FarmState) -> None:
        if not removed and min(engine.samples for engine in state.engines) > 1000:
            removed.append(second)
            cluster.remove_node(second, allow_graceful=False)

    score_farm(
        fake(data, tmp_path / "farm"),
        farm=FarmOptions(engines=2, gpus_per_engine=2, cpus_per_engine=1),
        watch=watch,
    )
    assert removed
    same(tmp_path / "farm", tmp_path / "alone")


@pytest.mark.full
def test_a_sample_that_kills_is_unscored_and_no_other(tmp_path: Path, cluster: Any) -> None:  # noqa: ARG001 - it runs on it
    data = write_questions(tmp_path / "q.jsonl", 400, deadly=100)
    [run] = score_farm(fake(data, tmp_path / "farm"), farm=FarmOptions(engines=2, cpus_per_engine=1))
    score(fake(data, tmp_path / "alone"))
    found, expected = lines(tmp_path / "farm"), lines(tmp_path / "alone")
    line = found.pop(("q", DEADLY))
    expected.pop(("q", DEADLY))
    assert found == expected
    assert (line["status"], line["reason_kind"]) == ("unscored", "engine-died")
    assert "killed, by somebody or for want of memory" in line["reason"]
    assert isinstance(run, ScoredRun)
    assert (run.summary.overall.scored, run.summary.overall.unscored) == (399, 1)


@pytest.mark.full
def test_the_driver_s_disk_is_full(tmp_path: Path, cluster: Any) -> None:  # noqa: ARG001 - it runs on it
    """Files of this process may not grow beyond a size; Ray's own processes are there already."""
    data = write_questions(tmp_path / "q.jsonl", 2000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    options = FarmOptions(engines=2, cpus_per_engine=1)

    class Full(SilentProgress):
        def start(self, *_: object) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))

    try:
        with pytest.raises(ResultsError, match="File too large"):
            score_farm(fake(data, tmp_path / "farm"), farm=options, progress=Full())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert 0 < len(lines(tmp_path / "farm")) < 2000
    score_farm(fake(data, tmp_path / "farm"), farm=options)
    score(fake(data, tmp_path / "alone"))
    same(tmp_path / "farm", tmp_path / "alone")


@pytest.mark.full
def test_no_room(tmp_path: Path, cluster: Any) -> None:  # noqa: ARG001 - it runs on it
    data = write_questions(tmp_path / "q.jsonl", 10)
    with pytest.raises(UsageError, match=r"--gpus-per-engine 8 .* the largest has 2 GPUs"):
        score_farm(fake(data, tmp_path / "farm"), farm=FarmOptions(gpus_per_engine=8))


@pytest.mark.full
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_driver_that_ends_leaves_no_process_and_score_goes_on(tmp_path: Path, number: signal.Signals) -> None:
    data, out = write_questions(tmp_path / "q.jsonl", 10_000), tmp_path / "out"
    words = ["--engine", "fake", "--data", str(data), "--out", str(out)]
    marked = Marked(**QUIET)
    farm = [sys.executable, "-m", "radar_fast", "farm", *words, "--address", "local", "--engines", "2"]
    with subprocess.Popen(
        [*farm, "--cpus-per-engine", "1"],
        env=marked.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            while not (out / "samples.jsonl").exists() or (out / "samples.jsonl").stat().st_size < 100_000:
                assert process.poll() is None
                time.sleep(0.01)
            process.send_signal(number)
            _, errors = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode in (-number, 128 + number)
    assert "Traceback" not in errors
    processes, segments = marked.left_after(60)
    assert (processes, segments) == ({}, set())
    before = len(out.joinpath("samples.jsonl").read_bytes().splitlines())
    assert 0 < before < 10_000
    assert run_cli("score", *words).exit_code == 0
    score(fake(data, tmp_path / "alone"))
    same(out, tmp_path / "alone")
