"""The journal survives what happens to a long run: SIGKILL, a full disk, a second process, odd text."""

import fcntl
import json
import math
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from some_records import a_record, a_sample, records

from radar_fast.errors import BusyError, ResultsError
from radar_fast.results import journal as module
from radar_fast.results.journal import Journal, read_records
from radar_fast.results.record import Record, line_of, record_of
from radar_fast.sample import Reason, ReasonKind, Scored

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "samples.jsonl"


def write(path: Path, *records: Record) -> None:
    with Journal.open(path) as journal:
        journal.append(records)


# What is written


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(st.lists(records(), max_size=4, unique_by=lambda record: record.key))
def test_what_is_written_is_read_back_exactly(path: Path, written: list[Record]) -> None:
    path.unlink(missing_ok=True)
    write(path, *written)
    assert list(read_records(path)) == written
    with Journal.open(path) as journal:
        assert (journal.done | journal.passing.keys(), journal.repaired_bytes) == (
            {record.key for record in written},
            0,
        )


@pytest.mark.parametrize("replaced", [False, True])
def test_nothing_is_written_to_a_file_that_has_lost_its_name(path: Path, replaced: bool) -> None:
    """It would be lost without a word; so it would where run.json is a link to the same file, and is written anew."""
    with Journal.open(path) as journal:
        journal.append([a_record(1)])
        path.unlink()
        if replaced:
            path.write_bytes(b"")
        with pytest.raises(ResultsError, match="was removed or replaced while it was being written to"):
            journal.append([a_record(2)])
        assert a_record(2).key not in journal.done
        with pytest.raises(ResultsError, match="is closed"):
            journal.append([a_record(2)])


def test_a_record_that_makes_no_line_keeps_the_whole_call_from_being_written(path: Path) -> None:
    with (
        Journal.open(path) as journal,
        pytest.raises(ResultsError, match=r"'q0' of task 'task'.*infinite or not a number"),
    ):
        journal.append([a_record(1), replace(a_record(), seconds=math.nan)])
    assert path.read_bytes() == b""


def test_a_sample_is_written_once(path: Path) -> None:
    with Journal.open(path) as journal:
        journal.append([a_record(1)])
        for again in ([a_record(1)], [a_record(2), a_record(2)]):
            with pytest.raises(ResultsError, match=r"already has sample 'q\d' of task 'task'"):
                journal.append(again)
        journal.append([a_record(1, task="another task")])
        assert journal.done == {("task", "q1"), ("another task", "q1")}
    assert len(list(read_records(path))) == 2


def test_a_sample_that_is_there_twice_is_an_error_with_both_lines(path: Path) -> None:
    write(path, *map(a_record, range(3)))
    with path.open("ab") as file:
        file.write(line_of(replace(a_record(0), candidates=("some", "other", "texts"))))
    for reading in (lambda: Journal.open(path), lambda: list(read_records(path))):
        with pytest.raises(ResultsError, match="lines 1 and 4: both are sample 'q0' of task 'task'"):
            reading()


