"""Data as people have them: hints, lists and objects of records, option columns, letters, several images, presets."""

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from radar_fast.benchmark import open_benchmark, survey
from radar_fast.cli import main
from radar_fast.conditions import Conditions
from radar_fast.config import RunConfig
from radar_fast.errors import DataError, UsageError
from radar_fast.readers import PRESETS, open_reader
from radar_fast.readers.layout import layout_of
from radar_fast.readers.letters import letter_of, split_options
from radar_fast.sample import EmbeddedImage, ImageFile, ReasonKind, Sample
from radar_fast.terminal.progress import SilentProgress
from radar_fast.writers import plan_export


def png(colour: str = "red", kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(buffer, kind)
    return buffer.getvalue()


RED = png()
LINE: dict[str, Any] = {"question": "What?", "options": ["dog", "cat", "cow"], "answer": "cat"}


def lines(data: Path, *records: object, name: str = "task.jsonl") -> Path:
    data.mkdir(parents=True, exist_ok=True)
    (data / name).write_text("\n".join(json.dumps(record) for record in records))
    return data


def whole(data: Path, content: object, name: str = "task.json", indent: int | None = None) -> Path:
    data.mkdir(parents=True, exist_ok=True)
    (data / name).write_text(json.dumps(content, indent=indent))
    return data


def parquet(data: Path, rows: list[dict[str, Any]], name: str = "test.parquet") -> Path:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    (data / name).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), data / name)
    return data


def scored(data: Path, **options: Any) -> list[Sample]:
    samples = list(open_reader(data, **options))
    assert [sample.reason for sample in samples] == [None] * len(samples)
    return samples


def reason(sample: Sample, kind: ReasonKind, *words: str) -> None:
    assert sample.reason is not None
    assert sample.reason.kind is kind, sample.reason
    for word in words:
        assert word in sample.reason.detail
    assert "\n" not in sample.reason.detail


def asked(sample: Sample, candidates: str = "text") -> str:
    one = Conditions(candidates=candidates).one(sample)
    return "".join(part for part in one.parts if isinstance(part, str))


# Hints ---------------------------------------------------------------------------------------------------------------


def test_a_hint_is_asked_whatever_the_format(tmp_path: Path) -> None:
    hinted = LINE | {"hint": "It purrs."}
    table = "index\timage\tquestion\thint\tA\tB\tanswer\n1\t\tWhat?\tIt purrs.\tdog\tcat\tB\n"
    (tmp_path / "tsv").mkdir()
    (tmp_path / "tsv" / "a.tsv").write_text(table)
    for data in (
        lines(tmp_path / "lines", hinted),
        whole(tmp_path / "list", [hinted]),
        parquet(tmp_path / "parquet", [hinted]),
        tmp_path / "tsv",
    ):
        [sample] = scored(data)
        assert sample.metadata["hint"] == "It purrs."
        assert asked(sample) == "Hint: It purrs.\nWhat?"
        assert asked(sample, "letter").startswith("Hint: It purrs.\nQuestion: What?\n")


def test_a_hint_of_another_name(tmp_path: Path) -> None:
    for data in (
        lines(tmp_path / "lines", LINE | {"context": "It purrs.", "hint": "no"}),
        parquet(tmp_path / "parquet", [LINE | {"context": "It purrs.", "hint": "no"}]),
    ):
        [sample] = scored(data, fields={"hint": "context"})
        assert sample.metadata["hint"] == "It purrs."


@pytest.mark.parametrize("hint", [None, "", "  ", float("nan")])
def test_no_hint(tmp_path: Path, hint: object) -> None:
    [sample] = scored(lines(tmp_path, LINE | {"hint": hint}))
    assert "hint" not in sample.metadata
    assert asked(sample) == "What?"


def test_a_hint_that_is_no_text(tmp_path: Path) -> None:
    number, listed = open_reader(lines(tmp_path, LINE | {"hint": 7}, LINE | {"hint": ["x"]}))
    assert number.metadata["hint"] == "7"
    reason(listed, ReasonKind.BAD_RECORD, "'hint'", "a list")


