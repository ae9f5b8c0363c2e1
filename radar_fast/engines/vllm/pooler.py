"""The candidate pooler: what is left of a vLLM engine step when only answer tokens are asked for.

What a request wants to know is in its ``PoolingParams.extra_kwargs``, in one of two forms:

- ``answer_tokens=n``: the prompt ends with n answer tokens; the scores of those.
- ``targets=[[...], ...]``: for each of the prompt's last rows, the ids of the tokens that may follow it; the scores of
  all, in that order. This is how candidates share rows.

What comes back is an [n, 2] fp32 tensor: raw logit and log-probability of each token. Runs in vLLM's own processes.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from vllm.model_executor.layers.pooler import Pooler, PoolingParamsUpdate

from radar_fast.engines.head import by_row

__all__ = ["ANSWER_TOKENS", "TARGETS", "CandidatePooler"]

ANSWER_TOKENS = "answer_tokens"
"""The request's ``extra_kwargs`` entry with the number of its answer tokens."""

TARGETS = "targets"
"""The request's ``extra_kwargs`` entry with the ids to look up at each of its last rows."""

TASKS = frozenset({"plugin", "token_classify"})
"""``plugin`` where the runner knows it; ``token_classify`` is what plain ``/pooling`` clients can ask for."""


class CandidatePooler(Pooler):  # type: ignore[misc] # vLLM is untyped here
    """Answer rows of all requests of an engine step -> one LM-head call -> (raw logit, log-probability) a token.

    Rows are counted from the request's end, where image tokens are expanded already. A request of which the prefix
    cache passed an answer row (its hidden state is not computed then) yields an empty [0, 2] tensor: it is to be
    submitted again with ``skip_reading_prefix_cache``. A request that chunked prefill splits keeps the rows of earlier
    steps in its ``PoolingStates``.
    """

    def __init__(self, head: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]) -> None:
        """``head``: rows [R, D] and targets [R, K] -> raw logits and log-probabilities [R, K], fp32."""
        super().__init__()
        self._head = head  # no nn.Module: the model holds the pooler, not the other way round

    def get_supported_tasks(self) -> frozenset[str]:
        """Both tasks mean the same."""
        return TASKS

    def get_pooling_updates(self, task: str) -> Any:  # noqa: ARG002 - vLLM's interface
        """The pooler looks the answer tokens up in the prompt."""
        return PoolingParamsUpdate(requires_token_ids=True)

    def forward(self, hidden_states: torch.Tensor, pooling_metadata: Any) -> list[torch.Tensor | None]:
        """Score what this step holds of every request's answer.

        Args:
            hidden_states: [S, D] of the step's S scheduled tokens, request after request.
            pooling_metadata: vLLM's, with one entry per request.

        Returns:
            A request: [n, 2] fp32 when it is complete, [0, 2] when it has to be submitted again, None when it goes on.
        """
        cursor = pooling_metadata.get_pooling_cursor()
        reached = cursor.seq_lens_cpu.tolist()
        scheduled = cursor.num_scheduled_tokens_cpu.tolist()
        lookups = list(map(_lookups, pooling_metadata.pooling_params, pooling_metadata.get_prompt_token_ids_cpu()))
        found: list[list[int]] = []  # a request: which of its lookups have their row in this step
        rows: list[int] = []
        targets: list[int] = []
        first = 0
        for wanted, end, count in zip(lookups, reached, scheduled, strict=True):
            here = [slot for slot, lookup in enumerate(wanted) if end - count <= lookup.position < end]
            found.append(here)
            rows += [first + wanted[slot].position - (end - count) for slot in here]
            targets += [wanted[slot].token for slot in here]
            first += count

        scores = torch.split(self._scores(hidden_states, rows, targets), list(map(len, found)))
        return [
            _complete(len(wanted), here, mine, state.hidden_states_cache, finished)
            for wanted, here, mine, state, finished in zip(
                lookups, found, scores, pooling_metadata.pooling_states, cursor.is_finished().tolist(), strict=True
            )
        ]

    def _scores(self, hidden: torch.Tensor, rows: list[int], targets: list[int]) -> torch.Tensor:
        """[T, 2] fp32 raw logits and log-probabilities of ``targets`` at ``rows``; the head sees each row once."""
        if not rows:
            return torch.zeros(0, 2, dtype=torch.float32, device=hidden.device)
        distinct, places = torch.unique(torch.tensor(rows, device=hidden.device), return_inverse=True)
        table, columns = by_row(places, torch.tensor(targets, device=hidden.device), len(distinct))
        logits, logprobs = self._head(hidden[distinct], table)
        return torch.stack([logits[places, columns], logprobs[places, columns]], dim=1)


class _Lookup(NamedTuple):
    position: int
    """Of the row in the request, image tokens counted."""
    token: int
    """Whose score is wanted there."""


def _lookups(params: Any, prompt: torch.Tensor) -> list[_Lookup]:
    """What a request wants to know. Counted from its end, where image tokens are expanded already.

    Profile and warm-up runs say nothing; they take one row, so that the head is part of what is measured.
    """
    said = params.extra_kwargs or {}
    length = len(prompt)
    if TARGETS in said:
        wanted: Sequence[Sequence[int]] = said[TARGETS]
        first = length - len(wanted)
        return [_Lookup(first + row, token) for row, tokens in enumerate(wanted) for token in tokens]
    count = min(int(said.get(ANSWER_TOKENS, 1)), length - 1)
    tokens = prompt[length - count :].tolist() if count > 0 else []
    return [_Lookup(length - count - 1 + index, token) for index, token in enumerate(tokens)]


def _complete(
    wanted: int, here: list[int], scores: torch.Tensor, kept: list[torch.Tensor], finished: bool
) -> torch.Tensor | None:
    """A request's output from this step's scores and those of earlier steps, which ``kept`` holds with their slots.

    By slot, not by order: a request that was preempted computes rows anew.
    """
    if finished and not kept:
        return scores if len(here) == wanted else scores[:0]
    if here:
        kept.append(torch.cat([torch.tensor(here).to(scores)[:, None], scores], dim=1))
    if not finished:
        return None
    found = {int(row[0]): row[1:] for part in kept for row in part}
    return torch.stack([found[slot] for slot in range(wanted)]) if len(found) == wanted else scores[:0]
