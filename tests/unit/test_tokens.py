"""What of their tokens candidates share, and how few positions their scores need."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radar_fast.engines.encode.tokens import least_positions, split_candidates, weave
from radar_fast.engines.vllm.requests import plan_requests
from radar_fast.errors import ModelError

ids = st.lists(st.integers(0, 3), max_size=8)


@given(ids, st.lists(ids, min_size=1, max_size=4))
def test_split_puts_every_sequence_back_together(prefix: list[int], joint: list[list[int]]) -> None:
    split = split_candidates(prefix, joint)
    shared = prefix[: split.shared]
    for sequence, suffix in zip(joint, split.suffixes, strict=True):
        assert [*shared, *suffix] == sequence
        assert list(suffix[split.scored_from :]) == sequence[len(prefix) :]
    everyone = [prefix, *joint]
    shortest = min(map(len, everyone))
    assert split.shared == shortest or len({sequence[split.shared] for sequence in everyone}) > 1


def rows_needed(prefix: int, suffixes: list[list[int]], scored_from: int) -> set[tuple[int, tuple[int, ...]]]:
    """Every row that a score is read from and every row that one attends to: (position, answer tokens up to it)."""
    needed = set()
    for suffix in suffixes:
        for index in range(scored_from, len(suffix)):
            predicting = prefix + index - 1
            needed |= {(position, tuple(suffix[: max(0, position - prefix + 1)])) for position in range(predicting + 1)}
    return needed


@st.composite
def answers(draw: st.DrawFn) -> tuple[list[list[int]], int]:
    """Suffixes over few tokens, so that many begin alike, and where their scores begin."""
    scored_from = draw(st.integers(0, 2))
    one = st.lists(st.integers(0, 2), min_size=scored_from + 1, max_size=scored_from + 6)
    return draw(st.lists(one, min_size=1, max_size=6)), scored_from


@given(st.integers(1, 5), answers())
def test_the_least_positions_are_the_rows_that_scores_need(prefix: int, asked: tuple[list[list[int]], int]) -> None:
    suffixes, scored_from = asked
    assert least_positions(prefix, suffixes) == len(rows_needed(prefix, suffixes, scored_from))


@given(st.integers(1, 5), answers())
def test_a_cache_that_keeps_every_row_reaches_the_least(prefix: int, asked: tuple[list[list[int]], int]) -> None:
    """vLLM's requests for a sample, one after the other, with a prefix cache of blocks of one token."""
    suffixes, scored_from = asked
    kept: set[tuple[int, ...]] = set()
    for request in plan_requests(suffixes, scored_from).requests:
        kept |= {request.suffix[:count] for count in range(1, len(request.suffix) + 1)}
    assert least_positions(prefix, suffixes) == prefix + len(kept)


def test_the_least_positions_of_an_example() -> None:
    # 1 2 | 3 and 1 2 | 4 share two rows, 5 needs none of its own, 1 | 6 none that is not there already.
    assert least_positions(10, [[1, 2, 3], [1, 2, 4], [5], [1, 6]]) == 12
    assert least_positions(10, [[1, 2, 3], [1, 2, 3]]) == 12
    assert least_positions(10, [[1], [2]]) == 10


def test_weave_expands_the_images_of_another_text() -> None:
    image = 9
    plain, expanded = [1, image, 2, image, image, 3], [1, 9, 9, 2, 9, 9, 9, 9, 3]
    assert weave([7, image, 8, 8, image, image], plain, expanded, image) == [7, 9, 9, 8, 8, 9, 9, 9, 9]


def test_weave_refuses_text_that_changed() -> None:
    with pytest.raises(ModelError, match="changed text beside the images"):
        weave([9, 5, 9], [9, 2, 9], [9, 9, 4, 9, 9], 9)