# JSON ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("name", ["task.json", "task.jsonl"])
def test_a_list_of_records(tmp_path: Path, indent: int | None, name: str) -> None:
    records = [LINE, LINE | {"id": "x", "answer": "dog"}, LINE | {"answer": "cow"}]
    first, second, third = scored(whole(tmp_path, records, name, indent))
    assert [first.id, second.id, third.id] == [f"{name}:1", "x", f"{name}:3"]
    assert [first.answer, second.answer, third.answer] == [1, 0, 2]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("keys", [("1", "2"), ("q_1", "q_2"), ("a b", "é"), ("10", "9")])
def test_an_object_of_records_is_as_many_samples(tmp_path: Path, indent: int | None, keys: tuple[str, str]) -> None:
    first, second = scored(whole(tmp_path, {keys[0]: LINE, keys[1]: LINE | {"answer": "dog"}}, indent=indent))
    assert ((first.id, first.answer), (second.id, second.answer)) == ((keys[0], 1), (keys[1], 0))
    assert first.task == "task"


def test_an_object_of_records_with_ids(tmp_path: Path) -> None:
    [sample] = scored(whole(tmp_path, {"1": LINE | {"id": "own"}}))
    assert sample.id == "own"


def test_a_list_with_a_record_on_each_line(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[\n" + ",\n".join(json.dumps(LINE) for _ in range(3)) + "\n]\n")
    assert [sample.id for sample in scored(tmp_path)] == ["a.json:1", "a.json:2", "a.json:3"]


def test_entries_that_are_no_records(tmp_path: Path) -> None:
    good, bad = open_reader(whole(tmp_path / "list", [LINE, None]))
    assert good.reason is None
    reason(bad, ReasonKind.BAD_RECORD, "null", "task.json:2")
    good, bad, half = open_reader(whole(tmp_path / "twice", [LINE, 3, {"question": "\ud800"}]))
    reason(bad, ReasonKind.BAD_RECORD, "a number")
    reason(half, ReasonKind.BAD_RECORD, "surrogate")


def test_a_long_list_on_one_line_streams(tmp_path: Path) -> None:
    many = [LINE | {"id": str(number), "question": "x" * 300} for number in range(5000)]
    assert len(scored(whole(tmp_path, many))) == 5000


def test_a_file_cut_off_is_an_error_after_what_is_whole(tmp_path: Path) -> None:
    text = json.dumps([LINE, LINE])
    (tmp_path / "a.json").write_text(text[:-10])
    with pytest.raises(DataError, match=r"a\.json: not JSON: line 1"):
        list(open_reader(tmp_path))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1" + "0" * 30, "9" * 5000, "1e999"])
@pytest.mark.parametrize("wrap", ["{}", "[{}]", '{{"1": {}}}'])
def test_numbers_in_fields_nobody_asks_for(tmp_path: Path, number: str, wrap: str) -> None:
    record = json.dumps(LINE)[:-1] + f', "difficulty": {number}, "more": {{"deep": [{number}]}}}}'
    (tmp_path / "a.json").write_text(wrap.format(record))
    [sample] = scored(tmp_path)
    assert sample.answer == 1


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1" + "0" * 30, "9" * 5000])
@pytest.mark.parametrize("name", ["question", "answer", "id", "image", "task"])
@pytest.mark.parametrize("wrap", ["{0}\n{1}", "[{0}, {1}]"])
def test_numbers_in_fields_that_are_asked_for(tmp_path: Path, number: str, name: str, wrap: str) -> None:
    record = json.dumps({key: value for key, value in LINE.items() if key != name})[:-1] + f', "{name}": {number}}}'
    (tmp_path / "a.json").write_text(wrap.format(record, json.dumps(LINE)))
    bad, good = open_reader(tmp_path)
    reason(bad, ReasonKind.BAD_RECORD, name)
    assert good.reason is None


def test_records_under_a_key(tmp_path: Path) -> None:
    whole(tmp_path, {"version": 1, "items": [LINE, LINE], "more": {"x": [1]}})
    (tmp_path / "layout.toml").write_text('records = "items"\n')
    assert len(scored(tmp_path, fields_file=tmp_path / "layout.toml")) == 2
    (tmp_path / "layout.toml").write_text('records = "version"\n')
    with pytest.raises(DataError, match="under 'version' is a number"):
        list(open_reader(tmp_path, format="jsonl", fields_file=tmp_path / "layout.toml"))
    (tmp_path / "layout.toml").write_text('records = "none"\n')
    with pytest.raises(DataError, match="nothing under 'none'"):
        list(open_reader(tmp_path, format="jsonl", fields_file=tmp_path / "layout.toml"))


# Options and answers -------------------------------------------------------------------------------------------------

COLUMNS = {"question": "What?", "A": "dog", "B": None, "C": "cat", "D": "cow", "E": None, "answer": "C"}


@pytest.mark.parametrize("form", ["jsonl", "json", "parquet", "tsv"])
def test_option_columns_keep_their_letters_over_holes(tmp_path: Path, form: str) -> None:
    if form == "jsonl":
        lines(tmp_path, COLUMNS)
    elif form == "json":
        whole(tmp_path, [COLUMNS])
    elif form == "parquet":
        parquet(tmp_path, [COLUMNS])
    else:
        row = "\t".join(str(value or "") for value in COLUMNS.values())
        (tmp_path / "a.tsv").write_text("\t".join(["index", "image", *COLUMNS]) + f"\n1\t\t{row}\n")
    [sample] = scored(tmp_path)
    assert (sample.candidates, sample.answer, sample.ordered) == (("dog", "cat", "cow"), 1, True)
    assert sample.metadata["letters"] == "ACD"
    one = Conditions(candidates="letter").one(sample)
    assert (one.candidates, one.answer) == (("A", "C", "D"), 1)
    assert "Options:\nA. dog\nC. cat\nD. cow\n" in asked(sample, "letter")


def test_option_columns_without_holes_have_no_letters_of_their_own(tmp_path: Path) -> None:
    [sample] = scored(lines(tmp_path, COLUMNS | {"B": "hen", "answer": "B"}))
    assert (sample.candidates, sample.answer) == (("dog", "hen", "cat", "cow"), 1)
    assert "letters" not in sample.metadata


@pytest.mark.parametrize("answer", ["C", "(C)", "c.", "c", "C)", "[C]", "C:", "cat"])
def test_answers_in_option_columns(tmp_path: Path, answer: str) -> None:
    [sample] = scored(lines(tmp_path, COLUMNS | {"answer": answer}))
    assert sample.candidates[sample.answer] == "cat"


def test_answers_that_option_columns_do_not_have(tmp_path: Path) -> None:
    hole, beyond, both, empty = open_reader(
        lines(
            tmp_path,
            COLUMNS | {"answer": "B"},
            COLUMNS | {"answer": "Z"},
            COLUMNS | {"A": "C", "answer": "C"},
            COLUMNS | dict.fromkeys("ACD"),
        )
    )
    reason(hole, ReasonKind.AMBIGUOUS_ANSWER, "A, C, D")
    reason(beyond, ReasonKind.AMBIGUOUS_ANSWER, "'Z'")
    reason(both, ReasonKind.AMBIGUOUS_ANSWER, "the letter of one option and the text of another")
    reason(empty, ReasonKind.NO_DISTRACTOR, "open question")


def test_a_position_after_a_hole_is_not_guessed(tmp_path: Path) -> None:
    lines(tmp_path, COLUMNS | {"n": 0}, COLUMNS | {"n": 1}, COLUMNS | {"n": 2}, COLUMNS | {"n": 9})
    first, hole, after, beyond = open_reader(tmp_path, fields={"answer_index": "n"})
    assert (first.reason, first.answer) == (None, 0)
    reason(hole, ReasonKind.AMBIGUOUS_ANSWER, "empty", "answer_letter")
    reason(after, ReasonKind.AMBIGUOUS_ANSWER, "empty", "answer_letter")
    reason(beyond, ReasonKind.AMBIGUOUS_ANSWER, "3 options")


@pytest.mark.parametrize("given", ["choice_a,choice_b,choice_c", "choice_a, choice_b, choice_c"])
def test_option_columns_of_other_names(tmp_path: Path, given: str) -> None:
    record = {"question": "?", "choice_a": "dog", "choice_b": "", "choice_c": "cat", "key": "(c)"}
    [sample] = scored(lines(tmp_path, record), fields={"options": given, "answer_letter": "key"})
    assert (sample.candidates, sample.answer, sample.metadata["letters"]) == (("dog", "cat"), 1, "AC")


@pytest.mark.parametrize(
    ("answer", "place"), [("A", 0), ("(B)", 1), ("c.", 2), ("[B]", 1), ("C)", 2), ("(a).", 0), (" B ", 1), ("c:", 2)]
)
def test_letters_where_the_mapping_says_so(tmp_path: Path, answer: str, place: int) -> None:
    [sample] = scored(lines(tmp_path, LINE | {"answer": answer}), fields={"answer_letter": "answer"})
    assert sample.answer == place
    [unsaid] = open_reader(tmp_path)
    reason(unsaid, ReasonKind.AMBIGUOUS_ANSWER, "map answer_letter")


@pytest.mark.parametrize("answer", ["", "AB", "A or B", "hidden", "-", "1", 1, None, True])
def test_what_is_no_letter(tmp_path: Path, answer: object) -> None:
    [sample] = open_reader(lines(tmp_path, LINE | {"answer": answer}), fields={"answer_letter": "answer"})
    reason(sample, ReasonKind.BAD_RECORD, "(answer_letter)")


def test_a_letter_beyond_the_options(tmp_path: Path) -> None:
    [sample] = open_reader(lines(tmp_path, LINE | {"answer": "D"}), fields={"answer_letter": "answer"})
    reason(sample, ReasonKind.AMBIGUOUS_ANSWER, "'D'", "3 options: A, B, C")


@pytest.mark.parametrize(("answer", "place"), [("0", 0), ("2", 2), (" 1 ", 1), ("01", 1), (1, 1)])
def test_positions_as_text(tmp_path: Path, answer: object, place: int) -> None:
    [sample] = scored(lines(tmp_path, LINE | {"answer": answer}), fields={"answer_index": "answer"})
    assert sample.answer == place


def test_letters_as_they_are_read() -> None:
    assert [letter_of(text) for text in ("A", "(B)", "c.", "", "AB", "(", "É", "A.B")] == [
        "A",
        "B",
        "C",
        *[None] * 5,
    ]


def test_contradictions_of_letters() -> None:
    for fields, words in (
        ({"answer": "a", "answer_letter": "b"}, "answer and answer_letter"),
        ({"answer_index": "a", "answer_letter": "b"}, "answer_index and answer_letter"),
        ({"answer_letter": "a", "distractors": "b"}, "answer_letter and distractors"),
    ):
        with pytest.raises(UsageError, match=words):
            layout_of(fields)


# Images --------------------------------------------------------------------------------------------------------------


def paths(sample: Sample, data: Path) -> list[str]:
    return [image.path.relative_to(data).as_posix() for image in sample.images if isinstance(image, ImageFile)]


def test_image_columns(tmp_path: Path) -> None:
    record = LINE | {"image_1": "a.png", "image_2": "b.png", "image_3": None}
    [plain] = scored(lines(tmp_path / "plain", record))
    assert paths(plain, tmp_path / "plain") == ["a.png", "b.png"]
    [tagged] = scored(lines(tmp_path / "tag", record | {"question": "<image 2> or <image 1>?"}))
    assert paths(tagged, tmp_path / "tag") == ["b.png", "a.png"]
    [mapped] = scored(
        lines(tmp_path / "two", LINE | {"left": "l.png", "right": "r.png"}), fields={"image": "left,right"}
    )
    assert paths(mapped, tmp_path / "two") == ["l.png", "r.png"]
    [listed] = scored(lines(tmp_path / "list", LINE | {"image": ["a.png", "b.png", "c.png"]}))
    assert len(listed.images) == 3
    [gap] = open_reader(lines(tmp_path / "gap", LINE | {"image_1": None, "image_2": "b.png"}))
    reason(gap, ReasonKind.BAD_RECORD, "image_1")


def test_image_columns_of_parquet(tmp_path: Path) -> None:
    row = {"question": "Which?", "choices": ["x", "y"], "answer": "y"}
    images = {"image_1": {"bytes": RED, "path": None}, "image_2": {"bytes": png("blue"), "path": None}}
    [sample] = scored(parquet(tmp_path, [row | images]), fields={"options": "choices"})
    assert [image.data for image in sample.images if isinstance(image, EmbeddedImage)] == [RED, png("blue")]
    assert sample.images[1].name == "test.parquet:1 image_2"


@pytest.mark.parametrize(
    "uri",
    [
        "data:image/png;base64,{}",
        "data:image/jpeg;base64,{}",
        "DATA:image/png;charset=utf-8;base64,{}",
        "data:;base64,{}",
        " data:image/png;base64,\n{}",
    ],
)
def test_images_in_the_text(tmp_path: Path, uri: str) -> None:
    text = uri.format(base64.b64encode(RED).decode())
    (tmp_path / "tsv").mkdir()
    cell = '"' + text + '"'
    (tmp_path / "tsv" / "a.tsv").write_text(f"index\timage\tquestion\tA\tB\tanswer\n1\t{cell}\tWhat?\ta\tb\tA\n")
    for data in (
        lines(tmp_path / "lines", LINE | {"image": text}),
        lines(tmp_path / "several", LINE | {"image": [text]}),
        parquet(tmp_path / "parquet", [LINE | {"image": text}]),
        tmp_path / "tsv",
    ):
        [sample] = scored(data)
        [image] = sample.images
        assert isinstance(image, EmbeddedImage)
        assert image.data == RED


@pytest.mark.parametrize("uri", ["data:image/svg+xml,<svg/>", "data:image/png;base64,@@@@", "data:image/png;base64"])
def test_images_in_the_text_that_are_none(tmp_path: Path, uri: str) -> None:
    [sample] = open_reader(lines(tmp_path, LINE | {"image": uri}))
    reason(sample, ReasonKind.UNREADABLE_IMAGE, "base64")


# Folders -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("default/test/0000.parquet", "test"),
        ("hard/test/0000.parquet", "hard_test"),
        ("data/test/0003.parquet", "test"),
        ("validation/0000.parquet", "validation"),
        ("0000.parquet", "0000"),
        ("hard/test-00000-of-00001.parquet", "hard_test"),
    ],
)
def test_tasks_of_parquet_files(tmp_path: Path, name: str, task: str) -> None:
    [sample] = scored(parquet(tmp_path, [LINE], name))
    assert sample.task == task