def test_lines_that_say_the_same_count_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Two runs wrote to a folder without locks."""
    written = list(map(a_record, range(3)))
    write(path, *written)
    with path.open("ab") as file:
        file.write(line_of(replace(written[0], seconds=7.5, tokens_computed=9)) + line_of(written[2]))
    assert list(read_records(path)) == written
    assert "2 lines repeat" in caplog.text
    with Journal.open(path) as journal:
        assert (journal.repeated, len(journal.done), journal.repaired_bytes) == (2, 3, 0)
        journal.append([a_record(3)])
    assert len(list(read_records(path))) == 4


def unscored(number: int, kind: str, reason: str = "why") -> Record:
    return record_of(Scored(a_sample(number), reason=Reason(ReasonKind(kind), reason)))


@pytest.mark.parametrize("kind", ["missing-image", "io-error"])
def test_what_may_pass_is_tried_again_and_replaced(path: Path, kind: str) -> None:
    write(path, unscored(0, kind), a_record(1), unscored(2, "bad-record"), unscored(3, kind))
    with Journal.open(path) as journal:
        assert journal.done == {("task", "q1"), ("task", "q2")}
        assert set(journal.passing) == {("task", "q0"), ("task", "q3")}
        size = path.stat().st_size
        journal.append([unscored(3, kind)])
        assert path.stat().st_size == size, "it has failed again: nothing new"
        journal.append([a_record(0), unscored(3, kind, "another"), a_record(4)])
        assert set(journal.passing) == {("task", "q3")}
        with pytest.raises(ResultsError, match="already has"):
            journal.append([a_record(0)])
    wanted = [a_record(1), unscored(2, "bad-record"), a_record(0), unscored(3, kind, "another"), a_record(4)]
    assert list(read_records(path)) == wanted
    with path.open("ab") as file:
        file.write(line_of(unscored(0, kind)))
    with pytest.raises(ResultsError, match="lines 5 and 8: both are"):
        list(read_records(path))


def test_the_second_of_two_writers_notices_where_there_are_no_locks(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with Journal.open(path) as one, Journal.open(path) as other:
        one.append([a_record(0)])
        with pytest.raises(BusyError, match="another process writes to"):
            other.append([a_record(1)])
        with pytest.raises(ResultsError, match="is closed"):
            other.append([a_record(1)])
        one.append([a_record(2)])
    assert list(read_records(path)) == [a_record(0), a_record(2)]


# Torn ends


def test_a_journal_cut_anywhere_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)  # four a length, and no power fails here
    whole = tmp_path / "whole.jsonl"
    everything = [a_record(number, candidates=("a", "b", "c")) for number in range(5)]
    write(whole, *everything)
    data = whole.read_bytes()
    path = tmp_path / "samples.jsonl"
    for length in range(len(data) + 1):
        path.write_bytes(data[:length])
        lines = data[:length].count(b"\n")
        assert list(read_records(path)) == everything[:lines]
        assert path.stat().st_size == length  # reading repairs nothing
        with Journal.open(path) as journal:
            assert journal.done == {record.key for record in everything[:lines]}
            assert journal.repaired_bytes == length - (data[:length].rfind(b"\n") + 1)
            journal.append([record for record in everything if record.key not in journal.done])
        assert path.read_bytes() == data


@pytest.mark.parametrize(
    "tail",
    [
        b"\0" * 4096,
        b'{"id": "q9", "task"' + b"\0" * 512,
        b"\n",
        b'{"id": "q9"\n{"id"\n\0\0\n',
        b'{"id": "q9", "seconds": NaN}\n',
        b"\xff\xfe\n",
        b"[" * 100_000 + b"\n",
        b'{"n": ' + b"9" * 5000 + b"}\n",
        b'{"id": "complete, but for its newline"}',
    ],
)
@pytest.mark.parametrize("lines", [0, 2])
def test_any_unreadable_end_is_cut_off(path: Path, tail: bytes, lines: int) -> None:
    write(path, *map(a_record, range(lines)))
    good = path.read_bytes()
    if not lines and tail.lstrip(b"\0")[:1] not in (b"", b"{"):
        tail = b"{" + tail
    path.write_bytes(good + tail)
    assert len(list(read_records(path))) == lines
    with Journal.open(path) as journal:
        assert (journal.repaired_bytes, len(journal.done)) == (len(tail), lines)
    assert path.read_bytes() == good


def test_damage_in_the_middle_is_an_error_and_left_alone(path: Path) -> None:
    write(path, *map(a_record, range(5)))
    lines = path.read_bytes().splitlines(keepends=True)
    data = b"".join([lines[0], lines[1][:40] + b"\n", *lines[2:]])
    path.write_bytes(data)
    for reading in (lambda: Journal.open(path), lambda: list(read_records(path))):
        with pytest.raises(ResultsError, match=r"samples\.jsonl, line 2: not readable as JSON, with readable lines"):
            reading()
    assert path.read_bytes() == data


@pytest.mark.parametrize(
    ("change", "message"),
    [({"logits": None}, "'logits' has the wrong type"), ({"logits": []}, "3 candidates, but scores of 0 and 3")],
)
def test_a_line_of_something_else_is_no_torn_line(path: Path, change: dict[str, Any], message: str) -> None:
    write(path, a_record())
    data = json.dumps({**json.loads(path.read_text()), **change}).encode() + b"\n"
    path.write_bytes(data)
    with pytest.raises(ResultsError, match=f"line 1: JSON, but not a record of this version.*{message}"):
        Journal.open(path)
    assert path.read_bytes() == data


def test_a_number_beyond_floats_is_no_record(path: Path) -> None:
    write(path, a_record())
    line = json.loads(path.read_text())
    line["logits"][0][0] = 10**400
    path.write_text(json.dumps(line) + "\n")
    with pytest.raises(ResultsError, match="line 1: JSON, but not a record"):
        list(read_records(path))


@pytest.mark.parametrize("data", [b"[]\n", b"null\n", b'{"question": "theirs"}\n', b"a shopping list\nmilk\n"])
def test_somebody_elses_file_is_not_emptied(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(ResultsError, match=r"move it away|Move the file away"):
        Journal.open(path)
    assert path.read_bytes() == data


# Death of the writer

WRITER = """
    import sys
    from pathlib import Path
    from some_records import a_record
    from radar_fast.results.journal import Journal

    path, total = Path(sys.argv[1]), int(sys.argv[2])
    with Journal.open(path) as journal:
        print("open", flush=True)
        missing = [n for n in range(total) if ("task", f"q{n}") not in journal.done]
        while missing:
            journal.append([a_record(n, metadata={"question": "?" * 3000}) for n in missing[:3]])
            print(missing[:3][-1], flush=True)
            missing = missing[3:]
