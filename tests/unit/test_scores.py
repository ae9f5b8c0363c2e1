"""One sample's score, against torch: the arithmetic of the published scripts."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from radar_fast.scores import Verdict, judge, mean_score, softmax_float32

# torch's exponential may be off by 20 units in the last place (2**-24 each) and by other ones on other processors; a
# probability p moves by at most twice that, times p (1 - p).
TORCH_SOFTMAX = 2 * 20 * 2**-24 / 4

LOGITS = st.floats(-60, 60, width=32)
CANDIDATES = st.lists(st.lists(LOGITS, min_size=1, max_size=4), min_size=2, max_size=5)


def published(tokens: list[list[float]]) -> torch.Tensor:
    """The scripts' own lines."""
    return torch.softmax(torch.tensor([sum(candidate) / len(candidate) for candidate in tokens]), dim=0)


@settings(deadline=None)
@given(CANDIDATES)
def test_probabilities_are_torchs_softmax(tokens: list[list[float]]) -> None:
    probabilities = softmax_float32([mean_score(candidate) for candidate in tokens])
    assert probabilities == pytest.approx(published(tokens).tolist(), abs=TORCH_SOFTMAX)
    exact = torch.softmax(torch.tensor([mean_score(c) for c in tokens], dtype=torch.float32).double(), dim=0)
    for answer in range(len(tokens)):
        assert judge(tokens, answer).probability == pytest.approx(exact[answer].item(), rel=1e-13)


@settings(deadline=None)
@given(CANDIDATES)
def test_a_candidate_wins_and_none_beats_it(tokens: list[list[float]]) -> None:
    winners = [answer for answer in range(len(tokens)) if judge(tokens, answer).correct]
    assert winners
    probabilities = published(tokens).tolist()
    for winner in winners:
        assert probabilities[winner] == pytest.approx(max(probabilities), abs=TORCH_SOFTMAX)


@given(st.lists(st.integers(-320, 320).map(lambda n: n / 16), min_size=2, max_size=6))
def test_bf16_logits_tie_as_published(scores: list[float]) -> None:
    # Single-token candidates of a bf16 model: equal logits are common, and near ties impossible. Wherever a dataset
    # lists the answer, the scripts have it first.
    tokens = [[score] for score in scores]
    for answer in range(len(tokens)):
        as_published = [tokens[answer], *tokens[:answer], *tokens[answer + 1 :]]
        assert judge(tokens, answer).correct == (int(published(as_published).argmax()) == 0)
        assert judge(tokens, answer) == replaced(judge(as_published, 0), answer)


def replaced(verdict: Verdict, answer: int) -> Verdict:
    """The verdict on candidates whose first one has moved to ``answer``."""
    order = [*range(1, answer + 1), 0, *range(answer + 1, len(verdict.probabilities))]
    probabilities = tuple(verdict.probabilities[index] for index in order)
    return replace(verdict, chosen=order.index(verdict.chosen), probabilities=probabilities)


def test_the_answer_wins_a_tie_and_then_the_first() -> None:
    tokens = [[1.0], [3.0], [2.0, 4.0]]
    assert [judge(tokens, answer).correct for answer in range(3)] == [False, True, True]
    assert [judge(tokens, answer).chosen for answer in range(3)] == [1, 1, 2]


def test_ties_are_decided_on_float32_probabilities() -> None:
    # Different means in float64 and even in float32, but torch.softmax cannot tell them apart.
    tokens = [[0.01], [0.010000001], [-5.0]]
    assert torch.tensor(0.01) != torch.tensor(0.010000001)
    assert published(tokens).argmax() == 0
    assert judge(tokens, 0).correct
    assert judge(tokens, 1).correct
    assert not judge(tokens, 2).correct


@pytest.mark.parametrize("answer", [-1, 2])
def test_an_answer_that_is_no_candidate_is_refused(answer: int) -> None:
    with pytest.raises(ValueError, match="not an index"):
        judge([[1.0], [2.0]], answer)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e39])
def test_scores_that_no_float32_holds_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="scores must"):
        judge([[bad], [2.0]], 0)


def test_a_candidate_without_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="no tokens"):
        judge([[1.0], []], 0)
