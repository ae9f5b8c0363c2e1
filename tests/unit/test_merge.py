"""Shards put together are what one process writes; what does not belong together is not put together."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bench_data import write_jsonl
from command_line import run_cli
from processes import uncovered

from radar_fast import BusyError, ResultsError, RunConfig, Summary, score, summarize
from radar_fast.results.folder import ResultFolder
from radar_fast.results.journal import Journal, read_records
from radar_fast.results.merge import folders_with_shards, merge_shards
from radar_fast.results.record import Key, Record
from radar_fast.shard import Shard

COUNT = 300


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Windows 0 to 4, the last of 43; one sample is unfit, and the image of another is not there."""
    data = write_jsonl(tmp_path_factory.mktemp("merge") / "data", count=COUNT, options=["only one"])
    (data / "70.png").unlink()
    return data


def config(data: Path, out: Path, shard: Shard | None = None) -> RunConfig:
    return RunConfig(data=data, out=out, engine="fake", shard=shard)


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> ResultFolder:
    """One process. Read only."""
    out = tmp_path_factory.mktemp("whole") / "out"
    score(config(data, out))
    return ResultFolder(out)


@pytest.fixture(scope="module")
def scored(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shards. Read only."""
    out = tmp_path_factory.mktemp("shards") / "out"
    for index in range(3):
        score(config(data, out, Shard(index, 3)))
    return out


@pytest.fixture
def shards(scored: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(scored, tmp_path / "out"))


def by_key(folder: Path) -> dict[Key, Record]:
    records = list(read_records(folder / "samples.jsonl"))
    assert len({record.key for record in records}) == len(records)
    return {record.key: replace(record, seconds=0.0) for record in records}


def numbers(summary: Summary) -> Any:
    return {name: value for name, value in summary.to_dict().items() if name != "engine"}


def same_as(whole: ResultFolder, folder: Path) -> None:
    assert by_key(folder) == by_key(whole.path)
    assert numbers(summarize(folder)) == numbers(whole.read_summary())


def test_what_is_merged_is_what_one_process_writes(shards: Path, whole: ResultFolder) -> None:
    result = run_cli("merge", shards)
    assert result.exit_code == 1, "a sample is unfit, as in one process"
    assert f"{shards}: {COUNT} samples of 3 shards" in result.stdout
    assert "INCOMPLETE" not in result.stdout
    same_as(whole, shards)
    merged, one = ResultFolder(shards).manifest(), whole.manifest()
    assert (merged.identity, merged.images, merged.step, merged.shard) == (one.identity, one.images, None, {})
    assert {**merged.configuration, "out": None} == {**one.configuration, "out": None}
    assert merged.engine["name"] == "fake"
    assert [(part["shard"], part["samples"]) for part in merged.merged] == [("0/3", 129), ("1/3", 107), ("2/3", 64)]
    import jsonschema

    from radar_fast.results import schema

    jsonschema.Draft202012Validator(schema("run")).validate(json.loads((shards / "run.json").read_bytes()))


def test_merging_again_adds_nothing(shards: Path, whole: ResultFolder) -> None:
    assert merge_shards(shards).fresh == COUNT
    before = {path: path.read_bytes() for path in shards.rglob("*") if path.is_file()}
    again = merge_shards(shards)
    assert (again.fresh, again.missing) == (0, 0)
    assert {path: path.read_bytes() for path in shards.rglob("*") if path.is_file()} == before
    same_as(whole, shards)


def test_a_merged_folder_is_a_result_folder_like_any_other(shards: Path, data: Path, whole: ResultFolder) -> None:
    """``score`` of the whole finishes what a partial merge left, and a later merge leaves that as it is."""
    shutil.rmtree(shards / "shard-00001-of-00003")
    merged = merge_shards(shards, partial=True)
    assert (merged.shards, merged.fresh, merged.missing) == (2, 193, 107)
    assert (summarize(shards).missing, summarize(shards).complete) == (107, False)
    assert score(config(data, shards)).complete
    same_as(whole, shards)
    assert merge_shards(shards, partial=True).fresh == 0
    same_as(whole, shards)


def test_a_killed_merge_goes_on(shards: Path, whole: ResultFolder) -> None:
    """SIGKILL between two writes of it, again and again."""
    slow = (
        "import sys, os, signal, radar_fast.results.merge as merge\n"
        "merge._BATCH = 40\n"
        "append, left = merge.Journal.append, [int(sys.argv[2])]\n"
        "def some(journal, records):\n"
        "    append(journal, records); left[0] -= 1\n"
        "    left[0] or os.kill(os.getpid(), signal.SIGKILL)\n"
        "merge.Journal.append = some; merge.merge_shards(sys.argv[1])"
    )
    journal = shards / "samples.jsonl"
    before = 0
    for _ in range(3):
        killed = subprocess.run([sys.executable, "-c", slow, str(shards), "2"], env=uncovered(), check=False)
        assert killed.returncode == -signal.SIGKILL
        grown = journal.read_bytes().count(b"\n")
        assert before < grown < COUNT
        before = grown
        with journal.open("ab") as file:
            file.write(b'{"torn')
    merge_shards(shards)
    same_as(whole, shards)


def test_killed_before_its_first_sample_it_has_done_no_harm(shards: Path, whole: ResultFolder) -> None:
    merge_shards(shards)
    (shards / "samples.jsonl").write_bytes(b"")
    merge_shards(shards)
    same_as(whole, shards)


def remove(name: str) -> Callable[[Path], object]:
    return lambda out: shutil.rmtree(out / name)


def cut(out: Path) -> None:
    journal = out / "shard-00002-of-00003" / "samples.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:-5]))


def swap(out: Path) -> None:
    shutil.rmtree(out / "shard-00001-of-00003")
    (out / "shard-00000-of-00003").rename(out / "shard-00001-of-00003")


def change_run(out: Path, change: Callable[[Any], None], name: str = "shard-00001-of-00003") -> None:
    run = json.loads((out / name / "run.json").read_bytes())
    change(run)
    (out / name / "run.json").write_text(json.dumps(run))


def share(out: Path) -> None:
    lines = (out / "shard-00000-of-00003" / "samples.jsonl").read_bytes().splitlines(keepends=True)
    with (out / "shard-00001-of-00003" / "samples.jsonl").open("ab") as file:
        file.write(lines[4])


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (remove("shard-00001-of-00003"), r"not complete: shard 1/3 is not there; give the same score commands again"),
        (cut, r"not complete: shard 2/3 lacks 5 of 64 samples; .* --partial"),
        (swap, r"shard-00001-of-00003: holds shard 0/3, as its run.json says"),
        (share, r"sample 'q\d+' of task 'colours' is in shard-00000-of-00003 and in shard-00001-of-00003"),
        (lambda out: (out / "shard-00000-of-00002").mkdir(), r"holds shards of 2 and of 3"),
        (
            lambda out: change_run(out, lambda run: run["identity"]["engine"].update(name="vllm")),
            r"shard-00001-of-00003: is of another run than shard-00000-of-00003; .*--engine was fake, is vllm",
        ),
        (
            lambda out: change_run(out, lambda run: run["images"].update(digest="0")),
            r"images of the benchmark had been replaced since shard-00000-of-00003",
        ),
        (
            lambda out: change_run(out, lambda run: run["shard"].update(samples=107 + 7)),
            r"its shards have 307 samples, and the benchmark 300",
        ),
        (lambda out: change_run(out, lambda run: run.pop("shard")), r"holds no shard, as its run.json says"),
        (lambda out: (out / "shard-00001-of-00003" / "run.json").unlink(), r"not a radar-fast result folder"),
    ],
)
def test_what_does_not_belong_together_is_refused(shards: Path, harm: Callable[[Path], Any], said: str) -> None:
    harm(shards)
    with pytest.raises(ResultsError, match=said):
        merge_shards(shards)
    assert not (shards / "samples.jsonl").exists()
    assert not (shards / "run.json").exists()


def test_a_folder_with_results_of_another_run_stays_as_it_is(shards: Path, data: Path) -> None:
    other = RunConfig(data=data, out=shards.with_name("other"), engine="fake", limit=3)
    score(other)
    for path in other.out.iterdir():
        shutil.copy(path, shards)
    before = (shards / "samples.jsonl").read_bytes()
    with pytest.raises(ResultsError, match="holds results of another configuration"):
        merge_shards(shards)
    assert (shards / "samples.jsonl").read_bytes() == before


def test_a_shard_that_is_being_written_is_waited_for(shards: Path) -> None:
    cut(shards)
    with (
        Journal.open(shards / "shard-00002-of-00003" / "samples.jsonl"),
        pytest.raises(BusyError, match=r"shard 2/3 lacks 5 of 64 samples; a process is at work on it"),
    ):
        merge_shards(shards)
    assert run_cli("merge", shards).exit_code == 2


def test_all_shards_below_a_folder(shards: Path, whole: ResultFolder) -> None:
    root = shards.with_name("farm")
    for name in ("a/step-1", "a/step-2", "b/step-1"):
        shutil.copytree(shards, root / name)
    shutil.rmtree(root / "a" / "step-2" / "shard-00000-of-00003")
    assert [str(folder.relative_to(root)) for folder in folders_with_shards(root)] == [
        "a/step-1",
        "a/step-2",
        "b/step-1",
    ]
    result = run_cli("merge", root)
    assert result.exit_code == 2
    assert "a/step-2: not merged: " in result.stderr
    for name in ("a/step-1", "b/step-1"):
        same_as(whole, root / name)
    with pytest.raises(ResultsError, match="holds no shards"):
        folders_with_shards(root / "a" / "step-1" / "shard-00000-of-00003")
    assert "holds the shards of 3 runs" in run_cli("merge", root, "--official-out", root / "o").stderr
