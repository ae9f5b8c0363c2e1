"""Exports: every writable format reads back as the samples that went in; what does not fit is listed, never lost."""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from radar_fast.demo.mini_m3 import write_mini_m3
from radar_fast.errors import DataError, ResultsError, UsageError
from radar_fast.images import MAX_ENCODED, read_image
from radar_fast.readers import open_reader
from radar_fast.sample import AnyImage, EmbeddedImage, ImageFile, Reason, ReasonKind, Sample
from radar_fast.writers import FORMATS, Plan, plan_export

ROOT = Path(__file__).resolve().parents[2]


def png(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (9, 7), colour).save(buffer, "PNG")
    return buffer.getvalue()


RED, BLUE, GREEN = (EmbeddedImage(f"t.tsv:1 {colour}", png(colour)) for colour in ("red", "blue", "green"))
SAMPLE = Sample("1", "task", "set", "other", (RED, "What?"), ("cat", "dog", "cow"), 1, ordered=True)


def pixels(image: AnyImage) -> bytes:
    found = read_image(image)
    assert isinstance(found, Image.Image)
    return repr(found.size).encode() + found.tobytes()


def said(sample: Sample) -> dict[str, object]:
    """What has to survive: text and pixels, candidates, answer, and what the sample is called."""
    return {
        "key": sample.key,
        "parts": [part if isinstance(part, str) else pixels(part) for part in sample.parts],
        "candidates": sample.candidates,
        "answer": sample.answer,
        "ability": sample.ability,
        "ordered": sample.ordered,
        "hint": sample.metadata.get("hint"),
        "group": sample.metadata.get("group"),
    }


def export(samples: Iterable[Sample], to: str, out: Path) -> Plan:
    samples = list(samples)
    plan = plan_export(samples, to)
    assert plan.write(samples, out) == len(samples) - len(plan.misfits)
    return plan


def by_key(samples: Iterable[Sample]) -> dict[tuple[str, str], dict[str, object]]:
    return {sample.key: said(sample) for sample in samples}


@pytest.mark.parametrize("to", FORMATS)
def test_puzzlevqa(tmp_path: Path, puzzlevqa: Path, to: str) -> None:
    samples = list(open_reader(puzzlevqa))
    assert len(samples) == 10
    assert export(samples, to, tmp_path / "out").misfits == ()
    reader = open_reader(tmp_path / "out")
    assert reader.format == to
    assert by_key(reader) == by_key(samples)


@pytest.mark.parametrize("to", FORMATS)
def test_mini_m3(tmp_path: Path, to: str) -> None:
    write_mini_m3(tmp_path / "in", samples_per_task=8)
    samples = list(open_reader(tmp_path / "in"))
    plan = export(samples, to, tmp_path / "out")
    # The one record with 13 images, which cannot be scored as it is.
    [(task, _, why)] = plan.misfits
    assert task == "MMMU_Pro_Math_8"
    assert "too-many-images" in why
    reader = open_reader(tmp_path / "out")
    assert reader.format == to
    back = list(reader)
    assert by_key(back) == by_key(sample for sample in samples if sample.reason is None)
    if to == "m3":
        assert {sample.directory for sample in back} == {sample.directory for sample in samples}


@pytest.mark.parametrize("first", FORMATS)
def test_from_any_format_to_any(tmp_path: Path, first: str) -> None:
    samples = [
        SAMPLE,
        replace(SAMPLE, id="2", parts=(BLUE, "What?"), ability="seeing", metadata={"hint": "Look.", "group": 7}),
        replace(SAMPLE, id="3", answer=0, ordered=False),
    ]
    export(samples, first, tmp_path / "first")
    for second in FORMATS:
        export(open_reader(tmp_path / "first"), second, tmp_path / second)
        assert by_key(open_reader(tmp_path / second)) == by_key(samples)


