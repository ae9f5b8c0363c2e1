"""The PGPS9K reader: two questions a record, the nearest choice, a reason for every record that cannot be scored."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from published_data import PGPS9K as RECORD
from published_data import write_pgps9k as write

from radar_fast.errors import DataError
from radar_fast.readers.pgps9k import PGPS9KReader, find_files
from radar_fast.sample import ImageFile, ReasonKind, Sample

FULL = (
    "In this problem, U is on line QR, D, E are on line IK, A, C lie on line m, "
    "In \\odot X, point W, V lie on \\odot X, A, B, C, D are on line EF, BT = 30, RS \\perp AB on R.\n"
    "Based on these conditions, answer the question: What is the length of UB?"
)


def read(data: Path, **options: Any) -> list[Sample]:
    return list(PGPS9KReader.open(data, **options))


def both(data: Path, **changes: object) -> list[Sample]:
    record = {name: value for name, value in {**RECORD, **changes}.items() if value is not ...}
    # A second, whole record: what is wrong with one must not keep the folder from being recognised.
    return read(write(data, {"prob_1": record, "prob_2": RECORD}))[:2]


def flat(sample: Sample, data: Path) -> list[str]:
    return [f"@{part.path.relative_to(data)}" if isinstance(part, ImageFile) else str(part) for part in sample.parts]


def test_a_record_makes_two_samples(tmp_path: Path) -> None:
    base, full = both(tmp_path)
    assert [sample.task for sample in (base, full)] == ["PGPS9K_base", "PGPS9K_full"]
    assert flat(base, tmp_path) == ["@Diagram_Visual/img_7.png", "What is the length of UB?"]
    assert flat(full, tmp_path) == ["@Diagram_Visual/img_7.png", FULL]
    for sample in (base, full):
        assert (sample.id, sample.directory, sample.ability, sample.reason) == ("prob_1", "PGPS9K", "reasoning", None)
        assert sample.candidates == ("25.6", "28.7", "61.3", "33.941125496954285")
        assert sample.answer == 1, "the nearest choice, though none is within a hundredth"
        assert sample.ordered
    assert base.metadata == {
        "question": "What is the length of UB?",
        "index": 0,
        "file": "test.json",
        "version": "base",
        "type": "Midsegment of Triangle",
        "book": "Geometry3K",
    }


def test_other_folders_and_files(tmp_path: Path) -> None:
    write(tmp_path, {"prob_1": RECORD}, "test.json", images="Diagram")
    write(tmp_path, {"prob_1": RECORD}, "train.json", images="Diagram")
    write(tmp_path, {"a": 1}, "other.json", images="Diagram")
    samples = read(tmp_path)
    tasks = ["PGPS9K_base", "PGPS9K_full", "PGPS9K_train_base", "PGPS9K_train_full"]
    assert sorted(sample.task for sample in samples) == tasks
    assert all(flat(sample, tmp_path)[0] == "@Diagram/img_7.png" for sample in samples)
    assert all(sample.reason is None for sample in samples), "the same id in another file is another sample"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"parsing_stru_seqs": []}, "In this problem, BT = 30, RS \\perp AB on R.\nBased on these conditions, "),
        (
            {"parsing_sem_seqs": [], "parsing_stru_seqs": ["line A B C", "line A B"]},
            "In this problem, B is on line AC.\n",
        ),
        ({"parsing_sem_seqs": [], "parsing_stru_seqs": ["line A B", "", "circle"]}, "What is the length of UB?"),
        ({"parsing_sem_seqs": [], "parsing_stru_seqs": []}, "What is the length of UB?"),
    ],
)
def test_clauses_that_say_nothing_leave_nothing(tmp_path: Path, change: dict[str, object], expected: str) -> None:
    base, full = both(tmp_path, **change)
    assert flat(full, tmp_path)[1].startswith(expected)
    assert flat(base, tmp_path)[1] == "What is the length of UB?"


@pytest.mark.parametrize(
    ("change", "kind", "word"),
    [
        ({"text": ...}, ReasonKind.BAD_RECORD, "text"),
        ({"text": " "}, ReasonKind.BAD_RECORD, "text"),
        ({"diagram": ...}, ReasonKind.BAD_RECORD, "diagram"),
        ({"diagram": 3}, ReasonKind.BAD_RECORD, "diagram"),
        ({"diagram": "../../x.png"}, ReasonKind.PATH_OUTSIDE_DATA, "outside"),
        ({"choices": ...}, ReasonKind.NO_DISTRACTOR, "choices"),
        ({"choices": []}, ReasonKind.NO_DISTRACTOR, "choices"),
        ({"choices": [28.7]}, ReasonKind.NO_DISTRACTOR, "choices"),
        ({"choices": "28.7"}, ReasonKind.BAD_RECORD, "choices"),
        ({"choices": [28.7, "x"]}, ReasonKind.BAD_RECORD, "choices[1]"),
        ({"choices": [28.7, True]}, ReasonKind.BAD_RECORD, "choices[1]"),
        ({"choices": [28.7, [1]]}, ReasonKind.BAD_RECORD, "choices[1]"),
        ({"choices": [28.7, 3.0, 28.7]}, ReasonKind.AMBIGUOUS_ANSWER, "choices[0]"),
        ({"answer": "2.500", "choices": [2.0, 3.0]}, ReasonKind.AMBIGUOUS_ANSWER, "choices[1]"),
        ({"answer": ...}, ReasonKind.BAD_RECORD, "answer"),
        ({"answer": "about 3"}, ReasonKind.BAD_RECORD, "answer"),
        ({"answer": "inf"}, ReasonKind.BAD_RECORD, "answer"),
    ],
)
def test_bad_fields(tmp_path: Path, change: dict[str, object], kind: ReasonKind, word: str) -> None:
    for sample in both(tmp_path, **change):
        assert sample.reason is not None
        assert sample.reason.kind is kind
        for expected in (word, "test.json", "prob_1"):
            assert expected in sample.reason.detail
        assert "\n" not in sample.reason.detail
        assert (sample.parts, sample.candidates) == ((), ())


@pytest.mark.parametrize("value", [..., "line A B", [3]])
def test_bad_clauses_leave_the_base_question(tmp_path: Path, value: object) -> None:
    base, full = both(tmp_path, parsing_sem_seqs=value)
    assert base.reason is None
    assert full.reason is not None
    assert "parsing_sem_seqs" in full.reason.detail


def test_equal_distractors_are_no_harm(tmp_path: Path) -> None:
    sample, _ = both(tmp_path, answer="152.000", choices=[38.0, 38.0, 76.0, 152.0])  # prob_2550, as published
    assert (sample.reason, sample.answer) == (None, 3)


def test_repeated_ids(tmp_path: Path) -> None:
    record = json.dumps(RECORD)
    write(tmp_path, f'{{"prob_1": {record}, "prob_1": {record}}}'.encode())
    samples = read(tmp_path)
    assert len({sample.key for sample in samples}) == 4
    assert [sample.reason is None for sample in samples] == [True, True, False, False]


@pytest.mark.parametrize("content", [b"", b"[1]", b"{}", b'{"prob_1": 3}', b'{"a": {"text": "?"}}', b"{"])
def test_what_is_no_pgps9k(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, content)
    assert find_files(tmp_path) == []
    with pytest.raises(DataError, match=r"no PGPS9K annotations.*choices"):
        read(tmp_path)


def test_a_file_cut_short_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, json.dumps({"prob_1": RECORD, "prob_2": RECORD}).encode()[:-30])
    with pytest.raises(DataError, match=r"test\.json: not JSON"):
        read(tmp_path)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(VALUES | st.fixed_dictionaries({name: VALUES | st.just(value) for name, value in RECORD.items()})))
def test_whatever_the_records_are_each_makes_two_samples(tmp_path: Path, records: list[object]) -> None:
    write(tmp_path, {"whole": RECORD} | {f"prob_{number}": record for number, record in enumerate(records)})
    samples = read(tmp_path)
    assert len(samples) == 2 * (len(records) + 1)
    for sample in samples:
        assert (sample.reason is None) == bool(sample.parts)
        if sample.reason is None:
            assert 0 <= sample.answer < len(sample.candidates) >= 2
