"""The digest of a benchmark: the same wherever it lies and however its path is spelled."""

import shutil
from pathlib import Path

import pytest
from bench_data import write_jsonl, write_m3

from radar_fast.benchmark import open_benchmark
from radar_fast.config import RunConfig
from radar_fast.terminal.progress import SilentProgress


def digest(data: Path, **options: object) -> str:
    config = RunConfig(data=data, out=Path("out"), engine="fake", **options)  # type: ignore[arg-type]
    return open_benchmark(config, SilentProgress()).survey.digest


@pytest.fixture(params=["jsonl", "m3", "folder"])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = tmp_path / "here" / "bench"
    if request.param == "jsonl":
        return write_jsonl(folder, count=4)
    write_jsonl(tmp_path / "pictures", count=2)
    if request.param == "m3":
        record = {"question": "What?", "Answer": "red", "distractor": ["blue"], "images": ["images/0.png"]}
        write_m3(folder, {"1": record}, "spatial_reasoning", "Some_pretrained_mllm_eval.json")
        shutil.copy(tmp_path / "pictures" / "0.png", folder / "spatial_reasoning" / "images" / "0.png")
        return folder
    for name, picture in (("cat", "0.png"), ("dog", "1.png")):
        (folder / name).mkdir(parents=True)
        shutil.copy(tmp_path / "pictures" / picture, folder / name / picture)
    (folder / "classes.toml").write_text('question = "What is it?"\n[classes]\ncat = "a cat"\ndog = "a dog"\n')
    return folder


def test_spelling_place_and_links_are_no_part_of_it(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = digest(data)
    monkeypatch.chdir(data.parent)
    assert digest(Path("bench")) == known
    assert digest(Path("../here/./bench")) == known
    (tmp_path / "link").symlink_to(data)
    assert digest(tmp_path / "link") == known
    (tmp_path / "above").symlink_to(data.parent)
    assert digest(tmp_path / "above" / "bench") == known
    copy = shutil.copytree(data, tmp_path / "there" / "bench")
    assert digest(copy) == known
    shutil.rmtree(data)
    data.symlink_to(copy)
    assert digest(data) == known


def test_what_is_said_is(tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "bench", count=4)
    known = digest(data)
    assert digest(data, limit=3) != known
    file = data / "colours.jsonl"
    file.write_text(file.read_text().replace("shape in picture 2", "shape in picture 3"))
    assert digest(data) != known


def test_a_file_is_known_by_what_it_holds_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_jsonl(tmp_path / "bench", count=2)
    known = digest(data / "colours.jsonl")
    monkeypatch.chdir(data)
    assert digest(Path("colours.jsonl")) == known
    (tmp_path / "link").symlink_to(data)
    assert digest(tmp_path / "link" / "colours.jsonl") == known
