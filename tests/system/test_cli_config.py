"""Options from a file and the environment, events for machines, and what a model is asked."""

import json
import time
import tomllib
from pathlib import Path

import pytest
from command_line import run_cli

FAKE = ("score", "--engine", "fake")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three questions in two tasks, one of them unfit."""
    folder = tmp_path / "data"
    folder.mkdir()
    rows = [
        {"id": str(number), "task": "a", "question": f"What is {number}?", "answer": "one", "distractors": ["two"]}
        for number in range(2)
    ]
    rows.append({"id": "2", "task": "b", "question": "Which?", "answer": "same", "distractors": ["same"]})
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "run.toml"
    file.write_text(
        f'engine = "fake"\ndata = "{data}"\nout = "{tmp_path / "file"}"\nlimit = 1\ntasks = ["a", "b"]\n'
        "verbose = true\nbatch_tokens = 7\n[engine-arg]\ntensor_parallel_size = 2\nenforce_eager = true\n"
        '[ability]\n"a*" = "reasoning"\n'
    )
    monkeypatch.setenv("RADAR_FAST_LIMIT", "5")
    monkeypatch.setenv("RADAR_FAST_OUT", str(tmp_path / "environment"))
    said = run_cli("score", "--config", file, "--out", tmp_path / "line", "--print-config")
    assert (said.exit_code, said.stderr) == (0, "")
    told = {line.split(" = ")[0]: line.partition("  # ")[2] for line in said.stdout.splitlines()}
    assert (told["out"], told["limit"], told["data"]) == ("command line", "environment", "file")
    assert told["# model"] == ""
    written = tomllib.loads(said.stdout)
    assert written["out"] == str(tmp_path / "line")
    assert written["limit"] == 5
    assert written["tasks"] == ["a", "b"]
    assert written["verbose"] is True
    assert written["batch-tokens"] == 7
    assert written["engine-arg"] == ["tensor_parallel_size=2", "enforce_eager=true"]
    assert written["ability"] == ["a*=reasoning"]
    again = tmp_path / "again.toml"
    again.write_text(said.stdout)
    monkeypatch.delenv("RADAR_FAST_LIMIT")
    monkeypatch.delenv("RADAR_FAST_OUT")
    repeated = tomllib.loads(run_cli("score", "--config", again, "--print-config").stdout)
    assert repeated == written


def test_a_run_is_that_of_the_options_themselves(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(f'engine = "fake"\ndata = ["{data}"]\nout = "{tmp_path / "out"}"\n')
    assert run_cli("score", "--config", file).exit_code == 1  # one is unscored
    assert run_cli(*FAKE, "--data", data, "--out", tmp_path / "plain").exit_code == 1
    one, other = (json.loads((tmp_path / name / "summary.json").read_text()) for name in ("out", "plain"))
    assert one["overall"]["sds"] == other["overall"]["sds"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("limmit = 3", "limmit: no such option, did you mean limit?"),
        ("config = 'a.toml'", "config: no such option"),
        ("verbose = 1", "verbose: found 1; give true or false"),
        ("limit = [1]", "limit: found [1]; give text, a number"),
        ("limit = 'x'", "--limit"),
        ("= 3", "not TOML"),
    ],
)
def test_a_wrong_file_is_told_in_a_line(data: Path, tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "run.toml"
    file.write_text(text)
    said = run_cli(*FAKE, "--data", data, "--out", tmp_path / "out", "--config", file)
    assert said.exit_code == 2
    assert words in said.stderr
    assert len(said.stderr.splitlines()) == 1
    absent = run_cli(*FAKE, "--data", data, "--out", tmp_path / "out", "--config", tmp_path / "none.toml")
    assert (absent.exit_code, len(absent.stderr.splitlines())) == (2, 1)


def test_a_variable_that_no_option_has_is_told(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADAR_FAST_ENGIN", "fake")
    said = run_cli(*FAKE, "--data", data, "--out", tmp_path / "out")
    assert "RADAR_FAST_ENGIN: no such option, did you mean RADAR_FAST_ENGINE?: not heeded" in said.stderr


def test_events_have_standard_output_for_themselves(data: Path, tmp_path: Path) -> None:
    before = time.time()
    said = run_cli(*FAKE, "--data", data, "--out", tmp_path / "out", "--events", "-")
    events = [json.loads(line) for line in said.stdout.splitlines()]
    kinds = [event["event"] for event in events if event["event"] != "said"]
    assert kinds == ["started", "unscored", "progress", "done"]
    started, unscored, progress, done = (event for event in events if event["event"] != "said")
    assert (started["total"], started["done"]) == (3, 0)
    assert (unscored["task"], unscored["id"], unscored["reason_kind"]) == ("b", "2", "ambiguous-answer")
    assert (progress["total"], progress["done"]) == (3, 3)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (done["sds"], done["scored"], done["unscored"]) == (summary["overall"]["sds"], 2, 1)
    assert done["out"] == str(tmp_path / "out")
    assert all(before - 1 <= event["time"] <= time.time() + 1 for event in events)
    assert "results in" in said.stderr


@pytest.mark.full
def test_events_of_a_series_in_a_file_tell_what_failed(demo: Path, data: Path, tmp_path: Path) -> None:
    half = tmp_path / "step-2"
    half.mkdir()
    (half / "config.json").write_text("")
    file = tmp_path / "events.jsonl"
    step = demo / "checkpoints" / "step-50"
    words = ("score", "--engine", "fake", "--data", data, "--out", tmp_path / "out", "--events", file)
    assert run_cli(*words, "--model", step, half).exit_code == 1
    events = [json.loads(line) for line in file.read_text().splitlines()]
    [failed] = [event for event in events if event["event"] == "failed"]
    assert (failed["name"], failed["try_again"]) == ("step-2", True)
    assert [event["name"] for event in events if event["event"] == "done"] == ["step-50"]
    said = run_cli(*words[:-1], tmp_path / "none" / "events.jsonl", "--model", step)
    assert (said.exit_code, len(said.stderr.splitlines())) == (2, 1)
    assert "--events" in said.stderr


@pytest.mark.full
def test_what_the_model_is_asked_is_shown_with_its_tokens(qwen2vl: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = run_cli("score", "--model", qwen2vl, "--data", data, "--out", out, "--show-prompt", "9")
    assert said.exit_code == 0, said.stderr
    assert not out.exists()
    lines = said.stdout.splitlines()
    assert "  data      'What is 0?'" in lines
    assert "  answer    'one'" in lines
    [tokens, *scored] = [line for line in lines if line.startswith(("  tokens", "  scored"))][:3]
    shared = tokens.partition("shared: ")[2].split("|")
    assert "".join(shared) == "What is 0?"
    assert f" {len(shared)} shared" in tokens
    assert ["".join(line[12:].strip("[]").split("|")) for line in scored] == [" one", " two"]
    assert any(line.startswith("b 2: unscored: ambiguous-answer") for line in lines)
