"""VLMEvalKit's tables: every kind of row as published, shared images, and a reason or an error for what is wrong."""

import base64
import csv
import io
import math
import random
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from radar_fast.benchmark import survey
from radar_fast.errors import DataError, RadarError
from radar_fast.images import MAX_ENCODED, read_image
from radar_fast.inspection import inspect_samples
from radar_fast.readers import open_reader
from radar_fast.readers import tsv as tables
from radar_fast.readers.literals import items_of
from radar_fast.readers.records import Unfit
from radar_fast.sample import EmbeddedImage, ImageFile, Reason, ReasonKind, Sample


def png(colour: str, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (9, 7), colour).convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


RED, BLUE = png("red"), png("blue")
ROW = {"index": "1", "image": b64(RED), "question": "What?", "A": "cat", "B": "dog", "answer": "B"}


def table(data: Path, *rows: dict[str, str], name: str = "Set.tsv", columns: Iterable[str] = ()) -> Path:
    """As pandas writes it: Python's own csv is the independent writer here."""
    data.mkdir(parents=True, exist_ok=True)
    names = list(columns) or list(dict.fromkeys(column for row in rows for column in row))
    with (data / name).open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(names)
        writer.writerows([row.get(column, "") for column in names] for row in rows)
    return data / name


def read(data: Path) -> list[Sample]:
    return list(open_reader(data, format="vlmevalkit"))


def one(data: Path, row: dict[str, str], name: str = "Set.tsv") -> Sample:
    table(data, row, name=name)
    [sample] = read(data)
    return sample


def flat(sample: Sample) -> list[str | bytes]:
    """Parts, with the images as their bytes."""
    return [part.data if isinstance(part, EmbeddedImage) else str(part) for part in sample.parts]


def unfit(sample: Sample, kind: ReasonKind, *words: str) -> None:
    assert sample.reason is not None
    assert sample.reason.kind is kind, sample.reason
    assert (sample.parts, sample.candidates) == ((), ()) or sample.reason.kind
    for word in (*words, f"{sample.metadata['file']}:{sample.metadata['line']}"):
        assert word in sample.reason.detail
    assert "\n" not in sample.reason.detail


def test_a_table_as_published(tmp_path: Path) -> None:
    """Written by hand: embedded quotes, tabs and line ends, an empty option, Windows line ends, no end of line."""
    text = (
        "index\tquestion\thint\tA\tB\tC\tD\tanswer\tcategory\timage\tsource\tl2-category\tcomment\tsplit\r\n"
        f'241\t"Which of ""these""\r\nis\ta cat?"\t\tthe cat\tthe "dog"\t\t\tA\tidentity_reasoning\t{b64(RED)}\ts\t'
        "attribute_reasoning\t\tdev\r\n"
        "\r\n"
        f"1000241\tWhich?\tLook left.\tNone\tNA\t3.5\tnan\tC\tocr\t241\ts\t\tnan\tdev"
    )
    (tmp_path / "Some_DEV_EN.tsv").write_text(text, newline="")
    reader = open_reader(tmp_path)
    first, second = reader
    assert reader.format == "vlmevalkit"
    assert first.reason is second.reason is None
    assert (first.id, first.task, first.directory) == ("241", "Some_DEV_EN", tmp_path.name)
    assert flat(first) == [RED, 'Which of "these"\r\nis\ta cat?']
    assert (first.candidates, first.answer, first.ordered) == (("the cat", 'the "dog"'), 0, True)
    assert first.ability == "attribute_reasoning"
    assert first.metadata == {
        "question": 'Which of "these"\r\nis\ta cat?',
        "index": 0,
        "file": "Some_DEV_EN.tsv",
        "stem": "Some_DEV_EN",
        "line": 2,
        "category": "identity_reasoning",
        "l2-category": "attribute_reasoning",
        "split": "dev",
    }
    # Only what pandas writes for missing is missing: None and NA are answers.
    assert (second.candidates, second.answer) == (("None", "NA", "3.5"), 2)
    assert (second.ability, second.metadata["hint"], second.metadata["line"]) == ("ocr", "Look left.", 5)
    assert flat(second) == [RED, "Which?"]
    assert second.images[0].key == first.images[0].key
    assert second.images[0].name == "Some_DEV_EN.tsv:2 image"


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA"])
def test_images_of_every_mode(tmp_path: Path, mode: str) -> None:
    data = png("red", mode)
    [image] = one(tmp_path, ROW | {"image": b64(data)}).images
    found = read_image(image)
    assert isinstance(found, Image.Image)
    with Image.open(io.BytesIO(data)) as opened:
        assert found.tobytes() == opened.convert("RGB").tobytes()


