"""The M3-Bench reader: published path rules and candidates, and a reason for every record that cannot be scored."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reading_peaks import peaks_of_reading

from radar_fast.errors import DataError
from radar_fast.readers import open_reader
from radar_fast.sample import ImageFile, ReasonKind, Sample

SUFFIX = "_pretrained_mllm_eval.json"
RECORD: dict[str, Any] = {"question": "What is it?", "answer": "cat", "distraction": ["dog", "cow"]}
MATH = ("mathematical_reasoning", "MathVista_2")
PHYS = ("physical_reasoning", "SeePhys_2")
MMMU = ("multiple_discipline_reasoning", "MMMU_Pro_Art_Theory_2")


def write(data: Path, content: object, directory: str = MATH[0], stem: str = MATH[1]) -> Path:
    file = data / directory / (stem + SUFFIX)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return file


def read(data: Path, **options: Any) -> list[Sample]:
    return list(open_reader(data, format="m3", **options))


def one(data: Path, record: object, task: tuple[str, str] = MATH, q_id: str = "7", **options: Any) -> Sample:
    write(data, {q_id: record}, *task)
    (sample,) = read(data, **options)
    return sample


def unfit(sample: Sample, kind: ReasonKind, *words: str) -> None:
    assert sample.reason is not None
    assert sample.reason.kind is kind, sample.reason
    for word in (*words, str(sample.metadata["file"]), ascii(sample.id.split("#")[0])):
        assert word in sample.reason.detail
    assert "\n" not in sample.reason.detail


def flat(sample: Sample, data: Path) -> list[Any]:
    """Parts, with the images as paths relative to the data folder."""
    return [f"@{part.path.relative_to(data)}" if isinstance(part, ImageFile) else part for part in sample.parts]


@pytest.mark.parametrize(
    ("directory", "stem", "ability", "image"),
    [
        ("general_visual_question_answering", "MMBench_ocr_54", "perception", "ocr/7--1.jpg"),
        (
            "general_visual_question_answering",
            "MMBench_action_recognition_54",
            "perception",
            "action_recognition/7--1.jpg",
        ),
        ("general_visual_question_answering", "MMBench_social_relation_5", "reasoning", "social_relation/7--1.jpg"),
        ("general_visual_question_answering", "MMBench_new_thing_5", "other", "new_thing/7--1.jpg"),
        ("mathematical_reasoning", "MathVista_1000", "reasoning", "7.jpg"),
        ("spatial_reasoning", "Spatial_reasoning_9", "reasoning", "7.jpg"),
        ("Wiki_animal_identification", "Wiki_animal_identification_2000", "perception", "7.jpg"),
        ("Wiki_plant_identification", "Wiki_plant_identification_2000", "perception", "7.jpg"),
        ("Wiki_attraction_identification", "Wiki_attraction_identification_2000", "perception", "7.jpg"),
        ("Wiki_celebrity_identification", "Wiki_celebrity_identification_2000", "perception", "7.jpg"),
        ("my_directory", "Mine_3", "other", "7.jpg"),
    ],
)
def test_published_rules(tmp_path: Path, directory: str, stem: str, ability: str, image: str) -> None:
    sample = one(tmp_path / "MMBench", RECORD, (directory, stem), "7--1")  # a folder's name must not misroute
    assert sample.reason is None
    assert (sample.id, sample.task, sample.directory, sample.ability) == ("7--1", stem, directory, ability)
    assert flat(sample, tmp_path / "MMBench") == [f"@{directory}/images/{image}", "What is it?"]
    assert (sample.candidates, sample.answer) == (("cat", "dog", "cow"), 0)
    assert sample.metadata == {
        "question": "What is it?",
        "index": 0,
        "file": f"{directory}/{stem}{SUFFIX}",
        "stem": stem + SUFFIX.removesuffix(".json"),
    }


def test_seephys(tmp_path: Path) -> None:
    folder = "@physical_reasoning/images"
    sample = one(tmp_path, RECORD | {"img_num": 2}, PHYS, "12--a")
    assert flat(sample, tmp_path) == [f"{folder}/12_0.png", f"{folder}/12_1.png", "What is it?"]
    assert sample.ability == "reasoning"
    assert flat(one(tmp_path, RECORD | {"img_num": 0}, PHYS), tmp_path) == ["What is it?"]


@pytest.mark.parametrize("number", [None, -1, True, "2", 1.5, [1]])
def test_seephys_bad_img_num(tmp_path: Path, number: object) -> None:
    unfit(one(tmp_path, RECORD | {"img_num": number}, PHYS), ReasonKind.BAD_RECORD, "img_num")
    unfit(one(tmp_path, RECORD, PHYS), ReasonKind.BAD_RECORD, "img_num", "missing")


@pytest.mark.parametrize("number", [13, 10**12])
def test_too_many_images(tmp_path: Path, number: int) -> None:
    assert one(tmp_path, RECORD | {"img_num": 12}, PHYS).reason is None
    unfit(one(tmp_path, RECORD | {"img_num": number}, PHYS), ReasonKind.TOO_MANY_IMAGES, str(number), "12")


def test_mmmu_pro_inline(tmp_path: Path) -> None:
    image = "@multiple_discipline_reasoning/images/Art_Theory/q_1_image_{}.png".format
    text = "<image 2> shows <image 10> and <image 2>."
    sample = one(tmp_path, RECORD | {"question": text, "ori_options": "['cat', 'dog']"}, MMMU, "q_1")
    assert sample.reason is None
    assert flat(sample, tmp_path) == [image(2), " shows ", image(10), " and ", image(2), "."]
    assert sample.candidates == ("cat", "dog", "cow")
    assert sample.metadata["question"] == text
    text = "<image> or <image1> <image 1> "
    assert flat(one(tmp_path, RECORD | {"question": text}, MMMU, "q_1"), tmp_path) == [text[:20], image(1), " "]
    unfit(one(tmp_path, RECORD | {"question": "<image 1>" * 13}, MMMU), ReasonKind.TOO_MANY_IMAGES, "13")


def test_mmmu_pro_images_in_options(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            f"q_{number}": {
                "question": "See <image 1>. Which?",
                "answer": "<image 2>",
                "distraction": ["not <image 3>"],
                "ori_options": "['<image 2>', '<image 3>']",
            }
            for number in range(40)
        },
        *MMMU,
    )
    firsts = 0
    for sample in read(tmp_path):
        image = f"@multiple_discipline_reasoning/images/Art_Theory/{sample.id}_image_{{}}.png".format
        end = " Please select the correct option: "
        first = hashlib.sha256(sample.id.encode()).digest()[0] < 128
        firsts += first
        if first:
            expected = [" B. not ", image(3), end]
            expected = ["See ", image(1), ". Which? A. ", image(2), *expected]
        else:
            expected = ["See ", image(1), ". Which? A. not ", image(3), " B. ", image(2), end]
        assert flat(sample, tmp_path) == expected
        assert (sample.candidates, sample.answer) == (("A", "B") if first else ("B", "A"), 0)
    assert 10 < firsts < 30


def test_mmmu_pro_options(tmp_path: Path) -> None:
    record = RECORD | {"question": "<image 1>?", "ori_options": "<image 2>"}
    unfit(one(tmp_path, record, MMMU), ReasonKind.BAD_RECORD, "ori_options", "distraction", "2")
    for wrong in (None, ["<image 2>"], 3):
        unfit(one(tmp_path, record | {"ori_options": wrong}, MMMU), ReasonKind.BAD_RECORD, "ori_options")


def test_mmmu_pro_without_tag(tmp_path: Path) -> None:
    assert flat(one(tmp_path, RECORD, MMMU), tmp_path) == ["What is it?"]
    image = tmp_path / MMMU[0] / "images" / "Art_Theory" / "7_image_1.png"
    image.parent.mkdir(parents=True)
    image.touch()
    unfit(one(tmp_path, RECORD, MMMU), ReasonKind.IMAGE_TAG_MISMATCH, "7_image_1.png")
    assert one(tmp_path, RECORD, MMMU, "../" * 9 + "etc/x").reason is None  # text only: no path is made of the id


@pytest.mark.parametrize("tag", ["<image>", "<image 1>"])
def test_literal_tags_elsewhere(tmp_path: Path, tag: str) -> None:
    record = RECORD | {"question": f"In {tag}?"}
    assert flat(one(tmp_path, record), tmp_path) == ["@mathematical_reasoning/images/7.jpg", f"In {tag}?"]
    (tmp_path / "b").mkdir()
    assert one(tmp_path / "b", record | {"img_num": 1}, PHYS).reason is None
    unfit(one(tmp_path / "b", record | {"img_num": 0}, PHYS), ReasonKind.IMAGE_TAG_MISMATCH, tag)


@pytest.mark.parametrize(
    ("change", "kind", "word"),
    [
        ({"question": None}, ReasonKind.BAD_RECORD, "question"),
        ({"question": 3}, ReasonKind.BAD_RECORD, "question"),
        ({"question": " \n"}, ReasonKind.BLANK_QUESTION, "question"),
        ({"answer": None}, ReasonKind.BAD_RECORD, "answer"),
        ({"answer": ["cat"]}, ReasonKind.BAD_RECORD, "answer"),
        ({"answer": {}}, ReasonKind.BAD_RECORD, "answer"),
        ({"answer": 1e300}, ReasonKind.BAD_RECORD, "answer"),
        ({"answer": ""}, ReasonKind.EMPTY_CANDIDATE, "answer"),
        ({"answer": " \u3000"}, ReasonKind.EMPTY_CANDIDATE, "answer"),
        ({"answer": "dog"}, ReasonKind.AMBIGUOUS_ANSWER, "distraction[0]"),
        ({"answer": 5, "distraction": ["4", "5"]}, ReasonKind.AMBIGUOUS_ANSWER, "distraction[1]"),
        ({"distraction": None}, ReasonKind.NO_DISTRACTOR, "distraction"),
        ({"distraction": []}, ReasonKind.NO_DISTRACTOR, "distraction"),
        ({"distraction": "dog"}, ReasonKind.BAD_RECORD, "distraction"),
        ({"distraction": {"a": "dog"}}, ReasonKind.BAD_RECORD, "distraction"),
        ({"distraction": ["dog", None]}, ReasonKind.BAD_RECORD, "distraction[1]"),
        ({"distraction": [["dog"]]}, ReasonKind.BAD_RECORD, "distraction[0]"),
        ({"distraction": ["dog", ""]}, ReasonKind.EMPTY_CANDIDATE, "distraction[1]"),
    ],
)
def test_bad_fields(tmp_path: Path, change: dict[str, object], kind: ReasonKind, word: str) -> None:
    unfit(one(tmp_path, RECORD | change), kind, word)


@pytest.mark.parametrize("name", ["question", "answer", "distraction"])
def test_missing_fields(tmp_path: Path, name: str) -> None:
    kind = ReasonKind.NO_DISTRACTOR if name == "distraction" else ReasonKind.BAD_RECORD
    unfit(one(tmp_path, {key: value for key, value in RECORD.items() if key != name}), kind, name, "missing")


@pytest.mark.parametrize("record", [None, 3, "text", [RECORD], True])
def test_record_is_no_object(tmp_path: Path, record: object) -> None:
    unfit(one(tmp_path, record), ReasonKind.BAD_RECORD, "object")


def test_numbers_as_text(tmp_path: Path) -> None:
    sample = one(tmp_path, RECORD | {"answer": 20, "distraction": [1.5, True, 2.0, -(2**62)]})
    assert sample.candidates == ("20", "1.5", "True", "2.0", str(-(2**62)))


def test_repeated_ids(tmp_path: Path) -> None:
    record = json.dumps(RECORD)
    write(tmp_path, ("{" + ",".join(f'"{q_id}": {record}' for q_id in ("a", "a", "a#2", "a", "b")) + "}").encode())
    samples = read(tmp_path)
    assert [sample.id for sample in samples] == ["a", "a#2", "a#2#2", "a#3", "b"]
    assert [sample.reason is None for sample in samples] == [True, False, False, False, True]
    assert all(sample.reason.kind is ReasonKind.BAD_RECORD for sample in samples if sample.reason)
    assert [sample.metadata["index"] for sample in samples] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("q_id", ["../../../x", "../" * 12 + "etc/passwd", "/etc/passwd"])
def test_path_outside(tmp_path: Path, q_id: str) -> None:
    sample = one(tmp_path, RECORD, ("spatial_reasoning", "S_1"), q_id)
    if q_id.startswith("/"):  # joined below images/, as text: no absolute path comes of it
        assert flat(sample, tmp_path)[0] == "@spatial_reasoning/images/etc/passwd.jpg"
    else:
        unfit(sample, ReasonKind.PATH_OUTSIDE_DATA, "outside")


def test_impossible_path(tmp_path: Path) -> None:
    unfit(one(tmp_path, RECORD, q_id="a\0b"), ReasonKind.BAD_RECORD, "file name")


def test_symlinks(tmp_path: Path) -> None:
    data, images = tmp_path / "data", tmp_path / "data" / MATH[0] / "images"
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "7.jpg").touch()
    images.mkdir(parents=True)
    (images / "7.jpg").symlink_to(tmp_path / "secret" / "7.jpg")
    unfit(one(data, RECORD), ReasonKind.PATH_OUTSIDE_DATA, "symlink")
    assert one(data, RECORD, follow_symlinks=True).reason is None
    unfit(one(data, RECORD, q_id="../../../secret/7", follow_symlinks=True), ReasonKind.PATH_OUTSIDE_DATA)
    (images / "7.jpg").unlink()
    (images / "here.jpg").touch()
    (images / "7.jpg").symlink_to("here.jpg")  # inside: fine
    assert one(data, RECORD).reason is None
    (images / "sub").symlink_to(tmp_path / "secret")  # so does a folder lead outside
    unfit(one(data, RECORD, q_id="sub/7"), ReasonKind.PATH_OUTSIDE_DATA, "symlink")
    assert one(data, RECORD, q_id="sub/7", follow_symlinks=True).reason is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["not JSON", "line 1"]),
        (b" \n", ["not JSON"]),
        (b"{}", ["no record"]),
        (b"[1]", ["a list", "object"]),
        (b"3", ["a number", "object"]),
        (b"null", ["null", "object"]),
        (b'{"a": 1', ["not JSON", "line 1 column 8"]),
        (b'{"a":\n {"b": 1},}', ["not JSON", "line 2"]),
        (b'{"a": 1} x', ["not JSON", "line 1 column 10"]),
        (b'{"a": 1}\n{"b": 2}', ["not JSON", "line 2 column 1"]),
        (b'{"a": "\xff"}', ["not JSON", "byte 7", "UTF-8"]),
        (b'{"a" 1}', ["not JSON", "line 1 column 6"]),
        (b'{"a": :1}', ["not JSON", "line 1 column 7"]),
        (b'{"a": NaNa}', ["not JSON"]),
        (b"\xff\xfe{\0}\0", ["not JSON"]),
        (b'{"a": ' + b"[" * 100_000, ["deeper"]),
        (b"[" * 100_000, ["a list"]),
        (b'{"a":' * 20_000, ["deeper"]),
    ],
)
def test_bad_files(tmp_path: Path, content: bytes, words: list[str]) -> None:
    file = write(tmp_path, content)
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    for word in (*words, str(file)):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


GOOD = json.dumps(RECORD).encode()


@pytest.mark.parametrize("number", [b"NaN", b"-Infinity", b"9" * 5000, b"9" * 20, b"1e99999999999999999999"])
def test_a_number_without_bounds_is_its_records_fault(tmp_path: Path, number: bytes) -> None:
    asked = GOOD.replace(b'"cat"', number)
    aside = GOOD[:-1] + b', "difficulty": ' + number + b"}"
    write(tmp_path, b'{"a": ' + number + b', "b": ' + asked + b', "c": ' + aside + b', "d": ' + GOOD + b"}")
    first, second, third, fourth = read(tmp_path)
    unfit(first, ReasonKind.BAD_RECORD, "a number")
    unfit(second, ReasonKind.BAD_RECORD, "'answer'")
    assert third.reason is fourth.reason is None
    assert third.candidates == fourth.candidates == ("cat", "dog", "cow")


@pytest.mark.parametrize("key", [b'"a\x01b"', b'"\\q"', b'"\xff"', b'"\\u12"'])
def test_a_key_that_is_no_json_is_the_files_fault(tmp_path: Path, key: bytes) -> None:
    write(tmp_path, b'{"1": ' + json.dumps(RECORD).encode() + b", " + key + b": {}}")
    with pytest.raises(DataError, match="not JSON"):
        read(tmp_path)


def test_half_a_surrogate_pair_is_its_records_fault(tmp_path: Path) -> None:
    write(tmp_path, b'{"a": {"question": "\\ud800"}, "b": ' + GOOD + b"}")
    first, second = read(tmp_path)
    unfit(first, ReasonKind.BAD_RECORD, "surrogate")
    assert second.reason is None


def test_byte_order_mark_and_unicode(tmp_path: Path) -> None:
    record = RECORD | {"answer": "猫 😀"}
    write(tmp_path, b"\xef\xbb\xbf" + json.dumps({"é": record}, ensure_ascii=False).encode())
    (sample,) = read(tmp_path)
    assert (sample.id, sample.candidates[0]) == ("é", "猫 😀")
    write(tmp_path, json.dumps({"é": record}).encode())
    assert read(tmp_path)[0].candidates[0] == "猫 😀"


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from(["", " ", "a", "<image>", "<image 1>", "<image 2>", "../x", "\0"])
    | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
FIELD = {
    "question": VALUES | st.just("q <image 1>"),
    "answer": VALUES | st.just("a"),
    "distraction": VALUES | st.just(["b"]) | st.lists(VALUES, max_size=3),
    "img_num": VALUES | st.integers(-1, 14),
    "ori_options": VALUES | st.just("<image 1>"),
}
RECORDS = VALUES | st.fixed_dictionaries({}, optional=FIELD) | st.fixed_dictionaries(FIELD)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    task=st.sampled_from([MATH, PHYS, MMMU, ("general_visual_question_answering", "MMBench_ocr_1"), ("x", "y")]),
    records=st.lists(st.tuples(st.text(max_size=5) | st.sampled_from(["a", "../a"]), RECORDS), min_size=1, max_size=5),
)
def test_any_record_comes_out(tmp_path: Path, task: tuple[str, str], records: list[tuple[str, object]]) -> None:
    for file in tmp_path.rglob("*.json"):
        file.unlink()
    # json.dumps would merge repeated ids; lone surrogates are replaced by the parser.
    write(
        tmp_path,
        ("{" + ",".join(f"{json.dumps(q_id)}: {json.dumps(record)}" for q_id, record in records) + "}").encode(),
        *task,
    )
    samples = read(tmp_path)
    assert len(samples) == len(records)
    assert len({sample.key for sample in samples}) == len(records)
    for sample in samples:
        if sample.reason is None:
            assert len(sample.candidates) >= 2
            assert all(isinstance(text, str) and text.strip() for text in sample.candidates)
            assert sample.parts
            assert len(sample.images) <= 12
            assert all(image.path.is_relative_to(tmp_path) for image in sample.images)
        else:
            assert "\n" not in sample.reason.detail
            assert sample.metadata["file"] in sample.reason.detail


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    folders = [tmp_path / str(count) for count in (150, 15_000)]
    for data, count in zip(folders, (150, 15_000), strict=True):
        size = write(data, {str(n): RECORD | {"question": f"{n} " * 150} for n in range(count)}).stat().st_size
    peaks = peaks_of_reading(*folders)
    # The constant: 15,000 hashes of ids.
    assert peaks[1] < 2 * peaks[0] + 3 * 2**20
    assert peaks[1] < size / 2