def test_tables_are_what_vlmevalkit_reads(tmp_path: Path) -> None:
    """Python's own csv stands for pandas: its dialect for this is the same."""
    odd = replace(SAMPLE, id="2", parts=(RED, 'a "b"\r\nc\td'), candidates=("x", "y"), answer=0)
    export([SAMPLE, odd, replace(SAMPLE, id="3", parts=(RED, BLUE, "Two"))], "vlmevalkit", tmp_path / "out")
    csv.field_size_limit(10**6)
    with (tmp_path / "out" / "task.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["question"] for row in rows] == ["What?", 'a "b"\r\nc\td', "Two"]
    assert [(row["A"], row["B"], row["C"], row["answer"]) for row in rows] == [
        ("cat", "dog", "cow", "B"),
        ("x", "y", "", "A"),
        ("cat", "dog", "cow", "B"),
    ]
    assert rows[1]["image"] == "1"  # shared, as in the published tables
    assert (rows[2]["image"][:2], rows[2]["image"][-2:]) == ("['", "']")


INNER = ("See ", BLUE, " and ", RED, ".")


@pytest.mark.parametrize(
    ("to", "change", "word"),
    [
        ("m3", {"parts": ("What?",)}, "0 images"),
        ("m3", {"parts": (RED, BLUE, "What?")}, "2 images"),
        ("m3", {"parts": INNER}, "MMMU_Pro"),
        ("m3", {"id": "a/b"}, "id"),
        ("m3", {"id": "x" * 300}, "180"),
        ("m3", {"task": "../x"}, "task"),
        ("m3", {"directory": ".x"}, "directory"),
        ("vlmevalkit", {"parts": INNER}, "MMMU"),
        ("vlmevalkit", {"task": "a/b"}, "task"),
        ("vlmevalkit", {"candidates": tuple(map(str, range(27)))}, "27 candidates"),
        ("vlmevalkit", {"candidates": ("nan", "x")}, "empty cell"),
        ("vlmevalkit", {"id": "nan"}, "empty cell"),
        ("vlmevalkit", {"candidates": ("<image 1>", "x")}, "<image 1>"),
        ("jsonl", {"parts": (RED, "See <image>")}, ""),
        ("jsonl", {"parts": (RED, "Two <image> and <image>")}, "image tags"),
        ("jsonl", {"candidates": ("<image>", "x")}, "<image>"),
        ("parquet", {"parts": ("See <image 1>",)}, "image tags"),
        *((to, {"parts": (ImageFile(Path("/nowhere.png")), "What?")}, "cannot be opened") for to in FORMATS),
        *((to, {"parts": (EmbeddedImage("large", bytes(MAX_ENCODED + 1)), "?")}, "larger") for to in FORMATS),
        *((to, {"parts": (EmbeddedImage("empty", b""), "?")}, "empty") for to in FORMATS),
        *((to, {"candidates": ("\ud800", "x")}, "surrogate") for to in FORMATS),
        *((to, {"reason": Reason(ReasonKind.BAD_RECORD, "why not")}, "why not") for to in FORMATS),
    ],
)
def test_what_does_not_fit(tmp_path: Path, to: str, change: dict[str, object], word: str) -> None:
    other = replace(SAMPLE, id="9", **change) if "id" not in change else replace(SAMPLE, **change)  # type: ignore[arg-type]
    plan = plan_export([SAMPLE, other], to)
    assert [name for _, name, _ in plan.misfits] == [other.id]
    assert word in plan.misfits[0][2]
    assert "\n" not in plan.misfits[0][2]
    assert plan.write([SAMPLE, other], tmp_path / "out") == 1
    assert by_key(open_reader(tmp_path / "out")) == by_key([SAMPLE])


def test_m3_has_one_file_for_an_image(tmp_path: Path) -> None:
    shared = replace(SAMPLE, id="a--1")
    samples = [replace(SAMPLE, id="a--0"), shared, replace(SAMPLE, id="a--2", parts=(BLUE, "What?"))]
    plan = export(samples, "m3", tmp_path / "out")
    assert [name for _, name, _ in plan.misfits] == ["a--2"]
    assert "another image" in plan.misfits[0][2]
    assert len(list((tmp_path / "out").rglob("*.jpg"))) == 1
    elsewhere = plan_export([SAMPLE, replace(SAMPLE, id="2", directory="b")], "m3")
    assert "another directory" in elsewhere.misfits[0][2]


@pytest.mark.parametrize(
    ("extras", "word"),
    [
        ([], "a list"),
        ("x", "'x'"),
        ({"ability": 3}, "ability"),
        ({"answer_index": True}, "answer_index"),
        ({"ordered": "yes"}, "ordered"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"group": None}}, "metadata"),
        ({"metadata": {"stem": "../../x"}}, "stem"),
    ],
)
def test_what_a_record_says_of_itself_is_checked(tmp_path: Path, extras: object, word: str) -> None:
    record = {"question": "q", "answer": "a", "distractors": ["b"], "distraction": ["b"], "radar_fast": extras}
    (tmp_path / "lines").mkdir()
    (tmp_path / "lines" / "a.jsonl").write_text(json.dumps(record))
    (tmp_path / "m3" / "mathematical_reasoning").mkdir(parents=True)
    (tmp_path / "m3" / "mathematical_reasoning" / "a.json").write_text(json.dumps({"1": record}))
    for folder in ("lines", "m3"):
        [sample] = open_reader(tmp_path / folder)
        assert sample.reason is not None
        assert sample.reason.kind is ReasonKind.BAD_RECORD
        assert "radar_fast" in sample.reason.detail
        assert word in sample.reason.detail
        assert (sample.parts, sample.candidates) == ((), ())


def test_an_answer_index_beyond_the_candidates(tmp_path: Path) -> None:
    (tmp_path / "mathematical_reasoning").mkdir()
    record = {"question": "q", "answer": "a", "distraction": ["b"], "radar_fast": {"answer_index": 2}}
    (tmp_path / "mathematical_reasoning" / "a.json").write_text(json.dumps({"1": record}))
    [sample] = open_reader(tmp_path)
    assert sample.reason is not None
    assert "'answer_index' 2 with 2 candidates" in sample.reason.detail


