"""The kernels and their torch twins against fp64, on the shapes and values that others fell over.

Runs the twins everywhere; the kernels where there is a GPU, and under Triton's interpreter
(test_kernels_interpreter.py starts this file again with TRITON_INTERPRET=1). The interpreter runs one program after
another and rounds bf16 in software: it shows what is computed, not races, TF32, the copy engine, or speed.
"""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from radar_fast.kernels import linear_log_softmax_gather as k2_module
from radar_fast.kernels import log_softmax_gather as k1_module
from radar_fast.kernels.configs import LinearConfig, generation
from radar_fast.kernels.linear_log_softmax_gather import (
    linear_log_softmax_gather,
    linear_log_softmax_partials,
    merge_shards,
)
from radar_fast.kernels.log_softmax_gather import log_softmax_gather, log_softmax_gather_rank
from radar_fast.kernels.runtime import IGNORED, INTERPRETED, capability

GPU = torch.cuda.is_available() and not INTERPRETED
DEVICE = torch.device("cuda" if GPU else "cpu")
HAS_TRITON = INTERPRETED or (GPU and (capability(DEVICE) or (0, 0)) >= (8, 0))

triton_only = pytest.mark.skipif(not HAS_TRITON, reason="needs a GPU or TRITON_INTERPRET=1")
every_impl = pytest.mark.parametrize("impl", ["torch", "triton"] if HAS_TRITON else ["torch"])


def large(*values: object) -> Any:
    """A case that the interpreter gets in the full run only; the twins and a GPU always get it."""
    return pytest.param(*values, marks=pytest.mark.large)


every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, large(torch.float16)], ids=str)