def test_shared_images_lie_before_and_after(tmp_path: Path) -> None:
    rows = [
        ROW | {"index": "a", "image": "c"},
        ROW | {"index": "b", "image": b64(BLUE)},
        ROW | {"index": "c", "image": f"['{b64(RED)}', '{b64(BLUE)}']", "question": 'A "quoted"\nquestion'},
        ROW | {"index": "d", "image": "b"},
    ]
    table(tmp_path, *rows)
    assert [flat(sample)[:-1] for sample in read(tmp_path)] == [[RED, BLUE], [BLUE], [RED, BLUE], [BLUE]]


@pytest.mark.parametrize(("image", "word"), [("7", "not there"), ("1", "no image of its own"), ("2", "image of its")])
def test_shared_images_that_are_not_there(tmp_path: Path, image: str, word: str) -> None:
    table(tmp_path, ROW | {"image": image}, ROW | {"index": "2", "image": "1"})
    unfit(read(tmp_path)[0], ReasonKind.MISSING_IMAGE, word, "image")


def test_yes_or_no(tmp_path: Path) -> None:
    columns = ("index", "image", "question", "answer", "category", "l2-category")
    rows = [
        ROW | {"index": f"VD_figure_x_{number}_2_3_more", "answer": answer, "category": "VD", "l2-category": "figure"}
        for number, answer in enumerate(["Yes", "No", "no", "maybe", ""])
    ]
    table(tmp_path, *rows, name="HallusionBench.tsv", columns=columns)
    samples = read(tmp_path)
    assert [sample.candidates for sample in samples[:3]] == [("Yes", "No")] * 3
    assert [sample.answer for sample in samples[:3]] == [0, 1, 1]
    assert samples[0].metadata["group_figure"] == "figure_0_2"
    assert samples[0].metadata["group_question"] == "figure_0_3"
    unfit(samples[3], ReasonKind.NO_DISTRACTOR, "answer", "maybe")
    unfit(samples[4], ReasonKind.BAD_RECORD, "answer", "TEST")


def test_mathvista(tmp_path: Path) -> None:
    row = {"index": "1", "image": b64(RED), "question": "Q?", "question_type": "multi_choice"}
    good = row | {"choices": "['yes', \"it's\", '\\\\frac{1}{2}', 3.50]", "answer": "it's", "answer_option": "B"}
    free = row | {"index": "2", "question_type": "free_form", "answer": "7"}
    torn = good | {"index": "3", "choices": "['yes' 'no']"}
    code = good | {"index": "4", "choices": "[__import__('os').abort()]"}
    other = good | {"index": "5", "answer_option": "C"}
    text = good | {"index": "6", "answer_option": "", "answer": "3.50"}
    table(tmp_path, good, free, torn, code, other, text, name="MathVista_MINI.tsv")
    samples = read(tmp_path)
    assert (samples[0].candidates, samples[0].answer) == (("yes", "it's", "\\frac{1}{2}", "3.50"), 1)
    unfit(samples[1], ReasonKind.NO_DISTRACTOR, "question_type", "free_form")
    unfit(samples[2], ReasonKind.BAD_RECORD, "choices", "comma")
    unfit(samples[3], ReasonKind.BAD_RECORD, "choices", "__import__")
    unfit(samples[4], ReasonKind.AMBIGUOUS_ANSWER, "answer_option")
    assert samples[5].answer == 3


