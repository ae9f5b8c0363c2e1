"""Attention without a mask against attention with one: by brute force, and through real models end to end."""

import logging
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny import ROLE_TEMPLATE, write_llava, write_qwen2vl

from radar_fast.engines import EngineContext, EngineOptions
from radar_fast.engines.encode.encoder import Encoded
from radar_fast.engines.transformers import cascade, flex
from radar_fast.engines.transformers.attention import UnsupportedAttentionError, attend, choose_attention, over
from radar_fast.engines.transformers.cascade import Cascade, merge, varlen_reference
from radar_fast.engines.transformers.engine import TransformersEngine
from radar_fast.engines.transformers.flex import Flex
from radar_fast.engines.transformers.packing import batch, flat, plan_flat
from radar_fast.engines.transformers.split import LEAST, Split
from radar_fast.errors import UsageError
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import open_protocol
from radar_fast.readers import open_reader
from radar_fast.sample import ImageFile, Prompt, Sample, Scored

PROMPT = Prompt(Sample("1", "t", "d", "a", ("?",), ("x", "y"), 0), ("?",), " ", ("x", "y"))
BOUND = 1e-5
"""On every raw logit and log-probability against the dense mask, fp32."""

samples = st.builds(
    lambda prefix, suffixes: Encoded(PROMPT, tuple(range(prefix)), tuple((7,) * length for length in suffixes), 0),
    st.integers(1, 40),
    st.lists(st.integers(1, 6), min_size=1, max_size=4),
)


def lay(group: list[Encoded]) -> Any:
    return flat(group, [torch.arange(len(sample.prefix)) for sample in group], torch.device("cpu"))