def test_shards_of_a_converted_split_make_one_task(tmp_path: Path) -> None:
    for name in ("default/test/0000.parquet", "default/test/0001.parquet", "default/train/0000.parquet"):
        parquet(tmp_path, [LINE], name)
    assert [sample.task for sample in scored(tmp_path)] == ["test", "test", "train"]


def test_a_table_that_lacks_a_column_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("index\tquestion\tA\tB\tanswer\n1\tWhat?\ta\tb\tA\n")
    with pytest.raises(DataError, match=r"a\.tsv: no column 'image'; the first line holds 'index', 'question', 'A'"):
        open_reader(tmp_path)
    (tmp_path / "a.tsv").write_text("image\tquestion\tA\tB\tanswer\n\tWhat?\ta\tb\tA\n")
    with pytest.raises(DataError, match=r"a\.tsv: no column 'index'"):
        open_reader(tmp_path, format="vlmevalkit").__iter__().__next__()


@pytest.mark.parametrize(
    ("lacks", "words"), [("question", "'question'"), ("answer", "'answer'"), ("options", "'options'.*'distractors'")]
)
def test_a_parquet_that_lacks_a_column_says_so(tmp_path: Path, lacks: str, words: str) -> None:
    parquet(tmp_path, [{key: value for key, value in LINE.items() if key != lacks}])
    with pytest.raises(DataError, match=rf"test\.parquet: no column {words}.*the columns are ") as caught:
        list(open_reader(tmp_path))
    assert all(key in str(caught.value) for key in LINE if key != lacks)


