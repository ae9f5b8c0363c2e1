"""Sweep K1's and K2's launches on this GPU and print rows for kernels/configs.py: python bench/tune_kernels.py

    python bench/tune_kernels.py [--vocabulary 151936] [--depths 896,3584] [--dtype bfloat16] [--seconds 540]

For every number of rows, candidates are timed in turn from a cold L2 and the fastest is printed. A launch enters the
table by hand, because it must keep two promises that no timing shows (tests/unit/test_kernels_compiled.py has them):
all launches of a generation share the tile of the vocabulary and the warps along it, and none spills registers.
Prints a table, then one JSON line.
"""

import argparse
import dataclasses
import itertools
import json
import statistics
import time
from functools import partial
from typing import Any

import torch

from kernels import Stopwatch  # type: ignore[attr-defined] # bench/kernels.py, beside this script
from radar_fast.kernels import linear_log_softmax_gather, log_softmax_gather
from radar_fast.kernels.configs import GatherConfig, LinearConfig, generation
from radar_fast.kernels.runtime import capability

k1: Any = log_softmax_gather  # the modules: each is told here which launch to make
k2: Any = linear_log_softmax_gather

LINEAR = [
    LinearConfig(rows, columns, 64, num_warps=warps, num_stages=stages, tma=tma, group=group)
    for rows, columns, warps, stages, tma, group in itertools.product(
        (64, 128), (128, 256), (4, 8), (3, 4, 5), (False, True), (8,)
    )
    if rows * columns // (32 * warps) <= 128  # more sums a thread than that spill
]
GATHER = [
    GatherConfig(columns, warps, programs)
    for columns, warps, programs in itertools.product((2048, 4096, 8192), (4, 8), (2048, 4096, 16384))
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabulary", type=int, default=151936)
    parser.add_argument("--depths", default="896,3584")
    parser.add_argument("--rows", default="1,16,64,256,1024,8192")
    parser.add_argument("--dtype", choices=("bfloat16", "float16"), default="bfloat16")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=540, help="no new candidate after these")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("torch sees no GPU: there is nothing to tune")
    device = torch.device("cuda")
    dtype = getattr(torch, args.dtype)
    watch = Stopwatch(device)
    stop = time.monotonic() + args.seconds
    hopper = torch.cuda.get_device_capability() >= (9, 0)
    rows: list[dict[str, Any]] = []
    print(f"{'':<3}{'N':>6}{'D':>6}{'ms':>10}  launch")
    with torch.inference_mode():
        for n in map(int, args.rows.split(",")):
            targets = torch.randint(0, args.vocabulary, (n, 1), device=device)
            logits = torch.randn(n, args.vocabulary, device=device).to(dtype)
            found: dict[Any, float] = {}
            for gather in GATHER:
                tried = generation_with(gather=gather)
                k1.generation = partial(always, tried)
                call = partial(k1._launch, logits, targets, with_rank=False)
                found[gather] = timed(call, watch, args.rounds, stop)
            rows.append(best("K1", n, 0, found))
            del logits, call
            for d in map(int, args.depths.split(",")):
                hidden = torch.randn(n, d, device=device).to(dtype)
                weight = torch.randn(args.vocabulary, d, device=device).to(dtype)
                found = {}
                for config in LINEAR:
                    if config.tma and not hopper:
                        continue
                    k2.linear_config = partial(always, config)
                    call = partial(k2._launch, hidden, weight, targets, None, 1.0, None, 0, len(weight), whole=True)
                    found[config] = timed(call, watch, args.rounds, stop)
                rows.append(best("K2", n, d, found))
    print(json.dumps({"bench": "tune_kernels", "machine": torch.cuda.get_device_name(), "rows": rows}))


def always(value: Any, *_: object) -> Any:
    """What a module asks for, whatever it asks about."""
    return value


def generation_with(**changes: Any) -> Any:
    return dataclasses.replace(generation(capability(torch.device("cuda"))), **changes)


def timed(call: Any, watch: Stopwatch, rounds: int, stop: float) -> float:
    """Median seconds; infinite of a launch that the chip refuses, or past the time."""
    if time.monotonic() > stop:
        return float("inf")
    try:
        call()
        torch.cuda.synchronize()
    except Exception:  # too much shared memory, an operator the chip lacks: no candidate
        return float("inf")
    watch.seconds(call)
    return statistics.median(watch.seconds(call) for _ in range(rounds))


def best(kernel: str, n: int, d: int, found: dict[Any, float]) -> dict[str, Any]:
    order = sorted(found, key=found.__getitem__)
    for config in order[:3]:
        print(f"{kernel:<3}{n:>6}{d or '':>6}{1e3 * found[config]:>10.4f}  {config}", flush=True)
    return {
        "kernel": kernel,
        "n": n,
        "d": d,
        "tried": [{"ms": 1e3 * found[c], **dataclasses.asdict(c)} for c in order if found[c] < float("inf")],
    }


if __name__ == "__main__":
    main()
