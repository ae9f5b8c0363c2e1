"""Batches: every row once, within the budget, little padding; the tree mask by brute force."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from radar_fast.engines.encode.encoder import Encoded
from radar_fast.engines.transformers.packing import PADDING_SHARE, batch, packed_length, plan
from radar_fast.sample import Prompt, Sample

PROMPT = Prompt(Sample("1", "t", "d", "a", ("?",), ("x", "y"), 0), ("?",), " ", ("x", "y"))

samples = st.builds(
    lambda prefix, suffixes, scored_from: Encoded(
        PROMPT, tuple(prefix), tuple((7,) * scored_from + tuple(suffix) for suffix in suffixes), scored_from
    ),
    st.lists(st.integers(1, 50), min_size=1, max_size=9),
    st.lists(st.lists(st.integers(51, 99), min_size=1, max_size=5), min_size=1, max_size=4),
    st.integers(0, 2),
)


@given(st.lists(st.integers(1, 400), max_size=80), st.integers(1, 2000))
def test_plan_covers_every_row_once_within_budget_and_padding(lengths: list[int], budget: int) -> None:
    batches = plan(lengths, budget)
    assert sorted(index for group in batches for index in group) == list(range(len(lengths)))
    for group in batches:
        area = max(lengths[index] for index in group) * len(group)
        assert area <= budget or len(group) == 1
        assert area - sum(lengths[index] for index in group) <= PADDING_SHARE * area


def test_plan_fills_a_batch() -> None:
    assert [len(group) for group in plan([10] * 25, 100)] == [10, 10, 5]


@given(st.lists(samples, min_size=1, max_size=4))
def test_mask_lets_a_token_see_its_prefix_and_its_own_candidate(group: list[Encoded]) -> None:
    packed = batch(group, [torch.arange(len(sample.prefix)) for sample in group], torch.device("cpu"))
    seen = packed.mask(torch.float32)[:, 0] == 0
    for row, sample in enumerate(group):
        shared = len(sample.prefix)
        owner = [0] * shared + [k + 1 for k, suffix in enumerate(sample.suffixes) for _ in suffix[:-1]]
        for i in range(len(owner)):
            expected = [j <= i and (owner[j] == 0 or owner[j] == owner[i]) for j in range(len(owner))]
            assert seen[row, i, : len(owner)].tolist() == expected
            assert not seen[row, i, len(owner) :].any()
        assert seen[row].any(-1).all(), "a row of the softmax is empty"


@given(st.lists(samples, min_size=1, max_size=4))
def test_every_answer_token_is_asked_of_the_token_before_it(group: list[Encoded]) -> None:
    packed = batch(group, [torch.arange(len(sample.prefix)) for sample in group], torch.device("cpu"))
    assert packed.ids.shape == (len(group), max(map(packed_length, group)))
    asked = iter(zip(packed.hidden_rows[packed.answer_rows].tolist(), packed.targets.tolist(), strict=True))
    for row, sample in enumerate(group):
        for k, suffix in enumerate(sample.suffixes):
            whole = [*sample.prefix, *suffix]
            for place in range(len(sample.prefix) + sample.scored_from, len(whole)):
                flat, target = next(asked)
                at_row, at = divmod(flat, packed.ids.shape[1])
                assert (at_row, target) == (row, whole[place])
                assert packed.ids[row, at] == whole[place - 1]
                assert packed.positions[row, at] == place - 1
                assert packed.groups[row, at] in (0, k + 1)
    assert next(asked, None) is None


@pytest.mark.parametrize("axes", [1, 3])
def test_positions_restart_after_the_largest_of_the_prefix(axes: int) -> None:
    sample = Encoded(PROMPT, (1, 2, 3), ((8, 9, 9), (8, 8)), 0)
    prefix = torch.tensor([[0, 1, 1], [0, 1, 2], [0, 1, 4]])[-axes:]
    packed = batch([sample], [prefix], torch.device("cpu"))
    assert packed.positions.shape == (axes, 1, 6)
    assert packed.positions[:, 0, 3:].tolist() == [[5, 6, 5]] * axes
