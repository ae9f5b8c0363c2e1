"""Which shard is meant, what the environment says, and that the windows of all shards are those of the whole."""

import json
from pathlib import Path

import pytest
from bench_data import write_jsonl
from command_line import run_cli
from some_samples import some_samples

from radar_fast import RunConfig, UsageError, score
from radar_fast.shard import Shard, shard_folders, shard_of_environment
from radar_fast.windows import windows


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("unfit", [set(), set(range(50, 300)), {0, 399}])
def test_the_windows_of_all_shards_are_those_of_the_whole(unfit: set[int], count: int) -> None:
    samples = some_samples(400, unfit)
    of_shards = [list(windows(samples, shard=Shard(index, count))) for index in range(count)]
    assert all(window.number % count == index for index, some in enumerate(of_shards) for window in some)
    together = sorted((window for some in of_shards for window in some), key=lambda window: window.number)
    assert together == list(windows(samples))


def test_names() -> None:
    shard = Shard.parse("3/8")
    assert (shard, str(shard), shard.folder) == (Shard(3, 8), "3/8", "shard-00003-of-00008")


def test_folders_are_found_by_their_names(tmp_path: Path) -> None:
    for name in ("shard-00010-of-00012", "shard-00002-of-00012", "shard-0-of-2", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "shard-00003-of-00012").touch()
    found = shard_folders(tmp_path)
    assert [(str(shard), path.name) for shard, path in found.items()] == [
        ("2/12", "shard-00002-of-00012"),
        ("10/12", "shard-00010-of-00012"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("8/8", "--shard 8/8: shards are counted from 0, so the last of 8 is 7/8"),
        ("0/0", "--shard 0/0: the number of shards must be 1 to 99999"),
        ("1", "--shard 1: is not of the form I/N, such as 0/8"),
        ("-1/8", "is not of the form"),
        ("0/100000", "must be 1 to 99999"),
    ],
)
def test_what_is_no_shard_is_said(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Shard.parse(text)


SLURM = {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "8", "SLURM_ARRAY_TASK_MIN": "0"}
STEP = {"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}
TORCH = {"RANK": "5", "WORLD_SIZE": "6"}
SKY = {"SKYPILOT_NODE_RANK": "0", "SKYPILOT_NUM_NODES": "4"}
KUBERNETES = {"JOB_COMPLETION_INDEX": "2"}


@pytest.mark.parametrize(
    ("environment", "count", "shard", "source"),
    [
        (SKY | TORCH | STEP | SLURM, None, "3/8", "SLURM_ARRAY_TASK_ID and SLURM_ARRAY_TASK_COUNT"),
        (SKY | TORCH | STEP, None, "1/2", "SLURM_PROCID and SLURM_NTASKS"),
        (SKY | TORCH, None, "5/6", "RANK and WORLD_SIZE"),
        (SKY, None, "0/4", "SKYPILOT_NODE_RANK and SKYPILOT_NUM_NODES"),
        (KUBERNETES, 4, "2/4", "JOB_COMPLETION_INDEX"),
        ({"RANK": "1"} | SKY, None, "0/4", "SKYPILOT_NODE_RANK and SKYPILOT_NUM_NODES"),
        (SLURM | {"SLURM_ARRAY_TASK_COUNT": "2", "SLURM_ARRAY_TASK_MIN": "3"}, 8, "3/8", "SLURM_ARRAY_TASK_ID"),
    ],
)
def test_the_environment_in_its_order(environment: dict[str, str], count: int | None, shard: str, source: str) -> None:
    assert shard_of_environment(environment, count) == (Shard.parse(shard), source)


@pytest.mark.parametrize(
    ("environment", "count", "said"),
    [
        ({}, None, "--shard auto: none of SLURM_ARRAY_TASK_ID, .* is set; give the shard: --shard I/N"),
        ({}, 8, "--shard auto/8: none of"),
        (KUBERNETES, None, "JOB_COMPLETION_INDEX is 2, and nothing says of how many; give it: --shard auto/N"),
        (SLURM | {"SLURM_ARRAY_TASK_MIN": "1"}, None, "the array begins at 1, and shards at 0"),
        ({"RANK": "one", "WORLD_SIZE": "2"}, None, "RANK is 'one', which is no whole number"),
        (SLURM, 2, "--shard 3/2: shards are counted from 0"),
    ],
)
def test_an_environment_that_means_none(environment: dict[str, str], count: int | None, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        shard_of_environment(environment, count)


def test_a_shard_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, out = write_jsonl(tmp_path / "data", count=150, options=["only one"]), tmp_path / "out"
    words = ["score", "--engine", "fake", "--data", data, "--out", out]
    for name, value in TORCH.items():  # of the job around it: never read unasked
        monkeypatch.setenv(name, value)
    assert run_cli(*words).exit_code == 1, "one sample is unfit"
    assert (out / "samples.jsonl").exists()

    words[-1] = out = tmp_path / "shards"
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    first = run_cli(*words, "--shard", "auto")
    assert first.exit_code == 1
    assert "--shard auto: 0/2, from RANK and WORLD_SIZE" in first.stdout
    assert "SHARD 0/2, all of its 86 samples" in first.stdout, "149 fit ones in windows of 64, the third of 21"
    assert "SHARD 1/2, all of its 64 samples" in run_cli(*words, "--shard", "1/2").stdout
    assert sorted(path.name for path in out.iterdir()) == ["shard-00000-of-00002", "shard-00001-of-00002"]
    refused = run_cli(*words)
    assert refused.exit_code == 2
    assert f"`radar-fast merge {out}` puts them together" in refused.stderr


def test_a_shard_knows_the_whole_benchmark_and_its_own_part(tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "data", count=150)
    whole = RunConfig(data=data, out=tmp_path / "whole", engine="fake")
    shard = RunConfig(data=data, out=tmp_path / "out", engine="fake", shard="2/3")  # type: ignore[arg-type] # as text
    all_of_it, part = score(whole), score(shard)
    assert (all_of_it.complete, all_of_it.shard) == (True, None)
    assert (part.complete, part.missing, part.shard, part.overall.scored) == (False, 0, "2/3", 22)
    assert shard.folder == tmp_path / "out" / "shard-00002-of-00003"
    manifests = [json.loads((config.folder / "run.json").read_bytes()) for config in (whole, shard)]
    assert manifests[0]["identity"] == manifests[1]["identity"]
    assert manifests[1]["shard"] == {"index": 2, "count": 3, "samples": 22}
    assert score(shard) == part, "nothing is left"


def test_official_files_are_of_a_whole_benchmark(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--official-out: a shard is no whole benchmark"):
        RunConfig(data=tmp_path, out=tmp_path / "o", engine="fake", shard=Shard(0, 2), official_out=tmp_path / "x")