def test_interleaved_images_of_mmmu(tmp_path: Path) -> None:
    both = f"['{b64(RED)}', '{b64(BLUE)}']"
    rows = [
        ROW | {"image": both, "question": "See <image 2> and <image 1>, <image 2>."},
        ROW | {"index": "2", "question": "Which?", "A": "<image 1>"},
        ROW | {"index": "3", "image": both, "question": "See <image 1>."},
        ROW | {"index": "4", "question": f"See <image {'9' * 5000}>."},
        ROW | {"index": "5", "A": "", "B": "", "answer": "42"},
        ROW | {"index": "6", "question": "No tag"},
    ]
    table(tmp_path, *rows, name="MMMU_DEV_VAL.tsv")
    samples = read(tmp_path)
    assert flat(samples[0]) == ["See ", BLUE, " and ", RED, ", ", BLUE, "."]
    unfit(samples[1], ReasonKind.IMAGE_TAG_MISMATCH, "'A'", "<image 1>")
    unfit(samples[2], ReasonKind.IMAGE_TAG_MISMATCH, "question", "2 images")
    unfit(samples[3], ReasonKind.IMAGE_TAG_MISMATCH, "question")
    unfit(samples[4], ReasonKind.NO_DISTRACTOR, "'A'", "open question")
    assert flat(samples[5]) == [RED, "No tag"]


def test_a_tag_elsewhere_is_text(tmp_path: Path) -> None:
    assert flat(one(tmp_path, ROW | {"question": "See <image 1>?"}, name="MMStar.tsv")) == [RED, "See <image 1>?"]


@pytest.mark.parametrize(
    ("name", "row", "group"),
    [
        ("MMBench_DEV_EN_V11", {"index": "3000241"}, 241),
        ("ccbench", {"index": "241"}, 241),
        ("my_Circular_set", {"index": "1000241", "g_index": "77"}, 77),
        ("MMCR", {"index": "1", "g_index": "a_7"}, "a_7"),
        ("MMBench", {"index": "x-1"}, None),
        ("MMStar", {"index": "1000241", "g_index": "77"}, None),
    ],
)
def test_circular_groups(tmp_path: Path, name: str, row: dict[str, str], group: object) -> None:
    assert one(tmp_path, ROW | row, name=f"{name}.tsv").metadata.get("group") == group


def test_image_paths(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "images" / "Set").mkdir(parents=True)
    (data / "a.png").write_bytes(RED)
    (data / "images" / "Set" / "b.png").write_bytes(BLUE)
    (tmp_path / "secret.png").write_bytes(RED)
    (data / "link.png").symlink_to("../secret.png")
    paths = ["a.png", "['a.png', 'b.png']", "../secret.png", str(tmp_path / "secret.png"), "link.png", "none.png", ""]
    rows = [
        {"index": str(number), "image_path": path, "question": "What?", "A": "x", "B": "y", "answer": "A"}
        for number, path in enumerate(paths)
    ]
    table(data, *rows)
    samples = read(data)
    assert samples[0].images == (ImageFile(data / "a.png"),)
    assert samples[1].images == (ImageFile(data / "a.png"), ImageFile(data / "images/Set/b.png"))
    for sample in samples[2:5]:
        unfit(sample, ReasonKind.PATH_OUTSIDE_DATA, "secret.png" if sample.id != "4" else "symlink")
    assert isinstance(problem := read_image(samples[5].images[0]), Reason)
    assert problem.kind is ReasonKind.MISSING_IMAGE
    assert samples[6].parts == ("What?",)  # no image: the question is text only
    assert len(list(open_reader(data, follow_symlinks=True))[4].images) == 1


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"index": ""}, ReasonKind.BAD_RECORD, ["index"]),
        ({"question": ""}, ReasonKind.BAD_RECORD, ["question"]),
        ({"question": "  "}, ReasonKind.BAD_RECORD, ["question"]),
        ({"answer": ""}, ReasonKind.BAD_RECORD, ["answer", "TEST"]),
        ({"answer": "C"}, ReasonKind.AMBIGUOUS_ANSWER, ["answer", "'C'", "A, B"]),
        ({"answer": "cat"}, ReasonKind.AMBIGUOUS_ANSWER, ["answer", "'cat'"]),
        ({"A": "dog"}, ReasonKind.AMBIGUOUS_ANSWER, ["'A'", "'B'", "dog"]),
        ({"A": " "}, ReasonKind.EMPTY_CANDIDATE, ["'A'"]),
        ({"A": ""}, ReasonKind.NO_DISTRACTOR, ["'B'"]),
        ({"A": "", "B": ""}, ReasonKind.NO_DISTRACTOR, ["'A'"]),
        ({"image": "%" * 80}, ReasonKind.UNREADABLE_IMAGE, ["Set.tsv:2 image", "base64"]),
        ({"image": b64(RED)[:-5]}, ReasonKind.UNREADABLE_IMAGE, ["Set.tsv:2 image", "base64"]),
        ({"image": f"[{'x' * 80}]"}, ReasonKind.BAD_RECORD, ["image"]),
        ({"image": f"['{b64(RED)}', '%%%%']"}, ReasonKind.UNREADABLE_IMAGE, ["image[1]"]),
        ({"radar_fast": "x"}, ReasonKind.BAD_RECORD, ["radar_fast"]),
    ],
)
def test_bad_rows(tmp_path: Path, change: dict[str, str], kind: ReasonKind, words: list[str]) -> None:
    unfit(one(tmp_path, ROW | change), kind, *words)