# Presets -------------------------------------------------------------------------------------------------------------


def image(colour: str = "red") -> dict[str, Any]:
    return {"bytes": png(colour), "path": None}


def test_scienceqa(tmp_path: Path) -> None:
    row = {
        "image": image(),
        "question": "Which?",
        "choices": ["north", "south"],
        "answer": 1,
        "hint": "Look at the map.",
        "task": "closed choice",
        "grade": "grade2",
        "subject": "social science",
        "topic": "geography",
        "category": "Maps",
        "skill": "Read a map",
        "lecture": "",
        "solution": "",
    }
    data = parquet(tmp_path, [row, row | {"image": None}], "data/test-00000-of-00001.parquet")
    first, second = scored(data, preset="scienceqa")
    assert (first.task, first.ability, first.answer) == ("test", "social science", 1)
    assert first.metadata["hint"] == "Look at the map."
    assert (len(first.images), len(second.images)) == (1, 0)


def test_seedbench(tmp_path: Path) -> None:
    question = {
        "answer": "C",
        "choice_a": "one",
        "choice_b": "two",
        "choice_c": "three",
        "choice_d": "four",
        "data_id": "1454426_2591111986",
        "data_type": "image",
        "question": "How many?",
        "question_id": "101669",
        "question_type_id": 5,
    }
    video = question | {"question_id": "v1", "data_type": "video"}
    whole(tmp_path, {"questions": [question, video], "question_type": {"Instances Counting": 5}}, "SEED-Bench.json")
    (tmp_path / "SEED-Bench-image").mkdir()
    (tmp_path / "SEED-Bench-image" / "1454426_2591111986").write_bytes(RED)
    first, other = open_reader(tmp_path, preset="seedbench")
    assert first.reason is None
    assert (first.id, first.task) == ("101669", "SEED-Bench")
    assert (first.candidates, first.answer) == (("one", "two", "three", "four"), 2)
    assert paths(first, tmp_path) == ["SEED-Bench-image/1454426_2591111986"]
    reason(other, ReasonKind.NO_DISTRACTOR, "data_type", "'video'")


