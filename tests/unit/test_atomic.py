"""Whole files: replaced in one step, or left as they were."""

import json
import math
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from radar_fast.errors import ResultsError
from radar_fast.util.atomic import new_folder, write_bytes_atomic, write_json_atomic
from radar_fast.util.codec import decode, encode


def test_json_is_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "summary.json"
    write_json_atomic(path, {"b": 1, "a": [0.1, None, "é"]})
    assert path.read_text() == '{\n  "b": 1,\n  "a": [\n    0.1,\n    null,\n    "é"\n  ]\n}\n'
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask

    def failing(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(ResultsError, match=r"cannot write .*summary\.json: No space left on device"):
        write_json_atomic(path, {})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_json_of_odd_values(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    value = {"\ud800": 2**80}
    write_json_atomic(path, value)
    assert json.loads(path.read_text()) == value
    with pytest.raises(ResultsError, match="infinite or no number"):
        write_json_atomic(path, {"a": [{"b": math.nan}]})
    with pytest.raises(ResultsError, match="was not written"):
        write_json_atomic(path, {"a": object()})
    assert json.loads(path.read_text()) == value


@pytest.mark.parametrize("name", ["\ud800", "a\0b", "n" * 300])
def test_a_name_that_no_file_can_have_is_one_clear_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(ResultsError, match="cannot write"):
        write_bytes_atomic(tmp_path / name, b"")
    assert not list(tmp_path.iterdir())


def test_a_folder_is_complete_or_not_there(tmp_path: Path) -> None:
    with new_folder(tmp_path / "a" / "out") as folder:
        (folder / "x").write_text("x")
        assert not (tmp_path / "a" / "out").exists()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["out"]
    assert (tmp_path / "a" / "out" / "x").read_text() == "x"
    with pytest.raises(ResultsError, match="not an empty folder"), new_folder(tmp_path / "a" / "out"):
        pass
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "b") as folder:
        (folder / "x").write_text(str(1 / 0))
    with pytest.raises(ResultsError, match="cannot write"), new_folder(tmp_path / "b") as folder:
        (folder / "none" / "x").write_text("x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


def test_what_is_no_file_is_written_to(tmp_path: Path) -> None:
    """Nothing is renamed over a pipe or a device."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_bytes_atomic(pipe, b"through")
        assert os.read(reader, 100) == b"through"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert list(tmp_path.iterdir()) == [pipe]


def test_standard_output_is_written_to_where_it_stands(tmp_path: Path) -> None:
    """Also where it is a file, which the name /dev/stdout then stands for."""
    out = tmp_path / "out"
    code = (
        "import pathlib; from radar_fast.util.atomic import write_json_atomic; print('before'); "
        "write_json_atomic(pathlib.Path('/dev/stdout'), {'a': 1}); print('after')"
    )
    with out.open("wb") as file:
        subprocess.run([sys.executable, "-c", code], stdout=file, check=True)
    assert "".join(out.read_text().split()) == 'before{"a":1}after'
    assert Path("/dev/stdout").is_symlink()


def test_a_link_stays_one(tmp_path: Path) -> None:
    link, file = tmp_path / "link", tmp_path / "file"
    file.write_text("old")
    link.symlink_to(file)
    write_bytes_atomic(link, b"new")
    assert link.is_symlink()
    assert file.read_bytes() == b"new"


@pytest.mark.parametrize("value", [{"a": "\udcff"}, {"a": ["\ud800\udc00", 2**80, -0.0]}, {"\udc80": None}, [[[1]]]])
@pytest.mark.parametrize("indent", [False, True])
def test_what_is_written_is_read_back(value: object, indent: bool) -> None:
    assert decode(encode(value, indent=indent)) == value


@pytest.mark.parametrize("data", [b"[" * 100_000, b"1" * 5000, b"NaN", b"\xff", b"", b'{"a": 1} 2'])
def test_what_is_no_json_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(data)