def test_no_answer_column(tmp_path: Path) -> None:
    row = {name: text for name, text in ROW.items() if name != "answer"}
    unfit(one(tmp_path, row), ReasonKind.BAD_RECORD, "answer", "not there", "TEST")


def test_base64_is_bounded_and_may_be_wrapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrapped = base64.encodebytes(RED).decode()
    assert flat(one(tmp_path, ROW | {"image": wrapped}))[0] == RED
    large = one(tmp_path, ROW | {"image": b64(b"x" * (MAX_ENCODED + 1))})
    unfit(large, ReasonKind.UNREADABLE_IMAGE, "too large", str(MAX_ENCODED))
    monkeypatch.setattr(tables, "MAX_ROW", 1000)
    monkeypatch.setattr(tables, "_PIECE", 100)
    rows = [
        ROW,
        ROW | {"index": "2", "question": "x" * 5000},
        ROW | {"index": "3", "A": 'y"' * 5000},
        ROW | {"index": "4"},
    ]
    table(tmp_path, *rows)
    samples = read(tmp_path)
    assert [sample.reason is None for sample in samples] == [True, False, False, True]
    unfit(samples[1], ReasonKind.UNREADABLE_IMAGE, "longer than")
    unfit(samples[2], ReasonKind.UNREADABLE_IMAGE, "longer than")


def test_rows_of_another_length(tmp_path: Path) -> None:
    file = table(tmp_path, ROW)
    with file.open("a") as stream:
        stream.write("2\tonly\tthree\n3\t" + "\t".join("abcdefgh") + "\n")
    _, short, long = read(tmp_path)
    unfit(short, ReasonKind.BAD_RECORD, "3 cells", "6")
    unfit(long, ReasonKind.BAD_RECORD, "9 cells", "6")


