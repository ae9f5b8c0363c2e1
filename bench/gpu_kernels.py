"""The kernels on this GPU against fp64: python bench/gpu_kernels.py [--quick]

Every launch of the table on a few shapes, dtypes and options, among them one row, rows off their alignment, shards and
padding; twice, to see that the bits repeat; and with each way of launching that is behind a switch. What fails is a
line with its reason, and the next goes on. Prints a table, then one JSON line. Exit status 1: something failed.
tests/unit/test_kernels_matrix.py has the whole matrix, for where there is pytest.
"""

import argparse
import dataclasses
import itertools
import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from stopwatch import reason_of

from radar_fast.kernels import linear_log_softmax_gather, log_softmax_gather
from radar_fast.kernels.configs import GENERATIONS, generation
from radar_fast.kernels.reference import merge_shards
from radar_fast.kernels.runtime import capability

k1: Any = log_softmax_gather
k2: Any = linear_log_softmax_gather

Scores = tuple[torch.Tensor, torch.Tensor]
BOUNDS = {torch.float32: 2e-4, torch.bfloat16: 2e-4, torch.float16: 2e-4}
"""On a log-probability, of products that are exact in fp32 and logits of size 3."""
SHAPES = ((1, 507, 64), (3, 1000, 123), (16, 4099, 896), (100, 32000, 128))
DTYPES = (torch.bfloat16, torch.float16, torch.float32)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small shapes, for an interpreted GPU")
    quick = parser.parse_args().quick
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    impl = "triton" if device.type == "cuda" else "torch"
    rows: list[dict[str, Any]] = []
    with torch.inference_mode():
        for name, call in checks(device, impl, quick=quick):
            row: dict[str, Any] = {"name": name}
            try:
                row["error"] = call()
            except Exception as error:  # the next may fare better
                row["failed"] = reason_of(error)
            rows.append(row)
            print(f"{name:<60}{row['failed'] if 'failed' in row else format(row['error'], '.1e')}", flush=True)
    failed = [row for row in rows if "failed" in row]
    print(f"{len(rows)} checks, {len(failed)} failed")
    print(json.dumps({"bench": "gpu_kernels", "device": str(device), "impl": impl, "rows": rows}))
    return int(bool(failed))


def checks(device: torch.device, impl: str, *, quick: bool) -> Iterator[tuple[str, Callable[[], float]]]:
    """What is checked, and a call that gives the largest error or raises."""
    many, wide, deep = (70, 700, 64) if quick else (700, 32000, 896)
    for dtype, (n, v, d) in itertools.product(DTYPES, SHAPES[:2] if quick else SHAPES):
        said = f"[{n}, {v}, {d}] {str(dtype).removeprefix('torch.')}"
        yield f"K1 {said}", partial(check_k1, n, v, dtype, device, impl, 0)
        yield f"K2 {said}", partial(check_k2, n, v, d, dtype, device, impl)
    yield "K1 rows off their alignment", partial(check_k1, 5, 4001, torch.bfloat16, device, impl, 1)
    for options in ({"bias": True}, {"softcap": 20.0}, {"scale": 0.25, "bias": True}, {"padded": 7}):
        said = ", ".join(f"{name} {value}" for name, value in options.items())
        yield f"K2 {said}", partial(check_k2, 70, wide, 128, torch.bfloat16, device, impl, **options)
    yield "K2 in four shards", partial(check_shards, device, impl)
    if impl == "triton":
        for persistent in (1, 2):
            yield (
                f"K2 persistent, {persistent} a processor",
                partial(switched, device, many, wide, deep, persistent=persistent),
            )
        yield "K2 by the product and K1", partial(few_rows, device, wide, deep)


def operands(n: int, v: int, d: int, dtype: torch.dtype, device: torch.device) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(n + v + d)
    hidden = torch.randn(n, d, device=device).to(dtype)
    weight = (3 * torch.randn(v, d, device=device) / d**0.5).to(dtype)
    targets = torch.randint(0, v, (n, 3), device=device)
    targets[0, 0], targets[-1, 1] = v - 1, -100
    return hidden, weight, targets


