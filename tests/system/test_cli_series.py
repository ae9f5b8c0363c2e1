"""Several checkpoints and benchmarks in one command, and what is told of runs that do not end well."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from bench_data import write_jsonl
from click.testing import CliRunner
from processes import uncovered

from radar_fast.cli import main
from radar_fast.demo import write_checkpoints
from radar_fast.demo.show import PIXELS
from radar_fast.engines.fake import FakeEngine
from radar_fast.sample import Prompt, Scored


def run(*words: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, list(map(str, words)), prog_name="radar-fast")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def score(*words: object) -> tuple[int, str, str]:
    return run("score", "--engine", "fake", *words)


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the demo's checkpoints."""
    folder = tmp_path_factory.mktemp("series")
    write_checkpoints(folder)
    return folder


def runs(out: Path) -> list[str]:
    return sorted(file.parent.relative_to(out).as_posix() for file in out.rglob("run.json"))


# Where results go ----------------------------------------------------------------------------------------------------


def test_many_checkpoints_after_one_flag_or_in_a_pattern(series: Path, tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "data")
    named = score("--model", series / "step-50", series / "step-800", "--data", data, "--out", tmp_path / "named")
    assert named[0] == 0, named[2]
    assert runs(tmp_path / "named") == ["step-50", "step-800"]
    matched = score("--model", f"{series}/step-*", "--data", data, "--out", tmp_path / "matched")
    assert matched[0] == 0, matched[2]
    told = [line.split(":")[0] for line in matched[1].splitlines() if line.startswith("step-")]
    assert told == [f"step-{step}" for step in (50, 100, 200, 400, 800, 1600)], "in the order of their numbers"
    assert "SDS by task" in matched[1]
    [heading] = [line for line in matched[1].splitlines() if line.startswith("task ")]
    assert heading.split() == ["task", "50", "100", "200", "400", "800", "1600", "change", "95%", "interval"]
    status, _, error = score("--model", f"{series}/epoch-*", "--data", data, "--out", tmp_path / "none")
    assert status == 2
    assert "epoch-*: matches no folder" in error


def test_many_benchmarks_have_a_folder_each(series: Path, tmp_path: Path) -> None:
    one, two = write_jsonl(tmp_path / "one"), write_jsonl(tmp_path / "two", count=8)
    models = ["--model", series / "step-50", "--model", series / "step-100"]
    status, out, error = score(*models, "--data", one, two, "--out", tmp_path / "out")
    assert status == 0, error
    assert runs(tmp_path / "out") == ["one/step-100", "one/step-50", "two/step-100", "two/step-50"]
    assert out.count("SDS by task") == 2
    assert "two/step-100: SDS" in out


def test_checkpoints_are_named_after_the_folder_above_them(series: Path, tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "data")
    for step in (50, 100):
        shutil.copytree(series / f"step-{step}", tmp_path / f"iter_{step}" / "hf")
    models = ["--model", f"{tmp_path}/iter_*/hf", "--data", data, "--out", tmp_path / "out"]
    status, _, error = score(*models)
    assert status == 2
    assert "hf is the name of 2 folders" in error
    assert "--name '{parent}'" in error
    status, _, error = score(*models, "--name", "{parent}")
    assert status == 0, error
    assert runs(tmp_path / "out") == ["iter_100", "iter_50"]
    assert "may hold {name}, {parent}" in score(*models, "--name", "{step}")[2]


def test_a_series_folder_is_not_made_a_runs_own(series: Path, tmp_path: Path) -> None:
    data, out = write_jsonl(tmp_path / "data"), tmp_path / "out"
    assert score("--model", f"{series}/step-?0", f"{series}/step-100", "--data", data, "--out", out)[0] == 0
    before = sorted(out.iterdir())
    status, _, error = score("--model", series / "step-50", "--data", data, "--out", out)
    assert status == 2
    assert "holds the results of a series" in error
    assert "name a new folder" in error
    assert sorted(out.iterdir()) == before
    assert score("--model", series / "step-200", "--data", data, "--out", out / "step-200")[0] == 0


# Which tasks ---------------------------------------------------------------------------------------------------------


def test_a_repeated_tasks_option_adds(tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "data")
    for name in ("shapes", "sizes"):
        shutil.copy(data / "colours.jsonl", data / f"{name}.jsonl")
    status, _, error = score("--data", data, "--out", tmp_path / "out", "--tasks", "col*", "--tasks", "shapes")
    assert status == 0, error
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert sorted(summary["tasks"]) == ["colours", "shapes"]