def test_blink(tmp_path: Path) -> None:
    row = {
        "idx": "val_Art_Style_1",
        "question": "Which?",
        "sub_task": "Art_Style",
        "image_1": image(),
        "image_2": image("blue"),
        "image_3": None,
        "image_4": None,
        "choices": ["the second image", "the third image"],
        "answer": "(B)",
        "prompt": "Which? (A) ... (B) ...",
    }
    data = parquet(tmp_path, [row], "Art_Style/val-00000-of-00001.parquet")
    [sample] = scored(data, preset="blink")
    assert (sample.id, sample.task, sample.answer, len(sample.images)) == ("val_Art_Style_1", "Art_Style", 1, 2)
    hidden = parquet(tmp_path / "test", [row | {"answer": "hidden"}])
    [sample] = open_reader(hidden, preset="blink")
    reason(sample, ReasonKind.BAD_RECORD, "'hidden'")


def test_cv_bench(tmp_path: Path) -> None:
    row = {"idx": 7, "type": "3D", "task": "Depth", "image": image(), "question": "Which?", "choices": ["a", "b", "c"]}
    [sample] = scored(parquet(tmp_path, [row | {"answer": "(C)", "prompt": "?"}]), preset="cv-bench")
    assert (sample.id, sample.task, sample.ability, sample.answer) == ("7", "Depth", "3D", 2)