# All N with a small V, all V with a small N: the interpreter takes a tenth of a millisecond an operation.
K1_SHAPES = [
    *((n, 507) for n in (1, 7, 64, 65)),
    *(large((n, 507)) for n in (2, 63, 257, 1024)),
    *((2, v) for v in (1, 128, 32000)),
    *(large((2, v)) for v in (127, 50257, 151936, 152064, 262144)),
]
K2_SHAPES = [
    *((n, 507, 64) for n in (1, 7, 65)),
    *(large((n, 507, 64)) for n in (2, 63, 64, 257)),
    *((3, v, 64) for v in (1, 129)),
    *(large((3, v, 64)) for v in (127, 4096)),
    (5, 507, 123),
    *(large((5, 507, d)) for d in (896, 2304, 4096)),
    large((65, 1000, 123)),
]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def truth(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """fp64: logit and log-probability, 0 where ignored."""
    full = logits.double()
    ignored = targets == IGNORED
    at = targets.long().clamp_min(0)[:, None]
    logit = full.gather(1, at)[:, 0]
    top = full.amax(1)
    logprob = (logit - top) - (full - top[:, None]).exp().sum(1).log()
    return logit.masked_fill(ignored, 0.0), logprob.masked_fill(ignored, 0.0)


def some_targets(count: int, vocabulary: int, dtype: torch.dtype = torch.int64) -> torch.Tensor:
    """Random, with the first, the last and an ignored one among them where there is room."""
    targets = torch.randint(0, vocabulary, (count,), dtype=dtype)
    for place, value in enumerate((vocabulary - 1, 0, IGNORED)):
        if place < count:
            targets[place] = value
    return targets.to(DEVICE)


def close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    """K1's tolerance; NaN where NaN is expected."""
    torch.testing.assert_close(actual.double(), expected, atol=2e-5, rtol=1e-6, equal_nan=True)


# K1 ------------------------------------------------------------------------------------------------------------------


@every_impl
@every_dtype
@pytest.mark.parametrize("shape", K1_SHAPES, ids=str)
def test_k1_shapes(shape: tuple[int, int], dtype: torch.dtype, impl: str) -> None:
    logits = (8 * torch.randn(shape)).to(DEVICE, dtype)
    targets = some_targets(*shape)
    logit, logprob = log_softmax_gather(logits, targets, impl=impl)
    assert logit.dtype == logprob.dtype == torch.float32
    expected = truth(logits, targets)
    assert torch.equal(logit.double(), expected[0])
    close(logprob, expected[1])
    assert logprob.max() <= 0


def values(name: str, rows: int, columns: int) -> torch.Tensor:
    logits = torch.randn(rows, columns)
    if name == "mean 30":
        return 30 + 3 * logits
    if name == "mean -30":
        return -30 + 3 * logits
    if name == "offset 1e4":
        return 1e4 + logits
    if name == "one-hot":
        return torch.zeros(rows, columns).index_fill_(1, torch.tensor([columns - 1]), 1000.0)
    if name == "ties":
        return torch.full((rows, columns), 2.5)
    if name == "masks":
        return logits.masked_fill(torch.rand(rows, columns) < 0.9, -math.inf)
    if name == "a tile of -inf":
        return logits.index_fill_(1, torch.arange(0, min(8192, columns - 1)), -math.inf)
    if name == "all -inf":
        return torch.full((rows, columns), -math.inf)
    if name == "+inf":
        return logits.index_fill_(1, torch.tensor([columns // 2]), math.inf)
    assert name == "nan"
    return logits.index_fill_(1, torch.tensor([columns // 2]), math.nan)


NAMES = ["mean 30", "mean -30", "offset 1e4", "one-hot", "ties", "masks", "a tile of -inf", "all -inf", "+inf", "nan"]


@every_impl
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("columns", [507, large(9001)])
@pytest.mark.parametrize("name", NAMES)
def test_k1_values(name: str, columns: int, dtype: torch.dtype, impl: str) -> None:
    logits = values(name, 5, columns).to(DEVICE, dtype)
    targets = some_targets(5, columns)
    logit, logprob = log_softmax_gather(logits, targets, impl=impl)
    expected = truth(logits, targets)
    close(logit, expected[0])
    close(logprob, expected[1])
    assert not (logprob > 0).any()


@every_impl
def test_k1_one_bad_row_leaves_the_others_alone(impl: str) -> None:
    logits = torch.randn(4, 9001, device=DEVICE)
    logits[1], logits[2, 5] = -math.inf, math.nan
    targets = torch.tensor([0, 1, 2, 3], device=DEVICE)
    _, logprob = log_softmax_gather(logits, targets, impl=impl)
    _, alone = log_softmax_gather(logits[[0, 3]], targets[[0, 3]], impl=impl)
    assert torch.equal(logprob[[0, 3]], alone)
    assert logprob[[1, 2]].isnan().all()


@every_impl
@pytest.mark.parametrize("layout", ["row stride", "misaligned", "column stride", "expanded"])
def test_k1_strides(layout: str, impl: str) -> None:
    big = torch.randn(6, 2 * 507 + 1, device=DEVICE)
    logits = {
        "row stride": big[::2, :507],
        "misaligned": big[:3, 1:508],
        "column stride": big[:3, 1::2],
        "expanded": big[:1, :507].expand(3, -1),
    }[layout]
    targets = some_targets(3, logits.shape[1], torch.int32)
    logit, logprob = log_softmax_gather(logits, targets, impl=impl)
    expected = truth(logits, targets)
    close(logit, expected[0])
    close(logprob, expected[1])


@every_impl
def test_k1_padding_beside_the_logits_is_never_read(impl: str) -> None:
    padded = torch.full((3, 512), math.nan, device=DEVICE)
    padded[:, :507] = torch.randn(3, 507)
    targets = some_targets(3, 507)
    _, logprob = log_softmax_gather(padded[:, :507], targets, impl=impl)
    close(logprob, truth(padded[:, :507], targets)[1])


@every_impl
def test_k1_several_targets_a_row_are_the_same_as_one_each(impl: str) -> None:
    logits = torch.randn(4, 5000, device=DEVICE)
    targets = torch.stack([some_targets(4, 5000) for _ in range(3)], dim=1)
    targets[1] = IGNORED
    logit, logprob = log_softmax_gather(logits, targets, impl=impl)
    assert logit.shape == logprob.shape == (4, 3)
    for k in range(3):
        one = log_softmax_gather(logits, targets[:, k], impl=impl)
        assert torch.equal(logit[:, k], one[0])
        assert torch.equal(logprob[:, k], one[1])


@every_impl
@every_dtype
@pytest.mark.parametrize("columns", [1, 507, 9001])
def test_k1_rank_and_argmax(columns: int, dtype: torch.dtype, impl: str) -> None:
    logits = torch.randn(5, columns).to(DEVICE, dtype)  # 16-bit values tie often
    targets = some_targets(5, columns)
    logit, logprob, rank, best = log_softmax_gather_rank(logits, targets, impl=impl)
    plain = log_softmax_gather(logits, targets, impl=impl)
    assert torch.equal(logit, plain[0])
    assert torch.equal(logprob, plain[1])
    own = logits.gather(1, targets.clamp_min(0)[:, None])
    assert torch.equal(rank, (logits > own).sum(1).masked_fill(targets == IGNORED, 0))
    assert torch.equal(best, (logits == logits.amax(1, keepdim=True)).int().argmax(1))


@every_impl
def test_k1_is_repeatable_and_a_row_does_not_depend_on_its_batch(impl: str, monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(33, 9001, device=DEVICE)
    targets = some_targets(33, 9001)
    whole = log_softmax_gather(logits, targets, impl=impl)
    again = log_softmax_gather(logits, targets, impl=impl)
    for a, b in zip(whole, again, strict=True):
        assert torch.equal(a, b)
    parts = [log_softmax_gather(logits[i:j], targets[i:j], impl=impl) for i, j in ((0, 1), (1, 8), (8, 33))]
    for k in range(2):
        assert torch.equal(whole[k], torch.cat([part[k] for part in parts]))
    # One program for all of a row's tiles, as with many rows, changes nothing either.
    monkeypatch.setattr(k1_module, "MAX_PROGRAMS_Y", 1)
    for a, b in zip(whole, log_softmax_gather(logits, targets, impl=impl), strict=True):
        assert torch.equal(a, b)


@pytest.mark.skipif(not GPU, reason="needs a GPU with 10 GB free")
def test_k1_beyond_two_to_the_31_elements() -> None:
    rows, columns = 14_200, 151_936
    logits = torch.zeros(rows, columns, dtype=torch.bfloat16, device=DEVICE)
    logits[-3:] = torch.randn(3, columns).to(logits)
    targets = torch.full((rows,), columns - 1, device=DEVICE)
    _, logprob = log_softmax_gather(logits, targets, impl="triton")
    close(logprob[-3:], truth(logits[-3:], targets[-3:])[1])
    torch.testing.assert_close(logprob[0].item(), -math.log(columns), atol=2e-5, rtol=1e-6)


# K2 ------------------------------------------------------------------------------------------------------------------


def operands(count: int, vocabulary: int, depth: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """hidden, weight with logits of size 3 or so."""
    hidden = torch.randn(count, depth).to(DEVICE, dtype)
    weight = (3 * torch.randn(vocabulary, depth) / math.sqrt(depth)).to(DEVICE, dtype)
    return hidden, weight


def exact(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    scale: float = 1.0,
    softcap: float | None = None,
) -> torch.Tensor:
    z = hidden.double() @ weight.double().T
    if bias is not None:
        z += bias.double()
    z *= scale
    return z if softcap is None else softcap * torch.tanh(z / softcap)


def as_good_as_torch(
    ours: tuple[torch.Tensor, torch.Tensor], hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor
) -> None:
    """No farther from fp64 than torch in the operands' dtype, and 1e-5."""
    expected = truth(exact(hidden, weight), targets)
    theirs = truth((hidden @ weight.T).float(), targets)
    for mine, other, right in zip(ours, theirs, expected, strict=True):
        assert (mine - right).abs().max() <= (other - right).abs().max() + 1e-5
    assert ours[1].max() <= 0


@every_impl
@every_dtype
@pytest.mark.parametrize("shape", K2_SHAPES, ids=str)
def test_k2_shapes(shape: tuple[int, int, int], dtype: torch.dtype, impl: str) -> None:
    hidden, weight = operands(*shape, dtype)
    targets = some_targets(*shape[:2])
    ours = linear_log_softmax_gather(hidden, weight, targets, impl=impl)
    as_good_as_torch(ours, hidden, weight, targets)


@every_impl
@pytest.mark.parametrize(
    "vocabulary", [large(50257), large(151936), pytest.param(262144, marks=[pytest.mark.large, pytest.mark.slow])]
)
def test_k2_large_vocabularies(vocabulary: int, impl: str) -> None:
    hidden, weight = operands(2, vocabulary, 64, torch.float16)
    targets = some_targets(2, vocabulary)
    ours = linear_log_softmax_gather(hidden, weight, targets, impl=impl)
    as_good_as_torch(ours, hidden, weight, targets)


@every_impl
@every_dtype
@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
@pytest.mark.parametrize("scale", [1.0, large(0.0625), -2.5])
@pytest.mark.parametrize("softcap", [None, 5.0, large(50.0)])
def test_k2_bias_scale_and_softcap(
    softcap: float | None, scale: float, bias: bool, dtype: torch.dtype, impl: str
) -> None:
    hidden, weight = operands(7, 507, 64, dtype)
    offset = torch.randn(507).to(DEVICE, dtype) if bias else None
    targets = some_targets(7, 507)
    logit, logprob = linear_log_softmax_gather(
        hidden, weight, targets, bias=offset, scale=scale, softcap=softcap, impl=impl
    )
    expected = truth(exact(hidden, weight, offset, scale, softcap), targets)
    # Products of 16-bit numbers are exact in fp32; what is left is the rounding of sums.
    close(logit, expected[0])
    close(logprob, expected[1])


@triton_only
@pytest.mark.parametrize("count", [1, large(65)])
def test_k2_persistent_programs_give_the_same_bits(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """More tiles than programs, fewer, and a number of them that the programs do not share evenly."""
    hidden, weight = operands(count, 300, 64, torch.float32)
    targets = some_targets(count, 300)
    config = LinearConfig(32, 32, 64, num_warps=4, num_stages=2)
    found = []
    for persistent in (0, 1, 2):
        monkeypatch.setattr(k2_module, "linear_config", lambda *_, p=persistent: replace(config, persistent=p))
        found.append(linear_log_softmax_gather(hidden, weight, targets, impl="triton"))
    as_good_as_torch(found[0], hidden, weight, targets)
    for other in found[1:]:
        assert torch.equal(torch.stack(other), torch.stack(found[0]))


@triton_only
@pytest.mark.parametrize("dtype", [torch.bfloat16, large(torch.float16)], ids=str)
def test_k2_few_rows_can_go_through_a_product(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight = operands(5, 512, 64, dtype)
    weight[507:] = math.nan  # padding
    bias = torch.randn(512).to(DEVICE, dtype)
    targets = torch.stack([some_targets(5, 507), some_targets(5, 507)], dim=1)

    def scores() -> tuple[torch.Tensor, torch.Tensor]:
        return linear_log_softmax_gather(
            hidden, weight, targets, bias=bias, scale=0.5, softcap=20.0, vocab_size=507, impl="triton"
        )

    fused = scores()
    entry = replace(generation(capability(DEVICE)), fused_from=6)
    monkeypatch.setattr(k2_module, "generation", lambda _: entry)
    with monkeypatch.context() as patched:
        patched.setattr(k2_module, "_launch", None)  # is not called
        few = scores()
    expected = exact(hidden, weight[:507], bias[:507], 0.5, 20.0)
    for k in range(2):
        for mine, right in zip((few[0][:, k], few[1][:, k]), truth(expected, targets[:, k]), strict=True):
            close(mine, right)
    torch.testing.assert_close(few, fused, atol=2e-5, rtol=1e-6)
    hidden = hidden.float()  # of fp32 operands the library may make TF32
    weight = weight.float()
    assert scores()[1].isfinite().all()


@every_impl
def test_k2_masked_tokens(impl: str) -> None:
    hidden, weight = operands(5, 507, 64, torch.float32)
    bias = torch.zeros(507, device=DEVICE)
    bias[100:400] = -math.inf  # more than two whole tiles of the interpreter's
    targets = torch.tensor([0, 506, 200, IGNORED, 99], device=DEVICE)
    logit, logprob = linear_log_softmax_gather(hidden, weight, targets, bias=bias, impl=impl)
    expected = truth(exact(hidden, weight, bias), targets)
    close(logit, expected[0])
    close(logprob, expected[1])
    assert logprob[2] == -math.inf
    _, none = linear_log_softmax_gather(hidden, weight, targets, bias=torch.full_like(bias, -math.inf), impl=impl)
    assert none[[0, 1, 2, 4]].isnan().all()
    assert none[3] == 0


@every_impl
def test_k2_at_large_offsets(impl: str) -> None:
    hidden, weight = operands(5, 507, 64, torch.float32)
    bias = torch.full((507,), 1e4, device=DEVICE)
    targets = some_targets(5, 507)
    _, logprob = linear_log_softmax_gather(hidden, weight, targets, bias=bias, impl=impl)
    # fp32 numbers near 1e4 are 1e-3 apart: the logits are rounded that far, and nothing more may be lost.
    torch.testing.assert_close(logprob.double(), truth(exact(hidden, weight, bias), targets)[1], atol=1e-3, rtol=0)
    assert logprob.max() <= 0


@every_impl
@pytest.mark.parametrize("padding", [math.nan, math.inf, 1e4])
def test_k2_padded_rows_of_the_weight_never_count(padding: float, impl: str) -> None:
    hidden, weight = operands(5, 512, 64, torch.float32)
    weight[507:] = padding
    targets = some_targets(5, 507)
    ours = linear_log_softmax_gather(hidden, weight, targets, vocab_size=507, impl=impl)
    as_good_as_torch(ours, hidden, weight[:507], targets)


@every_impl
@pytest.mark.parametrize("depth", [64, 123])
def test_k2_strides(depth: int, impl: str) -> None:
    hidden = torch.randn(8, 2 * depth, device=DEVICE)[::2, 3 : 3 + depth]
    weight = torch.randn(507, depth + 7, device=DEVICE)[:, 5 : 5 + depth] / 8
    targets = some_targets(4, 507, torch.int32)
    ours = linear_log_softmax_gather(hidden, weight, targets, impl=impl)
    as_good_as_torch(ours, hidden, weight, targets)
    columns_first = hidden.t().contiguous().t()
    again = linear_log_softmax_gather(columns_first, weight, targets, impl=impl)
    assert torch.equal(ours[1], again[1])


@every_impl
def test_k2_several_targets_a_row_are_the_same_as_one_each(impl: str) -> None:
    hidden, weight = operands(4, 507, 64, torch.float32)
    targets = torch.stack([some_targets(4, 507) for _ in range(3)], dim=1)
    targets[1] = IGNORED
    logit, logprob = linear_log_softmax_gather(hidden, weight, targets, impl=impl)
    for k in range(3):
        one = linear_log_softmax_gather(hidden, weight, targets[:, k], impl=impl)
        assert torch.equal(logit[:, k], one[0])
        assert torch.equal(logprob[:, k], one[1])


@every_impl
def test_k2_is_repeatable(impl: str) -> None:
    hidden, weight = operands(65, 507, 123, torch.float16)
    targets = some_targets(65, 507)
    first, second = (linear_log_softmax_gather(hidden, weight, targets, impl=impl) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)


@triton_only
@every_dtype
def test_k2_a_row_depends_on_its_batch_by_rounding_alone(dtype: torch.dtype) -> None:
    # The interpreter's product is the CPU library's, which on some machines sums a tile's rows in different orders.
    hidden, weight = operands(200, 507, 128, dtype)
    targets = some_targets(200, 507)
    whole = linear_log_softmax_gather(hidden, weight, targets, impl="triton")
    parts = [
        linear_log_softmax_gather(hidden[i:j], weight, targets[i:j], impl="triton")
        for i, j in ((0, 1), (1, 70), (70, 200))
    ]
    for k in range(2):
        torch.testing.assert_close(whole[k], torch.cat([part[k] for part in parts]), rtol=1e-6, atol=1e-5)


SHARDS = {
    1: [0, 507],
    2: [0, 200, 507],
    4: [0, 127, 254, 381, 507],
    8: [0, 64, 128, 128, 256, 320, 321, 448, 507],  # uneven, one empty
}


@every_impl
@pytest.mark.parametrize("count", [1, 2, large(4), large(8)])
@pytest.mark.parametrize("softcap", [None, 20.0])
def test_k2_merged_shards_equal_the_whole(softcap: float | None, count: int, impl: str) -> None:
    hidden, weight = operands(9, 507, 64, torch.float16)
    bias = torch.randn(507, device=DEVICE)
    targets = torch.tensor([0, 506, IGNORED, 127, 128, 199, 200, 320, 255], device=DEVICE)
    shards = []
    for start, stop in zip(SHARDS[count], SHARDS[count][1:], strict=False):
        # A shard is padded to a common size; padding holds what must not count, and targets' columns elsewhere.
        padded = torch.full((520, 64), math.nan, dtype=torch.float16, device=DEVICE)
        padded[: stop - start] = weight[start:stop]
        offset = torch.full((520,), 1e3, device=DEVICE)
        offset[: stop - start] = bias[start:stop]
        shards.append(
            linear_log_softmax_partials(
                hidden,
                padded,
                targets,
                vocab_start=start,
                shard_size=stop - start,
                bias=offset,
                softcap=softcap,
                impl=impl,
            )
        )
    logit, logprob = merge_shards(shards, targets)
    whole = linear_log_softmax_gather(hidden, weight, targets, bias=bias, softcap=softcap, impl=impl)
    # Another cut of the same sums, so equal to rounding, and bitwise where nothing was cut.
    torch.testing.assert_close(logit, whole[0], atol=2e-6, rtol=1e-6)
    torch.testing.assert_close(logprob, whole[1], atol=2e-6, rtol=1e-6)
    assert logprob.max() <= 0
    assert logit[2] == logprob[2] == 0
    for shard, start, stop in zip(shards, SHARDS[count], SHARDS[count][1:], strict=False):
        inside = (targets >= start) & (targets < stop)
        assert (shard.logit[~inside] == -math.inf).all()
        assert shard.logit[inside].isfinite().all()


# Both ----------------------------------------------------------------------------------------------------------------


@every_impl
@pytest.mark.parametrize("wrong", [-1, 507, -101, 2**40])
def test_targets_out_of_range_are_named(wrong: int, impl: str) -> None:
    """On a GPU, where looking would wait, they have no number, and no other row is touched."""
    hidden, weight = operands(2, 507, 64, torch.float32)
    targets = torch.tensor([3, wrong], device=DEVICE)
    if GPU:
        found = [*log_softmax_gather(hidden @ weight.T, targets, impl=impl)]
        found += linear_log_softmax_gather(hidden, weight, targets, impl=impl)
        assert [one.isnan().tolist() for one in found] == [[False, True]] * 4
        return
    with pytest.raises(ValueError, match=rf"target {wrong} is out of range: 0\.\.506"):
        log_softmax_gather(hidden @ weight.T, targets, impl=impl)
    with pytest.raises(ValueError, match=rf"target {wrong} is out of range: 0\.\.506"):
        linear_log_softmax_gather(hidden, weight, targets, impl=impl)


@every_impl
def test_no_rows_and_no_targets(impl: str) -> None:
    hidden, weight = operands(3, 507, 64, torch.float32)
    nothing = torch.zeros(0, dtype=torch.int64, device=DEVICE)
    for found in log_softmax_gather(weight.T[:0], nothing, impl=impl):
        assert found.shape == (0,)
    for found in linear_log_softmax_gather(hidden[:0], weight, nothing, impl=impl):
        assert found.shape == (0,)
    assert log_softmax_gather(weight, nothing.view(0, 1).expand(0, 1).new_zeros(507, 0), impl=impl)[0].shape == (507, 0)
    assert [len(found) for found in log_softmax_gather_rank(weight[:0], nothing, impl=impl)] == [0] * 4
    partials = linear_log_softmax_partials(hidden, weight[:0], nothing.new_zeros(3), impl=impl)
    assert (partials.top == -math.inf).all()
    assert (partials.total == 0).all()


CHECKS = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")


@every_impl
@pytest.mark.filterwarnings("ignore")
def test_the_registered_operators_pass_opcheck(impl: str) -> None:
    ops = torch.ops.radar_fast
    hidden, weight = operands(3, 130, 16, torch.float32)
    bias = torch.randn(130, device=DEVICE)
    targets = some_targets(3, 130)[:, None]
    torch.library.opcheck(ops.log_softmax_gather, (hidden @ weight.T, targets, impl), test_utils=CHECKS)
    torch.library.opcheck(ops.log_softmax_gather_rank, (hidden @ weight.T, targets, impl), test_utils=CHECKS)
    for offset, cap in ((None, None), (bias, 30.0)):
        torch.library.opcheck(
            ops.linear_log_softmax_gather,
            (hidden, weight, targets, offset, 0.5, cap, 130, impl),
            test_utils=CHECKS,
        )
        torch.library.opcheck(
            ops.linear_log_softmax_partials,
            (hidden, weight, targets, offset, 0.5, cap, 0, 120, impl),
            test_utils=CHECKS,
        )


@every_impl
@pytest.mark.filterwarnings("ignore")
def test_torch_compile_passes_through_without_a_break(impl: str) -> None:
    hidden, weight = operands(3, 130, 16, torch.float32)
    targets = some_targets(3, 130)

    def both(hidden: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, ...]:
        fused = linear_log_softmax_gather(2 * hidden, weight, targets, impl=impl)
        return (*fused, *log_softmax_gather((2 * hidden) @ weight.T, targets, impl=impl))

    compiled = torch.compile(both, fullgraph=True, backend="aot_eager")
    for ours, plain in zip(compiled(hidden, targets), both(hidden, targets), strict=True):
        torch.testing.assert_close(ours, plain)
    # Where the range check would have to wait, a target out of range has no number, and no other row's.
    wrong = compiled(hidden, torch.tensor([1, 130, -7], device=DEVICE))
    for found in wrong:
        assert found.isnan().tolist() == [False, True, True]


@pytest.mark.skipif(not GPU, reason="needs a GPU")
def test_cuda_graphs_capture_the_kernels() -> None:
    hidden, weight = operands(16, 32000, 896, torch.bfloat16)
    targets = some_targets(16, 32000)
    expected = linear_log_softmax_gather(hidden, weight, targets, impl="triton")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = linear_log_softmax_gather(hidden, weight, targets, impl="triton")
    graph.replay()
    torch.cuda.synchronize()
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)