@pytest.mark.parametrize("command", ["score", "inspect", "convert"])
def test_tasks_that_match_nothing_are_told_what_there_is(command: str, tmp_path: Path) -> None:
    data, out = write_jsonl(tmp_path / "data"), tmp_path / "out"
    shutil.copy(data / "colours.jsonl", data / "shapes.jsonl")
    wanted = {
        "score": ["score", "--engine", "fake", "--data", data, "--out", out],
        "inspect": ["inspect", data],
        "convert": ["convert", data, "--to", "m3", "--out", out],
    }[command]
    status, _, error = run(*wanted, "--tasks", "shapes", "--tasks", "colors*")
    assert status == 2
    assert "--tasks colors*: matches no task, did you mean colours?; the data have 2: colours, shapes" in error
    assert not out.exists()


# What is said --------------------------------------------------------------------------------------------------------


def test_stages_and_counters_are_for_those_who_ask(tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "data")
    plain = score("--data", data, "--out", tmp_path / "plain")[1]
    assert "fake, ready in 0 s" in plain
    assert "20 samples in 0 s" in plain
    assert "until the first sample" not in plain
    assert "tokens" not in plain
    assert "until the first sample" in score("--data", data, "--out", tmp_path / "verbose", "-v")[1]
    again = score("--data", data, "--out", tmp_path / "plain")[1]
    assert "nothing was left to score" in again
    assert "ready in" not in again


def test_something_is_shown_within_a_second(tmp_path: Path, series: Path) -> None:
    """Before torch is imported, that is: a second is long on one machine and short on another."""
    code = (
        "import sys; from radar_fast.terminal.progress import ConsoleProgress as P; said = P.say\n"
        "def say(self, text): assert 'torch' not in sys.modules, text; print(text); sys.exit(5)\n"
        "P.say = say; from radar_fast.cli import main; main()"
    )
    words = ["score", "--model", str(series / "step-50"), "--data", "none", "--out", str(tmp_path / "out")]
    result = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (5, "loading torch and transformers...\n"), result.stderr


def test_the_next_command_after_the_demo_needs_no_options(series: Path, tmp_path: Path) -> None:
    """The checkpoints say at what size their images are read."""
    data, model = write_jsonl(tmp_path / "data"), series / "step-1600"
    assert score("--model", model, "--data", data, "--out", tmp_path / "out")[0] == 0
    identity = json.loads((tmp_path / "out" / "run.json").read_text())["identity"]
    assert identity["protocol"]["min_pixels"] == identity["protocol"]["max_pixels"] == PIXELS


# What ends a run -----------------------------------------------------------------------------------------------------


def test_75_where_a_shard_is_not_there_yet(series: Path, tmp_path: Path) -> None:
    data, model = write_jsonl(tmp_path / "data"), tmp_path / "model"
    shutil.copytree(series / "step-50", model)
    (model / "model.safetensors").rename(model / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    status, _, error = score("--model", model, "--data", data, "--out", tmp_path / "out")
    assert status == 75
    assert "names model-00002-of-00002.safetensors, which is not in the folder; wait until it is written" in error
    assert not (tmp_path / "out").exists()


def test_ctrl_c_says_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, out = write_jsonl(tmp_path / "data", count=100), tmp_path / "out"
    whole = FakeEngine.score

    def interrupted(self: FakeEngine, prompts: Iterable[Prompt]) -> Iterator[Scored]:
        for number, scored in enumerate(whole(self, prompts)):
            if number == 30:
                raise KeyboardInterrupt
            yield scored

    monkeypatch.setattr(FakeEngine, "score", interrupted)
    status, _, error = score("--data", data, "--out", out)
    assert status == 130
    assert "30 of 100 samples of fake are kept; run the same command again" in error
    assert len((out / "samples.jsonl").read_text().splitlines()) == 30
    monkeypatch.undo()
    status, told, _ = score("--data", data, "--out", out)
    assert status == 0
    assert "fake: 30 samples are scored already, 70 are left" in told
    assert "70 samples in" in told


def test_a_signal_from_the_keyboard_ends_a_process_with_130(tmp_path: Path) -> None:
    data, out = write_jsonl(tmp_path / "data", count=60), tmp_path / "out"
    slow = (
        "import time, radar_fast.engines.fake as fake; whole = fake._score\n"
        "def score(prompt): time.sleep(0.2); return whole(prompt)\n"
        "fake._score = score; from radar_fast.cli import main; main()"
    )
    words = ["score", "--engine", "fake", "--data", str(data), "--out", str(out)]
    with subprocess.Popen(
        [sys.executable, "-c", slow, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**uncovered(), "PYTHONPATH": os.pathsep.join(sys.path)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    ) as process:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not ((out / "samples.jsonl").exists() and lines(out) > 2):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in error
    assert f"{lines(out)} of 60 samples of fake are kept; run the same command again" in error
    assert 2 < lines(out) < 60


def lines(out: Path) -> int:
    return len((out / "samples.jsonl").read_text().splitlines())
