"""Every launch, compiled as Triton's launcher compiles it, for GPUs that are not there.

What the machine code says of itself: no spilled registers, shared memory that the chip has, 16 bytes a load. How many
variants the launcher makes of one kernel. And what the compiler's layouts say of determinism.
"""

import importlib.util
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import ModuleType
from typing import Any
from unittest import mock

import pytest
import torch

from radar_fast.kernels import linear_log_softmax_gather as k2_module
from radar_fast.kernels import log_softmax_gather as k1_module
from radar_fast.kernels.configs import LinearConfig, generation, linear_config
from radar_fast.kernels.linear_log_softmax_gather import linear_log_softmax_gather, linear_log_softmax_partials
from radar_fast.kernels.log_softmax_gather import log_softmax_gather, log_softmax_gather_rank
from radar_fast.kernels.runtime import INTERPRETED, check_targets, on_device

if importlib.util.find_spec("triton") is None:
    pytest.skip("triton is not installed", allow_module_level=True)
if INTERPRETED:
    pytest.skip("interpreted kernels do not compile", allow_module_level=True)

from launcher import Compiled, compiling_for

pytestmark = pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")

SHARED = {80: 163 * 1024, 89: 99 * 1024, 90: 227 * 1024, 100: 227 * 1024}
"""Most shared memory of a block, by chip (CUDA programming guide, technical specifications)."""

TYPES = (torch.bfloat16, torch.float16, torch.float32)

Call = tuple[str, Callable[[], Any]]


def targets_of(count: int, per_row: int, dtype: torch.dtype = torch.int64) -> torch.Tensor:
    return torch.zeros(count, per_row, dtype=dtype)


def k1(count: int, columns: int, dtype: torch.dtype, per_row: int, stride: int | None = None) -> Call:
    def call() -> None:
        logits = torch.empty(count, stride or columns, dtype=dtype)[:, :columns]
        log_softmax_gather(logits, targets_of(count, per_row), impl="triton")

    return f"K1 [{count}, {columns}] in rows of {stride or columns} {dtype} K {per_row}", call


def k1_rank(count: int, columns: int, dtype: torch.dtype) -> Call:
    def call() -> None:
        log_softmax_gather_rank(torch.empty(count, columns, dtype=dtype), targets_of(count, 1)[:, 0], impl="triton")

    return f"K1 rank [{count}, {columns}] {dtype}", call


def k1_transposed(count: int, columns: int, dtype: torch.dtype) -> Call:
    def call() -> None:
        log_softmax_gather(torch.empty(columns, count, dtype=dtype).T, targets_of(count, 1), impl="triton")

    return f"K1 [{count}, {columns}] transposed {dtype}", call


def k2(
    count: int,
    vocabulary: int,
    depth: int,
    dtype: torch.dtype,
    per_row: int,
    *,
    bias: bool = False,
    softcap: float | None = None,
    padded: int = 0,
    offset: int = 0,
    integers: torch.dtype = torch.int64,
) -> Call:
    """``padded``: rows of the weight that are no vocabulary; ``offset``: elements that rows are off their alignment."""

    def call() -> None:
        hidden = torch.empty(count, depth + 8, dtype=dtype)[:, offset : offset + depth]
        weight = torch.empty(vocabulary + padded, depth, dtype=dtype)
        added = torch.empty(vocabulary + padded, dtype=dtype) if bias else None
        linear_log_softmax_gather(
            hidden,
            weight,
            targets_of(count, per_row, integers),
            bias=added,
            softcap=softcap,
            vocab_size=vocabulary,
            impl="triton",
        )

    said = f"K2 [{count}, {vocabulary}+{padded}, {depth}] {dtype} K {per_row} bias {bias} cap {softcap} off {offset}"
    return said, call


def k2_shard(count: int, rows: int, depth: int, dtype: torch.dtype, per_row: int, start: int) -> Call:
    def call() -> None:
        linear_log_softmax_partials(
            torch.empty(count, depth, dtype=dtype),
            torch.empty(rows, depth, dtype=dtype),
            targets_of(count, per_row),
            vocab_start=start,
            impl="triton",
        )

    return f"K2 shard [{count}, {rows} from {start}, {depth}] {dtype} K {per_row}", call


BF16 = torch.bfloat16