def test_pope(tmp_path: Path) -> None:
    row = {"id": "0", "question_id": "1", "question": "Is there a dog?", "image": image(), "category": "popular"}
    rows = [row | {"answer": "no"}, row | {"answer": "yes", "category": "random"}]
    first, second = scored(parquet(tmp_path, rows), preset="pope")
    assert (first.key, second.key) == (("popular", "popular_1"), ("random", "random_1"))
    assert (first.candidates, first.answer, second.answer) == (("yes", "no"), 1, 0)
    assert first.ordered


def test_hallusionbench(tmp_path: Path) -> None:
    record = {
        "category": "VD",
        "subcategory": "figure",
        "visual_input": "1",
        "set_id": "0",
        "figure_id": "1",
        "sample_note": "circle",
        "question_id": "2",
        "question": "Are they equal?",
        "gt_answer_details": "Yes.",
        "gt_answer": "1",
        "filename": "./VD/figure/0_1.png",
    }
    (tmp_path / "hallusion_bench/VD/figure").mkdir(parents=True)
    (tmp_path / "hallusion_bench/VD/figure/0_1.png").write_bytes(RED)
    text = record | {"visual_input": "0", "figure_id": "0", "filename": None, "gt_answer": "0"}
    whole(tmp_path, [record, text], "HallusionBench.json")
    first, second = scored(tmp_path, preset="hallusionbench-json")
    assert (first.id, first.ability, first.candidates, first.answer) == ("VD_figure_0_1_2", "figure", ("No", "Yes"), 1)
    assert paths(first, tmp_path) == ["hallusion_bench/VD/figure/0_1.png"]
    assert (second.images, second.answer) == ((), 0)
    assert (first.metadata["group_figure"], first.metadata["group_question"]) == ("figure_0_1", "figure_0_2")


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_mmmu_list(tmp_path: Path, form: str) -> None:
    row: dict[str, Any] = {
        "id": "validation_Art_1",
        "question": "Which of <image 1> and <image 2>?",
        "options": "['first', \"second's\"]",
        "answer": "B",
        "question_type": "multiple-choice",
        **{f"image_{number}": None for number in range(1, 8)},
    }
    if form == "jsonl":
        row |= {"image_1": "1.png", "image_2": "2.png"}
    else:
        row |= {"image_1": image(), "image_2": image("blue")}
    is_open = row | {"id": "open", "options": "[]", "answer": "42", "question_type": "open"}
    write = lines if form == "jsonl" else lambda data, *rows: parquet(data, list(rows))
    first, other = open_reader(write(tmp_path, row, is_open), preset="mmmu-list")
    assert first.reason is None
    assert (first.candidates, first.answer) == (("first", "second's"), 1)
    assert (first.parts[0], first.parts[1], first.parts[3]) == ("Which of ", first.images[0], first.images[1])
    reason(other, ReasonKind.NO_DISTRACTOR, "question_type", "'open'")


