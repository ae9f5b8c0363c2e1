"""Opening a data folder: formats, refusals, and the selection of samples."""

import json
import os
from pathlib import Path

import pytest

from radar_fast.errors import DataError, UsageError
from radar_fast.readers import FORMATS, Reader, Selection, open_reader
from radar_fast.sample import Sample

RECORD = {"question": "q", "answer": "a", "distraction": ["b"]}
LINE = {"question": "q", "answer": "a", "options": ["a", "b"]}


def m3_file(
    data: Path, directory: str = "mathematical_reasoning", name: str = "MathVista_1_pretrained_mllm_eval.json"
) -> Path:
    (data / directory).mkdir(parents=True, exist_ok=True)
    (data / directory / name).write_text(json.dumps({"1": RECORD}))
    return data / directory / name


def lines_file(data: Path, name: str = "task.jsonl") -> Path:
    data.mkdir(parents=True, exist_ok=True)
    (data / name).write_text(json.dumps(LINE) + "\n")
    return data / name


def refused(data: Path, *words: str, format: str = "auto", follow_symlinks: bool = False) -> None:  # noqa: A002
    with pytest.raises(DataError) as caught:
        open_reader(data, format=format, follow_symlinks=follow_symlinks)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_auto_m3_published_directory(tmp_path: Path) -> None:
    file = m3_file(tmp_path, name="anything.json")
    reader = open_reader(tmp_path)
    assert (reader.format, reader.files, reader.root) == ("m3", (file,), tmp_path)


def test_auto_m3_other_directory(tmp_path: Path) -> None:
    file = m3_file(tmp_path, "mine")
    m3_file(tmp_path, "mine", "config.json")  # without the ending it is no task
    assert open_reader(tmp_path).files == (file,)
    assert next(iter(open_reader(tmp_path))).ability == "other"


@pytest.mark.parametrize("name", ["task.jsonl", "task.json"])
def test_auto_jsonl(tmp_path: Path, name: str) -> None:
    file = lines_file(tmp_path, name)
    file.write_text("\n  \n" + file.read_text())
    reader = open_reader(tmp_path)
    assert (reader.format, reader.files, reader.root) == ("jsonl", (file,), tmp_path)


def test_single_file(tmp_path: Path) -> None:
    lines_file(tmp_path, "other.jsonl")
    file = lines_file(tmp_path)
    for format_name in ("auto", "jsonl"):
        reader = open_reader(file, format=format_name)
        assert (reader.files, reader.root, len(list(reader))) == ((file,), tmp_path, 1)
    refused(file, "not a folder", format="m3")
    (tmp_path / "a.csv").write_text("x")
    refused(tmp_path / "a.csv", "a.csv", ".jsonl", ".tsv", ".parquet")
    refused(tmp_path / "a.csv", "a.csv", ".tsv", format="vlmevalkit")


def test_files_are_sorted_and_reading_repeats(tmp_path: Path) -> None:
    for name in ("b.json", "a.json", "C.json"):
        m3_file(tmp_path, name=name)
    m3_file(tmp_path, "Wiki_animal_identification", "z.json")
    reader: Reader = open_reader(tmp_path)
    assert [file.name for file in reader.files] == ["z.json", "C.json", "a.json", "b.json"]
    assert [sample.task for sample in reader] == [sample.task for sample in reader] == ["z", "C", "a", "b"]


def test_refusals(tmp_path: Path) -> None:
    refused(tmp_path / "none", "none", "no such")
    for format_name in ("auto", *FORMATS):
        (tmp_path / "empty").mkdir(exist_ok=True)
        refused(tmp_path / "empty", "empty", format=format_name)
        (tmp_path / "strange").mkdir(exist_ok=True)
        (tmp_path / "strange" / "readme.md").write_text("hello")
        needs = [f"{name} needs" for name in (FORMATS if format_name == "auto" else (format_name,))]
        refused(tmp_path / "strange", "readme.md", *needs, format=format_name)


def test_pretty_json_is_not_recognised(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(LINE, indent=1))
    refused(tmp_path, "a.json", "one object a line")


def test_ambiguous(tmp_path: Path) -> None:
    m3_file(tmp_path)
    lines_file(tmp_path)
    refused(tmp_path, "both", "task.jsonl")
    assert open_reader(tmp_path, format="m3").format == "m3"
    assert open_reader(tmp_path, format="jsonl").format == "jsonl"


@pytest.mark.parametrize("format_name", ["auto", "m3"])
def test_one_level_too_deep(tmp_path: Path, format_name: str) -> None:
    m3_file(tmp_path)
    refused(tmp_path / "mathematical_reasoning", "folder above", format=format_name)


def test_same_task_twice(tmp_path: Path) -> None:
    m3_file(tmp_path)
    m3_file(tmp_path, "Wiki_plant_identification")
    refused(tmp_path, "same task", "MathVista_1")
    lines_file(tmp_path / "lines", "a.json")
    lines_file(tmp_path / "lines", "a.jsonl")
    refused(tmp_path / "lines", "same task")


def test_odd_entries(tmp_path: Path) -> None:
    file = lines_file(tmp_path)
    lines_file(tmp_path, ".hidden.jsonl")
    (tmp_path / "folder.json").mkdir()
    assert open_reader(tmp_path).files == (file,)
    os.mkfifo(tmp_path / "pipe.json")
    refused(tmp_path, "pipe.json", "regular")
    (tmp_path / "pipe.json").unlink()
    (tmp_path / "dangling.json").symlink_to("nowhere")
    refused(tmp_path, "dangling.json", "regular")
    (tmp_path / "dangling.json").unlink()
    os.link(file, os.fsencode(tmp_path) + b"/\xff.jsonl")
    refused(tmp_path, "UTF-8")


