"""Every launch of the table, compiled ahead of time for the GPUs it is for, on a machine that has none.

What the machine code says of itself: no spilled registers, shared memory that the chip has. And what the compiler's
layouts say of determinism: a row's sums are made in the same order whatever the number of rows.
"""

import dataclasses
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from radar_fast.kernels import linear_log_softmax_gather as k2
from radar_fast.kernels import log_softmax_gather as k1
from radar_fast.kernels import merge
from radar_fast.kernels.configs import LinearConfig, generation, linear_config
from radar_fast.kernels.runtime import IGNORED, INTERPRETED

triton = pytest.importorskip("triton")
if INTERPRETED:
    pytest.skip("interpreted kernels do not compile", allow_module_level=True)

from triton.backends.compiler import GPUTarget  # noqa: E402 - only where there is triton
from triton.compiler import ASTSource  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")

SHARED = {80: 163 * 1024, 89: 99 * 1024, 90: 227 * 1024, 100: 227 * 1024}
"""Most shared memory of a block, by chip (CUDA programming guide, technical specifications)."""

CHIPS = list(SHARED)
TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@dataclasses.dataclass(frozen=True)
class Compiled:
    """A kernel's machine code, in what matters here."""

    registers: int
    stack: int
    shared: int
    ir: str


def compiled(
    kernel: Any,
    chip: int,
    types: dict[str, str],
    constants: dict[str, Any],
    aligned: list[str],
    folder: Path,
    **options: int,
) -> Compiled:
    names = kernel.arg_names
    signature = {name: types.get(name, "constexpr") for name in names}
    attributes = {(names.index(name),): [["tt.divisibility", 16]] for name in aligned}
    source = ASTSource(
        fn=kernel,
        signature=signature,
        constexprs={(names.index(name),): value for name, value in constants.items()},
        attrs=attributes,
    )
    binary = triton.compile(source, target=GPUTarget("cuda", chip, 32), options=options)
    cubin = folder / "kernel.cubin"
    cubin.write_bytes(binary.asm["cubin"])
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    report = subprocess.run([tool, "--dump-resource-usage", cubin], capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+) .*LOCAL:(\d+)", report)
    assert found is not None, report
    registers, stack, local = map(int, found.groups())
    return Compiled(registers, stack + local, binary.metadata.shared, binary.asm["ttgir"])


def fits(code: Compiled, chip: int) -> None:
    assert code.stack == 0, "registers are spilled"
    assert code.shared <= SHARED[chip]


def linear(
    config: LinearConfig, chip: int, dtype: str, even: bool, folder: Path, *, bias: bool = True, softcap: bool = True
) -> Compiled:
    tma = config.tma and even
    pointers = ["bias", "targets", "tops", "totals", "logit"]
    types = dict.fromkeys(("tops", "totals", "logit"), "*fp32") | {"bias": f"*{dtype}", "targets": "*i64"}
    types |= dict.fromkeys(("count", "size", "depth", "per_row", "hidden_stride", "weight_stride", "start"), "i32")
    types |= {"scale": "fp32", "softcap": "fp32"}
    if tma:
        types["hidden"] = f"tensordesc<{dtype}[{config.block_rows}, {config.block_depth}]>"
        types["weight"] = f"tensordesc<{dtype}[{config.block_columns}, {config.block_depth}]>"
    else:
        types |= {"hidden": f"*{dtype}", "weight": f"*{dtype}"}
        pointers += ["hidden", "weight"]
    constants = {
        "BIAS": bias,
        "SOFTCAP": softcap,
        "TMA": tma,
        "EVEN_DEPTH": even,
        "UPCAST": False,
        "BLOCK_ROWS": config.block_rows,
        "BLOCK_COLUMNS": config.block_columns,
        "BLOCK_DEPTH": config.block_depth,
        "HALVES": config.block_columns // config.tile,
        "GROUP": config.group,
    }
    aligned = pointers + (["depth", "hidden_stride", "weight_stride"] if even else [])
    options = {"num_warps": config.num_warps, "num_stages": config.num_stages}
    return compiled(k2._tile_kernel, chip, types, constants, aligned, folder, **options)