SLICE: list[Call] = [
    k1(1, 1, BF16, 1),
    k1(1, 507, torch.float32, 3),
    k1(16, 151936, BF16, 1),
    k1(7, 151655, BF16, 3, stride=151936),
    k1_rank(1, 507, BF16),
    k2(1, 1, 64, BF16, 1),
    k2(1, 151936, 1536, BF16, 4),
    k2(1024, 151936, 896, BF16, 1, bias=True, softcap=30.0),
    k2(7, 507, 123, BF16, 1),
    k2(257, 32000, 896, torch.float32, 3),
    k2_shard(1, 37984, 1536, BF16, 1, 0),
]
"""One of each kind: N = 1 and K = 1, both heights of a tile, descriptors and none, aligned and not, shards."""


def matrix() -> Iterator[Call]:
    """Shapes with each other's edges, dtypes, strides, shards, soft-cap, bias."""
    for dtype in TYPES:
        for count, columns in ((1, 1), (1, 507), (1, 151936), (2, 127), (7, 50257), (65, 151655), (8192, 262144)):
            for per_row in (1, 3, 16):
                yield k1(count, columns, dtype, per_row)
        yield k1(16, 151655, dtype, 1, stride=151936)
        yield k1_transposed(5, 507, dtype)
        for count in (1, 7):
            yield k1_rank(count, 151936, dtype)
        for count, vocabulary, depth in (
            (1, 1, 64),
            (1, 127, 16),
            (1, 151936, 1536),
            (16, 151936, 896),
            (7, 507, 123),
            (64, 32000, 1536),
            (65, 32000, 1536),
            (4097, 32000, 3584),
        ):
            for per_row in (1, 3):
                for bias in (False, True):
                    for softcap in (None, 30.0):
                        yield k2(count, vocabulary, depth, dtype, per_row, bias=bias, softcap=softcap)
        yield k2(7, 507, 64, dtype, 1, padded=5)
        yield k2(7, 507, 64, dtype, 1, offset=1)
        yield k2(100, 507, 64, dtype, 1, integers=torch.int32)
        for count in (1, 65):
            for start in (0, 1, 37984):
                yield k2_shard(count, 37984, 896, dtype, 1, start)


def compile_all(chip: int, calls: list[Call]) -> None:
    failed = []
    with compiling_for(chip) as launched:
        for name, call in calls:
            before = len(launched)
            try:
                call()
            except Exception as error:
                failed.append(f"{name}: {type(error).__name__}: {str(error).strip().splitlines()[-1]}")
                continue
            for kernel in launched[before:]:
                if kernel.resources[1]:
                    failed.append(f"{name}: {kernel.name} spills {kernel.resources[1]} bytes")
                if kernel.shared > SHARED[chip]:
                    failed.append(f"{name}: {kernel.name} takes {kernel.shared} bytes of shared memory")
            assert launched[before:], name
    assert failed == []


def test_a_slice_of_the_matrix_compiles_for_hopper() -> None:
    compile_all(90, SLICE)


@pytest.mark.parametrize("chip", [80, 100])
def test_the_main_launches_compile_for_other_chips(chip: int) -> None:
    main = [k1(1, 151936, BF16, 1), k2(1, 151936, 1536, BF16, 1), k2(1024, 151936, 1536, BF16, 4, bias=True)]
    compile_all(chip, [*main, k2(7, 507, 123, torch.float32, 1, softcap=30.0)])


@contextmanager
def launched_as(config: LinearConfig) -> Iterator[None]:
    """Whatever the table says."""
    with mock.patch.object(k2_module, "linear_config", return_value=config):
        yield


