"""A line says all that is known of a sample, and is read back exactly; what it cannot say is refused."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from some_records import a_record, a_sample, records

from radar_fast.errors import ResultsError
from radar_fast.results.record import Record, json_of, line_of, record_from, record_of
from radar_fast.sample import Candidate, Reason, ReasonKind, Scored


def through_a_line(record: Record) -> Record:
    return record_from(json_of(line_of(record)))


# From a record to its line and back


def test_a_line_has_every_field_under_its_name() -> None:
    line = json.loads(line_of(a_record(3)))
    assert line.pop("sds") == pytest.approx(math.exp(2.25) / (math.exp(2.25) + math.exp(1.125) + 1))
    assert line.pop("sds_logprob") == pytest.approx(math.exp(1) / (math.exp(1) + math.exp(0.5) + 1))
    assert line == {
        "format": 1,
        "id": "q3",
        "task": "task",
        "directory": "directory",
        "ability": "reasoning",
        "status": "scored",
        "reason": None,
        "reason_kind": None,
        "candidates": ["cat", "dög", "鳥"],
        "answer": 0,
        "logits": [[4.5, 0.0], [4.5, -2.25], [4.5, -4.5]],
        "logprobs": [[-0.5, -0.75], [-0.5, -1.75], [-0.5, -2.75]],
        "correct": True,
        "correct_logprob": True,
        "tokens_computed": 34,
        "tokens_minimal": 30,
        "seconds": 0.25,
        "metadata": {"question": "What?", "index": 3},
        "images": [],
    }


@pytest.mark.parametrize("by_reader", [True, False])
def test_an_unscored_sample_has_its_reason_and_no_numbers(by_reader: bool) -> None:
    reason = Reason(ReasonKind.BAD_RECORD, "no field 'answer'")
    sample = a_sample(candidates=(), answer=0, reason=reason if by_reader else None)
    record = through_a_line(record_of(Scored(sample, reason=None if by_reader else reason)))
    assert (record.status, record.reason_kind, record.reason) == ("unscored", "bad-record", "no field 'answer'")
    assert (record.answer, record.logits, record.logprobs) == (None, (), ())
    assert record.sds is record.sds_logprob is record.correct is record.correct_logprob is None


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(records())
def test_any_record_is_read_back_exactly_from_one_line(record: Record) -> None:
    assert line_of(record).count(b"\n") == 1
    assert through_a_line(record) == record


@pytest.mark.parametrize("text", ["\ud800", "\ud83d\ude00", "a\nb\r\u2028c\0", "😀", '"\\'])
def test_odd_text_keeps_its_code_points(text: str) -> None:
    record = a_record(id=text, candidates=(text, text + "a", "b"), metadata={text: text, "question": text})
    assert line_of(record).count(b"\n") == 1
    assert through_a_line(record) == record


def test_an_unknown_field_is_passed_over() -> None:
    assert record_from({**json.loads(line_of(a_record())), "later": 1}) == a_record()


# What is refused


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["logits", "logprobs", "seconds"])
def test_no_number_that_json_lacks_is_written(bad: float, where: str) -> None:
    good = a_record()
    scores = getattr(good, where)
    changes: dict[str, Any] = {where: bad if where == "seconds" else ((bad, 1.0), *scores[1:])}
    broken = replace(good, **changes)
    with pytest.raises(ResultsError, match=r"'q0' of task 'task'.*infinite or not a number"):
        line_of(broken)


def test_an_engines_infinite_logit_is_refused() -> None:
    candidates = (Candidate((math.inf,), (-1.0,)), *(Candidate((1.0,), (-1.0,)) for _ in range(2)))
    with pytest.raises(ResultsError, match="candidate 0 has a score that is infinite"):
        record_of(Scored(a_sample(), candidates))


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        ((), "3 candidates, but scores of 0 and 0"),
        ((Candidate((1.0,), (-1.0,)),) * 2, "3 candidates, but scores of 2 and 2"),
        ((Candidate((), ()),) * 3, "candidate 0 has 0 logits"),
        ((Candidate((1.0, 2.0), (-1.0,)),) * 3, "candidate 0 has 2 logits and 1 log-prob"),
        ((Candidate((3e38 * 100,), (-1.0,)),) * 3, "scores must be finite in float32"),
    ],
)
def test_scores_that_do_not_fit_the_sample_are_refused(candidates: tuple[Candidate, ...], message: str) -> None:
    with pytest.raises(ResultsError, match=message):
        record_of(Scored(a_sample(), candidates))


def test_metadata_holds_text_and_whole_numbers_only() -> None:
    record = replace(a_record(), metadata={"x": 0.5})  # type: ignore[dict-item]
    with pytest.raises(ResultsError, match="metadata may hold text and whole numbers"):
        line_of(record)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": None}, "'logits' has the wrong type"),
        ({"logits": [["1.0"]]}, "'logits' has the wrong type"),
        ({"id": 7}, "'id' has the wrong type"),
        ({"status": "maybe"}, "'status' has the wrong type"),
        ({"tokens_computed": True}, "'tokens_computed' has the wrong type"),
        ({"answer": 3}, "answer 3 is not an index into its 3 candidates"),
        ({"logits": []}, "3 candidates, but scores of 0 and 3"),
    ],
)
def test_json_of_something_else_is_no_record(change: dict[str, Any], message: str) -> None:
    value = {**json.loads(line_of(a_record())), **change}
    with pytest.raises(ValueError, match=message):
        record_from(value)
