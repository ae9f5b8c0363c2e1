"""Data that change under a run, or between a run and its resumption, are noticed before they are scored."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from bench_data import write_jsonl
from PIL import Image

from radar_fast.benchmark import open_benchmark
from radar_fast.config import RunConfig
from radar_fast.engines.session import EngineSession
from radar_fast.errors import DataError, ResultsError
from radar_fast.run import score, score_checkpoint
from radar_fast.terminal.progress import SilentProgress


def fake(data: Path, out: Path) -> RunConfig:
    return RunConfig(data=data, out=out, engine="fake")


def lines(data: Path) -> list[str]:
    return (data / "colours.jsonl").read_text().splitlines()


def remove_ten(data: Path) -> None:
    (data / "colours.jsonl").write_text("\n".join(lines(data)[:-10]) + "\n")


def add_one(data: Path) -> None:
    more = json.dumps({**json.loads(lines(data)[-1]), "id": "more"})
    (data / "colours.jsonl").write_text("\n".join([*lines(data), more]) + "\n")


def swap_an_answer(data: Path) -> None:
    records = list(map(json.loads, lines(data)))
    records[150]["answer"] = "dark blue" if records[150]["answer"] == "red" else "red"
    (data / "colours.jsonl").write_text("\n".join(map(json.dumps, records)) + "\n")


def replace_an_image(data: Path) -> None:
    with Image.open(data / "150.png") as image:
        Image.new("RGB", image.size, (1, 2, 3)).save(data / "150.png")


@pytest.mark.parametrize("change", [remove_ten, add_one, swap_an_answer, replace_an_image])
def test_data_that_change_under_a_run_end_it(tmp_path: Path, change: Callable[[Path], None]) -> None:
    """What has been scored by then is of the data as they were, and there is no summary."""
    data, out = write_jsonl(tmp_path / "data", count=200), tmp_path / "out"
    config = fake(data, out)
    benchmark = open_benchmark(config, SilentProgress())
    before = {record["id"]: record for record in map(json.loads, lines(data))}
    change(data)
    with EngineSession() as session, pytest.raises(DataError, match="the data have changed since"):
        score_checkpoint(config, benchmark, session, SilentProgress())
    assert not (out / "summary.json").exists()
    written = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    for line in written:
        assert line["candidates"][line["answer"]] == before[line["id"]]["answer"]
    if change in (swap_an_answer, replace_an_image):
        assert "q150" not in {line["id"] for line in written}


def test_an_image_of_equal_size_that_was_replaced_is_noticed_on_resume(tmp_path: Path) -> None:
    """A small one by its content, whatever its times; a large one by its modification time."""
    data, out = write_jsonl(tmp_path / "data"), tmp_path / "out"
    big = data / "1.png"
    Image.frombytes("RGB", (200, 200), os.urandom(120_000)).save(big)
    score(fake(data, out))
    for path in (data / "0.png", big):
        old, times = path.read_bytes(), path.stat()
        score(fake(data, out))
        path.write_bytes(old[:-1] + bytes([old[-1] ^ 1]))
        if path != big:
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        with pytest.raises(ResultsError, match="images of the benchmark have been replaced"):
            score(fake(data, out))
        path.write_bytes(old)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    moved = tmp_path / "elsewhere" / data.name
    moved.parent.mkdir()
    data.rename(moved)
    score(fake(moved, out))


def test_a_missing_image_is_tried_again_once_it_is_there(tmp_path: Path) -> None:
    data, out = write_jsonl(tmp_path / "data"), tmp_path / "out"
    (data / "3.png").rename(tmp_path / "kept")
    (data / "4.png").rename(tmp_path / "kept too")
    config = fake(data, out)
    assert score(config).overall.reasons == {"missing-image": 2}
    size = (out / "samples.jsonl").stat().st_size
    assert score(config).overall.reasons == {"missing-image": 2}
    assert (out / "samples.jsonl").stat().st_size == size
    (tmp_path / "kept").rename(data / "3.png")
    assert score(config).overall.reasons == {"missing-image": 1}
    (tmp_path / "kept too").rename(data / "4.png")
    summary = score(config)
    assert (summary.overall.reasons, summary.overall.scored, summary.complete) == ({}, 20, True)
    whole = score(fake(data, tmp_path / "whole"))
    assert summary.overall.estimate("sds") == whole.overall.estimate("sds")