def test_realworldqa(tmp_path: Path) -> None:
    order = "\nPlease answer directly with only the letter of the correct option and nothing else."
    rows = [
        {"image": image(), "question": f"Where is it?\n\nA. Left\nB. Right\nC. Straight on{order}", "answer": "C"},
        {
            "image": image(),
            "question": "How many?\nPlease answer directly with a single word or number.",
            "answer": "2",
        },
        {"image": image(), "question": f"A. Left\nB. Right{order}", "answer": "A"},
    ]
    first, is_open, blank = open_reader(parquet(tmp_path, rows), preset="realworldqa")
    assert first.reason is None
    assert (first.parts[1], first.candidates, first.answer) == ("Where is it?", ("Left", "Right", "Straight on"), 2)
    assert first.metadata["question"] == rows[0]["question"]
    reason(is_open, ReasonKind.NO_DISTRACTOR, "open question")
    reason(blank, ReasonKind.BAD_RECORD, "before its options")


def test_options_in_text() -> None:
    assert split_options("Q\n(A) one\n(B) two\nlines") == ("Q", ("one", "two\nlines"))
    assert split_options("Q\nA. one\nC. three") == ("Q\nA. one\nC. three", ())
    assert split_options("A. J. Smith wrote it.\nWhat?\nA. x\nB. y") == ("A. J. Smith wrote it.\nWhat?", ("x", "y"))


def test_every_preset_reads() -> None:
    assert {
        "scienceqa",
        "seedbench",
        "blink",
        "cv-bench",
        "pope",
        "hallusionbench-json",
        "mmmu-list",
        "realworldqa",
    } == {*PRESETS}
    for name in PRESETS:
        assert layout_of(preset=name).says_content


def test_a_mapping_overrules_a_preset(tmp_path: Path) -> None:
    row = LINE | {"choices": ["x", "y"], "answer": "(A)", "sub_task": "T", "idx": "1", "skill": "s", "right": 1}
    row |= {"image": "a.png", "image_1": "a.png"}
    lines(tmp_path, row)
    [sample] = scored(tmp_path, preset="blink", fields={"ability": "skill"})
    assert (sample.ability, sample.task, sample.answer) == ("s", "T", 0)
    [sample] = scored(tmp_path, preset="blink", fields={"answer_index": "right"})
    assert sample.answer == 1
    [sample] = scored(
        tmp_path, preset="cv-bench", fields={"answer_index": "right", "task": "skill", "ability": "skill"}
    )
    assert (sample.candidates, sample.answer) == (("x", "y"), 1)


def test_what_a_layout_may_not_say(tmp_path: Path) -> None:
    file = tmp_path / "l.toml"
    for text, words in (
        ("nonsense = 1", "'nonsense' is unknown"),
        ("[fields]\nfoo = 'x'", "'foo' in .fields. is no field"),
        ("[fields]\nquestion = 3", "'question' is 3"),
        ("[fields]\nquestion = ['a', 'b']", "name one field"),
        ("[fields]\nanswer = 'a'\nanswer_letter = 'b'", "answer and answer_letter"),
        ("fixed_options = ['a']", "two or more"),
        ("fixed_options = ['a', 'b']\n[fields]\noptions = 'o'", "said twice"),
        ("only = 1", ".only. is 1"),
        ("[only]\nx = 1", "list of strings"),
        ("[metadata]\nx = 'y'", "'x' in .metadata. is unknown"),
        ("records = 1", "'records' is 1"),
        ("options_in_question = 1", "true or false"),
        ("x =", "not TOML"),
        ("x = " + "9" * 5000, "hundred digits"),
        ("x = 0x" + "f" * 5000, "hundred digits"),
        ("fixed_options = 0x" + "f" * 5000, "hundred digits"),
        (".".join("a" * 50_000) + " = 1", "flatter"),
        ("x = " + "[" * 50_000, "flatter"),
        ("x = " + "{a=" * 5000, "flatter"),
        ("#" * 2_000_000, "larger than"),
    ):
        file.write_text(text)
        with pytest.raises(DataError, match=words) as caught:
            layout_of(file=file)
        assert "l.toml" in str(caught.value)
        assert "\n" not in str(caught.value)
    for options, words in (
        ({"preset": "blinc"}, "did you mean blink"),
        ({"preset": "blink", "file": file}, "name one of them"),
        ({"file": tmp_path / "none.toml"}, "no such file"),
        ({"file": tmp_path / ("n" * 300)}, "no such file"),
    ):
        with pytest.raises(UsageError, match=words):
            layout_of(**options)


