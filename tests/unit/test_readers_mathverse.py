"""The MathVerse reader: choices taken out of the question, keys that are odd, and questions that are in the image."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from published_data import MATHVERSE as RECORD
from published_data import QUESTION
from published_data import write_mathverse as write

from radar_fast.errors import DataError
from radar_fast.readers.mathverse import VERSIONS, MathVerseReader, find_files
from radar_fast.sample import ImageFile, ReasonKind, Sample


def read(data: Path) -> list[Sample]:
    return list(MathVerseReader.open(data))


def one(data: Path, **changes: object) -> Sample:
    record = {name: value for name, value in {**RECORD, **changes}.items() if value is not ...}
    # The second keeps the folder recognised, whatever the first lacks.
    return read(write(data, [record, {**RECORD, "problem_index": "other"}]))[0]


def unfit(sample: Sample, kind: ReasonKind, *words: str) -> None:
    assert sample.reason is not None
    assert sample.reason.kind is kind, sample.reason
    for word in (*words, "testmini.json"):
        assert word in sample.reason.detail
    assert "\n" not in sample.reason.detail
    assert (sample.parts, sample.candidates) == ((), ())


def flat(sample: Sample, data: Path) -> list[str]:
    return [f"@{part.path.relative_to(data)}" if isinstance(part, ImageFile) else str(part) for part in sample.parts]


def test_a_record_as_published(tmp_path: Path) -> None:
    sample = one(tmp_path)
    assert sample.reason is None
    assert (sample.id, sample.task, sample.directory) == ("1", "MathVerse_Text_Dominant", "MathVerse")
    assert flat(sample, tmp_path) == [
        "@images_version_1-4/image_1.png",
        "In triangle ABC, angle A = 80.0, then angle CED is ()",
    ]
    assert (sample.candidates, sample.answer, sample.ordered) == (("40°", "60°", "120°", "140°"), 3, True)
    assert sample.metadata == {
        "question": QUESTION,
        "index": 0,
        "file": "testmini.json",
        "version": "Text Dominant",
        "sample": "1",
        "subject": "Plane Geometry",
        "subfield": "Angle",
    }


def test_every_version_is_a_task_and_vision_only_takes_the_choices_of_another(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    main = [version for version in VERSIONS if version != "Text Only"]
    # Vision Only comes first: what it needs stands further down.
    records = [
        {**RECORD, "problem_version": version, "question": "" if version == "Vision Only" else QUESTION}
        for version in reversed(main)
    ]
    write(tmp_path, records)
    write(tmp_path, [{**RECORD, "problem_version": "Text Only", "image": ""}], "testmini_text_only.json")
    samples = {sample.metadata["version"]: sample for sample in read(tmp_path)}
    assert set(samples) == set(VERSIONS)
    assert {sample.task for sample in samples.values()} == {
        f"MathVerse_{version.replace(' ', '_')}" for version in VERSIONS
    }
    assert {sample.id for sample in samples.values()} == {"1"}, "so that versions pair up"
    for sample in samples.values():
        assert sample.reason is None
        assert (sample.candidates[sample.answer], len(sample.candidates)) == ("140°", 4)
    assert flat(samples["Vision Only"], tmp_path) == ["@images/images_version_1-4/image_1.png"]
    assert flat(samples["Text Only"], tmp_path) == ["In triangle ABC, angle A = 80.0, then angle CED is ()"]


def test_vision_only_alone_has_no_choices(tmp_path: Path) -> None:
    unfit(one(tmp_path, problem_version="Vision Only", question=""), ReasonKind.NO_DISTRACTOR, "another version")


@pytest.mark.parametrize(
    ("choices", "answer", "expected"),
    [
        ("Choices:\nA:1\nB:2", "B", ("1", "2", 1)),
        ("Choice:\nA. True\nB. False", "False", ("True", "False", 1)),  # an option's text as the key
        ("Choices:\nA.$x$\nB.$y$\nC.$z$", "(B)", ("$x$", "$y$", "$z$", 1)),  # a letter in brackets
        ("Choice:\nA. 090^\\circ T\nB. 180^\\circ T", "090^\\circ T", ("090^\\circ T", "180^\\circ T", 0)),
        ("Choices:\nA:38\nB:52\nC:52", "A", ("38", "52", "52", 0)),  # equal distractors
        ("Choices:\nA:2\nB:4\n127", "B", ("2", "4", 1)),  # a stray number, as in two published records
        ("Choices:\nA:a\nmore of a\nB:D. E. Knuth", "A", ("a\nmore of a", "D. E. Knuth", 0)),
        ("Choices: \n A : 1 \n B : 2 ", "A", ("1", "2", 0)),
        ("the Choices:\nare many\nChoices:\nA:1\nB:2", "A", ("1", "2", 0)),
    ],
)
def test_choices_and_keys(tmp_path: Path, choices: str, answer: str, expected: tuple[object, ...]) -> None:
    sample = one(tmp_path, question=f"Which?\n{choices}", answer=answer)
    assert sample.reason is None, sample.reason
    assert (*sample.candidates, sample.answer) == expected
    assert str(sample.parts[1]).startswith("Which?")
    assert "A:" not in str(sample.parts[1])


@pytest.mark.parametrize(
    ("change", "kind", "word"),
    [
        ({"question_type": "free-form", "question": "Find L."}, ReasonKind.NO_DISTRACTOR, "free-form"),
        ({"question_type": ...}, ReasonKind.BAD_RECORD, "question_type"),
        ({"question_type": "essay"}, ReasonKind.BAD_RECORD, "question_type"),
        ({"answer": "C\nD"}, ReasonKind.AMBIGUOUS_ANSWER, "answer"),
        ({"answer": "E"}, ReasonKind.AMBIGUOUS_ANSWER, "answer"),
        ({"answer": "(Z)"}, ReasonKind.AMBIGUOUS_ANSWER, "answer"),
        ({"answer": "45°"}, ReasonKind.AMBIGUOUS_ANSWER, "answer"),
        ({"answer": ...}, ReasonKind.BAD_RECORD, "answer"),
        ({"answer": ["D"]}, ReasonKind.BAD_RECORD, "answer"),
        ({"question": "?\nChoices:\nA:52\nB:52\nC:3", "answer": "A"}, ReasonKind.AMBIGUOUS_ANSWER, "more than once"),
        ({"question": "?\nChoices:\nA:1\nB:\nC:3", "answer": "A"}, ReasonKind.EMPTY_CANDIDATE, "choice B"),
        ({"question": "?\nChoices:\nA:1", "answer": "A"}, ReasonKind.NO_DISTRACTOR, "one choice"),
        ({"question": "?\nChoices:\n1. yes\n2. no"}, ReasonKind.BAD_RECORD, "1. yes"),
        ({"question": "no choices here"}, ReasonKind.NO_DISTRACTOR, "no choices"),
        ({"question": ...}, ReasonKind.BAD_RECORD, "question"),
        ({"question": 3}, ReasonKind.BAD_RECORD, "question"),
        ({"image": ...}, ReasonKind.BAD_RECORD, "image"),
        ({"image": "../x.png"}, ReasonKind.PATH_OUTSIDE_DATA, "outside"),
        ({"problem_index": ...}, ReasonKind.BAD_RECORD, "problem_index"),
        ({"problem_version": "Text Heavy"}, ReasonKind.BAD_RECORD, "Text Heavy"),
        ({"question": "\nChoices:\nA:1\nB:2", "answer": "A", "image": ""}, ReasonKind.NOTHING_TO_ASK, "image"),
    ],
)
def test_bad_fields(tmp_path: Path, change: dict[str, object], kind: ReasonKind, word: str) -> None:
    unfit(one(tmp_path, **change), kind, word)


def test_repeated_problems(tmp_path: Path) -> None:
    samples = read(write(tmp_path, [RECORD, RECORD, RECORD]))
    assert [sample.reason is None for sample in samples] == [True, False, False]
    assert len({sample.key for sample in samples}) == 3
    assert "more than once" in str(samples[1].reason)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"[3]", b'[{"question": "?"}]', b"[", b'"\\ud800"'])
def test_what_is_no_mathverse(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, content)
    assert find_files(tmp_path) == []
    with pytest.raises(DataError, match=r"no MathVerse annotations.*problem_version"):
        read(tmp_path)


@pytest.mark.parametrize(("content", "found"), [(b"[%s", "not JSON"), (b"[%s] x", "not JSON"), (b"[%s, 1", "not JSON")])
def test_a_damaged_file_is_an_error(tmp_path: Path, content: bytes, found: str) -> None:
    write(tmp_path, content % json.dumps(RECORD).encode())
    with pytest.raises(DataError, match=rf"testmini\.json: {found}"):
        read(tmp_path)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.text(max_size=6)
    | st.sampled_from(["A", "(B)", "\nChoices:\n"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)
QUESTIONS = st.text(st.sampled_from("AB:. \nx"), max_size=20).map(lambda text: f"?\nChoices:\n{text}")
FIELDS = {name: VALUES | st.just(value) for name, value in RECORD.items()} | {
    "question": QUESTIONS | VALUES,
    "problem_version": st.sampled_from(VERSIONS) | VALUES,
    "problem_index": st.sampled_from(["1", "2", "3"]) | VALUES,
    "question_type": st.just("multi-choice") | VALUES,
}


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(VALUES | st.fixed_dictionaries(FIELDS), max_size=6))
def test_whatever_the_records_are_each_makes_one_sample(tmp_path: Path, records: list[object]) -> None:
    samples = read(write(tmp_path, [RECORD, *records]))
    assert len(samples) == len(records) + 1
    assert len({sample.key for sample in samples}) == len(samples)
    for sample in samples:
        assert (sample.reason is None) == bool(sample.parts)
        if sample.reason is None:
            assert sample.candidates.count(sample.candidates[sample.answer]) == 1
            assert len(sample.candidates) >= 2
            assert all(candidate.strip() for candidate in sample.candidates)
