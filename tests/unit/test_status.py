"""How far jobs are, seen from outside, while one of them is being written."""

import json
import shutil
from pathlib import Path

import pytest
from bench_data import write_jsonl
from command_line import run_cli

from radar_fast import ResultsError, RunConfig, score
from radar_fast.farm.state import FarmState, write_state
from radar_fast.farm.status import JobStatus, status_of
from radar_fast.results.journal import Journal
from radar_fast.results.merge import merge_shards
from radar_fast.shard import Shard


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """``step-20`` is done, of ``step-3`` one of two shards."""
    data, out = write_jsonl(tmp_path / "data", count=150), tmp_path / "out"
    score(RunConfig(data=data, out=out / "step-20", engine="fake"))
    score(RunConfig(data=data, out=out / "step-3", engine="fake", shard=Shard(1, 2)))
    return out


def cut(folder: Path, lines: int) -> None:
    journal = folder / "samples.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:lines]))


def told(out: Path) -> dict[str, tuple[str, int, int | None]]:
    return {job.folder: (job.state, job.done, job.samples) for job in status_of(out).jobs}


def test_what_is_done_and_what_is_not(out: Path) -> None:
    shard = "step-3/shard-00001-of-00002"
    assert told(out) == {"step-20": ("done", 150, 150), shard: ("done", 64, 64)}
    cut(out / "step-20", 9)
    with Journal.open(out / "step-20" / "samples.jsonl"):
        assert told(out)["step-20"] == ("running", 9, 150)
    assert told(out / "step-20") == {".": ("running", 9, 150)}, "written a moment ago, if not locked any more"
    with (out / "step-20" / "samples.jsonl").open("ab") as journal:
        journal.write(b'{"torn')
    assert told(out)["step-20"][1] == 9


def test_it_is_printed_and_is_json(out: Path) -> None:
    table = run_cli("status", out)
    assert table.exit_code == 0
    assert "214 of 214 samples, 2 of 2 result folders done" in table.stdout
    document = json.loads(run_cli("status", out, "--json").stdout)
    assert (document["samples"], document["done"], document["farm"]) == (214, 214, None)
    assert [job["shard"] for job in document["jobs"]] == [None, "1/2"]
    assert set(document["jobs"][0]) == set(JobStatus.__dataclass_fields__)


def test_merged_shards_are_not_counted_twice(out: Path) -> None:
    merge_shards(out / "step-3", partial=True)
    assert told(out) == {"step-20": ("done", 150, 150), "step-3": ("running", 64, 150)}


def test_what_cannot_be_read_is_said(out: Path) -> None:
    (out / "step-20" / "run.json").write_text("{")
    result = run_cli("status", out)
    assert result.exit_code == 0
    assert "step-20: " in result.stderr
    assert told(out)["step-20"][0] == "unreadable"
    shutil.rmtree(out / "step-20")
    shutil.rmtree(out / "step-3")
    with pytest.raises(ResultsError, match="holds no result folder"):
        status_of(out)


def test_a_farm_says_where_it_is(out: Path) -> None:
    write_state(out, FarmState("running", 1, "node7", 0.0, 0.0, 2, 1, 0, 300, 150, 100, 50.0, ()))
    assert "farm on node7: running, 0 of 0 engines at work, 2.0 samples/s, 1:15 left" in run_cli("status", out).stdout