@pytest.mark.full
@pytest.mark.parametrize("chip", [80, 90, 100])
def test_persistent_tiles_compile(chip: int) -> None:
    """And do not spill for walking over tiles. (With a bias and a soft-cap Hopper's larger launch does, 24 bytes.)"""
    for _, config in generation((chip // 10, chip % 10)).linear:
        with launched_as(replace(config, persistent=1)):
            compile_all(chip, [k2(100, 32000, 896, BF16, 2)])


def test_persistent_programs_are_as_many_as_the_chip_runs() -> None:
    grids: list[tuple[int, ...]] = []
    config = LinearConfig(64, 128, 64, num_warps=4, num_stages=3)

    class Noted:
        def __getitem__(self, grid: tuple[int, ...]) -> Any:
            return lambda *_, **__: grids.append(grid)

    for persistent in (0, 2):
        with compiling_for(90), launched_as(replace(config, persistent=persistent)):
            patched = mock.patch.multiple(k2_module, _tile_kernel=Noted(), processors=lambda _: 100)
            with patched:
                k2(65, 32000, 64, BF16, 1)[1]()
                k2(1, 1000, 64, BF16, 1)[1]()
    assert grids == [(500,), (8,), (200,), (8,)]


@pytest.mark.full
@pytest.mark.parametrize("chip", SHARED)
def test_the_whole_matrix_compiles(chip: int) -> None:
    compile_all(chip, [*SLICE, *matrix()])


def only(launched: list[Compiled], name: str) -> Compiled:
    [found] = {kernel.code.hash: kernel for kernel in launched if kernel.name == name}.values()
    return found


@pytest.mark.parametrize("chip", [80, 90])
@pytest.mark.parametrize(
    ("columns", "stride"), [(151936, 151936), (151655, 151936), (50257, 50264)], ids=["aligned", "ragged", "odd"]
)
def test_k1_loads_16_bytes_at_a_time_where_rows_are_aligned(chip: int, columns: int, stride: int) -> None:
    """Whatever V is: only the last tile is masked."""
    with compiling_for(chip) as launched:
        k1(16, columns, BF16, 1, stride=stride)[1]()
    loads = re.findall(r"LDG\.E\S*", only(launched, "_tile_kernel").machine_code)
    assert any(".128" in load for load in loads) == (stride % 16 == 0), set(loads)


def test_k2_loads_by_the_copy_engine_on_hopper_where_rows_are_aligned() -> None:
    for offset, copied in ((0, True), (1, False)):
        with compiling_for(90) as launched:
            k2(16, 4096, 64, BF16, 1, offset=offset)[1]()
        assert ("async_tma_copy" in only(launched, "_tile_kernel").ir) == copied


def test_mixed_calls_compile_few_variants() -> None:
    """Rows and targets a row differ from step to step: they must not each compile anew."""
    with compiling_for(90) as launched:
        for count in (1, 2, 3, 15, 16, 17, 31, 32, 48, 64):
            for per_row in (1, 2, 16):
                k1(count, 32000, BF16, per_row)[1]()
                k2(count, 4096, 128, BF16, per_row)[1]()
    variants = {(kernel.name, kernel.code.hash) for kernel in launched}
    assert len(launched) >= 120
    assert len(variants) <= 6, sorted(variants)


@pytest.mark.parametrize("chip", [80, 90])
def test_k2_sums_a_row_in_the_same_order_whatever_the_number_of_rows(chip: int) -> None:
    """Same instruction, same tile of the vocabulary, and the same warps along it: only those along rows may differ."""
    seen = set()
    for count in (1, 65):
        with compiling_for(chip) as launched:
            k2(count, 4096, 64, BF16, 1)[1]()
        layout = re.search(
            r"#mma = #ttg\.nvidia_mma<\{(.*?)warpsPerCTA = \[\d+, (\d+)\](.*?)\}>", only(launched, "_tile_kernel").ir
        )
        assert layout is not None
        config: LinearConfig = linear_config((chip // 10, chip % 10), BF16, count, True)
        seen.add((config.block_columns, *layout.groups()))
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("module", "call"),
    [
        (k1_module, k1(2, 507, BF16, 1)),
        (k1_module, k1_rank(2, 507, BF16)),
        (k2_module, k2(2, 507, 64, BF16, 1)),
        (k2_module, k2_shard(2, 507, 64, BF16, 1, 0)),
    ],
    ids=["K1", "K1 rank", "K2", "K2 shard"],
)
def test_launches_go_to_the_tensors_own_gpu(module: ModuleType, call: Call) -> None:
    """Triton launches on the current one."""
    assert on_device(torch.device("cuda", 3)).idx == 3  # type: ignore[attr-defined] # torch.cuda.device
    inside: list[tuple[str, int]] = []

    @contextmanager
    def guard(device: torch.device) -> Iterator[None]:
        before = len(launched)
        yield
        inside.append((device.type, len(launched) - before))

    with compiling_for(90) as launched, mock.patch.object(module, "on_device", guard):
        call[1]()
    assert inside == [("cpu", 2)], "a launch of the tiles and one of what finishes them"
    assert len(launched) == 2


def test_nothing_waits_for_targets_on_a_gpu() -> None:
    """A pretended GPU's tensors have no values: looking at one raises."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        targets = torch.zeros(4, 2, dtype=torch.int64, device="cuda")
        check_targets(targets, 4, 0, 507, targets.device)
        with pytest.raises(ValueError, match=r"\[5, K\] is wanted"):
            check_targets(targets, 5, 0, 507, targets.device)
