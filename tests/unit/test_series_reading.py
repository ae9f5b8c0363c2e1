"""Journals of a series: what is known from one is not parsed again in the next, and several processes read as one."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from some_records import a_record

from radar_fast.errors import ResultsError
from radar_fast.results.columns import ColumnReader, Columns, columns_of
from radar_fast.results.growth import reading
from radar_fast.results.growth.reading import read_series
from radar_fast.results.journal import read_records
from radar_fast.results.record import line_of

UNSCORED: dict[str, Any] = {"status": "unscored", "reason": "gone", "reason_kind": "missing-image"}
NOTHING: dict[str, Any] = {
    "logits": (),
    "logprobs": (),
    "sds": None,
    "sds_logprob": None,
    "correct": None,
    "correct_logprob": None,
}


def later_lines() -> dict[str, bytes]:
    """What a second journal may say of sample 1, whose line in the first is as it should be."""
    line = line_of(a_record(1))
    scores = ((5.0, 1.0), (2.0, 3.0), (0.5, 0.25))
    other = replace(a_record(1), logits=scores, logprobs=scores, candidates=("a", "b", "c"), answer=1)
    return {
        "the same": line,
        "other scores": line.replace(b'"seconds":', b'"seconds":1'),
        "other candidates": line_of(other),
        "unscored now": line_of(replace(a_record(1), **UNSCORED, **NOTHING)),
        "a member that replaces another": line.replace(b'"sds":', b'"answer":1,"sds":'),
        "one more": line.replace(b',"metadata":', b',"more":1,"metadata":'),
        "in another order": json.dumps(dict(sorted(json.loads(line).items()))).encode() + b"\n",
        "metadata that look like scores": line.replace(
            b'"metadata":{', b'"metadata":{"logits":"[[1]]","metadata":"x",'
        ),
    }


def same(found: Columns, expected: Columns) -> None:
    assert (found.rows, found.reasons) == (expected.rows, expected.reasons)
    for name in ("values", "candidates", "answers", "probabilities"):
        assert np.array_equal(getattr(found, name), getattr(expected, name), equal_nan=True), name


@pytest.mark.parametrize("name", later_lines())
@pytest.mark.parametrize("first", ["the same", "metadata that look like scores"])
def test_a_later_journal_is_read_as_its_records_say(name: str, first: str, tmp_path: Path) -> None:
    ends = [line_of(a_record(number)) for number in (0, 2)]
    paths = [tmp_path / f"{number}.jsonl" for number in range(3)]
    for path, line in zip(paths, (first, name, first), strict=True):
        path.write_bytes(ends[0] + later_lines()[line] + ends[1])
    reader = ColumnReader()
    for path in paths:
        same(reader.read(path), columns_of(read_records(path)))


@pytest.mark.parametrize(
    "damage",
    [
        (b'"sds":', b'"sds":,'),
        (b'"logits":[', b'"logits":[[],'),
        (b'"seconds":', b'"seconds":}{'),
        (b"]]", b"]"),
    ],
)
def test_damage_behind_a_known_beginning_is_said(damage: tuple[bytes, bytes], tmp_path: Path) -> None:
    lines = [line_of(a_record(number)) for number in range(3)]
    whole, broken = tmp_path / "whole.jsonl", tmp_path / "broken.jsonl"
    whole.write_bytes(b"".join(lines))
    broken.write_bytes(lines[0] + lines[1].replace(*damage, 1) + lines[2])
    reader = ColumnReader()
    reader.read(whole)
    with pytest.raises(ResultsError, match=r"broken\.jsonl, line 2"):
        reader.read(broken)


def test_a_sample_that_comes_twice_is_said(tmp_path: Path) -> None:
    lines = [line_of(a_record(number)) for number in range(2)]
    (tmp_path / "a").write_bytes(b"".join(lines))
    (tmp_path / "b").write_bytes(b"".join(lines) + line_of(replace(a_record(0), answer=1)))
    reader = ColumnReader()
    reader.read(tmp_path / "a")
    with pytest.raises(ResultsError, match="both are sample"):
        reader.read(tmp_path / "b")


def written(folder: Path, names: str = "abcdef") -> list[Path]:
    paths = [folder / name for name in names]
    for place, path in enumerate(paths):
        records = [replace(a_record(number), seconds=float(place + 1)) for number in range(6)]
        path.write_bytes(b"".join(map(line_of, records[: 4 + place // 2])))
    return paths


@pytest.mark.parametrize("processes", [1, 2, 3, 9])
def test_several_processes_read_what_one_does(processes: int, tmp_path: Path) -> None:
    paths = written(tmp_path)
    paths[4].write_bytes(paths[4].read_bytes() + b'{"torn": ')  # which a process leaves to this one
    for path, found in zip(paths, read_series(paths, processes=processes), strict=True):
        same(found, columns_of(read_records(path)))


def test_what_another_process_cannot_read_is_said_here(tmp_path: Path) -> None:
    paths = written(tmp_path)
    paths[-1].write_bytes(b"{}\n" + paths[-1].read_bytes())
    with pytest.raises(ResultsError, match="f, line 1"):
        list(read_series(paths, processes=2))


@pytest.mark.parametrize("broken", ["import nothing_of_that_name", "import os; os._exit(3)"])
def test_a_process_that_dies_costs_nothing(broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_CODE", broken)
    paths = written(tmp_path)
    assert [len(found.rows) for found in read_series(paths, processes=2)] == [4, 4, 5, 5, 6, 6]


def test_a_script_without_a_main_guard_is_not_run_again(tmp_path: Path) -> None:
    """As it would be where processes are spawned by the standard library."""
    written(tmp_path)
    script = tmp_path / "script.py"
    script.write_text(
        "import pathlib, sys\nfrom radar_fast.results.growth.reading import read_series\nprint('once')\n"
        "paths = sorted(pathlib.Path(sys.argv[1]).glob('?'))\n"
        "print(len(list(read_series(paths, processes=2))))\n"
    )
    done = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == ["once", "6"]