def test_nothing_fits() -> None:
    with pytest.raises(DataError, match="none of the 1 samples fits m3; the first: task, 1: "):
        plan_export([replace(SAMPLE, parts=("What?",))], "m3")
    with pytest.raises(DataError, match="there are none"):
        plan_export([], "jsonl")
    with pytest.raises(UsageError, match=r"--to pgps9k.*m3, jsonl"):
        plan_export([SAMPLE], "pgps9k")


@pytest.mark.parametrize("to", FORMATS)
def test_complete_or_not_there(tmp_path: Path, to: str) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(RED.data)
    samples = [SAMPLE, replace(SAMPLE, id="2", parts=(ImageFile(file), "What?"))]
    plan = plan_export(samples, to)
    file.unlink()
    with pytest.raises(ResultsError, match="changed"):
        plan.write(samples, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x").touch()
    with pytest.raises(ResultsError, match="not an empty folder"):
        plan.write(samples, tmp_path / "out")
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("to", FORMATS)
def test_data_that_change_meanwhile(tmp_path: Path, to: str) -> None:
    more = replace(SAMPLE, id="2", candidates=("cat", "dog", "cow", "hen"))
    planned = [SAMPLE, replace(SAMPLE, id="3")]
    for later in ([*planned, more], [SAMPLE], []):
        with pytest.raises(ResultsError, match="nothing was written: the data changed"):
            plan_export(planned, to).write(later, tmp_path / "out")
        assert list(tmp_path.iterdir()) == []


def test_a_blank_ability_does_not_fit_m3(tmp_path: Path) -> None:
    plan = export([SAMPLE, replace(SAMPLE, id="2", ability=" ")], "m3", tmp_path / "out")
    assert [(name, why) for _, name, why in plan.misfits] == [
        ("2", "its ability is blank, which the reader takes for damage")
    ]


def test_an_empty_folder_may_be_there(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    export([SAMPLE], "jsonl", tmp_path / "out")
    assert len(list(open_reader(tmp_path / "out"))) == 1


TEXT = st.text(max_size=6) | st.sampled_from(["<image>", "<image 1>", "nan", " ", "a\tb", 'a"b\n', "\r", "['x']"])
PARTS = st.lists(st.sampled_from([RED, BLUE, GREEN]) | TEXT, min_size=1, max_size=5).map(tuple)
SAMPLES = st.builds(
    lambda name, task, ability, parts, candidates, answer, ordered: Sample(
        name, task, "set", ability, parts, candidates, answer % len(candidates), {"hint": "h"}, ordered=ordered
    ),
    TEXT,
    st.sampled_from(["a", "MMMU_Pro_x_1", "MMBench_ocr_1", "SeePhys_1", "/"]) | TEXT,
    TEXT,
    PARTS,
    st.lists(TEXT, min_size=1, max_size=4).map(tuple),
    st.integers(0, 3),
    st.booleans(),
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    samples=st.lists(SAMPLES, min_size=1, max_size=4, unique_by=lambda sample: sample.key),
    to=st.sampled_from(FORMATS),
)
def test_whatever_fits_comes_back(tmp_path_factory: pytest.TempPathFactory, samples: list[Sample], to: str) -> None:
    out = tmp_path_factory.mktemp("x") / "out"
    plan = plan_export([SAMPLE, *samples], to)
    plan.write([SAMPLE, *samples], out)
    left_out = {(task, name) for task, name, _ in plan.misfits}
    assert all("\n" not in why for _, _, why in plan.misfits)
    assert by_key(open_reader(out, format=to)) == by_key(s for s in [SAMPLE, *samples] if s.key not in left_out)


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "radar_fast", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200"},
    )


@pytest.mark.parametrize("to", FORMATS)
def test_the_command_and_the_fake_engine(tmp_path: Path, to: str) -> None:
    write_mini_m3(tmp_path / "in", samples_per_task=4)
    done = run("convert", tmp_path / "in", "--to", to, "--out", tmp_path / "out")
    assert done.returncode == 1, done.stderr
    assert "does not fit" in done.stdout.splitlines()[0]
    assert f"63 of 64 samples of {tmp_path / 'in'} (m3) are in {tmp_path / 'out'} ({to})" in done.stdout
    again = run("convert", tmp_path / "in", "--to", to, "--out", tmp_path / "out")
    assert again.returncode == 2
    assert "not an empty folder" in again.stderr
    scored = run("score", "--data", tmp_path / "out", "--engine", "fake", "--out", tmp_path / "results")
    assert scored.returncode == 0, scored.stderr
    first = run("score", "--data", tmp_path / "in", "--engine", "fake", "--out", tmp_path / "first")
    assert first.returncode == 0

    # The fake engine's numbers are a hash of what it is asked, so these are the same questions.
    assert journal(tmp_path / "results") == journal(tmp_path / "first")


def journal(results: Path) -> dict[tuple[str, str], tuple[float, list[object]]]:
    records = map(json.loads, (results / "samples.jsonl").read_text().splitlines())
    return {(r["task"], r["id"]): (r["sds"], r["candidates"]) for r in records if r["status"] == "scored"}
