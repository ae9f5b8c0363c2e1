"""The candidate pooler: what is left of a vLLM engine step when only answer tokens are asked for.

What a request wants to know is in its ``PoolingParams.extra_kwargs``, in one of three forms:

- ``answer_tokens=n``: the prompt ends with n answer tokens; the scores of those.
- ``targets=[[...], ...]``: for each of the prompt's last rows, the ids of the tokens that may follow it; the scores of
  all, in that order. This is how candidates share rows.
- ``packed={...}``: all of a sample's candidates, as :mod:`radar_fast.engines.vllm.packed_layout` laid them out.

What comes back is an [n, 2] fp32 tensor: raw logit and log-probability of each token. Runs in vLLM's own processes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from vllm.model_executor.layers.pooler import Pooler, PoolingParamsUpdate

from radar_fast.engines.head import by_row, on_device
from radar_fast.engines.vllm.packed_layout import PACKED, Layout
from radar_fast.engines.vllm.requests import ANSWER_TOKENS, TARGETS

__all__ = ["CandidatePooler"]

TASKS = frozenset({"plugin", "token_classify"})
"""``plugin`` where the runner knows it; ``token_classify`` is what plain ``/pooling`` clients can ask for."""


class _TokensWhereAsked(PoolingParamsUpdate):  # type: ignore[misc] # vLLM is untyped here
    """Prompt tokens only for requests that do not say their targets: for them vLLM copies, each step, as many numbers
    as requests times the longest prompt.
    """

    def apply(self, params: Any) -> None:
        params.requires_token_ids = not {TARGETS, PACKED} & set(params.extra_kwargs or {})


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
        self.answered: Callable[[], Sequence[bool]] = tuple
        """Of the step at hand: which requests' rows are what they ask for; empty where no packed one was computed."""

    def get_supported_tasks(self) -> frozenset[str]:
        """Both tasks mean the same."""
        return TASKS

    def get_pooling_updates(self, task: str) -> Any:  # noqa: ARG002 - vLLM's interface
        """The pooler looks answer tokens up in the prompt, where the request counts them."""
        return _TokensWhereAsked(requires_token_ids=True)

    def forward(self, hidden_states: torch.Tensor, pooling_metadata: Any) -> torch.Tensor | list[torch.Tensor | None]:
        """Score what this step holds of every request's answer. Nothing here waits for the device.

        Args:
            hidden_states: [S, D] of the step's S scheduled tokens, request after request.
            pooling_metadata: vLLM's, with one entry per request.

        Returns:
            A request: [n, 2] fp32 when it is complete, [0, 2] when it has to be submitted again, None when it goes on.
            Parts of one tensor; where all are complete and equally long, that tensor, which vLLM copies at once.
        """
        cursor = pooling_metadata.get_pooling_cursor()
        reached = cursor.seq_lens_cpu.tolist()
        scheduled = cursor.num_scheduled_tokens_cpu.tolist()
        finished = cursor.is_finished().tolist()
        lookups = _all_lookups(pooling_metadata)
        answered = self.answered() or [
            PACKED not in (each.extra_kwargs or {}) for each in pooling_metadata.pooling_params
        ]
        found: list[list[int]] = []  # a request: which of its lookups have their row in this step
        rows: list[int] = []
        targets: list[int] = []
        first = 0
        for wanted, end, count, computed in zip(lookups, reached, scheduled, answered, strict=True):
            here = (
                []
                if not computed
                else [slot for slot, lookup in enumerate(wanted) if end - count <= lookup.position < end]
            )
            found.append(here)
            rows += [first + wanted[slot].position - (end - count) for slot in here]
            targets += [wanted[slot].token for slot in here]
            first += count

        scores = self._scores(hidden_states, rows, targets)
        states = [state.hidden_states_cache for state in pooling_metadata.pooling_states]
        counts = list(map(len, found))
        if all(finished) and not any(states) and len(set(counts)) == 1 and counts == list(map(len, lookups)):
            return scores.view(len(counts), counts[0], 2)
        return [
            _complete(len(wanted), here, mine, kept, done)
            for wanted, here, mine, kept, done in zip(
                lookups, found, torch.split(scores, counts), states, finished, strict=True
            )
        ]

    def _scores(self, hidden: torch.Tensor, rows: list[int], targets: list[int]) -> torch.Tensor:
        """[T, 2] fp32 raw logits and log-probabilities of ``targets`` at ``rows``; the head sees each row once."""
        if not rows:
            return torch.zeros(0, 2, dtype=torch.float32, device=hidden.device)
        distinct, owners = np.unique(np.array(rows), return_inverse=True)
        table, places = by_row(owners, np.array(targets), len(distinct))
        at, wanted, kept = on_device(hidden.device, distinct, table, places)
        both = torch.stack(self._head(hidden.index_select(0, at), wanted), dim=-1)
        return both.view(-1, 2).index_select(0, kept)


class _Lookup(NamedTuple):
    position: int
    """Of the row in the request, image tokens counted."""
    token: int
    """Whose score is wanted there."""


def _all_lookups(metadata: Any) -> list[list[_Lookup]]:
    """What each request wants to know. Counted from its end, where image tokens are expanded already."""
    wanted = [(params.extra_kwargs or {}) for params in metadata.pooling_params]
    lengths = metadata.prompt_lens.tolist()
    found = [
        _packed(said) if PACKED in said else _targets(said.get(TARGETS, ()), length)
        for said, length in zip(wanted, lengths, strict=True)
    ]
    if not all({TARGETS, PACKED} & set(said) for said in wanted):
        for index, prompt in enumerate(metadata.get_prompt_token_ids_cpu()):
            if not {TARGETS, PACKED} & set(wanted[index]):
                found[index] = _answer_tokens(wanted[index], prompt)
    return found


def _packed(said: Mapping[str, Any]) -> list[_Lookup]:
    layout = Layout.of(said)
    assert layout is not None
    return list(map(_Lookup, (layout.rows + layout.first).tolist(), layout.tokens.tolist()))


def _targets(wanted: Sequence[Sequence[int]], length: int) -> list[_Lookup]:
    first = length - len(wanted)
    return [_Lookup(first + row, token) for row, tokens in enumerate(wanted) for token in tokens]


def _answer_tokens(said: Mapping[str, Any], prompt: torch.Tensor) -> list[_Lookup]:
    """Profile and warm-up runs say nothing; they take one row, so that the head is part of what is measured."""
    length = len(prompt)
    count = min(int(said.get(ANSWER_TOKENS, 1)), length - 1)
    tokens = prompt[length - count :].tolist() if count > 0 else []
    return [_Lookup(length - count - 1 + index, token) for index, token in enumerate(tokens)]


def _complete(
    wanted: int, here: list[int], scores: torch.Tensor, kept: list[torch.Tensor], finished: bool
) -> torch.Tensor | None:
    """A request's output from this step's scores and those of earlier steps.

    ``kept`` holds, of each step, the slots on the host and then their scores. By slot, not by order: a request that was
    preempted computes rows anew.
    """
    if finished and not kept:
        return scores if len(here) == wanted else scores[:0]
    if here:
        kept += [torch.tensor(here), scores]
    if not finished:
        return None
    slots = [slot for part in kept[::2] for slot in part.tolist()]
    last = {slot: place for place, slot in enumerate(slots)}
    if len(last) != wanted:
        return scores[:0]
    [order] = on_device(scores.device, np.array([last[slot] for slot in range(wanted)], dtype=np.int64))
    return torch.cat(kept[1::2]).index_select(0, order)
