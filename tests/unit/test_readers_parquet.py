"""Parquet files as Hugging Face stores them: published layouts, any other by mapping, and what is wrong with them."""

import io
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from radar_fast.errors import DataError, RadarError, UsageError
from radar_fast.images import MAX_ENCODED, read_image
from radar_fast.readers import open_reader
from radar_fast.sample import EmbeddedImage, ImageFile, ReasonKind, Sample

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def png(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (9, 7), colour).save(buffer, "PNG")
    return buffer.getvalue()


RED, BLUE = png("red"), png("blue")
ROW: dict[str, Any] = {
    "question": "What?",
    "image": {"bytes": RED, "path": "a.png"},
    "options": ["dog", "cat"],
    "answer": "cat",
}
SCHEMA = pa.schema(
    [("question", pa.string()), ("image", IMAGE), ("options", pa.list_(pa.string())), ("answer", pa.string())]
)


def write(file: Path, rows: list[dict[str, Any]], schema: Any = None) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), file)
    return file


def read(data: Path, **fields: str) -> list[Sample]:
    return list(open_reader(data, format="parquet", fields=fields))


def flat(sample: Sample) -> list[str | bytes]:
    return [part.data if isinstance(part, EmbeddedImage) else str(part) for part in sample.parts]


def unfit(sample: Sample, kind: ReasonKind, *words: str) -> None:
    assert sample.reason is not None
    assert sample.reason.kind is kind, sample.reason
    for word in (*words, f"{sample.metadata['file']}:{sample.metadata['line']}"):
        assert word in sample.reason.detail
    assert "\n" not in sample.reason.detail


def test_own_names(tmp_path: Path) -> None:
    data = tmp_path / "set"
    write(data / "data" / "validation-00000-of-00002.parquet", [ROW, ROW | {"answer": "dog", "image": None}], SCHEMA)
    write(data / "data" / "validation-00001-of-00002.parquet", [ROW], SCHEMA)
    write(data / "other" / "test.parquet", [ROW], SCHEMA)
    reader = open_reader(data)
    samples = list(reader)
    assert reader.format == "parquet"
    assert all(sample.reason is None for sample in samples)
    assert [sample.task for sample in samples] == ["validation"] * 3 + ["other_test"]
    assert samples[0].id == "data/validation-00000-of-00002.parquet:1"
    assert (samples[0].directory, samples[0].ability, samples[0].ordered) == ("set", "other", True)
    assert (samples[0].candidates, samples[0].answer) == (("dog", "cat"), 1)
    assert flat(samples[0]) == [RED, "What?"]
    assert samples[0].images[0].name == "data/validation-00000-of-00002.parquet:1 image"
    assert flat(samples[1]) == ["What?"]
    assert len({sample.key for sample in samples}) == 4


def test_mapping(tmp_path: Path) -> None:
    rows = [
        {
            "q": "See <image>.",
            "pics": [{"bytes": RED, "path": None}],
            "all": ["x", "y"],
            "label": 1,
            "n": 7,
            "kind": "T",
        }
    ]
    write(tmp_path / "a.parquet", rows)
    [sample] = read(tmp_path, question="q", image="pics", options="all", answer_index="label", id="n", ability="kind")
    assert sample.reason is None
    assert (sample.id, sample.ability, sample.candidates, sample.answer) == ("7", "T", ("x", "y"), 1)
    assert flat(sample) == ["See ", RED, "."]


@pytest.mark.parametrize("name", ["image", "options", "answer", "answer_index", "id", "task", "ability"])
def test_mapped_column_that_is_not_there(tmp_path: Path, name: str) -> None:
    write(tmp_path / "a.parquet", [ROW], SCHEMA)
    [sample] = read(tmp_path, **{name: "typo"})
    unfit(sample, ReasonKind.BAD_RECORD, "typo", name)


def test_options_as_text_are_a_list(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [ROW | {"options": "['cat', \"dog's\"]"}, ROW | {"options": "cat, dog"}])
    good, bad = read(tmp_path)
    assert good.candidates == ("cat", "dog's")
    unfit(bad, ReasonKind.BAD_RECORD, "options", "list")


def mmmu(**changes: Any) -> dict[str, Any]:
    row = {
        "id": "test_Art_1",
        "question": "See <image 1> <image 2>?",
        "options": "['one', 'two', 'three']",
        "answer": "B",
    }
    images = {f"image_{number}": None for number in range(1, 8)}
    return {**row, **images, "image_1": {"bytes": RED}, "image_2": {"bytes": BLUE}, "subject": "Art", **changes}


