"""Dataclasses that pickle at speed: the same values come back, and what cannot be changed still cannot."""

import copy
import pickle
from dataclasses import FrozenInstanceError, dataclass

import pytest

from radar_fast.results.record import Record
from radar_fast.sample import Reason, ReasonKind, Sample
from radar_fast.util.pickling import pickles_fast


@pickles_fast
@dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: tuple[str, ...] = ()


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_the_same_comes_back(protocol: int) -> None:
    point = Point(3, ("a", "b"))
    back = pickle.loads(pickle.dumps(point, protocol))
    assert back == point == copy.copy(point)
    with pytest.raises(FrozenInstanceError):
        back.x = 4


def test_what_a_farm_sends() -> None:
    sample = Sample(
        "1", "t", "d", "other", ("What?",), ("a", "b"), 1, {"index": 3}, Reason(ReasonKind.BAD_RECORD, "no")
    )
    assert pickle.loads(pickle.dumps(sample)) == sample
    for each in (Sample, Record):
        assert each.__setstate__.__module__ == "radar_fast.util.pickling"
