"""Packed requests without vLLM: a step's arrays, followed on a KV cache of token ids, give every path its own text."""

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radar_fast.engines.vllm.packed_layout import Layout, Nonces, PackedRequest, ordinary_ids, pack
from radar_fast.engines.vllm.packed_step import Step, plan_step
from radar_fast.engines.vllm.requests import Plan, plan_requests

BLOCK = 4
ORDINARY = range(1000, 1256)

suffixes = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=2, max_size=5)
samples = st.tuples(suffixes, st.integers(1, 14), st.integers(0, 3))


class Cache:
    """Block tables of requests, and what is in the blocks: (token, position) of every slot that was written."""

    def __init__(self) -> None:
        self.slots: dict[int, tuple[int, int]] = {}
        self.tables: list[list[int]] = []

    def add(self, length: int) -> None:
        """As vLLM allocates: as many blocks as a request's tokens take, here in an order of their own."""
        start = 100 * len(self.tables) + 50
        self.tables.append([start - number for number in range(-(-length // BLOCK))])


def run(prompts: Sequence[Sequence[int]], done: Sequence[int], step: Step) -> Cache:
    """Write what the step writes, the heads that earlier steps have computed included."""
    cache = Cache()
    rows = [
        (token, place)
        for prompt, past in zip(prompts, done, strict=True)
        for place, token in enumerate(prompt)
        if place >= past
    ]
    for prompt, past in zip(prompts, done, strict=True):
        cache.add(len(prompt))
        for place, token in enumerate(prompt[:past]):
            cache.slots[cache.tables[-1][place // BLOCK] * BLOCK + place % BLOCK] = (token, place)
    kept = [(rows[row][0], rows[row][1] - shift) for row, shift in zip(step.kept, step.shift, strict=True)]
    for source, owner, column, offset in zip(step.sources, step.owners, step.columns, step.offsets, strict=True):
        cache.slots[cache.tables[owner][column] * BLOCK + offset] = kept[source]
    return cache


def texts(cache: Cache, step: Step) -> list[list[tuple[int, int]]]:
    """What each sequence sees: (token, position) of all its keys."""
    return [
        [cache.slots[cache.tables[owner][columns[place // BLOCK]] * BLOCK + place % BLOCK] for place in range(length)]
        for length, owner, columns in zip(step.lengths, step.sequence_owners, step.sequence_columns, strict=True)
    ]


def packed(candidates: list[list[int]], prefix: list[int], scored_from: int) -> tuple[Plan, PackedRequest]:
    plan = plan_requests([[9] * scored_from + candidate for candidate in candidates], scored_from)
    return plan, pack(plan, prefix, BLOCK, Nonces(ORDINARY))


@given(st.lists(samples, min_size=1, max_size=3), st.data())
@settings(deadline=None)
def test_every_path_sees_its_own_text_and_every_score_its_row(
    asked: list[tuple[list[list[int]], int, int]], data: st.DataObject
) -> None:
    plans: list[Plan] = []
    requests: list[PackedRequest] = []
    prefixes: list[list[int]] = []
    for number, (candidates, length, scored_from) in enumerate(asked):
        prefixes.append([100 + 10 * number + index % 7 for index in range(length)])
        plan, request = packed(candidates, prefixes[-1], scored_from)
        plans.append(plan)
        requests.append(request)
    plain = data.draw(st.lists(st.integers(3, 9), min_size=1, max_size=9))
    prompts = [*(request.prompt for request in requests), plain]
    layouts = [*(Layout.of({"packed": request.layout.to_dict()}) for request in requests), None]
    done = [BLOCK * data.draw(st.integers(0, (len(prefix) - 1) // BLOCK)) for prefix in prefixes] + [0]
    starts = np.cumsum([0, *(len(prompt) - past for prompt, past in zip(prompts, done, strict=True))]).tolist()
    step = plan_step(layouts, done, starts, BLOCK, 1000)
    assert step.answered == (True,) * len(prompts)

    wanted = [[*prefix, *path.suffix] for plan, prefix in zip(plans, prefixes, strict=True) for path in plan.requests]
    wanted.append(plain)
    seen = texts(run(prompts, done, step), step)
    assert seen == [[(token, place) for place, token in enumerate(text)] for text in wanted]

    # Queries are the last keys of their sequence, and each kept row is one.
    assert step.starts[-1] == len(step.kept)
    tokens = [token for prompt, past in zip(prompts, done, strict=True) for token in prompt[past:]]
    asked_at: dict[tuple[int, int], list[int]] = {}  # (request, its row) -> text before what is asked there
    for number, text in enumerate(wanted):
        rows = step.kept[step.starts[number] : step.starts[number + 1]]
        assert [tokens[row] for row in rows] == text[len(text) - len(rows) :]
        owner = int(step.sequence_owners[number])
        for row, end in zip(rows, range(len(text) - len(rows) + 1, len(text) + 1), strict=True):
            asked_at[owner, int(row) - starts[owner] + done[owner]] = text[:end]

    for number, (plan, request) in enumerate(zip(plans, requests, strict=True)):
        found = zip((request.layout.rows + request.layout.first).tolist(), request.layout.tokens.tolist(), strict=True)
        lookups = [
            ([*prefixes[number], *path.suffix[: len(path.suffix) - len(path.targets) + 1 + row]], token)
            for path in plan.requests
            for row, targets in enumerate(path.targets)
            for token in targets
        ]
        assert [(asked_at[number, row], token) for row, token in found] == lookups
        below = {path.suffix[:count] for path in plan.requests for count in range(1, len(path.suffix) + 1)}
        assert request.rows == len(prefixes[number]) + len(below)


@given(suffixes, st.integers(1, 14), st.data())
@settings(deadline=None)
def test_what_vllm_cut_or_cached_too_far_is_not_answered(
    candidates: list[list[int]], length: int, data: st.DataObject
) -> None:
    _, request = packed(candidates, list(range(100, 100 + length)), 0)
    whole = (length - 1) // BLOCK * BLOCK
    start = data.draw(st.integers(0, request.layout.length - 1))
    end = data.draw(st.integers(start + 1, request.layout.length))
    step = plan_step([request.layout], [start], [0, end - start], BLOCK, 1000)
    assert step.answered == (start <= whole and end == request.layout.length,)
    if not step.answered[0]:  # then it is a plain text, whatever becomes of it
        assert step.kept.tolist() == list(range(end - start))
        assert step.lengths.tolist() == [end]
        assert not step.shift.any()


def test_no_step_has_more_sequences_than_the_attention_has_room_for() -> None:
    """Back ends size their buffers by vLLM's max_num_seqs, which counts requests."""
    _, request = packed([[1, 0, 0], [2, 0, 0], [3, 0, 0]], [7] * 9, 0)
    length = request.layout.length
    step = plan_step([request.layout] * 3, [0] * 3, [0, length, 2 * length, 3 * length], BLOCK, 5)
    assert step.answered == (True, False, False)
    assert len(step.lengths) == 5
    assert plan_step([request.layout] * 2, [0] * 2, [0, length, 2 * length], BLOCK, 6).answered == (True, True)


def test_filler_asks_for_as_many_blocks_as_the_paths_need() -> None:
    _, request = packed([[1] * 3, [2] * 3, [3] * 3], [7] * 4, 0)
    assert -(-request.layout.length // BLOCK) == request.layout.places.max() // BLOCK + 1
    assert len(request.prompt) == request.layout.length


def test_nonces() -> None:
    nonces = Nonces(ORDINARY)
    taken = [tuple(nonces.take(1003)) for _ in range(5000)]
    assert len(set(taken)) == len(taken)
    assert all(nonce[0] != 1003 and set(nonce) <= set(ORDINARY) for nonce in taken)
    with pytest.raises(ValueError, match="too few"):
        Nonces(range(9))


def test_ordinary_ids_are_no_special_tokens() -> None:
    class Tokenizer(SimpleNamespace):
        def __len__(self) -> int:
            return 400

    tokenizer = Tokenizer(added_tokens_decoder={0: "<s>", 5: "<image>"}, all_special_ids=[7])
    assert ordinary_ids(tokenizer, 400)[:6] == [1, 2, 3, 4, 6, 8]
    assert len(ordinary_ids(tokenizer, 400)) == 256
    assert ordinary_ids(tokenizer, 10) == [1, 2, 3, 4, 6, 8, 9]
