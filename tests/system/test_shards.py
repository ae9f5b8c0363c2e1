"""Shards of a real model, each scored by a command of its own, put together: the bits of one process."""

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import run_cli

from radar_fast.demo.show import PIXELS


def lines(out: Path) -> dict[tuple[str, str], Any]:
    read = list(map(json.loads, (out / "samples.jsonl").read_text().splitlines()))
    found = {(line["task"], line["id"]): {**line, "seconds": 0} for line in read}
    assert len(found) == len(read)
    return found


def numbers(out: Path) -> dict[str, Any]:
    """The summary less what depends on the clock."""
    summary: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return {name: value for name, value in summary.items() if name != "engine"}


@pytest.mark.full
def test_two_checkpoints_in_three_shards_are_as_in_one_process(demo: Path, tmp_path: Path) -> None:
    """Also where one shard was killed on its way, and finished by its own command."""
    steps = ("step-100", "step-1600")
    words = ["score", "--engine", "transformers", "--data", demo / "mini-m3", "--model"]
    words += [demo / "checkpoints" / step for step in steps]
    words += ["--min-pixels", PIXELS, "--max-pixels", PIXELS, "--out"]
    assert run_cli(*words, tmp_path / "whole").exit_code == 0
    out = tmp_path / "out"
    for index in range(3):
        assert run_cli(*words, out, "--shard", f"{index}/3").exit_code == 0
    journal = out / "step-100" / "shard-00001-of-00003" / "samples.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20_000])
    assert run_cli("merge", out).exit_code == 2, "one is not complete"
    assert run_cli(*words, out, "--shard", "1/3").exit_code == 0
    merged = run_cli("merge", out)
    assert merged.exit_code == 0, merged.stderr
    for step in steps:
        assert lines(out / step) == lines(tmp_path / "whole" / step)
        assert numbers(out / step) == numbers(tmp_path / "whole" / step)
        assert (numbers(out / step)["complete"], numbers(out / step)["step"]) == (True, int(step[5:]))
