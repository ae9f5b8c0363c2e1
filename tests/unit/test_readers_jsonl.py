"""The JSON-lines reader: field mapping, tags, answers as published, and a reason for every line it cannot use."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from puzzles import PUZZLES
from reading_peaks import peaks_of_reading

from radar_fast.errors import DataError
from radar_fast.images import read_image
from radar_fast.readers import open_reader
from radar_fast.sample import ImageFile, Reason, ReasonKind, Sample

LINE: dict[str, Any] = {"question": "What?", "image": "i/a.png", "options": ["dog", "cat", "cow"], "answer": "cat"}
BARE = {"question": "What?", "options": ["dog", "cat"], "answer": "cat"}


def write(data: Path, *lines: object, name: str = "task.jsonl") -> Path:
    data.mkdir(parents=True, exist_ok=True)
    encoded = (line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    (data / name).write_bytes(b"\n".join(encoded) + b"\n")
    return data / name


def read(data: Path, **fields: str) -> list[Sample]:
    return list(open_reader(data, format="jsonl", fields=fields))


def one(data: Path, line: object, **fields: str) -> Sample:
    write(data, line)
    (sample,) = read(data, **fields)
    return sample


def unfit(sample: Sample, kind: ReasonKind, *words: str) -> None:
    assert sample.reason is not None
    assert sample.reason.kind is kind, sample.reason
    for word in (*words, f"{sample.metadata['file']}:{sample.metadata['line']}"):
        assert word in sample.reason.detail
    assert "\n" not in sample.reason.detail


def flat(sample: Sample, data: Path) -> list[Any]:
    """Parts, with the images as paths relative to the data folder."""
    return [f"@{part.path.relative_to(data)}" if isinstance(part, ImageFile) else part for part in sample.parts]


def test_defaults(tmp_path: Path) -> None:
    data = tmp_path / "puzzles"
    write(data, b"", LINE, b"  ", LINE | {"answer": "dog"})
    first, second = read(data)
    assert first.reason is None
    assert (first.id, first.task, first.directory, first.ability) == ("task.jsonl:2", "task", "puzzles", "other")
    assert flat(first, data) == ["@i/a.png", "What?"]
    assert (first.candidates, first.answer) == (("dog", "cat", "cow"), 1)
    assert first.metadata == {"question": "What?", "index": 0, "file": "task.jsonl", "stem": "task", "line": 2}
    assert (second.id, second.answer, second.metadata["index"]) == ("task.jsonl:4", 0, 1)


def test_mapping(tmp_path: Path) -> None:
    line = {
        "q": "Q?",
        "pics": ["a.png", "b.png"],
        "wrong": ["x", 2],
        "right": 3,
        "n": 5,
        "set": "T",
        "skill": "s",
        "id": "no",
    }
    fields = {"question": "q", "image": "pics", "distractors": "wrong", "answer": "right", "id": "n", "task": "set"}
    sample = one(tmp_path, line, **fields, ability="skill")
    assert sample.reason is None
    assert (sample.id, sample.task, sample.ability) == ("5", "T", "s")
    assert flat(sample, tmp_path) == ["@a.png", "@b.png", "Q?"]
    assert (sample.candidates, sample.answer) == (("3", "x", "2"), 0)


def test_own_names_without_mapping(tmp_path: Path) -> None:
    line = {"id": "k", "task": "T", "ability": "see", "question": "?", "answer": "a", "distractors": ["b"]}
    sample = one(tmp_path, line)
    assert (sample.key, sample.ability, sample.candidates, sample.parts) == (("T", "k"), "see", ("a", "b"), ("?",))


@pytest.mark.parametrize(
    "name", ["question", "image", "options", "answer", "answer_index", "distractors", "id", "task", "ability"]
)
def test_mapped_field_that_is_nowhere(tmp_path: Path, name: str) -> None:
    write(tmp_path, LINE, LINE)
    for sample in read(tmp_path, **{name: "typo"}):
        unfit(sample, ReasonKind.BAD_RECORD, "typo", name)


def test_mapped_image_may_be_absent_in_some(tmp_path: Path) -> None:
    write(tmp_path, BARE, BARE | {"pic": "a.png"}, BARE | {"pic": None}, BARE | {"pic": []})
    assert [len(sample.images) for sample in read(tmp_path, image="pic")] == [0, 1, 0, 0]
    assert all(sample.reason is None for sample in read(tmp_path, image="pic"))


@pytest.mark.parametrize(
    ("options", "answer", "index"),
    [
        (["1", "2"], 2, 1),
        ([9, 4, 3], "3", 2),
        ([1.5, 2], 1.5, 0),
        ([True, False], "False", 1),
        (["a", "b", "b"], "a", 0),
    ],
)
def test_text_answers(tmp_path: Path, options: list[object], answer: object, index: int) -> None:
    sample = one(tmp_path, BARE | {"options": options, "answer": answer})
    assert (sample.reason, sample.answer, sample.candidates) == (None, index, tuple(map(str, options)))


def test_answer_is_text_unless_the_index_is_mapped(tmp_path: Path) -> None:
    line = {"question": "?", "options": ["3", "1", "2", "0"], "answer": 1, "answer_index": 0}
    assert one(tmp_path, line).answer == 1
    assert one(tmp_path, line, answer_index="answer_index").answer == 0
    assert one(tmp_path, line, answer_index="answer").answer == 1
    assert one(tmp_path, line | {"answer": 3}).answer == 0
    del line["answer"]
    unfit(one(tmp_path, line), ReasonKind.BAD_RECORD, "answer", "map answer_index")


@pytest.mark.parametrize("value", [None, "x", "-1", "1.5", "", True, 1.0, [1]])
def test_bad_index(tmp_path: Path, value: object) -> None:
    unfit(one(tmp_path, BARE | {"n": value}, answer_index="n"), ReasonKind.BAD_RECORD, "'n' (answer_index)")


@pytest.mark.parametrize("value", [-1, 2, 10**15])
def test_index_out_of_range(tmp_path: Path, value: int) -> None:
    unfit(
        one(tmp_path, BARE | {"n": value}, answer_index="n"),
        ReasonKind.AMBIGUOUS_ANSWER,
        "'n' (answer_index)",
        str(value),
    )


def test_index_of_a_repeated_option(tmp_path: Path) -> None:
    line = {"question": "?", "options": ["a", "a"], "answer_index": 1}
    unfit(one(tmp_path, line, answer_index="answer_index"), ReasonKind.AMBIGUOUS_ANSWER, "options")


@pytest.mark.parametrize(
    ("change", "kind", "word"),
    [
        ({"question": None}, ReasonKind.BAD_RECORD, "question"),
        ({"question": 1}, ReasonKind.BAD_RECORD, "question"),
        ({"question": " "}, ReasonKind.BAD_RECORD, "question"),
        ({"answer": None}, ReasonKind.BAD_RECORD, "answer"),
        ({"answer": ["cat"]}, ReasonKind.BAD_RECORD, "answer"),
        ({"answer": "horse"}, ReasonKind.AMBIGUOUS_ANSWER, "answer"),
        ({"answer": "Cat"}, ReasonKind.AMBIGUOUS_ANSWER, "answer"),
        ({"options": ["cat", "dog", "cat"]}, ReasonKind.AMBIGUOUS_ANSWER, "options"),
        ({"options": ["cat"]}, ReasonKind.NO_DISTRACTOR, "options"),
        ({"options": []}, ReasonKind.NO_DISTRACTOR, "options"),
        ({"options": None}, ReasonKind.NO_DISTRACTOR, "options"),
        ({"options": "cat"}, ReasonKind.BAD_RECORD, "options"),
        ({"options": {"A": "cat"}}, ReasonKind.BAD_RECORD, "options"),
        ({"options": ["cat", None]}, ReasonKind.BAD_RECORD, "options"),
        ({"options": ["cat", {}]}, ReasonKind.BAD_RECORD, "options"),
        ({"options": ["cat", " "]}, ReasonKind.EMPTY_CANDIDATE, "options"),
        ({"options": ["cat", "<image 1>"]}, ReasonKind.IMAGE_TAG_MISMATCH, "options"),
        ({"options": ["cat", 10**30]}, ReasonKind.BAD_RECORD, "options"),  # parsed as a float, whose text differs
        ({"distractors": ["dog"]}, ReasonKind.BAD_RECORD, "distractors"),
        ({"options": None, "distractors": []}, ReasonKind.NO_DISTRACTOR, "distractors"),
        ({"options": None, "distractors": ["cat"]}, ReasonKind.AMBIGUOUS_ANSWER, "distractors"),
        ({"options": None, "distractors": [""]}, ReasonKind.EMPTY_CANDIDATE, "distractors"),
        ({"options": None, "distractors": "dog"}, ReasonKind.BAD_RECORD, "distractors"),
        ({"options": None, "distractors": ["dog"], "answer": ""}, ReasonKind.EMPTY_CANDIDATE, "answer"),
        ({"image": ""}, ReasonKind.BAD_RECORD, "image"),
        ({"image": 3}, ReasonKind.BAD_RECORD, "image"),
        ({"image": ["a.png", None]}, ReasonKind.BAD_RECORD, "image"),
        ({"image": "a\0b"}, ReasonKind.BAD_RECORD, "image"),
        ({"image": "../a.png"}, ReasonKind.PATH_OUTSIDE_DATA, "../a.png"),
        ({"image": ["i/a.png", "/etc/passwd"]}, ReasonKind.PATH_OUTSIDE_DATA, "/etc/passwd"),
        ({"id": ["x"]}, ReasonKind.BAD_RECORD, "id"),
        ({"id": ""}, ReasonKind.BAD_RECORD, "id"),
        ({"task": True}, ReasonKind.BAD_RECORD, "task"),
        ({"ability": 1.5}, ReasonKind.BAD_RECORD, "ability"),
    ],
)
def test_bad_fields(tmp_path: Path, change: dict[str, object], kind: ReasonKind, word: str) -> None:
    unfit(one(tmp_path, LINE | change), kind, word)


@pytest.mark.parametrize(
    ("name", "kind"), [("question", "BAD_RECORD"), ("answer", "BAD_RECORD"), ("options", "NO_DISTRACTOR")]
)
def test_missing_fields(tmp_path: Path, name: str, kind: str) -> None:
    unfit(one(tmp_path, {key: value for key, value in LINE.items() if key != name}), ReasonKind[kind], name)


@pytest.mark.parametrize(
    ("question", "images", "parts"),
    [
        ("See <image> and <image>.", 2, ["See ", "@0", " and ", "@1", "."]),
        ("<image 2><image 1> ", 2, ["@1", "@0", " "]),
        ("<image 1> or <image 1>", 1, ["@0", " or ", "@0"]),
        (" Plain <image1> ", 2, ["@0", "@1", " Plain <image1> "]),
        ("<image>\nWhat?", 1, ["@0", "\nWhat?"]),
        ("Plain", 0, ["Plain"]),
    ],
)
def test_tags(tmp_path: Path, question: str, images: int, parts: list[str]) -> None:
    line = BARE | {"question": question, "image": [str(number) for number in range(images)]}
    assert flat(one(tmp_path, line), tmp_path) == parts


@pytest.mark.parametrize(
    ("question", "images"),
    [
        ("<image>", 0),
        ("<image 1>", 0),
        ("<image>", 2),
        ("<image> <image>", 1),
        ("<image 1>", 2),
        ("<image 2>", 1),
        ("<image 0>", 1),
        ("<image 1> <image>", 2),
        (f"<image {'9' * 5000}>", 1),
    ],
)
def test_tags_that_do_not_pair(tmp_path: Path, question: str, images: int) -> None:
    line = BARE | {"question": question, "image": [str(number) for number in range(images)]}
    unfit(one(tmp_path, line), ReasonKind.IMAGE_TAG_MISMATCH, "question")


def test_repeated_ids(tmp_path: Path) -> None:
    write(tmp_path, BARE | {"id": 1}, BARE | {"id": "1"}, BARE | {"id": 1, "task": "T"}, name="a.jsonl")
    write(tmp_path, BARE | {"id": 1, "task": "T"}, name="b.jsonl")
    samples = read(tmp_path)
    assert [sample.key for sample in samples] == [("a", "1"), ("a", "1#2"), ("T", "1"), ("T", "1#2")]
    unfit(samples[1], ReasonKind.BAD_RECORD, "id", "'1'")
    unfit(samples[3], ReasonKind.BAD_RECORD, "id", "'1'")
    assert samples[0].reason is samples[2].reason is None


def test_symlinked_image(tmp_path: Path) -> None:
    (tmp_path / "secret.png").touch()
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.png").symlink_to("../secret.png")
    write(data, BARE | {"image": "a.png"})
    unfit(read(data)[0], ReasonKind.PATH_OUTSIDE_DATA, "symlink")
    (sample,) = open_reader(data, follow_symlinks=True)
    assert sample.reason is None


@pytest.mark.parametrize(
    "line", [b"{", b"[1]", b"3", b"null", b'"x"', b"\xff\xfe", b"{}{}", b'{"a": NaNa}', b"[" * 3000]
)
def test_bad_lines(tmp_path: Path, line: bytes) -> None:
    write(tmp_path, line, LINE, line)
    first, good, last = read(tmp_path)
    unfit(first, ReasonKind.BAD_RECORD)
    unfit(last, ReasonKind.BAD_RECORD)
    assert (first.key, good.reason) == (("task", "task.jsonl:1"), None)
    file = write(tmp_path, line, line)
    with pytest.raises(DataError, match="no line is a JSON object") as caught:
        read(tmp_path)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"\n \n", json.dumps(LINE, indent=1).encode(), json.dumps(LINE).encode("utf-16")]
)
def test_files_without_a_record(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.jsonl.*no line"):
        read(tmp_path)


def test_byte_order_mark_long_lines_and_line_ends(tmp_path: Path) -> None:
    long = json.dumps(LINE | {"question": "x" * 3_000_000}).encode()
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + json.dumps(LINE).encode() + b"\r\n" + long)
    first, second = read(tmp_path)
    assert first.reason is second.reason is None
    assert len(str(second.parts[1])) == 3_000_000


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", " ", "a", "<image>", "<image 1>", "../x", "\0"])
    | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
FIELD = {
    "question": VALUES | st.just("q"),
    "image": VALUES | st.just("a.png"),
    "options": VALUES | st.just(["a", "b"]),
    "answer": VALUES | st.just("a"),
    "answer_index": VALUES | st.integers(-1, 2),
    "distractors": VALUES | st.just(["b"]),
    "id": VALUES,
    "task": VALUES,
    "ability": VALUES,
}
LINES = (
    VALUES
    | st.fixed_dictionaries({}, optional=FIELD)
    | st.binary(max_size=9).map(lambda line: line.replace(b"\n", b""))
)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(LINES, max_size=5),
    fields=st.sampled_from(
        [{}, {"answer_index": "answer_index"}, {"distractors": "distractors", "id": "id"}, {"image": "image"}]
    ),
)
def test_any_line_comes_out(tmp_path: Path, lines: list[object], fields: dict[str, str]) -> None:
    encoded = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    write(tmp_path, LINE, *encoded)
    samples = read(tmp_path, **fields)
    assert len(samples) == 1 + sum(bool(line.strip()) for line in encoded)
    assert len({sample.key for sample in samples}) == len(samples)
    for sample in samples:
        if sample.reason is None:
            assert len(sample.candidates) >= 2
            assert all(isinstance(text, str) and text.strip() for text in sample.candidates)
            assert sample.candidates.count(sample.candidates[sample.answer]) == 1
            assert sample.parts
            assert all(image.path.is_relative_to(tmp_path) for image in sample.images)
        else:
            unfit(sample, sample.reason.kind)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    folders = [tmp_path / str(count) for count in (150, 15_000)]
    for data, count in zip(folders, (150, 15_000), strict=True):
        size = write(data, *(LINE | {"id": n, "question": f"{n} " * 60} for n in range(count))).stat().st_size
        assert sum(1 for _ in open_reader(data)) == count
    peaks = peaks_of_reading(*folders)
    # The constant: 15,000 hashes of ids.
    assert peaks[1] < 2 * peaks[0] + 3 * 2**20
    assert peaks[1] < size / 2


@pytest.mark.parametrize("puzzles", PUZZLES)
def test_puzzlevqa(puzzles: Path) -> None:
    reader = open_reader(puzzles)
    samples = list(reader)
    assert reader.format == "jsonl"
    tasks = Counter(sample.task for sample in samples)
    assert tasks == {file.stem: len(file.read_text().splitlines()) for file in puzzles.glob("*.json")}
    assert len(tasks) >= 5
    assert all(sample.reason is None for sample in samples)
    records = [json.loads(line) for file in reader.files for line in file.read_text().splitlines()]
    assert {type(record["answer"]) for record in records} == {str, int}
    for sample, record in zip(samples, records, strict=True):
        assert sample.candidates[sample.answer] == str(record["answer"])
        assert sample.candidates == tuple(map(str, record["options"]))
        assert sample.parts == (ImageFile(puzzles / record["image"]), record["question"])
    for sample in samples[:: max(1, len(samples) // 20)]:
        assert not isinstance(read_image(sample.images[0]), Reason)


def test_the_twelve_image_rule_is_m3s_alone(tmp_path: Path) -> None:
    """It is a rule of the published benchmark; a user's own records may hold as many images as the model takes."""
    line = json.dumps({"question": "What?", "image": ["a.png"] * 13, "options": ["x", "y"], "answer": "x"})
    (tmp_path / "task.jsonl").write_text(line)
    [sample] = open_reader(tmp_path)
    assert sample.reason is None
    assert len(sample.images) == 13
