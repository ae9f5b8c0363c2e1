"""The command line before anything runs: help, completion, and what a slip of the finger is told."""

import inspect
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner

from radar_fast.bench.config import BenchConfig
from radar_fast.cli import main
from radar_fast.cli.types import Choice, in_order, spread
from radar_fast.config import RunConfig
from radar_fast.engines.options import EngineOptions
from radar_fast.series import NAME

COMMANDS = sorted(main.commands)
PANELS = ("What to score", "Which samples", "How to ask", "Engine", "Speed", "Output", "Advanced")


def run(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, words, prog_name="radar-fast", terminal_width=80)
    return result.exit_code, result.stdout, result.stderr


def test_help_of_score_has_examples_on_top_and_its_options_in_groups() -> None:
    status, text, _ = run("score", "--help")
    assert status == 0
    assert text.count("  radar-fast score --") == 3
    places = [text.index(f"{panel}:") for panel in PANELS]
    assert places == sorted(places)
    assert text.rindex("  radar-fast score --") < places[0], "examples first"
    for option in ("--model", "--tasks", "--without", "--device", "--preprocess-cache-gb", "--name", "--verbose"):
        assert option in text
    for told in ("0 done", "75 trying again", "130"):
        assert told in text


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_is_readable_at_80_columns(command: str | None) -> None:
    status, text, _ = run(*filter(None, [command]), "--help")
    assert status == 0
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert "..." not in text.replace("DIR...", "").replace("RESULTS...", "").replace("ARGS]...", "").replace(
        "NAME,...", ""
    ), "nothing is cut"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_every_choice(command: str) -> None:
    for option in main.commands[command].params:
        if isinstance(option.type, Choice):
            told = getattr(option, "help", "")
            assert [choice for choice in option.type.choices() if choice not in told] == []


def test_score_and_bench_have_every_option_of_an_engine() -> None:
    fields = set(inspect.signature(EngineOptions).parameters)
    for command in ("score", "bench"):
        assert fields <= {param.name for param in main.commands[command].params}


def test_help_tells_the_defaults_that_hold() -> None:
    """They stand where the options are used: in the dataclasses. An option that is not given has no value here."""
    written = {"336-1000": (336, 1000), "transformers": ("transformers",), "published": ("published",)}
    held = {field.name: field.default for made in (BenchConfig, RunConfig, EngineOptions) for field in fields(made)}
    held |= {"name": NAME}
    seen = 0
    for command in main.commands.values():
        for option in command.params:
            assert not isinstance(option.default, str | int | float) or isinstance(option.default, bool), option
            told = re.search(r"\[default: ([^\] ]+)\]", getattr(option, "help", None) or "")
            if told and option.name in held:
                seen += 1
                assert str(held[option.name]) in (told[1], f"{told[1]}.0", str(written.get(told[1]))), option.name
    assert seen >= 8


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from radar_fast.cli import main; main(sys.argv[1:], standalone_mode=False); "
        "heavy = {'torch', 'transformers', 'vllm', 'pyarrow'} & set(sys.modules); assert not heavy, heavy"
    )
    for command in ([], ["score"], ["bench"]):
        result = subprocess.run(
            [sys.executable, "-c", code, *command, "--help"], capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr


def test_choices_complete_in_the_shell() -> None:
    def completed(*words: str, start: str) -> list[str]:
        return [item.value for item in BashComplete(main, {}, "radar-fast", "_X").get_completions(list(words), start)]

    assert completed("score", "--engine", start="tr") == ["transformers"]
    assert completed("score", "--protocol", start="llava") == ["llava", "llava-med"]
    assert completed("convert", "--to", start="") == ["m3", "jsonl", "vlmevalkit", "parquet"]
    assert "--preprocess-cache" in completed("score", start="--pre")
    assert "--data" in completed("score", "--model", "--out", start="--d")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["scor"], "scor: no such command, did you mean score?"),
        (["score", "--modle", "x"], "--modle: no such option, did you mean --model?; see radar-fast score --help"),
        (
            ["score", "--data", "x", "--engine", "transformer"],
            "--engine transformer: unknown, did you mean transformers?",
        ),
        (["score", "--data", "x", "--format", "json"], "--format json: unknown, did you mean jsonl?"),
        (["bench", "--dtype", "bfloat"], "--dtype bfloat: unknown, did you mean bfloat16?"),
        (["convert", "x", "--to", "jsnl"], "--to jsnl: unknown, did you mean jsonl?"),
        (["score", "--limit", "many"], "'many' is not a valid integer; see radar-fast score --help"),
        (["score", "--out", "x"], "Missing option '--data'; see radar-fast score --help"),
        (["score", "--model", "--data", "x"], "--model: needs a value, found --data"),
        (["score", "--data", "x", "y", "--out"], "'--out' requires an argument"),
        (["inspect"], "Missing argument 'DATA'"),
        (["--nothing"], "--nothing: no such option"),
    ],
)
def test_a_slip_is_told_in_one_line(words: list[str], told: str) -> None:
    status, out, err = run(*words)
    assert (status, out) == (2, "")
    assert err.startswith("radar-fast: ")
    assert len(err.splitlines()) == 1
    assert told in err


@pytest.mark.parametrize(
    ("words", "read"),
    [
        ("--model a b c --out o", "--model a --model b --model c --out o"),
        ("--model a --model b c", "--model a --model b --model c"),
        ("--model=a b --data d e", "--model=a --model b --data d --data e"),
        ("--out o p --model a", "--out o p --model a"),
        ("-v --model a b -v c", "-v --model a --model b -v c"),
        ("--model a -- b", "--model a -- b"),
    ],
)
def test_an_option_that_takes_many_words(words: str, read: str) -> None:
    assert spread(words.split(), {"--model", "--data"}) == read.split()


@pytest.mark.parametrize(
    ("given", "order"),
    [
        ("step-100 step-1600 step-200", "step-100 step-200 step-1600"),  # as a shell's own pattern gives it
        ("b-2/hf b-10/hf", "b-2/hf b-10/hf"),
        ("b-10/hf b-2/hf", "b-2/hf b-10/hf"),
        ("step-200 step-100", "step-200 step-100"),
        ("sft base", "sft base"),
    ],
)
def test_checkpoints_are_in_the_order_of_their_numbers_unless_another_is_given(given: str, order: str) -> None:
    assert in_order(list(map(Path, given.split()))) == list(map(Path, order.split()))


def test_the_demo_takes_the_best_engine_unless_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    named: list[str] = []
    monkeypatch.setattr("radar_fast.demo.show.show", lambda *_, engine, **__: named.append(engine))
    assert run("demo", "--out", "x")[0] == 0
    assert run("demo", "--out", "x", "--engine", "fake")[0] == 0
    assert named == ["auto", "fake"]
