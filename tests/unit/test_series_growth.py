"""Growth of a series from result folders: the numbers of its runs, what is told of them as a whole, and its files."""

import csv
import json
import math
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import polars as pl
import pytest
from command_line import run_cli
from pyarrow import parquet
from scipy import stats
from some_records import a_record
from some_series import TASKS, write_run, write_series

import radar_fast
from radar_fast import ResultsError, UsageError, growth
from radar_fast.results import schema
from radar_fast.results.columns import columns_of, read_columns
from radar_fast.results.comparison import compare
from radar_fast.results.folder import ResultFolder
from radar_fast.results.growth.document import document_of
from radar_fast.results.growth.frame import columns, to_pandas, to_polars
from radar_fast.results.growth.trend import monotonicity, onset, signal_and_noise
from radar_fast.results.journal import Journal, read_records
from radar_fast.results.metrics import summarize
from radar_fast.results.record import line_of
from radar_fast.terminal.curves import sparkline


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six steps, and the same without images."""
    folder = tmp_path_factory.mktemp("growth")
    write_series(folder / "results")
    write_series(folder / "results" / "blind", without="image")
    return folder / "results"


@pytest.fixture(scope="module")
def grown(results: Path) -> radar_fast.Growth:
    [found] = growth(results)
    return found


# The numbers of each step


def test_every_entry_is_that_of_the_runs_own_summary(grown: radar_fast.Growth) -> None:
    assert [step.number for step in grown.steps] == [100, 200, 300, 400, 500, 600]
    assert [step.missing for step in grown.steps] == [0] * 6
    for place, step in enumerate(grown.steps):
        summary = summarize(read_records(ResultFolder(step.folder).samples))
        assert grown.overall.entries[place] == summary.overall
        for section in ("tasks", "directories", "abilities"):
            expected = {name: replace(entry, facets={}) for name, entry in getattr(summary, section).items()}
            assert {name: curve.entries[place] for name, curve in getattr(grown, section).items()} == expected
    assert grown.directories["MMBench"].entries[0].aggregation == "macro"
    assert grown.overall.entries[0].clusters == 3 * 8, "three questions on each image"


def test_every_gain_is_that_of_comparing_two_folders(grown: radar_fast.Growth) -> None:
    assert grown.overall.gains[0] is None
    for place in range(1, 6):
        expected = compare(grown.steps[place - 1].folder, grown.steps[place].folder)
        assert grown.overall.gains[place] == expected.overall
        for section in ("tasks", "directories", "abilities"):
            gains = {name: curve.gains[place] for name, curve in getattr(grown, section).items()}
            assert gains == getattr(expected, section)


def test_the_image_is_worth_what_comparing_with_the_blind_run_says(grown: radar_fast.Growth) -> None:
    for place, step in enumerate(grown.steps):
        assert step.blind is not None
        expected = compare(step.blind, step.folder)
        assert grown.overall.image_gains[place].sds == pytest.approx(expected.overall.sds)
        assert grown.tasks["counting_8"].image_gains[place].sds == pytest.approx(expected.tasks["counting_8"].sds)


def test_no_torch_is_imported(results: Path) -> None:
    code = (
        "import sys, radar_fast; radar_fast.growth(sys.argv[1]); "
        "heavy = {'torch', 'transformers', 'vllm', 'matplotlib', 'pandas'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code, str(results)], check=True)


# The whole


def test_abilities_set_in_where_they_were_made_to(grown: radar_fast.Growth) -> None:
    for task, (_, _, at) in TASKS.items():
        assert grown.tasks[task].trend.onset == at
    assert grown.overall.chance == pytest.approx(1 / 3)
    assert grown.order() == ("perception", "reasoning")
    assert grown.lag("perception", "reasoning") == 300
    assert grown.lag("reasoning", "perception") == -300
    assert grown.abilities["reasoning"].trend.onset_above_first == 4
    with pytest.raises(UsageError, match="abilities 'sight': not in this series; it has perception, reasoning"):
        grown.lag("perception", "sight")


def test_flips_are_counted_sample_by_sample(grown: radar_fast.Growth) -> None:
    before, after = (
        {record.key: record.correct for record in read_records(ResultFolder(step.folder).samples)}
        for step in (grown.steps[0], grown.steps[-1])
    )
    flips = grown.flips(0, -1)
    assert set(flips.gained) == {key for key in before if before[key] is False and after[key] is True}
    assert set(flips.lost) == {key for key in before if before[key] is True and after[key] is False}
    assert flips.right + flips.wrong + len(flips.gained) + len(flips.lost) == 3 * 23
    assert {task for task, _ in grown.flips(0, -1, "counting_8").gained} == {"counting_8"}
    with pytest.raises(UsageError, match="step 6: there are 6, counted from 0"):
        grown.flips(0, 6)


def test_forgotten_samples_were_right_and_are_not_any_more(tmp_path: Path) -> None:
    skills: list[Callable[[str], float]] = [lambda _: 9.0, lambda _: 9.0, lambda _: -9.0, lambda _: -9.0]
    for number, skill in enumerate(skills):
        write_run(tmp_path / f"step-{number}", skill)
    [grown] = growth(tmp_path)
    assert len(grown.forgotten()) == 3 * 23
    assert grown.forgotten(3) == ()
    [shorter] = growth(*(tmp_path / f"step-{number}" for number in range(3)))
    assert shorter.forgotten() == (), "a single step may be noise"
    assert len(shorter.forgotten(1)) == 3 * 23


def test_rise_is_spearmans() -> None:
    draw = random.Random(0)
    for count in (3, 4, 40):
        values = [round(draw.random(), 1) for _ in range(count - 1)] + [2.0]
        expected = stats.spearmanr(range(count), values).statistic
        assert monotonicity(values) == pytest.approx(expected)
    assert monotonicity([0.1, 0.2, 0.3]) == pytest.approx(1)
    assert monotonicity([0.1, 0.2]) is monotonicity([0.5] * 9) is None


def test_signal_and_noise_by_their_definition() -> None:
    values = [0.25, 0.3, 0.5, 0.61, 0.6, 0.63, 0.62]
    signal, noise = signal_and_noise(values)
    assert signal == pytest.approx((0.63 - 0.25) / np.mean(values))
    assert noise == pytest.approx(np.std(values[-5:], ddof=1) / np.mean(values[-5:]))
    assert signal_and_noise([0.1, 0.2]) == (None, None)
    assert signal_and_noise([0.0, 0.0, 0.0]) == (None, None)


@pytest.mark.parametrize(
    ("above", "place"),
    [
        ([False, True, True], 1),
        ([True, False, True], 2),
        ([True, True, False], None),
        ([True, None, True], 0),
        ([None, None], None),
        ([], None),
    ],
)
def test_an_onset_lasts_to_the_end(above: list[bool | None], place: int | None) -> None:
    assert onset(above) == place


def test_samples_that_an_effect_needs(grown: radar_fast.Growth) -> None:
    gain = grown.overall.gains[-1]
    change = gain.change("sds")
    assert change.detectable is not None
    assert change.needed(change.detectable, gain.paired) == gain.paired
    assert change.needed(change.detectable / 2, gain.paired) == 4 * gain.paired
    assert replace(change, detectable=None).needed(0.1, 5) is None


# Folders


def test_a_folder_that_is_being_filled(results: Path, tmp_path: Path) -> None:
    out = write_series(tmp_path / "out", 2)
    (out / "step-300").mkdir()
    for name in ("run.json", "samples.jsonl"):
        data = (results / "step-300" / name).read_bytes()
        (out / "step-300" / name).write_bytes(data if name == "run.json" else data[:9000])  # a line is half-written
    (out / "step-400").mkdir()
    (out / "step-400" / "run.json").write_bytes((results / "step-400" / "run.json").read_bytes())
    write_run(out / "shard-00000-of-00002" / "step-900", lambda _: 0.0)
    [grown] = growth(out)
    assert [step.name for step in grown.steps] == ["step-100", "step-200", "step-300"]
    missing = grown.steps[-1].missing
    assert missing is not None
    assert 0 < missing < 72
    assert f"step-300: {missing} samples are missing" in grown.notes
    assert any("step-400: has no samples yet" in note for note in grown.notes)


def test_several_benchmarks_are_told_apart(tmp_path: Path) -> None:
    write_series(tmp_path / "one", 2)
    write_series(tmp_path / "other", 3, samples=30)
    one, other = growth(tmp_path)
    assert [grown.benchmark for grown in (one, other)] == ["Some-Bench (72 samples)", "Some-Bench (90 samples)"]
    assert (len(one.steps), len(other.steps)) == (2, 3)


def test_what_differs_between_the_steps_is_noted(tmp_path: Path) -> None:
    write_series(tmp_path, 2)
    file = tmp_path / "step-200" / "run.json"
    document = json.loads(file.read_text())
    document["identity"]["engine"]["dtype"] = "bfloat16"
    file.write_text(json.dumps(document))
    [grown] = growth(tmp_path)
    assert grown.notes == ("dtype is not the same: none at step-100, bfloat16 at step-200",)


def test_the_same_step_twice_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "a" / "step-1", lambda _: 0.0)
    write_run(tmp_path / "b" / "step-1", lambda _: 0.0)
    with pytest.raises(UsageError, match=r"a/step-1 and .*b/step-1: both are step 1 on Some-Bench"):
        growth(tmp_path)


def test_what_is_no_series(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least one result folder"):
        growth()
    with pytest.raises(ResultsError, match="holds no result folder"):
        growth(tmp_path)
    with pytest.raises(ResultsError, match="is not there"):
        growth(tmp_path / "none")
    with pytest.raises(UsageError, match="a confidence between 0 and 1"):
        growth(tmp_path, confidence=2)
    folder = write_run(tmp_path / "step-1", lambda _: 0.0)
    (folder / "samples.jsonl").write_text("")
    with pytest.raises(ResultsError, match="no run in it has samples yet"):
        growth(tmp_path)


# Journals, read fast


def odd_journals() -> dict[str, bytes]:
    lines = [line_of(a_record(number)) for number in range(4)]
    missing = replace(
        a_record(1), status="unscored", reason="gone", reason_kind="missing-image", logits=(), logprobs=()
    )
    missing = replace(missing, sds=None, sds_logprob=None, correct=None, correct_logprob=None)
    return {
        "plain": b"".join(lines),
        "torn": b"".join(lines) + lines[0][:40],
        "tried again": lines[0] + line_of(missing) + b"".join(lines[1:]),
        "repeated": b"".join(lines) + lines[2],
        "surrogates": line_of(a_record(0, id="\ud800")) + lines[1],
        "no images": b"".join(line_of(replace(a_record(number), images=None)) for number in range(4)),
    }


@pytest.mark.parametrize("name", list(odd_journals()))
def test_a_journal_is_read_as_its_records_say(name: str, tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_bytes(odd_journals()[name])
    fast, slow = read_columns(path), columns_of(read_records(path))
    assert (fast.rows, fast.reasons) == (slow.rows, slow.reasons)
    assert np.array_equal(fast.values, slow.values, equal_nan=True)
    assert np.array_equal(fast.candidates, slow.candidates, equal_nan=True)


@pytest.mark.parametrize("damage", [b"{}\n", b"nonsense\n", b'{"format": 2}\n', b"[1]\n"])
def test_what_is_wrong_with_a_journal_is_said(damage: bytes, tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    with Journal.open(path) as journal:
        journal.append([a_record(0)])
    path.write_bytes(damage + path.read_bytes())
    with pytest.raises(ResultsError, match="line 1"):
        read_columns(path)


# Files


def test_the_document_is_as_its_schema_says(grown: radar_fast.Growth, results: Path, tmp_path: Path) -> None:
    result = run_cli("growth", results, "--json", tmp_path / "growth.json")
    assert result.exit_code == 0, result.stderr
    document = json.loads((tmp_path / "growth.json").read_text())
    jsonschema.Draft202012Validator(schema("growth")).validate(document)
    assert document == json.loads(json.dumps(document_of([grown])))
    [benchmark] = document["benchmarks"]
    assert benchmark["abilities"]["reasoning"]["trend"]["onset"] == 4
    assert len(benchmark["flips"]) == 5


def test_the_tables_say_the_same(grown: radar_fast.Growth, results: Path, tmp_path: Path) -> None:
    files = [tmp_path / f"growth.{kind}" for kind in ("csv", "parquet")]
    assert run_cli("growth", results, "--csv", files[0], "--parquet", files[1]).exit_code == 0
    pandas, polars = to_pandas([grown]), to_polars([grown])
    assert len(pandas) == len(polars) == 6 * (3 + 2 + 2 + 1)
    assert tuple(pandas.columns) == tuple(polars.columns) == columns()
    last = pandas[(pandas["name"] == "counting_8") & (pandas["step"] == 600)].iloc[0]
    entry, gain = grown.tasks["counting_8"].entries[-1], grown.tasks["counting_8"].gains[-1]
    assert (last["sds"], last["sds_low"], last["gain_sds_p_holm"]) == (
        entry.sds,
        entry.sds_low,
        gain.change("sds").p_holm,
    )
    assert bool(last["onset"]) is True
    table = parquet.read_table(files[1])
    assert table.to_pylist() == polars.to_dicts()
    assert pl.read_parquet(files[1]).equals(polars)
    with files[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["sds"] for row in rows] == [repr(value) for value in pandas["sds"]]
    assert pd.read_csv(files[0])["step"].tolist() == pandas["step"].tolist()


@pytest.mark.parametrize(("name", "start"), [("growth.svg", b"<?xml"), ("growth.png", b"\x89PNG")])
def test_a_picture(results: Path, tmp_path: Path, name: str, start: bytes) -> None:
    assert run_cli("growth", results, "--plot", tmp_path / name).exit_code == 0
    data = (tmp_path / name).read_bytes()
    assert data.startswith(start)
    if name.endswith("svg"):
        assert all(word in data for word in (b"perception", b"MMBench", b"chance"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--plot", "x.jpg"), "ends in .svg or .png"),
        (("--effect", "0"), "--effect 0: a gain in SDS is above 0"),
        (("--measure", "brier"), "brier"),
    ],
)
def test_options_that_cannot_be(results: Path, arguments: tuple[str, ...], said: str) -> None:
    result = run_cli("growth", results, *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


# On a terminal


def test_forty_steps_fit_80_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path, 40, samples=15)
    monkeypatch.setattr("radar_fast.terminal.output.Console", _narrow)
    result = run_cli("growth", tmp_path, "-v")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    rows = [line for line in lines if "▁" in line and not line.startswith("sds by")]
    assert len(rows) >= 3
    assert all(len(line) <= 80 for line in rows)
    drawn = max(len([char for char in row if char in "▁▂▃▄▅▆▇█"]) for row in rows)
    assert drawn >= 30
    assert any(line.startswith("above chance to the end from: ") for line in lines)
    assert any(line.startswith("chance: 0.333") for line in lines)


def _narrow(**options: object) -> object:
    from rich.console import Console

    return Console(width=80, force_terminal=True, color_system=None, **options)  # type: ignore[arg-type]


def test_a_line_of_blocks() -> None:
    assert sparkline([0.0, 0.5, 1.0, None], 9, 0, 1) == "▁▅█ "
    assert sparkline([0.0, 1.0, 0.0, 1.0], 2, 0, 1) == "▅▅"
    assert sparkline([0.5, 0.5], 2, 0.5, 0.5) == "▁▁"
    assert math.isclose(len(sparkline([0.1] * 41, 40, 0, 1)), 40)