def test_repeated_index_and_bad_encoding(tmp_path: Path) -> None:
    file = table(tmp_path, ROW, ROW)
    file.write_bytes(file.read_bytes() + b"3\t" + ROW["image"].encode() + b"\t\xff\xfe\ta\tb\tA\n")
    first, second, third = read(tmp_path)
    assert first.reason is None
    unfit(second, ReasonKind.BAD_RECORD, "index", "more than once")
    unfit(third, ReasonKind.BAD_RECORD, "question", "UTF-8")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"index\tquestion\timage\tA\tB\tanswer\n", "no row"),
        (b"index\tquestion\tA\n1\tq\ta\n", "no column 'image'"),
        (b"question\timage\n1\tq\n", "no column 'index'"),
        (b"index\tquestion\timage\tA\tA\n1\tq\ti\ta\ta\n", "'A' comes more than once"),
        (b"\xff\xfei\0n\0\n", "UTF-8"),
        (b'index\tquestion\timage\n1\tq\ti\n2\t"q\ti\n3\tq\ti\n', "line 3"),
    ],
)
def test_files_that_are_no_tables(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.tsv").write_bytes(content)
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert words in str(caught.value)
    assert "a.tsv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_and_a_single_file(tmp_path: Path) -> None:
    file = table(tmp_path, ROW)
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    [sample] = open_reader(file)
    assert sample.reason is None


def test_inspection_says_where_abilities_differ(tmp_path: Path) -> None:
    table(tmp_path, ROW | {"category": "ocr"}, ROW | {"index": "2", "category": "counting"}, name="Mixed.tsv")
    table(tmp_path, ROW | {"category": "ocr"}, name="Plain.tsv")
    reports = inspect_samples(open_reader(tmp_path))
    assert {name: report.ability for name, report in reports.items()} == {"Mixed": "several", "Plain": "ocr"}


def test_the_fingerprint_of_a_run_holds_the_pixels(tmp_path: Path) -> None:
    digests = []
    for name, image in (("a", b64(RED)), ("b", b64(RED)), ("c", b64(BLUE))):
        file = table(tmp_path / name / "same", ROW | {"image": image})
        digests.append(survey(open_reader(file), file.parent).digest)
    assert digests[0] == digests[1] != digests[2]


# The two parsers ------------------------------------------------------------------------------------------------------

CELLS = st.text(st.sampled_from(list("ab\t\n\r\"' ,é")), max_size=8)


@settings(deadline=None)
@given(rows=st.lists(st.lists(CELLS, min_size=2, max_size=4), max_size=6), end=st.sampled_from(["\n", "\r\n"]))
def test_rows_equal_what_csv_wrote(rows: list[list[str]], end: str) -> None:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter="\t", lineterminator=end, quoting=csv.QUOTE_ALL).writerows(rows)
    found = list(tables.rows(io.BytesIO(buffer.getvalue().encode())))
    assert [[cell.decode() for cell in row.cells] for row in found] == rows
    for row in found:  # and from its own place in the file
        assert next(tables.rows(io.BytesIO(buffer.getvalue().encode()), offset=row.offset)).cells == row.cells


@settings(deadline=None)
@given(pieces=st.lists(st.sampled_from([b'"', b"\t", b"\n", b"\r\n", b"a", b"bc"]), max_size=30))
def test_cells_do_not_depend_on_how_the_file_is_cut(pieces: list[bytes]) -> None:
    def all_rows() -> list[tuple[int, tuple[bytes, ...]]] | int:
        try:
            return [(row.line, row.cells) for row in tables.rows(io.BytesIO(b"".join(pieces)))]
        except tables.UnclosedQuote as error:
            return error.line

    whole = all_rows()
    before = tables._PIECE
    tables._PIECE = 3
    try:
        assert all_rows() == whole
    finally:
        tables._PIECE = before


PLAIN = st.text(max_size=8) | st.integers(-(10**9), 10**9) | st.booleans() | st.none()


@settings(deadline=None)
@given(items=st.lists(PLAIN | st.floats(allow_nan=False, allow_infinity=False), max_size=6))
def test_literal_lists_are_pythons(items: list[object]) -> None:
    assert items_of(str(items), "x") == tuple(map(str, items))


@settings(deadline=None)
@given(items=st.lists(st.text(max_size=8), max_size=6))
def test_literal_lists_are_jsons(items: list[str]) -> None:
    import json

    assert items_of(json.dumps(items), "x") == tuple(items)


@pytest.mark.parametrize(
    "text",
    ["", "[", "]", "[1", "['a' 'b']", "[a]", "[1+1]", "[[1]]", "(1,)", "['a',, 'b']", "[f'a']", "[1e999999]", "['a]"],
)
def test_what_is_no_list(text: str) -> None:
    with pytest.raises(Unfit, match="give a list"):
        items_of(text, "x")


# Whatever comes -------------------------------------------------------------------------------------------------------

