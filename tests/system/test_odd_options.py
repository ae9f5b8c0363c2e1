"""Options that no one means, and names that are no text: a line that says so, or a run like any other."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bench_data import write_jsonl

LONG = "n" * 300


def radar(*arguments: str | bytes | Path, cwd: Path) -> subprocess.CompletedProcess[bytes]:
    words = [sys.executable, "-m", "radar_fast", *arguments]
    result = subprocess.run(words, capture_output=True, timeout=300, check=False, cwd=cwd)
    assert b"Traceback" not in result.stderr + result.stdout, result.stderr
    return result


@pytest.mark.parametrize("name", ["", LONG])
def test_what_cannot_be_a_path_is_said_in_a_line(tmp_path: Path, name: str) -> None:
    write_jsonl(tmp_path / "data", count=4)
    base = ("score", "--engine", "fake")
    for words in (
        (*base, "--data", "data", "--out", name),
        (*base, "--data", name, "--out", "out"),
        (*base, "--data", "data", "--out", "out", "--model", name),
        (*base, "--data", "data", "--out", "out", "--official-out", name),
        ("inspect", name),
        ("convert", "data", "--to", "m3", "--out", name),
        ("summarize", name),
        ("compare", name, name),
        ("compare", "out", "out", "--json", name),
    ):
        result = radar(*words, cwd=tmp_path)
        assert result.returncode == 2, words
        said = result.stderr.decode().strip().splitlines()
        assert len(said) == 1, said
        assert "is empty" in said[0] or "300 bytes" in said[0]
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_paths_and_options_that_are_no_text_are_written_and_read_back(tmp_path: Path) -> None:
    """Bytes that are no UTF-8: the first run's folder is resumed, summarized, compared."""
    data = os.fsencode(write_jsonl(tmp_path / "data", count=4)) + b"\xff"
    (tmp_path / "data").rename(os.fsdecode(data))
    words = ("score", "--engine", "fake", "--data", data, "--out", b"out\xff", "--ability", b"co*=\xffname")
    for _ in range(2):
        assert radar(*words, cwd=tmp_path).returncode == 0
    out = Path(os.fsdecode(os.fsencode(tmp_path) + b"/out\xff"))
    assert json.loads((out / "run.json").read_bytes())["configuration"]["out"] == str(out)
    assert radar("summarize", b"out\xff", cwd=tmp_path).returncode == 0
    assert radar("compare", b"out\xff", b"out\xff", cwd=tmp_path).returncode == 0


def test_json_to_standard_output(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "data", count=4)
    assert radar("score", "--engine", "fake", "--data", "data", "--out", "out", cwd=tmp_path).returncode == 0
    result = radar("compare", "out", "out", "--json", "/dev/stdout", cwd=tmp_path)
    assert result.returncode == 0
    text = result.stdout.decode()
    assert json.loads(text[text.index("\n{") :])["overall"]["paired"] == 4
    assert Path("/dev/stdout").is_symlink()
