"""The candidate pooler on vLLM's own metadata, step by step: what the engine cannot be made to do at will."""

import numpy as np
import pytest
import torch

pytest.importorskip("vllm", reason="no wheel of vLLM for this platform")

from vllm.pooling_params import PoolingParams
from vllm.v1.pool.metadata import PoolingMetadata, PoolingStates
from waits import CPU, DEVICE, Waits

from radar_fast.engines.vllm.pooler import CandidatePooler
from radar_fast.engines.vllm.requests import ANSWER_TOKENS, TARGETS

WIDTH, VOCABULARY = 8, 23


class Steps:
    """Requests whose hidden states are known, pooled in steps of any shape."""

    def __init__(self, lengths: list[int], extra: list[dict[str, object] | None]) -> None:
        generator = torch.Generator().manual_seed(len(lengths))
        self.head = torch.randn(WIDTH, VOCABULARY, generator=generator)
        self.hidden = [torch.randn(length, WIDTH, generator=generator) for length in lengths]
        self.prompts = [torch.randint(0, VOCABULARY, (length,), generator=generator) for length in lengths]
        self.states = [PoolingStates() for _ in lengths]
        self.extra, self.rows_seen = extra, 0
        self.pooler = CandidatePooler(self.scores)

    def scores(self, hidden: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.rows_seen += len(hidden)
        logits = hidden @ self.head
        wanted = targets.clamp_min(0)
        return logits.gather(1, wanted), logits.log_softmax(-1).gather(1, wanted)

    def step(
        self, spans: list[tuple[int, int]], device: torch.device = CPU
    ) -> torch.Tensor | list[torch.Tensor | None]:
        """``spans``: a request, from which position to which it is computed in this step."""
        longest = max(map(len, self.prompts))
        padded = torch.stack([torch.nn.functional.pad(prompt, (0, longest - len(prompt))) for prompt in self.prompts])
        metadata = PoolingMetadata(
            prompt_lens=torch.tensor(list(map(len, self.prompts))),
            prompt_token_ids=None,
            prompt_token_ids_cpu=padded if self.needs_tokens() else None,
            pooling_params=[PoolingParams(task="plugin", extra_kwargs=extra) for extra in self.extra],
            pooling_states=self.states,
        )
        scheduled = np.array([stop - start for start, stop in spans])
        reached = torch.tensor([stop for _, stop in spans])
        metadata.build_pooling_cursor(scheduled, reached, CPU)
        hidden = torch.cat([states[start:stop] for states, (start, stop) in zip(self.hidden, spans, strict=True)])
        return self.pooler(hidden.to(device), metadata)

    def needs_tokens(self) -> bool:
        """What vLLM asks the pooler of each request as it comes in."""
        params = [PoolingParams(task="plugin", extra_kwargs=extra) for extra in self.extra]
        for one in params:
            self.pooler.get_pooling_updates("plugin").apply(one)
        return any(one.requires_token_ids for one in params)

    def expected(self, request: int, position: int, token: int) -> list[float]:
        logits = (self.hidden[request][position] @ self.head).double()
        return [logits[token].item(), logits.log_softmax(-1)[token].item()]


def test_answers_of_several_requests_in_one_call() -> None:
    steps = Steps([9, 5, 7], [{ANSWER_TOKENS: 3}, {TARGETS: [[1, 4, 2], [0]]}, {ANSWER_TOKENS: 1}])
    first, second, third = steps.step([(0, 9), (0, 5), (0, 7)])
    assert first is not None
    assert second is not None
    assert third is not None
    assert first.dtype == torch.float32
    wanted = [steps.expected(0, 5 + index, int(steps.prompts[0][6 + index])) for index in range(3)]
    torch.testing.assert_close(first.double(), torch.tensor(wanted).double(), atol=1e-5, rtol=0)
    wanted = [steps.expected(1, 3, token) for token in (1, 4, 2)] + [steps.expected(1, 4, 0)]
    torch.testing.assert_close(second.double(), torch.tensor(wanted).double(), atol=1e-5, rtol=0)
    assert third.shape == (1, 2)
    assert steps.rows_seen == 3 + 2 + 1, "the head sees every row once, however many tokens are looked up there"


@pytest.mark.parametrize("cached", [5, 6, 8])
def test_cached_past_an_answer_row_gives_no_numbers(cached: int) -> None:
    """Rows 5, 6 and 7 are wanted; from a later start on, one is not computed."""
    steps = Steps([9], [{ANSWER_TOKENS: 3}])
    [scores] = steps.step([(cached, 9)])
    assert scores is not None
    assert len(scores) == (3 if cached <= 5 else 0)


@pytest.mark.parametrize("cut", range(1, 9))
def test_a_request_in_two_steps_is_the_request_in_one(cut: int) -> None:
    whole = Steps([9], [{ANSWER_TOKENS: 4}]).step([(0, 9)])[0]
    steps = Steps([9], [{ANSWER_TOKENS: 4}])
    assert steps.step([(0, cut)]) == [None]
    [scores] = steps.step([(cut, 9)])
    assert whole is not None
    assert scores is not None
    torch.testing.assert_close(scores, whole, atol=1e-5, rtol=0)


def test_a_preempted_request_starts_over() -> None:
    whole = Steps([9], [{ANSWER_TOKENS: 4}]).step([(0, 9)])[0]
    steps = Steps([9], [{ANSWER_TOKENS: 4}])
    steps.step([(0, 7)])
    [scores] = steps.step([(0, 9)])
    assert whole is not None
    assert scores is not None
    torch.testing.assert_close(scores, whole, atol=1e-5, rtol=0)


def test_profile_and_warm_up_runs_say_nothing_and_pass() -> None:
    """Some are of one token; all of them let the head see a row where there is one."""
    steps = Steps([6, 1], [None, None])
    outputs = steps.step([(0, 6), (0, 1)])
    assert [len(output) for output in outputs if output is not None] == [1, 0]


def test_tokens_are_asked_for_only_where_a_request_counts_its_answer() -> None:
    assert not Steps([5, 5], [{TARGETS: [[1]]}, {TARGETS: [[2]]}]).needs_tokens()
    assert Steps([5, 5], [{TARGETS: [[1]]}, {ANSWER_TOKENS: 1}]).needs_tokens()
    assert Steps([5], [None]).needs_tokens(), "a profile run says nothing"


def test_answers_of_one_length_are_one_tensor() -> None:
    """vLLM copies a tensor to the host at once, a list one by one."""
    steps = Steps([9, 5], [{TARGETS: [[1, 4]]}, {TARGETS: [[2], [3]]}])
    scores = steps.step([(0, 9), (0, 5)])
    assert isinstance(scores, torch.Tensor)
    wanted = [[steps.expected(0, 8, 1), steps.expected(0, 8, 4)], [steps.expected(1, 3, 2), steps.expected(1, 4, 3)]]
    torch.testing.assert_close(scores.double(), torch.tensor(wanted).double(), atol=1e-5, rtol=0)


def test_nothing_in_a_step_waits_for_the_device() -> None:
    """Whole requests, split ones, and one that the cache reached into."""
    steps = Steps([9, 5, 9], [{TARGETS: [[1, 4], [2]]}, {ANSWER_TOKENS: 2}, {TARGETS: [[3], [1], [4], [1]]}])
    steps.head = steps.head.to(DEVICE)
    with Waits() as waits:
        steps.step([(0, 9), (4, 5), (0, 7)], DEVICE)
        last = steps.step([(0, 9), (0, 5), (7, 9)], DEVICE)
    assert [one.shape for one in last if one is not None] == [(3, 2), (2, 2), (4, 2)]
    assert waits.waited == []
