"""A user's command that makes a checkpoint: its output is kept, its time limited, and nothing of it is left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from radar_fast import ModelError, UsageError
from radar_fast.util.orphans import name_of
from radar_fast.watch.conversion import Conversion

GOOD = (
    "import sys, pathlib; print('converting', sys.argv[1]); out = pathlib.Path(sys.argv[2]); out.mkdir(); "
    "(out / 'config.json').write_text('{}'); pathlib.Path('rubbish').touch()"
)


def command(code: str) -> str:
    return f'{sys.executable} -c "{code}" {{input}} {{output}}'


def converted(tmp_path: Path, code: str, timeout: float = 60.0) -> list[str]:
    source = tmp_path / "step 1"
    source.mkdir(exist_ok=True)
    with Conversion(command(code), timeout).converted(source, tmp_path / "scratch", tmp_path / "logs" / "log") as made:
        assert made.name == "step 1"
        return sorted(path.name for path in (tmp_path / "scratch").rglob("*"))


def test_what_it_makes_goes_afterwards_and_what_it_said_stays(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch" / "of one that was killed").touch()
    assert converted(tmp_path, GOOD) == ["config.json", "rubbish", "step 1"]
    assert not (tmp_path / "scratch").exists()
    assert (tmp_path / "logs" / "log").read_text() == f"converting {tmp_path / 'step 1'}\n"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("print('no such tensor'); raise SystemExit(3)", r"ended with status 3 for step 1: no such tensor; see .*log"),
        ("import os; os.kill(os.getpid(), 9)", r"ended by signal 9 for step 1: it said nothing"),
        ("print('fine')", r"made no checkpoint of step 1: there is no config.json in its \{output\}"),
    ],
)
def test_a_failure_is_told_with_its_last_line(code: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=said):
        converted(tmp_path, code)
    assert not (tmp_path / "scratch").exists()


def test_one_that_takes_too_long_is_ended_with_all_that_it_has_started(tmp_path: Path) -> None:
    child = tmp_path / "child"
    code = (
        "import subprocess, sys, time, pathlib; c = subprocess.Popen(['sleep', '600']); "
        f"pathlib.Path('{child}').write_text(str(c.pid)); time.sleep(600)"
    )
    with pytest.raises(ModelError, match=r"step 1 took more than 4 s, and was ended"):
        converted(tmp_path, code, timeout=4)
    pid = int(child.read_text())
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and Path(f"/proc/{pid}/cmdline").exists():
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        if state == "Z":
            break
        time.sleep(0.05)
    else:
        assert not Path(f"/proc/{pid}").exists()


@pytest.mark.full
def test_one_whose_watch_is_killed_ends_with_all_that_it_has_started(tmp_path: Path) -> None:
    """Neither the command nor what it starts knows of us."""
    child = tmp_path / "child"
    started = (
        "import subprocess, sys, time, pathlib; c = subprocess.Popen(['sleep', '600']); "
        f"pathlib.Path('{child}.new').write_text(str(c.pid)); pathlib.Path('{child}.new').rename('{child}'); "
        "time.sleep(600)"
    )
    (tmp_path / "step 1").mkdir()
    watch = (
        "import sys; from pathlib import Path; from radar_fast.watch.conversion import Conversion\n"
        "here = Path(sys.argv[1])\n"
        "with Conversion(sys.argv[2]).converted(here / 'step 1', here / 'scratch', here / 'log'): pass"
    )
    with subprocess.Popen([sys.executable, "-c", watch, str(tmp_path), command(started)]) as process:
        try:
            deadline = time.monotonic() + 60
            while not child.exists():
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
        finally:
            process.kill()
    pid = int(child.read_text())
    deadline = time.monotonic() + 30
    try:
        while name_of(pid):
            assert time.monotonic() < deadline, "it goes on for nobody"
            time.sleep(0.05)
    finally:
        if name_of(pid):
            os.killpg(os.getpgid(pid), signal.SIGKILL)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("convert {input}", r"has no \{output\}"),
        ("{input} {output}", r"has no \{input\}"),
        ("convert '{input} {output}", "cannot be taken apart: No closing quotation"),
    ],
)
def test_a_command_that_cannot_be_one(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Conversion(text, 60)


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match="--convert: no-such-program cannot be started"),
        Conversion("no-such-program {input} {output}", 60).converted(tmp_path, tmp_path / "s", tmp_path / "log"),
    ):
        pass