def test_annotations_behind_symlinks(tmp_path: Path) -> None:
    real = m3_file(tmp_path / "elsewhere")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mathematical_reasoning").symlink_to(real.parent)
    refused(tmp_path / "data", "symlink", "MathVista")
    assert len(list(open_reader(tmp_path / "data", follow_symlinks=True))) == 1
    (tmp_path / "root").symlink_to(tmp_path / "elsewhere")  # the folder itself may be one
    assert len(list(open_reader(tmp_path / "root"))) == 1


def test_usage_errors(tmp_path: Path) -> None:
    m3_file(tmp_path / "m3")
    lines_file(tmp_path / "lines")
    with pytest.raises(UsageError, match=r"--format tsv.*m3, jsonl"):
        open_reader(tmp_path / "lines", format="tsv")
    for format_name in ("auto", "m3"):
        with pytest.raises(UsageError, match=r"question.*m3"):
            open_reader(tmp_path / "m3", format=format_name, fields={"question": "q"})
    assert open_reader(tmp_path / "m3", fields={}).format == "m3"
    for fields, words in (
        ({"prompt": "q"}, "'prompt'.*question, image"),
        ({"question": ""}, "question.*name a field"),
        ({"answer": "a", "answer_index": "b"}, "answer and answer_index"),
        ({"options": "a", "distractors": "b"}, "options and distractors"),
        ({"answer_index": "a", "distractors": "b"}, "answer_index and distractors"),
    ):
        with pytest.raises(UsageError, match=words):
            open_reader(tmp_path / "lines", fields=fields)


def samples() -> list[Sample]:
    return [
        Sample(str(number), task, "d", "other", ("q",), ("a", "b"), 0)
        for number in range(3)
        for task in ("MMBench_ocr", "MMBench_topic", "Wiki")
    ]


def test_selection() -> None:
    everything = samples()
    assert list(Selection().apply(everything)) == everything
    assert {sample.task for sample in Selection(tasks=("MMBench*",)).apply(everything)} == {
        "MMBench_ocr",
        "MMBench_topic",
    }
    assert len(list(Selection(tasks=("MMBench*", "Wiki")).apply(everything))) == len(everything), "globs add up"
    with pytest.raises(UsageError, match=r"--tasks mmbench\*: matches no task; the data have 3: "):
        list(Selection(tasks=("MMBench*", "mmbench*")).apply(everything))
    assert [sample.id for sample in Selection(limit=2).apply(everything)] == ["0"] * 3 + ["1"] * 3
    chosen = Selection(abilities=(("*_ocr", "reading"), ("MMBench*", "seeing"))).apply(everything)
    assert {(sample.task, sample.ability) for sample in chosen} == {
        ("MMBench_ocr", "reading"),
        ("MMBench_topic", "seeing"),
        ("Wiki", "other"),
    }


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"tasks": ("",)}, "tasks"),
        ({"limit": 0}, "limit"),
        ({"limit": -1}, "limit"),
        ({"abilities": (("*", " "),)}, "--ability"),
    ],
)
def test_selection_is_validated(wrong: dict[str, object], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        Selection(**wrong)  # type: ignore[arg-type]


TABLE = "index\timage\tquestion\tA\tB\tanswer\n1\t\tq\ta\tb\tA\n"


def test_auto_tells_every_format(tmp_path: Path) -> None:
    (tmp_path / "tsv").mkdir()
    (tmp_path / "tsv" / "a.tsv").write_text(TABLE)
    assert open_reader(tmp_path / "tsv").format == open_reader(tmp_path / "tsv" / "a.tsv").format == "vlmevalkit"
    lines_file(tmp_path / "tsv")
    refused(tmp_path / "tsv", "both", "jsonl ('task.jsonl')", "vlmevalkit ('a.tsv')", "--format")
    assert open_reader(tmp_path / "tsv", format="vlmevalkit").format == "vlmevalkit"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.tsv").write_text("name\tage\nx\t3\n")
    refused(tmp_path / "other", "'a.tsv'", "vlmevalkit needs")
    refused(tmp_path / "other" / "none.tsv", "no such")


def test_an_object_on_one_line_is_not_json_lines_where_it_has_a_shape_of_its_own(tmp_path: Path) -> None:
    record = {"diagram": "a.png", "text": "t", "parsing_stru_seqs": [], "parsing_sem_seqs": [], "choices": [1, 2, 3, 4]}
    (tmp_path / "test.json").write_text(json.dumps({"prob_1": record | {"answer": "1.000"}}))
    assert open_reader(tmp_path).format == "pgps9k"
    lines_file(tmp_path)
    refused(tmp_path, "both", "jsonl", "pgps9k")


def test_options_of_other_formats(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text(TABLE)
    with pytest.raises(UsageError, match=r"--field: question is for jsonl and parquet.*vlmevalkit"):
        open_reader(tmp_path, fields={"question": "q"})
    with pytest.raises(UsageError, match=r"--classes: x is for folder.*vlmevalkit"):
        open_reader(tmp_path, format="vlmevalkit", classes="x")
