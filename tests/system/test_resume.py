"""Killed with SIGKILL at random moments, and resumed each time: nothing lost, nothing twice, the same summary."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from bench_data import write_jsonl
from command_line import run_cli
from processes import uncovered

from radar_fast.demo.show import PIXELS


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "radar_fast", "score", *map(str, arguments)]


def killed_after(seconds: float, words: list[str]) -> bool:
    """Start, kill after so many seconds; whether it was still running then."""
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=uncovered()) as process:
        time.sleep(seconds)
        alive = process.poll() is None
        process.send_signal(signal.SIGKILL)
    return alive


def killed_in_the_middle(words: list[str], journal: Path, more: int) -> bool:
    """Start, kill as soon as the journal has grown by so many bytes; whether it was still running then."""
    before = journal.stat().st_size if journal.exists() else 0
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=uncovered()) as process:
        while process.poll() is None and (journal.stat().st_size if journal.exists() else 0) - before < more:
            time.sleep(0.002)
        alive = process.poll() is None
        process.send_signal(signal.SIGKILL)
    return alive


def numbers(out: Path) -> dict[str, Any]:
    """The summary less what depends on the clock."""
    summary: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return {name: summary[name] for name in ("tasks", "directories", "abilities", "overall")}


def ids(out: Path) -> list[tuple[str, str]]:
    lines = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    return [(line["task"], line["id"]) for line in lines]


def test_ten_kills_of_the_fake_engine(tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "data", count=400)
    base = ["--engine", "fake", "--data", data, "--out"]
    assert run_cli("score", *base, tmp_path / "whole").exit_code == 0
    rng = random.Random(1)
    out = tmp_path / "out"
    hits = 0
    for _ in range(10):
        hits += killed_in_the_middle(command(*base, out), out / "samples.jsonl", rng.randrange(1, 12_000))
    assert hits == 10, "every kill met a running process"
    assert run_cli("score", *base, out).exit_code == 0
    assert len(ids(out)) == len(set(ids(out))) == 400
    assert set(ids(out)) == set(ids(tmp_path / "whole"))
    assert numbers(out) == numbers(tmp_path / "whole")


@pytest.mark.full
@pytest.mark.parametrize("kills", [2, 10])
def test_kills_of_the_real_engine(demo: Path, tmp_path: Path, kills: int) -> None:
    """At random moments from start-up to the last sample; the numbers are the same to the last bit."""
    model = demo / "checkpoints" / "step-1600"
    base = ["--model", model, "--data", demo / "mini-m3", "--min-pixels", PIXELS, "--max-pixels", PIXELS, "--out"]
    started = time.monotonic()
    assert run_cli("score", *base, tmp_path / "whole").exit_code == 0
    whole = time.monotonic() - started
    rng = random.Random(2)
    out = tmp_path / "out"
    journal = out / "samples.jsonl"
    for attempt in range(kills):
        if attempt % 2:
            killed_after(rng.uniform(0, whole), command(*base, out))
        else:
            killed_in_the_middle(command(*base, out), journal, rng.randrange(1, 60_000))
    final = run_cli("score", *base, out)
    assert final.exit_code == 0, final.stderr
    assert len(ids(out)) == len(set(ids(out))) == 16 * 16
    assert set(ids(out)) == set(ids(tmp_path / "whole"))
    assert numbers(out) == numbers(tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_polite_end_keeps_the_journal_too(tmp_path: Path, number: signal.Signals) -> None:
    data, out = write_jsonl(tmp_path / "data", count=400), tmp_path / "out"
    words = command("--engine", "fake", "--data", data, "--out", out)
    with subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=uncovered(),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    ) as process:
        try:
            while not (out / "samples.jsonl").exists() or (out / "samples.jsonl").stat().st_size < 5000:
                assert process.poll() is None
                time.sleep(0.002)
            process.send_signal(number)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode != 0
    assert "Traceback" not in errors
    assert run_cli(*words[words.index("score") :]).exit_code == 0
    assert len(set(ids(out))) == len(ids(out)) == 400