TEXTS = st.sampled_from(
    ["", "nan", "A", "B", "1", "2", "Yes", "['a', 'b']", b64(RED), "x" * 70, "../x", "<image 1>", '"']
)
ROWS = st.fixed_dictionaries(
    dict.fromkeys(("index", "image", "question", "A", "B", "answer"), TEXTS | st.text(max_size=6)),
    optional=dict.fromkeys(
        ("choices", "question_type", "g_index", "image_path", "hint", "radar_fast", "category"), TEXTS
    ),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROWS, max_size=5), name=st.sampled_from(["MMBench", "MMMU", "HallusionBench", "x"]))
def test_any_row_comes_out(tmp_path: Path, rows: list[dict[str, str]], name: str) -> None:
    for file in tmp_path.iterdir():
        file.unlink()
    rows = [{column: text.replace("\ud800", "") for column, text in row.items()} for row in rows]
    try:
        table(tmp_path, ROW, *rows, name=f"{name}.tsv")
    except UnicodeEncodeError:
        return
    samples = read(tmp_path)
    assert len(samples) == 1 + len(rows)
    assert len({sample.key for sample in samples}) == len(samples)
    for sample in samples:
        if sample.reason is None:
            assert len(sample.candidates) >= 2
            assert sample.candidates.count(sample.candidates[sample.answer]) == 1
            assert sample.parts
        else:
            unfit(sample, sample.reason.kind)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60), cut=st.integers(0, 400))
@example(content=b"", cut=100)
def test_any_file_comes_out(tmp_path: Path, content: bytes, cut: int) -> None:
    file = table(tmp_path, ROW, ROW | {"index": "2", "image": "1", "question": 'a "b"\nc'})
    whole = file.read_bytes()
    file.write_bytes(whole[:cut] + content + whole[cut:])
    found: list[str] = []
    try:
        found = [sample.reason.detail for sample in read(tmp_path) if sample.reason is not None]
    except RadarError as error:
        found = [str(error)]
    for line in found:
        assert "Set.tsv" in line
        assert "\n" not in line


# Memory ---------------------------------------------------------------------------------------------------------------

READ = r"""
import re, sys
from pathlib import Path
from radar_fast.readers import open_reader
count = sum(sample.reason is None for sample in open_reader(Path(sys.argv[1])))
# Not ru_maxrss: that begins at what the parent had.
print(count, int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""


def large_table(path: Path, megabytes: int) -> int:
    """A table with images of 150 KB, every third shared. Returns its rows."""
    rng = random.Random(0)
    images = [base64.b64encode(rng.randbytes(150_000)) for _ in range(4)]
    count = math.ceil(megabytes * 2**20 / (200_000 * 2 / 3))
    with path.open("wb") as file:
        file.write(b"index\timage\tquestion\tA\tB\tanswer\n")
        for number in range(count):
            image = (
                images[number % 4] if number % 3 != 1 else b"%d" % (number + 1 if number + 1 < count else number - 1)
            )
            file.write(b'%d\t%s\t"What ""is""\nthis?"\tcat\tdog\tA\n' % (number, image))
    return count


def peak_of_reading(path: Path) -> tuple[int, int]:
    result = subprocess.run([sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=True)
    count, peak = map(int, result.stdout.split())
    return count, peak


def test_a_large_table_streams(tmp_path: Path) -> None:
    count = large_table(tmp_path / "a.tsv", 60)
    assert (tmp_path / "a.tsv").stat().st_size > 55 * 2**20
    found, peak = peak_of_reading(tmp_path / "a.tsv")
    assert found == count
    assert peak < 150, f"{peak} MB"  # 60 MB of text, and 35 of them the interpreter's own


@pytest.mark.slow
def test_a_table_of_a_gigabyte_streams(tmp_path: Path) -> None:
    count = large_table(tmp_path / "a.tsv", 1024)
    assert (tmp_path / "a.tsv").stat().st_size > 2**30 * 0.95
    found, peak = peak_of_reading(tmp_path / "a.tsv")
    assert found == count
    assert peak < 500, f"{peak} MB"
