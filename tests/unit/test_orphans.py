"""Processes end with the one that has started them, whoever started that; those of others do not."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from processes import Marked

from radar_fast.util.orphans import STARTER, ending_with_us, name_of

SLEEP = "import radar_fast, time; print('there', flush=True); time.sleep(600)"
STARTS = f"""
import os, subprocess, sys, time
from radar_fast.util.orphans import ending_with_us
with ending_with_us():
    child = subprocess.Popen([sys.executable, "-c", {SLEEP!r}], start_new_session=True)
    forked = os.fork()
    if not forked:
        grandchild = subprocess.Popen([sys.executable, "-c", {SLEEP!r}], start_new_session=True)
        time.sleep(600)
own = subprocess.Popen(["sleep", "600"], env={{"MINE": os.environ["MINE"]}}, start_new_session=True)
time.sleep(600)
"""


def test_children_and_theirs_end_with_a_starter_that_is_killed() -> None:
    """Started and forked ones, in sessions of their own; what the program starts for itself goes on."""
    marked = Marked(MINE=f"{os.getpid()}")
    with subprocess.Popen([sys.executable, "-c", STARTS], stdout=subprocess.PIPE, env=marked.environment) as process:
        try:
            assert process.stdout is not None
            assert [process.stdout.readline() for _ in range(2)] == [b"there\n"] * 2
            assert len(marked.processes()) == 4
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert marked.left_after(5.0) == ({}, set())
            own = [pid for pid in pids() if environ(pid) == f"MINE={os.getpid()}\0".encode()]
            assert own
        finally:
            process.kill()
            for pid in pids():
                if environ(pid) == f"MINE={os.getpid()}\0".encode():
                    os.kill(pid, signal.SIGKILL)


def pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def environ(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def test_a_process_whose_starter_is_gone_does_not_come_far() -> None:
    with subprocess.Popen(["true"]) as gone:
        name = name_of(gone.pid) or f"{gone.pid}:1"
    environment = {**os.environ, STARTER: name}
    started = time.monotonic()
    assert subprocess.run([sys.executable, "-c", SLEEP], env=environment, check=False).returncode == 1
    assert time.monotonic() - started < 60


NAMED = """
import multiprocessing, re, sys, time
from radar_fast.util.orphans import end_with_parent

def work(named):
    if named == "spawned":
        end_with_parent(re.compile("EngineCore"))
    if multiprocessing.current_process().name == "EngineCore_1":
        multiprocessing.get_context("fork").Process(target=work, args=("forked",), name="EngineCore_2").start()
    print("there", flush=True)
    time.sleep(600)

if __name__ == "__main__":
    end_with_parent(re.compile("EngineCore"))
    for name, how in (("EngineCore_1", "spawn"), ("EngineCore", "fork"), ("Mine", "fork"), ("Mine", "spawn")):
        multiprocessing.get_context(how).Process(target=work, args=(f"{how}ed",), name=name).start()
    time.sleep(600)
"""


def test_named_processes_end_with_a_parent_that_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forked and spawned ones, and theirs; whatever else the program has started goes on."""
    monkeypatch.delenv(STARTER, raising=False)
    (tmp_path / "program.py").write_text(NAMED)
    marked = Marked()
    command = [sys.executable, str(tmp_path / "program.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=marked.environment) as process:
        try:
            assert process.stdout is not None
            assert [process.stdout.readline() for _ in range(5)] == [b"there\n"] * 5
            before = marked.processes()
            mine = {pid for pid, ppid in map_parents(before).items() if ppid == process.pid}
            process.send_signal(signal.SIGKILL)
            process.wait()
            end = time.monotonic() + 5.0
            while time.monotonic() < end and len(marked.processes()) > 3:
                time.sleep(0.05)
            left = marked.processes()
            # The two of other names, and the resource tracker that goes with those that are spawned.
            assert len(left) == 3
            assert left.keys() <= mine
        finally:
            process.kill()
            for pid in marked.processes():
                os.kill(pid, signal.SIGKILL)


def map_parents(pids: Iterable[int]) -> dict[int, int]:
    return {pid: int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) for pid in pids}


def test_nothing_is_left_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(STARTER, raising=False)
    with ending_with_us():
        assert os.environ[STARTER] == name_of(os.getpid())
    assert STARTER not in os.environ
    monkeypatch.setenv(STARTER, "1:2")
    with ending_with_us():
        assert os.environ[STARTER] == name_of(os.getpid())
    assert os.environ[STARTER] == "1:2"


def test_sigterm_closes_what_is_open() -> None:
    code = (
        "import contextlib, os, signal, time\n"
        "from radar_fast.util.signals import end_when_asked\n"
        "end_when_asked()\n"
        "with contextlib.closing(type('X', (), {'close': lambda _: print('closed', flush=True)})()):\n"
        "    os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (143, "closed\n", "")