def entry(chip: int) -> tuple[int, int]:
    return chip // 10, chip % 10


@pytest.mark.parametrize("full", [False, True], ids=["plain", "bias and soft-cap"])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("chip", CHIPS)
def test_k2_fits_the_chip(chip: int, dtype: str, full: bool, tmp_path: Path) -> None:
    for even in (True, False):
        for config in {linear_config(entry(chip), TYPES[dtype], rows, even) for rows in (1, 64, 65, 4096)}:
            code = linear(config, chip, dtype, even, tmp_path, bias=full, softcap=full)
            fits(code, chip)
            assert ("async_tma_copy" in code.ir) == (config.tma and even)


@pytest.mark.parametrize("chip", [90])
def test_k2_fits_the_chip_where_descriptors_cannot_be_had(chip: int, tmp_path: Path) -> None:
    for rows in (1, 4096):
        config = dataclasses.replace(linear_config(entry(chip), torch.bfloat16, rows, True), tma=False)
        fits(linear(config, chip, "bf16", True, tmp_path), chip)


@pytest.mark.parametrize("chip", [80, 90])
def test_k2_sums_a_row_in_the_same_order_whatever_the_number_of_rows(chip: int, tmp_path: Path) -> None:
    """Same instruction, same tile of the vocabulary, and the same warps along it: only those along rows may differ."""
    seen = set()
    for config in {linear_config(entry(chip), torch.bfloat16, rows, True) for rows in (1, 64, 65, 4096)}:
        ir = linear(config, chip, "bf16", True, tmp_path).ir
        layout = re.search(r"#mma = #ttg\.nvidia_mma<\{(.*?)warpsPerCTA = \[\d+, (\d+)\](.*?)\}>", ir)
        assert layout is not None
        seen.add((config.tile, config.block_columns, *layout.groups()))
    assert len(seen) == 1


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("rank", [False, True], ids=["plain", "rank"])
def test_k1_fits_the_chip_and_loads_16_bytes_at_a_time(rank: bool, dtype: str, chip: int, tmp_path: Path) -> None:
    config = generation(entry(chip)).gather
    types = dict.fromkeys(("tops", "totals", "logit"), "*fp32") | {"logits": f"*{dtype}", "targets": "*i64"}
    types |= {"best": "*i32", "above": "*i32"}
    pointers = list(types)
    types |= dict.fromkeys(("count", "columns", "per_row", "row_stride", "tiles", "share"), "i32")
    constants = {"column_stride": 1, "RANK": rank, "BLOCK": config.block_columns}
    aligned = [*pointers, "row_stride", "columns"]
    code = compiled(k1._tile_kernel, chip, types, constants, aligned, tmp_path, num_warps=config.num_warps)
    fits(code, chip)
    widths = [int(width) for width in re.findall(r"sizePerThread = \[(\d+)\]", code.ir)]
    assert max(widths) * TYPES[dtype].itemsize >= 16


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("whole", [False, True], ids=["shard", "whole"])
def test_the_merge_fits_the_chip(whole: bool, chip: int, tmp_path: Path) -> None:
    types = dict.fromkeys(("tops", "totals", "top_out", "total_out", "logit", "logprob"), "*fp32")
    types["targets"] = "*i64"
    pointers = list(types)
    types |= dict.fromkeys(("count", "tiles", "per_row", "start", "size"), "i32")
    constants = {
        "WHOLE": whole,
        "IGNORED": IGNORED,
        "BLOCK_ROWS": merge.BLOCK_ROWS,
        "BLOCK_TILES": merge.BLOCK_TILES,
    }
    fits(compiled(merge._merge_kernel, chip, types, constants, pointers, tmp_path, num_warps=4), chip)
