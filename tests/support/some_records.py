"""Records of the journal: one with plain fields, and hypothesis' strategy for any."""

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from radar_fast.results.record import Record, record_of
from radar_fast.sample import Candidate, Reason, ReasonKind, Sample, Scored

__all__ = ["a_record", "a_sample", "records"]


def a_sample(number: int = 0, **changes: Any) -> Sample:
    sample = Sample(
        id=f"q{number}",
        task="task",
        directory="directory",
        ability="reasoning",
        parts=("What?",),
        candidates=("cat", "dög", "鳥"),
        answer=0,
        metadata={"question": "What?", "index": number},
    )
    return replace(sample, **changes)


def a_record(number: int = 0, **changes: Any) -> Record:
    candidates = tuple(Candidate((1.5 + number, -2.25 * place), (-0.5, -0.75 - place)) for place in range(3))
    return record_of(Scored(a_sample(number, **changes), candidates, None, 34, 30, 0.25))


TEXT = st.text(st.characters(), max_size=12)  # any code point, lone surrogates included
NUMBER = st.floats(allow_nan=False, allow_infinity=False, width=32)


@st.composite
def records(draw: st.DrawFn) -> Record:
    candidates = draw(st.lists(TEXT, min_size=1, max_size=4))
    lengths = draw(st.lists(st.integers(1, 5), min_size=len(candidates), max_size=len(candidates)))
    scores = [Candidate(*(tuple(draw(NUMBER) for _ in range(length)) for _ in range(2))) for length in lengths]
    sample = Sample(
        *draw(st.tuples(TEXT, TEXT, TEXT, TEXT)),
        parts=(),
        candidates=tuple(candidates),
        answer=draw(st.integers(0, len(candidates) - 1)),
        metadata=draw(st.dictionaries(TEXT, TEXT | st.integers(-(2**70), 2**70), max_size=3)),
    )
    reason = draw(st.none() | st.builds(Reason, st.sampled_from(ReasonKind), TEXT))
    return record_of(Scored(sample, () if reason else tuple(scores), reason, draw(st.integers(0, 9)), 1, 0.1))