def drawn(
    tokens: int, heads: tuple[int, int], width: int, *, seed: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Query, key and value, each [tokens, heads, width]; ``heads``: the query's, and the other two's."""
    generator = torch.Generator().manual_seed(seed)
    query, key, value = (torch.randn(tokens, n, width, generator=generator) for n in (heads[0], heads[1], heads[1]))
    return query, key, value


def brute_force(laid: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
    """Attention by the rule, a token at a time, in fp64."""
    owners, groups = laid.owners.tolist(), laid.groups.tolist()
    group = query.shape[1] // key.shape[1]
    output = torch.zeros(query.shape, dtype=torch.float64)
    for i in range(len(owners)):
        seen = [j for j in range(i + 1) if owners[j] == owners[i] and groups[j] in (0, groups[i])]
        for head in range(query.shape[1]):
            scores = key[seen, head // group].double() @ query[i, head].double() * scale
            output[i, head] = scores.softmax(0) @ value[seen, head // group].double()
    return output


@settings(deadline=None, max_examples=40)
@given(st.lists(samples, min_size=1, max_size=4), st.sampled_from([(1, 1), (2, 1), (6, 2), (4, 4)]), st.booleans())
def test_both_layouts_are_attention_by_the_rule(group: list[Encoded], heads: tuple[int, int], large: bool) -> None:
    laid = lay(group)
    make = drawn(len(laid.owners), heads, 16, seed=len(laid.owners))
    if large:  # scores in the hundreds: exp would overflow without the merge's care
        make[0].mul_(100)
    expected = brute_force(laid, *make, 0.25)
    bound = 1e-3 if large else 1e-5  # the last bit of a score of 500 is 3e-5, and shifts a weight by as much
    for layout in (Cascade(laid), Flex(laid)):
        torch.testing.assert_close(layout(*make, 0.25, 0.0).double(), expected, atol=bound, rtol=0)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(samples, min_size=1, max_size=4),
    st.sampled_from([(1, 1), (2, 1), (6, 2), (4, 4)]),
    st.sampled_from([0, 10, LEAST]),  # to what every prefix is longer: below and from where on it has its own call
)
def test_rows_are_attention_by_the_rule(group: list[Encoded], heads: tuple[int, int], more: int) -> None:
    group = [replace(sample, prefix=tuple(range(len(sample.prefix) + more))) for sample in group]
    packed = batch(group, [torch.arange(len(sample.prefix)) for sample in group], torch.device("cpu"))
    rows, length = packed.ids.shape
    make = drawn(rows * length, heads, 16, seed=length)
    query, key, value = (some.view(rows, length, -1, 16).transpose(1, 2) for some in make)
    found = Split(packed, torch.float32)(query, key, value, 0.25)
    assert found.shape == (rows, length, heads[0], 16)
    expected = brute_force(lay_rows(packed), *make, 0.25)
    used = packed.groups.flatten() >= 0
    torch.testing.assert_close(found.flatten(0, 1)[used].double(), expected[used], atol=1e-5, rtol=0)


def lay_rows(packed: Any) -> Any:
    """Rows end to end, each its own sample, as :func:`brute_force` wants them."""
    rows, length = packed.ids.shape
    return SimpleNamespace(owners=torch.arange(rows).repeat_interleave(length), groups=packed.groups.flatten())


def test_long_sequences_in_many_blocks() -> None:
    """Several blocks of 128, borders of samples and of the two kinds of tokens inside blocks."""
    group = [Encoded(PROMPT, (1,) * prefix, ((7,) * 9, (7,) * 40), 0) for prefix in (300, 128, 1, 77)]
    laid = lay(group)
    make = drawn(len(laid.owners), (2, 2), 16, seed=0)
    split, blocks = Cascade(laid)(*make, 0.25, 0.0), Flex(laid)(*make, 0.25, 0.0)
    torch.testing.assert_close(split, blocks, atol=2e-6, rtol=2e-5)
    rows = [0, 127, 128, 299, 300, 505, 506, 514, 515, len(laid.owners) - 1]
    torch.testing.assert_close(split[rows].double(), brute_force(laid, *make, 0.25)[rows], atol=2e-6, rtol=2e-5)


@pytest.mark.slow
def test_compiled_as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """FlexAttention compiled for the CPU, on batches of several sizes: compiled for any after the second."""
    from torch.nn.attention.flex_attention import flex_attention

    compiled = torch.compile(flex_attention)
    monkeypatch.setattr(flex, "_flex_attention", lambda _device: compiled)
    for lengths in ((300, 128, 1, 77), (40, 200), (513,), (9, 9)):
        laid = lay([Encoded(PROMPT, (1,) * prefix, ((7,) * 9, (7,) * 40), 0) for prefix in lengths])
        make = drawn(len(laid.owners), (6, 2), 32, seed=0)
        with torch.inference_mode():
            blocks = Flex(laid)(*make, 0.2, 0.0)
        torch.testing.assert_close(blocks, Cascade(laid)(*make, 0.2, 0.0), atol=5e-6, rtol=1e-5)


def test_a_cap_on_the_scores_is_the_same_in_both() -> None:
    laid = lay([Encoded(PROMPT, (1,) * 20, ((7,) * 3, (7,) * 5), 0)])
    make = drawn(len(laid.owners), (2, 2), 16, seed=3)
    capped = Cascade(laid)(*make, 1.0, 2.0)
    torch.testing.assert_close(capped, Flex(laid)(*make, 1.0, 2.0), atol=1e-5, rtol=1e-5)
    assert (capped - Cascade(laid)(*make, 1.0, 0.0)).abs().max() > 0.01


def test_candidates_without_a_prefix_and_without_tokens() -> None:
    """A merge at the boundary may leave no shared prefix; one-token candidates have no tokens of their own."""
    group = [
        Encoded(PROMPT, (), ((7, 7, 7), (7, 7)), 1),
        Encoded(PROMPT, (1, 2), ((7,), (8,)), 0),
        Encoded(PROMPT, (1,), ((7, 9), (8,)), 0),
    ]
    for some in (group, group[:1], group[1:2]):
        laid = lay(some)
        make = drawn(len(laid.owners), (2, 2), 16, seed=1)
        expected = brute_force(laid, *make, 0.25)
        torch.testing.assert_close(Cascade(laid)(*make, 0.25, 0.0).double(), expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(Flex(laid)(*make, 0.25, 0.0).double(), expected, atol=1e-5, rtol=1e-5)


def test_the_kernel_is_asked_as_flash_attn_is_declared() -> None:
    """Its names and their order, its dtypes, and what it takes for granted."""
    calls: list[dict[str, Any]] = []

    def flash_attn_varlen_func(  # type: ignore[no-untyped-def] # as in flash-attn 2.8
        q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, dropout_p=0.0, softmax_scale=None,
        causal=False, window_size=(-1, -1), softcap=0.0, alibi_slopes=None, deterministic=False,
        return_attn_probs=False, block_table=None,
    ):  # fmt: skip
        calls.append(locals())
        for starts, tokens in ((cu_seqlens_q, q), (cu_seqlens_k, k)):
            assert starts.dtype == torch.int32
            assert starts[0] == 0
            assert starts[-1] == len(tokens)
        assert max_seqlen_q >= int(cu_seqlens_q.diff().max())
        # With one query a sequence it takes another path, which has no place for empty sequences.
        assert max_seqlen_q > 1 or bool((cu_seqlens_q.diff() == 1).all())
        return varlen_reference(
            q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k,
            softmax_scale=softmax_scale, causal=causal, softcap=softcap, return_attn_probs=return_attn_probs,
        )  # fmt: skip

    laid = lay([Encoded(PROMPT, (1,) * 5, ((7,), (7, 8)), 0), Encoded(PROMPT, (1,) * 3, ((7,), (7,)), 0)])
    make = drawn(9, (4, 2), 16, seed=2)
    torch.testing.assert_close(Cascade(laid, flash_attn_varlen_func)(*make, 0.25, 0.0), Cascade(laid)(*make, 0.25, 0.0))
    assert [(call["causal"], call["return_attn_probs"]) for call in calls] == [
        (True, False),
        (True, True),
        (False, True),
    ]


def test_merging_with_nothing_changes_nothing() -> None:
    own, none = torch.randn(3, 2, 4), torch.zeros(3, 2, 4)
    totals = torch.randn(2, 3)
    for empty in (math.inf, -math.inf):  # what flash-attn says of no keys, and what mathematics does
        assert torch.equal(merge(none, torch.full((2, 3), empty), own, totals), own)


@given(st.lists(st.integers(1, 400), max_size=80), st.integers(1, 2000))
def test_a_flat_plan_covers_everything_once_within_budget(lengths: list[int], budget: int) -> None:
    batches = plan_flat(lengths, budget)
    assert sorted(index for group in batches for index in group) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in group) <= budget or len(group) == 1 for group in batches)


# Through models ------------------------------------------------------------------------------------------------------


def score(model: Path, some: list[Sample], attention: str, **options: Any) -> tuple[dict[Any, Scored], dict[str, Any]]:
    checkpoint = Checkpoint.open(model)
    protocol = open_protocol("auto", checkpoint)
    engine = TransformersEngine(
        checkpoint,
        protocol,
        EngineOptions(device="cpu", dtype="float32", attention=attention, **options),
        EngineContext(),
    )
    try:
        return {
            scored.sample.key: scored for scored in engine.score(map(protocol.prompt, some))
        }, engine.describe().to_dict()
    finally:
        engine.close()


def odd_questions(folder: Path) -> list[Sample]:
    """Several images, none, candidates of one token and of many, one and several candidates."""
    rng = np.random.default_rng(0)
    files = []
    for index, size in enumerate([(222, 226), (31, 400), (97, 55), (640, 481)]):
        Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(folder / f"{index}.png")
        files.append(ImageFile(folder / f"{index}.png"))
    answers = ("red", "A", "a small light yellow hexagon in the picture", "dark blue")
    groups: list[list[int]] = [[0], [1], [], [2, 3], [1, 0, 1], []]
    return [
        Sample(str(n), "t", "d", "a", (*[files[i] for i in group], f"What is it {n}?"), answers[: 2 + n % 3], 0)
        for n, group in enumerate(groups)
    ]


def difference(one: dict[Any, Scored], other: dict[Any, Scored]) -> float:
    assert set(one) == set(other)
    return max(
        abs(a - b)
        for key in one
        for mine, theirs in zip(one[key].candidates, other[key].candidates, strict=True)
        for a, b in zip((*mine.logits, *mine.logprobs), (*theirs.logits, *theirs.logprobs), strict=True)
    )


@pytest.mark.parametrize("attention", ["split", "cascade", "flex"])
@pytest.mark.parametrize("family", ["qwen2vl", "llava"])
def test_the_same_scores_as_with_a_mask(tmp_path: Path, attention: str, family: str) -> None:
    if family == "qwen2vl":
        folder = write_qwen2vl(tmp_path / "model")
    else:
        template = ROLE_TEMPLATE.replace("<|vision_start|><|image_pad|><|vision_end|>", "<image>\n")
        folder = write_llava(tmp_path / "model", template=template)
    some = odd_questions(tmp_path)
    dense, _ = score(folder, some, "dense")
    found, described = score(folder, some, attention)
    assert described["attention"] == attention
    assert described["packed"] is True
    assert described["self_check_difference"] <= BOUND
    assert difference(found, dense) <= BOUND
    # End to end nothing is padded, and no candidate begins like another: what is computed is the least.
    for scored in found.values() if attention != "split" else ():
        assert scored.tokens_computed == scored.tokens_minimal


def test_a_slice_of_real_questions(qwen2vl: Path, puzzlevqa: Path) -> None:
    some = list(open_reader(puzzlevqa))
    dense, _ = score(qwen2vl, some, "dense")
    found, described = score(qwen2vl, some, "cascade", batch_tokens=2000)
    assert described["attention"] == "cascade"
    assert difference(found, dense) <= BOUND


def test_what_it_cannot_do_falls_back_to_the_mask(
    qwen2vl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    some = odd_questions(tmp_path)
    dense, _ = score(qwen2vl, some, "dense")

    def wrong(*tensors: torch.Tensor) -> torch.Tensor:
        return tensors[2]

    def refusing(*_: object, **__: object) -> torch.Tensor:
        raise UnsupportedAttentionError("a layer attends with sinks")

    for broken, said in ((wrong, "off by"), (refusing, "sinks")):
        caplog.clear()
        with caplog.at_level(logging.WARNING), monkeypatch.context() as patch:
            patch.setattr(cascade, "merge", broken)
            found, described = score(qwen2vl, some, "cascade")
        assert (described["attention"], described["packed"]) == ("dense", True)
        assert said in caplog.text
        assert {key: scored.candidates for key, scored in found.items()} == {
            key: scored.candidates for key, scored in dense.items()
        }


def test_a_cap_is_refused_in_rows() -> None:
    packed = batch([Encoded(PROMPT, (1, 2), ((7, 7),), 0)], [torch.arange(2)], torch.device("cpu"))
    query, key, value = torch.randn(3, 1, 2, 3, 16)
    with over(Split(packed, torch.float32)), pytest.raises(UnsupportedAttentionError, match="caps"):
        attend(torch.nn.Module(), query, key, value, None, softcap=30.0)


def test_windows_and_sinks_are_refused() -> None:
    laid = lay([Encoded(PROMPT, (1, 2), ((7, 7),), 0)])
    module = torch.nn.Module()
    query, key, value = torch.randn(3, 1, 2, 3, 16)
    with over(Cascade(laid)):
        output, _ = attend(module, query, key, value, None, sliding_window=None)
        assert output.shape == (1, 3, 2, 16)
        for extra in ({"sliding_window": 2}, {"s_aux": torch.zeros(2)}):
            with pytest.raises(UnsupportedAttentionError):
                attend(module, query, key, value, None, **extra)


def test_choices() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert choose_attention("auto", cpu, torch.float32) == "split"
    assert choose_attention("cascade", cpu, torch.float32) == "cascade"
    assert choose_attention("auto", gpu, torch.float32) == "flex"
    with pytest.raises(UsageError, match="flash-attn"):
        choose_attention("cascade", gpu, torch.float32)
    with pytest.raises(UsageError, match="--attention sparse"):
        choose_attention("sparse", cpu, torch.float32)
