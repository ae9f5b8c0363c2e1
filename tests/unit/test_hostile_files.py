"""Files of ours that come from elsewhere, one test for each kind of thing that the attack has found in them."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import run_cli
from some_series import write_run, write_series

from radar_fast.errors import DataError, ResultsError, UsageError
from radar_fast.farm.state import EngineState, FarmState, read_state, write_state
from radar_fast.gate import read_policy
from radar_fast.readers.toml_file import load_toml
from radar_fast.results import journal
from radar_fast.results.columns import read_columns
from radar_fast.results.folder import ResultFolder
from radar_fast.results.growth import growth
from radar_fast.results.journal import Journal, read_records
from radar_fast.trackers.ledger import Ledger
from radar_fast.util import json_file

ENGINE = EngineState(0, "scoring", "node", 4711, "step-1", 12, 0, "/log")
FARM = FarmState("running", 1, "node", 1e9, 1e9, 2, 1, 0, 99, 12, 12, 3.5, (ENGINE,))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("samples", "99"),
        ("jobs", 10**30),
        ("host", None),
        ("seconds", True),
        ("started", float("inf")),
        ("engines", [{**FARM.to_dict()["engines"][0], "deaths": []}]),
        ("engines", {"a": 1}),
    ],
)
def test_a_farms_state_with_another_kind_of_value(field: str, value: object, tmp_path: Path) -> None:
    write_state(tmp_path, FARM)
    assert read_state(tmp_path) == FARM
    said = json.loads((tmp_path / "farm.json").read_bytes())
    (tmp_path / "farm.json").write_text(json.dumps({**said, field: value}).replace("Infinity", "1e999"))
    with pytest.raises(ResultsError, match=r"farm\.json: is no state of a farm"):
        read_state(tmp_path)


def test_a_farm_whose_end_is_beyond_all_numbers(tmp_path: Path) -> None:
    said = {**FARM.to_dict(), "seconds": 1e18, "fresh": 1, "samples": 2**62}
    slow = FarmState.from_dict({**said, "seconds": 5e-324})
    assert slow.seconds_left in (None, 0.0)
    write_state(tmp_path, FARM)
    (tmp_path / "farm.json").write_text(json.dumps({**said, "seconds": 5e-324}))
    assert run_cli("status", tmp_path).exit_code == 0


@pytest.mark.parametrize("name", ["farm.json", "run.json", "summary.json", "samples.jsonl"])
def test_a_pipe_is_not_waited_for(name: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "step-1", lambda _: 1.0, samples=2)
    write_state(tmp_path, FARM)
    place = (tmp_path if name == "farm.json" else run) / name
    place.unlink(missing_ok=True)
    os.mkfifo(place)
    read: Callable[[], object] = {
        "farm.json": lambda: read_state(tmp_path),
        "run.json": ResultFolder(run).manifest,
        "summary.json": ResultFolder(run).read_summary,
        "samples.jsonl": lambda: list(read_records(place)),
    }[name]
    with pytest.raises(ResultsError, match="is not a regular file"):
        read()


def test_a_file_without_end_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path / "step-1", lambda _: 1.0, samples=2)
    with (run / "run.json").open("r+b") as file:
        file.truncate(json_file.LARGEST + 1)
    with pytest.raises(ResultsError, match=r"run\.json: cannot be read: .*is larger than"):
        ResultFolder(run).manifest()
    monkeypatch.setattr(journal, "LONGEST", 1000)
    with (run / "samples.jsonl").open("ab") as file:
        file.write(b"\0" * 2000)
    uses: tuple[Callable[[Path], object], ...] = (lambda path: list(read_records(path)), Journal.open, read_columns)
    with (run / "samples.jsonl").open("r+b") as file:  # 64 GiB that take no room
        file.truncate(2**36)
    for read in uses:
        with pytest.raises(ResultsError, match="line 7: has more than 1000 bytes"):
            read(run / "samples.jsonl")


def test_a_name_that_is_a_number(tmp_path: Path) -> None:
    """The way for many journals at once holds a line to what the other does."""
    write_series(tmp_path)
    file = next(tmp_path.glob("*/samples.jsonl"))
    lines = file.read_bytes().splitlines(keepends=True)
    for field in ("id", "task", "directory", "ability"):
        value = {**json.loads(lines[0]), field: 7}
        file.write_bytes(json.dumps(value).encode() + b"\n" + b"".join(lines[1:]))
        with pytest.raises(ResultsError, match="not a record of this version"):
            growth(tmp_path)


def test_hexadecimal_numbers_without_end(tmp_path: Path) -> None:
    for text in (f"limit = 0x{'f' * 5000}", f"a = [0b{'1' * 20_000}]", f"engine-arg = {{a = 0x{'f' * 5000}}}"):
        (tmp_path / "a.toml").write_text(text)
        with pytest.raises(DataError, match="a number of more than a hundred digits"):
            load_toml(tmp_path / "a.toml")
        result = run_cli("score", "--config", tmp_path / "a.toml", "--print-config")
        assert result.exit_code == 2
    (tmp_path / "a.toml").write_text(f'{"f" * 200} = "0x{"f" * 200}"\nb = 0xff\n')
    assert load_toml(tmp_path / "a.toml")["b"] == 255


def test_a_key_of_two_lines_is_told_in_one(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('"a\\nb" = 1\n')
    with pytest.raises(UsageError, match=r"'a\\nb': unknown") as caught:
        read_policy(tmp_path / "a.toml")
    assert "\n" not in str(caught.value)
    assert r"a\nb" in run_cli("score", "--config", tmp_path / "a.toml", "--print-config").stderr


def test_what_a_terminal_has_no_letters_for_is_printed(tmp_path: Path) -> None:
    """A task may be called anything: half a surrogate pair, or the bytes of a path that is no UTF-8."""
    run = write_run(tmp_path / "step-1", lambda _: 1.0, samples=2)
    data = (run / "samples.jsonl").read_bytes()
    (run / "samples.jsonl").write_bytes(data.replace(b"counting_8", rb"c\ud800 \udcff"))
    result = run_cli("summarize", run)
    assert result.exit_code in (0, 1)
    assert r"c\ud800 \udcff" in result.stdout


@pytest.mark.parametrize("text", ['{"told": []}', '{"told": {"run": 7}}', "[]", '{"told": ' + "[" * 100_000])
def test_a_ledger_that_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "radar-fast-x.json").write_text(text)
    with pytest.raises(ResultsError, match=r"radar-fast-x\.json: cannot be read"):
        Ledger(tmp_path, "x")
