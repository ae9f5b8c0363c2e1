"""A part of a benchmark that stands for all of it."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radar_fast.errors import UsageError
from radar_fast.readers.stratified import stratified
from radar_fast.sample import Reason, ReasonKind, Sample


def samples(counts: dict[str, int]) -> list[Sample]:
    return [
        Sample(str(number), task, "d", "perception", ("What?",), ("a", "b"), 0)
        for task, count in counts.items()
        for number in range(count)
    ]


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 60), min_size=1), st.integers(1, 100))
def test_every_task_gets_its_share(counts: dict[str, int], limit: int) -> None:
    given_ = samples(counts)
    taken = stratified(given_, limit)
    total = sum(counts.values())
    assert len(taken) == min(limit, total)
    assert [each for each in given_ if each in taken] == taken  # in their order, each once
    got = Counter(sample.task for sample in taken)
    if limit >= len(counts):
        assert set(got) == set(counts)
    room = max(1, len(counts) - 1)
    assert all(abs(got[task] - limit * count / total) <= room for task, count in counts.items()) or limit >= total


def test_it_is_the_same_part_in_any_order() -> None:
    given_ = samples({"a": 30, "b": 3, "c": 60})
    taken = {sample.key for sample in stratified(given_, 20)}
    assert taken == {sample.key for sample in stratified(given_[::-1], 20)}
    assert {sample.key for sample in stratified(given_, 10)} < taken


def test_what_a_reader_found_unfit_is_left_out() -> None:
    unfit = Sample("x", "a", "d", "perception", (), (), 0, reason=Reason(ReasonKind.BAD_RECORD, "no question"))
    assert stratified([unfit, *samples({"a": 2})], 9) == samples({"a": 2})
    with pytest.raises(UsageError, match="limit 0"):
        stratified([], 0)
