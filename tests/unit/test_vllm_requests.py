"""The plan of a sample's requests: every row computed once, every score found, no row in a sibling's blocks."""

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from radar_fast.engines.vllm.requests import plan_requests

suffixes = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=5)


@given(suffixes, st.integers(0, 2))
def test_every_score_is_looked_up_at_its_row_once(candidates: list[list[int]], scored_from: int) -> None:
    candidates = [[9] * scored_from + candidate for candidate in candidates]
    plan = plan_requests(candidates, scored_from)
    asked = []  # (path before the token, token), by request and place
    for request in plan.requests:
        first = len(request.suffix) + 1 - len(request.targets)
        asked.append(
            [(request.suffix[: first + row], token) for row, tokens in enumerate(request.targets) for token in tokens]
        )
        assert len(asked[-1]) == request.lookups
    for candidate, places in zip(candidates, plan.places, strict=True):
        wanted = [(tuple(candidate[:index]), candidate[index]) for index in range(scored_from, len(candidate))]
        assert [asked[request][place] for request, place in places] == wanted
    everything = [lookup for request in asked for lookup in request]
    assert len(everything) == len(set(everything))


@given(suffixes)
def test_no_request_needs_a_row_of_tokens_that_an_earlier_one_has(candidates: list[list[int]]) -> None:
    """Blocks that a request finds in the cache hold tokens that a sibling began with: its rows must lie after them."""
    requests = plan_requests(candidates, 0).requests
    for number, request in enumerate(requests):
        first_row = len(request.suffix) - len(request.targets)  # after how many tokens of the suffix; -1: the prefix's
        for earlier in requests[:number]:
            shared = 0
            for mine, theirs in zip(request.suffix, earlier.suffix, strict=False):
                if mine != theirs:
                    break
                shared += 1
            assert first_row >= shared


def test_letters_and_duplicates_take_one_request() -> None:
    plan = plan_requests([[1], [2], [3], [2]], 0)
    assert len(plan.requests) == 1
    assert plan.requests[0].suffix == ()
    assert plan.requests[0].targets == ((1, 2, 3),)
    assert plan.places == (((0, 0),), ((0, 1),), ((0, 2),), ((0, 1),))


def test_a_plan_is_linear_in_tokens() -> None:
    """A long candidate is a small request to send: planning it must not take the square of it."""
    suffixes = [list(range(start, start + 20_000)) for start in (0, 1)]
    suffixes += [[*suffixes[0], 1], [*suffixes[0], 2]]
    tracemalloc.start()
    try:
        plan = plan_requests(suffixes, 0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(map(len, plan.places)) == 80_002
    assert peak < 64 * 2**20
