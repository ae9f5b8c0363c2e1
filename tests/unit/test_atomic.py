"""Whole files: replaced in one step, or left as they were."""

import json
import math
import os
import stat
from pathlib import Path

import pytest

from radar_fast.errors import ResultsError
from radar_fast.util.atomic import new_folder, write_bytes_atomic, write_json_atomic


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