def check_k1(n: int, v: int, dtype: torch.dtype, device: torch.device, impl: str, offset: int) -> float:
    torch.manual_seed(n + v)
    logits = (3 * torch.randn(n, v + offset, device=device)).to(dtype)[:, offset:]
    targets = torch.randint(0, v, (n, 3), device=device)
    call = partial(k1.log_softmax_gather, logits, targets, impl=impl)
    return compared(call, logits.double(), targets, BOUNDS[dtype])


def check_k2(
    n: int,
    v: int,
    d: int,
    dtype: torch.dtype,
    device: torch.device,
    impl: str,
    *,
    bias: bool = False,
    scale: float = 1.0,
    softcap: float | None = None,
    padded: int = 0,
) -> float:
    hidden, weight, targets = operands(n, v, d, dtype, device)
    added = torch.randn(v, device=device).to(dtype) if bias else None
    z = hidden.double() @ weight.double().t()
    z = (z + (0.0 if added is None else added.double())) * scale
    z = z if softcap is None else softcap * torch.tanh(z / softcap)
    if padded:
        weight = torch.cat([weight, torch.full((padded, d), float("nan"), device=device, dtype=dtype)])
        added = None if added is None else torch.cat([added, added[:padded]])
    call = partial(
        k2.linear_log_softmax_gather,
        *(hidden, weight, targets),
        bias=added,
        scale=scale,
        softcap=softcap,
        vocab_size=v,
        impl=impl,
    )
    return compared(call, z, targets, BOUNDS[dtype])


def check_shards(device: torch.device, impl: str) -> float:
    hidden, weight, targets = operands(9, 400, 128, torch.bfloat16, device)
    targets = targets.clamp_min(0)

    def call() -> Scores:
        shards = [
            k2.linear_log_softmax_partials(hidden, part, targets, vocab_start=100 * number, impl=impl)
            for number, part in enumerate(torch.split(weight, 100))
        ]
        return merge_shards(shards, targets)

    return compared(call, hidden.double() @ weight.double().t(), targets, 2e-4)


def switched(device: torch.device, many: int, wide: int, deep: int, *, persistent: int) -> float:
    real = k2.linear_config
    try:
        k2.linear_config = lambda *asked: dataclasses.replace(real(*asked), persistent=persistent)
        return max(check_k2(n, wide, deep, torch.bfloat16, device, "triton") for n in (3, many))
    finally:
        k2.linear_config = real


def few_rows(device: torch.device, wide: int, deep: int) -> float:
    real = k2.generation
    try:
        entry = generation(capability(device) or min(GENERATIONS))
        k2.generation = lambda *_: dataclasses.replace(entry, fused_from=64)
        return check_k2(16, wide, deep, torch.bfloat16, device, "triton", bias=True, softcap=20.0)
    finally:
        k2.generation = real


def compared(call: Callable[[], Scores], logits: torch.Tensor, targets: torch.Tensor, bound: float) -> float:
    """The largest error, of two calls that must give the same bits.

    Raises:
        ValueError: they do not, or it is above the bound.
    """
    ours, again = call(), call()
    if not all(torch.equal(one, other) for one, other in zip(ours, again, strict=True)):
        raise ValueError("two calls give other bits")
    ignored = targets < 0
    own = logits.gather(1, targets.clamp_min(0))
    wanted = (own - logits.logsumexp(1, keepdim=True)).masked_fill(ignored, 0.0)
    worst = max(float((ours[0] - own.masked_fill(ignored, 0.0)).abs().max()), float((ours[1] - wanted).abs().max()))
    if not worst <= bound:
        raise ValueError(f"off by {worst:.3g}")
    return worst


if __name__ == "__main__":
    sys.exit(main())