def test_presets_are_for_records(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("index\timage\tquestion\tA\tB\tanswer\n1\t\tq\ta\tb\tA\n")
    with pytest.raises(UsageError, match=r"--preset: blink is for jsonl and parquet.*vlmevalkit"):
        open_reader(tmp_path, preset="blink")
    parquet(tmp_path / "p", [LINE])
    with pytest.raises(UsageError, match="for JSON files, not for parquet"):
        open_reader(tmp_path / "p", preset="seedbench")


def test_the_layout_in_the_docs_reads(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "formats.md").read_text()
    [example] = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "layout.toml").write_text(example)
    layout = layout_of(file=tmp_path / "layout.toml")
    assert (layout.records, layout.fixed_options, layout.names("task")) == ("questions", ("No", "Yes"), ())
    assert all(f"| `{name}` |" in page for name in PRESETS)


@pytest.mark.parametrize("form", ["jsonl", "parquet", "vlmevalkit"])
def test_letters_of_holes_survive_a_conversion(tmp_path: Path, form: str) -> None:
    [sample] = scored(lines(tmp_path / "data", COLUMNS | {"hint": "It purrs."}))
    plan = plan_export([sample], form)
    assert plan.misfits == ()
    plan.write([sample], tmp_path / "out")
    [back] = scored(tmp_path / "out")
    for candidates in ("text", "letter"):
        assert asked(back, candidates) == asked(sample, candidates)


def test_letters_tell_one_benchmark_from_another(tmp_path: Path) -> None:
    """They change the prompt of ``--candidates letter``, and so belong to the identity."""
    digests = set()
    for name, record in (
        ("a", COLUMNS),
        ("b", {"question": "What?", "A": "dog", "B": "cat", "C": "cow", "answer": "B"}),
    ):
        digests.add(survey(scored(lines(tmp_path / name / "task", record)), tmp_path).digest)
    assert len(digests) == 2


def test_the_command_line_takes_layouts(tmp_path: Path) -> None:
    row = {"idx": 7, "type": "3D", "task": "Depth", "image": "a.png", "question": "Which?", "choices": ["a", "b"]}
    lines(tmp_path / "data", row | {"answer": "(B)"})
    Image.new("F", (8, 8), 0.5).save(tmp_path / "data" / "a.png", "TIFF")
    (tmp_path / "layout.toml").write_text('[fields]\noptions = "choices"\nanswer_letter = "answer"\n')
    for given in (
        ["--preset", "cv-bench"],
        ["--fields", str(tmp_path / "layout.toml")],
        ["--field", "options=choices", "--field", "answer_letter=answer"],
    ):
        result = CliRunner().invoke(main, ["inspect", str(tmp_path / "data"), *given])
        assert result.exit_code == 0, result.output
        assert "1 floating point (first: " in result.stdout
        assert "1 samples, 1 images, 0 problems (jsonl)" in result.stdout


def test_a_run_says_at_its_start_which_pictures_are_odd(tmp_path: Path) -> None:
    lines(tmp_path / "data", LINE | {"image": "a.png"}, LINE | {"image": "a.png", "right": "dog"})
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path / "data" / "a.png")
    said: list[str] = []

    class Listening(SilentProgress):
        def say(self, line: str) -> None:
            said.append(line)

    config = RunConfig(data=tmp_path / "data", out=tmp_path / "out", engine="fake")
    benchmark = open_benchmark(config, Listening())
    assert benchmark.survey.samples == 2
    assert any("1 transparent (first: " in line and "radar-fast inspect" in line for line in said)