"""


def start(code: str, *arguments: str | int | Path, **options: Any) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests" / "support")))}
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, **options)


def test_a_writer_killed_at_random_moments_loses_nothing_it_reported(path: Path) -> None:
    moments = random.Random(0)
    reported = -1
    for _ in range(10):
        with start(WRITER, path, 1_000_000) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "open\n"
            time.sleep(moments.uniform(0, 0.15))
            writer.send_signal(signal.SIGKILL)
            finished = writer.stdout.read().splitlines()
        # The pipe's last line may itself have been cut short.
        reported = max([reported, *map(int, finished[:-1])])
        written = [record.id for record in read_records(path)]
        assert written == [f"q{number}" for number in range(len(written))]
        assert len(written) > reported
    with Journal.open(path) as journal:
        assert {f"q{number}" for number in range(reported + 1)} <= {id for _, id in journal.done}  # noqa: A001


FULL_DISK = """
    import os, resource, sys
    from pathlib import Path
    from some_records import a_record
    from radar_fast.errors import ResultsError
    from radar_fast.results.journal import Journal

    path, limit, batch = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    journal = Journal.open(path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        for n in range(0, 100, batch):
            journal.append([a_record(m) for m in range(n, n + batch)])
    except ResultsError as error:
        print(error)
        print(sorted(id for _, id in journal.done))
"""


@pytest.mark.parametrize("batch", [1, 7, 100])
@pytest.mark.parametrize("limit", [5000, 1])
def test_a_write_that_the_kernel_cuts_short(path: Path, batch: int, limit: int) -> None:
    with start(FULL_DISK, path, limit, batch) as writer:
        output = writer.communicate()[0].splitlines()
    assert writer.returncode == 0
    assert len(output) == 2
    message, done = output
    assert message.startswith(f"cannot write to {path}: File too large. What is in it stays readable; ")
    data = path.read_bytes()
    kept = [record.id for record in read_records(path)]
    assert kept == [f"q{number}" for number in range(len(kept))]
    assert str(sorted(kept)) == done
    assert data == b"" if limit == 1 else len(kept) >= 5
    assert data[-1:] in (b"", b"\n")  # nothing torn is left even before it is opened again
    with Journal.open(path) as journal:
        assert journal.repaired_bytes == 0
        journal.append([a_record(number) for number in range(len(kept), 100)])
    assert [record.id for record in read_records(path)] == [f"q{number}" for number in range(100)]


def test_after_a_failed_write_the_journal_is_closed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with Journal.open(path) as journal:
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(ResultsError, match="No space left on device"):
            journal.append([a_record()])
        assert not journal.done
        with pytest.raises(ResultsError, match="is closed; open it again"):
            journal.append([a_record()])
    journal.close()


def test_an_interrupted_write_leaves_whole_lines_and_may_go_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_some = os.write

    def interrupted(descriptor: int, data: bytes) -> int:
        write_some(descriptor, bytes(data)[: len(data) // 2])
        raise KeyboardInterrupt

    with Journal.open(path) as journal:
        monkeypatch.setattr(os, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            journal.append([a_record(number) for number in range(5)])
        monkeypatch.undo()
        assert len(journal.done) == 2
        journal.append([a_record(number) for number in range(2, 5)])
    assert list(read_records(path)) == [a_record(number) for number in range(5)]


def test_the_disk_is_asked_now_and_then(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal.open(path)
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    clock = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    journal.append([a_record(1)])
    assert len(synced) == 0
    clock += module.SYNC_SECONDS
    journal.append([a_record(2)])
    journal.append([a_record(3)])
    assert len(synced) == 1
    journal.close()
    journal.close()
    assert len(synced) == 2


# One writer

HOLDER = """
    import sys
    from pathlib import Path
    from radar_fast.results.journal import Journal

    with Journal.open(Path(sys.argv[1])):
        print("open", flush=True)
        sys.stdin.read()
"""


def test_a_second_process_is_refused_until_the_first_ends(path: Path) -> None:
    write(path, a_record())
    with start(HOLDER, path, stdin=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(BusyError, match=r"another process is writing to .*samples\.jsonl.*name another --out"):
            Journal.open(path)
        assert len(list(read_records(path))) == 1  # reading goes on meanwhile
        holder.kill()
    with Journal.open(path) as journal:
        assert journal.locked


FORKING = """
    import os, sys, time
    from pathlib import Path
    from radar_fast.errors import ResultsError
    from radar_fast.results.journal import Journal

    journal = Journal.open(Path(sys.argv[1]))
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        time.sleep(60)
    time.sleep(60)
"""


def test_a_forked_worker_that_outlives_the_writer_does_not_keep_the_lock(path: Path) -> None:
    with start(FORKING, path) as writer:
        assert writer.stdout is not None
        worker = int(writer.stdout.readline())
        try:
            with pytest.raises(ResultsError, match="another process"):
                Journal.open(path)
            writer.kill()
            writer.wait()
            Journal.open(path).close()
        finally:
            os.kill(worker, signal.SIGKILL)


def test_a_file_system_without_locks_is_usable(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(_descriptor: int, _operation: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with Journal.open(path) as journal:
        journal.append([a_record()])
        assert not journal.locked


# Reading


def test_reading_stops_where_the_file_ended_at_the_first_record(path: Path) -> None:
    write(path, *map(a_record, range(3)))
    data = path.read_bytes()
    half = len(data) - 50
    path.write_bytes(data[:half])
    reading = read_records(path)
    assert next(reading).id == "q0"
    with path.open("ab") as file:  # the writer finishes its line, and the next
        file.write(data[half:])
    write(path, a_record(3))
    assert [record.id for record in reading] in (["q1"], ["q1", "q2"])


def test_reading_is_lazy(path: Path) -> None:
    write(path, *map(a_record, range(3)))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1] + b"{\n" + lines[2])
    reading = read_records(path)
    assert [next(reading).id, next(reading).id] == ["q0", "q1"]
    with pytest.raises(ResultsError, match="line 3"):
        next(reading)


@pytest.mark.parametrize("where", ["missing/samples.jsonl", "folder"])
def test_a_path_that_is_no_file_is_one_clear_error(tmp_path: Path, where: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ResultsError, match=f"cannot open .*{where}"):
        Journal.open(tmp_path / where)
    with pytest.raises(ResultsError, match=f"cannot read .*{where}"):
        next(read_records(tmp_path / where))


def test_a_pipe_is_refused(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(ResultsError, match="not a regular file"):
        Journal.open(path)


def test_the_error_under_way_is_not_hidden_by_closing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    def fail_in(journal: Journal) -> None:
        with journal:
            monkeypatch.setattr(os, "fsync", failing)
            raise ZeroDivisionError

    journal = Journal.open(path)
    with pytest.raises(ZeroDivisionError):
        fail_in(journal)
    monkeypatch.undo()
    journal = Journal.open(path)
    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(ResultsError, match=r"cannot save .*Input/output error"):
        journal.close()
    monkeypatch.undo()
    Journal.open(path).close()  # closed and unlocked all the same