def test_mmmu_pro(tmp_path: Path) -> None:
    only = mmmu(id="2", question="Which?", image_2=None)
    in_option = mmmu(id="3", question="Which?", image_2=None, options="['<image 1>', 'two']", answer="A")
    open_question = mmmu(id="4", options="[]", answer="42")
    hidden = mmmu(id="5", answer="?")
    gap = mmmu(id="6", question="See <image 2>?", image_1=None)
    beyond = mmmu(id="7", answer="J")
    rows = [mmmu(), only, in_option, open_question, hidden, gap, beyond]
    schema = pa.schema(
        [
            *((n, pa.string()) for n in ("id", "question", "options", "answer")),
            *((f"image_{k}", IMAGE) for k in range(1, 8)),
            ("subject", pa.string()),
        ]
    )
    write(tmp_path / "standard (4 options)" / "test-00000-of-00001.parquet", rows, schema)
    samples = read(tmp_path, ability="subject")
    assert {sample.task for sample in samples} == {"standard (4 options)_test"}
    assert (samples[0].id, samples[0].ability) == ("test_Art_1", "Art")
    assert flat(samples[0]) == ["See ", RED, " ", BLUE, "?"]
    assert (samples[0].candidates, samples[0].answer) == (("one", "two", "three"), 1)
    assert flat(samples[1]) == [RED, "Which?"]
    unfit(samples[2], ReasonKind.IMAGE_TAG_MISMATCH, "options", "<image 1>")
    unfit(samples[3], ReasonKind.BAD_RECORD, "answer", "42")
    unfit(samples[4], ReasonKind.BAD_RECORD, "answer", "test split")
    unfit(samples[5], ReasonKind.BAD_RECORD, "image")
    unfit(samples[6], ReasonKind.AMBIGUOUS_ANSWER, "answer", "3 options")


def test_mathvista(tmp_path: Path) -> None:
    row = {
        "pid": "1",
        "question": "How many?",
        "image": "images/1.jpg",
        "decoded_image": {"bytes": RED, "path": None},
        "choices": ["2", "3"],
        "answer": "3",
        "question_type": "multi_choice",
        "metadata": {"task": "vqa"},
    }
    rows: list[dict[str, Any]] = [
        row,
        row | {"pid": "2", "choices": None, "question_type": "free_form"},
        row | {"pid": "3", "answer": ""},
    ]
    write(tmp_path / "data" / "testmini-00000-of-00001-725687bf7a18d64b.parquet", rows)
    first, free, hidden = read(tmp_path)
    assert (first.id, first.task, first.candidates, first.answer) == ("1", "testmini", ("2", "3"), 1)
    assert flat(first) == [RED, "How many?"]
    unfit(free, ReasonKind.NO_DISTRACTOR, "question_type", "free_form")
    unfit(hidden, ReasonKind.BAD_RECORD, "answer", "test split")


def test_images_in_every_shape(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "i").mkdir(parents=True)
    (data / "i" / "a.png").write_bytes(RED)
    write(data / "bytes.parquet", [ROW | {"image": BLUE}])
    write(data / "paths.parquet", [ROW | {"image": "i/a.png"}, ROW | {"image": "../a.png"}, ROW | {"image": ""}])
    structs = [{"bytes": None, "path": "i/a.png"}, {"bytes": None, "path": None}, {"bytes": b"", "path": None}]
    write(data / "structs.parquet", [ROW | {"image": image} for image in structs], SCHEMA)
    write(data / "numbers.parquet", [ROW | {"image": 3}])
    samples = {sample.id: sample for sample in read(data)}
    assert flat(samples["bytes.parquet:1"]) == [BLUE, "What?"]
    assert samples["paths.parquet:1"].images == (ImageFile(data / "i/a.png"),)
    unfit(samples["paths.parquet:2"], ReasonKind.PATH_OUTSIDE_DATA, "../a.png")
    unfit(samples["paths.parquet:3"], ReasonKind.BAD_RECORD, "image")
    assert samples["structs.parquet:1"].images == (ImageFile(data / "i/a.png"),)
    unfit(samples["structs.parquet:2"], ReasonKind.BAD_RECORD, "image", "without bytes and path")
    [empty] = samples["structs.parquet:3"].images
    assert "0 bytes" in str(read_image(empty))
    unfit(samples["numbers.parquet:1"], ReasonKind.BAD_RECORD, "image", "a number")


def test_images_are_bounded(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [ROW | {"image": {"bytes": b"x" * (MAX_ENCODED + 1), "path": None}}, ROW], SCHEMA)
    large, good = read(tmp_path)
    unfit(large, ReasonKind.UNREADABLE_IMAGE, "too large", str(MAX_ENCODED))
    assert good.reason is None


def test_text_that_is_no_utf8_costs_its_row(tmp_path: Path) -> None:
    texts = pa.array([b"fine", b"\xff\xfe", b"fine"]).cast(pa.binary()).view(pa.string())
    table = pa.table({"question": texts, "options": [["a", "b"]] * 3, "answer": ["a"] * 3})
    pq.write_table(table, tmp_path / "a.parquet")
    first, second, third = read(tmp_path)
    assert first.reason is third.reason is None
    unfit(second, ReasonKind.BAD_RECORD, "cannot be read")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1PAR1", b"no parquet at all", b"PAR1" + bytes(40) + b"PAR1"])
def test_files_that_are_no_parquet(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.parquet: not parquet|a\.parquet: cannot be read") as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)


def test_files_without_questions(tmp_path: Path) -> None:
    write(tmp_path / "empty.parquet", [], SCHEMA)
    with pytest.raises(DataError, match=r"empty\.parquet: holds no row"):
        read(tmp_path)
    write(tmp_path / "empty.parquet", [{"prompt": "x"}])
    with pytest.raises(DataError, match=r"no column 'question'; the columns are 'prompt'.*--field question="):
        read(tmp_path)
    with pytest.raises(UsageError, match="'nonsense'"):
        read(tmp_path, nonsense="x")


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.parquet", [ROW], SCHEMA)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UsageError, match=r"\.\[parquet\]") as caught:
        open_reader(tmp_path)
    assert "\n" not in str(caught.value)


ANY = st.none() | st.text(max_size=5) | st.sampled_from(["a", "B", "<image 1>", "['a', 'b']", "../x", "?"])
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "question": ANY,
            "image_1": st.none() | st.fixed_dictionaries({"bytes": st.none() | st.binary(max_size=4), "path": ANY}),
            "options": ANY,
            "answer": ANY,
            "id": ANY,
        }
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=ROWS, fields=st.sampled_from([{}, {"image": "image_1", "distractors": "options"}, {"answer_index": "answer"}])
)
def test_any_row_comes_out(tmp_path: Path, rows: list[dict[str, Any]], fields: dict[str, str]) -> None:
    schema = pa.schema([(name, IMAGE if name == "image_1" else pa.string()) for name in rows[0]])
    try:
        write(tmp_path / "a.parquet", rows, schema)
    except UnicodeEncodeError:
        return
    samples = read(tmp_path, **fields)
    assert len(samples) == len(rows)
    assert len({sample.key for sample in samples}) == len(rows)
    for sample in samples:
        if sample.reason is None:
            assert len(sample.candidates) >= 2
            assert sample.parts
        else:
            unfit(sample, sample.reason.kind)


# The same examples in every run: what is tested is pyarrow's C++ as well, and a crash there would end all tests.
@settings(
    max_examples=150, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(at=st.integers(0, 2000), change=st.binary(min_size=1, max_size=4), cut=st.booleans())
def test_any_file_comes_out(tmp_path: Path, at: int, change: bytes, cut: bool) -> None:
    file = write(tmp_path / "a.parquet", [ROW] * 3, SCHEMA)
    whole = file.read_bytes()
    file.write_bytes(whole[:at] if cut else whole[:at] + change + whole[at + len(change) :])
    found: list[str] = []
    try:
        found = [sample.reason.detail for sample in read(tmp_path) if sample.reason is not None]
    except RadarError as error:
        found = [str(error)]
    for line in found:
        assert "a.parquet" in line
        assert "\n" not in line


READ = r"""
import re, sys
from pathlib import Path
from radar_fast.readers import open_reader
count = sum(sample.reason is None for sample in open_reader(Path(sys.argv[1])))
print(count, int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""


def test_a_large_file_streams(tmp_path: Path) -> None:
    rng = random.Random(0)
    peaks = []
    for groups in (1, 16):
        folder = tmp_path / str(groups)
        folder.mkdir()
        with pq.ParquetWriter(folder / "a.parquet", SCHEMA) as writer:
            for _ in range(groups):
                rows = [ROW | {"image": {"bytes": rng.randbytes(100_000), "path": None}} for _ in range(100)]
                writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
        result = subprocess.run([sys.executable, "-c", READ, folder], capture_output=True, text=True, check=True)
        count, peak = map(int, result.stdout.split())
        assert count == 100 * groups
        peaks.append(peak)
    assert peaks[1] < peaks[0] + 60, peaks  # 150 MB more to read
