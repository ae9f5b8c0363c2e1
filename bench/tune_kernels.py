"""Sweep K1's and K2's launches on this GPU and print rows for kernels/configs.py: python bench/tune_kernels.py

    python bench/tune_kernels.py [--vocabulary 151936] [--depths 896,3584] [--seconds 540] [--out DIR]

For every number of rows, candidates are timed in turn from a cold L2 and the fastest is printed. One that the chip
refuses, or whose numbers are not those of the torch twin, is printed with the reason. A launch enters the table by
hand, because it must keep two promises that no timing shows (tests/unit/test_kernels_compiled.py has them): all
launches of a generation share the tile of the vocabulary and the warps along it, and none spills registers.
Prints a table, then one JSON line; with --out that line lies in a file too, written anew after every number of rows.
"""

import argparse
import dataclasses
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from results_file import keep
from stopwatch import Stopwatch, reason_of

from radar_fast.kernels import linear_log_softmax_gather, log_softmax_gather
from radar_fast.kernels.configs import GatherConfig, LinearConfig, generation
from radar_fast.kernels.runtime import capability

k1: Any = log_softmax_gather  # the modules: each is told here which launch to make
k2: Any = linear_log_softmax_gather

LINEAR = [
    LinearConfig(rows, columns, 64, num_warps=warps, num_stages=stages, tma=tma, persistent=persistent)
    for rows, columns, warps, stages, tma, persistent in itertools.product(
        (64, 128), (128, 256), (4, 8), (3, 4, 5), (False, True), (0, 1)
    )
    if rows * columns // (32 * warps) <= 128  # more sums a thread than that spill
]
GATHER = [
    GatherConfig(columns, warps, programs)
    for columns, warps, programs in itertools.product((2048, 4096, 8192), (4, 8), (2048, 4096, 16384))
]
CLOSE = 1e-2
"""How far a log-probability may be from the twin's: far above rounding, far below a wrong tile."""


def main() -> int:
    args = arguments()
    if not torch.cuda.is_available():
        print("torch sees no GPU: there is nothing to tune", file=sys.stderr)
        return 2
    device = torch.device("cuda")
    watch = Stopwatch(device)
    stop = time.monotonic() + args.seconds
    hopper = torch.cuda.get_device_capability() >= (9, 0)
    gathers, linears = GATHER[: args.most], [one for one in LINEAR if hopper or not one.tma][: args.most]
    report: dict[str, Any] = {
        "bench": "tune_kernels",
        "command": " ".join(["python", *sys.argv]),
        "machine": torch.cuda.get_device_name(),
        "dtype": args.dtype,
        "vocabulary": args.vocabulary,
        "rows": [],
    }
    file = args.out and args.out / f"tune-kernels-{report['machine'].replace(' ', '-').lower()}.json"
    print(f"{'':<3}{'N':>6}{'D':>6}{'ms':>10}  launch")
    with torch.inference_mode():
        for n, d in itertools.product(args.rows, (0, *args.depths)):
            if time.monotonic() > stop:
                print(f"out of time before N {n}, D {d or '-'}")
                break
            row = tuned(n, d, linears if d else gathers, args, watch, stop)
            show(row)
            report["rows"].append(row)
            watch.forget()
            if file:
                keep(file, json.dumps(report) + "\n")
    print(json.dumps(report))
    return 0


def arguments() -> argparse.Namespace:
    def numbers(text: str) -> tuple[int, ...]:
        return tuple(map(int, text.split(",")))

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabulary", type=int, default=151936)
    parser.add_argument("--depths", type=numbers, default=(896, 3584))
    parser.add_argument("--rows", type=numbers, default=(16, 1024, 64, 256, 1, 8192), help="what matters most first")
    parser.add_argument("--dtype", choices=("bfloat16", "float16"), default="bfloat16")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=540, help="no new candidate after these")
    parser.add_argument("--most", type=int, help="only so many candidates of each kernel")
    parser.add_argument("--out", type=Path, help="a folder: the JSON goes there too, named by GPU")
    return parser.parse_args()


def tuned(
    n: int, d: int, configs: Sequence[Any], args: argparse.Namespace, watch: Stopwatch, stop: float
) -> dict[str, Any]:
    """One number of rows, of K1 (D is 0) or K2: every candidate's time or what was wrong with it."""
    row: dict[str, Any] = {"kernel": "K2" if d else "K1", "n": n, "d": d, "tried": [], "failed": [], "left_out": 0}
    try:
        launches = linear_launches if d else gather_launches
        wanted, calls = launches(n, d, configs, args.vocabulary, getattr(torch, args.dtype), watch.device)
    except Exception as error:  # no memory for the operands
        row["failed"].append({"reason": reason_of(error)})
        return row
    for config, call in calls:
        if time.monotonic() > stop:
            row["left_out"] += 1
            continue
        said = dataclasses.asdict(config)
        try:
            row["tried"].append({"ms": 1e3 * timed(call, wanted, watch, args.rounds), **said})
        except Exception as error:  # too much shared memory, an operator that the chip lacks, wrong numbers
            row["failed"].append({"reason": reason_of(error), **said})
    row["tried"].sort(key=lambda tried: tried["ms"])
    return row


Launches = tuple[torch.Tensor, Iterator[tuple[Any, Callable[[], torch.Tensor]]]]
"""The twin's log-probabilities, and each candidate with a call that gives its."""


def gather_launches(
    n: int, _: int, configs: Sequence[GatherConfig], vocabulary: int, dtype: torch.dtype, device: torch.device
) -> Launches:
    targets = torch.randint(0, vocabulary, (n, 1), device=device)
    logits = torch.randn(n, vocabulary, device=device).to(dtype)
    entry = generation(capability(device))

    def launch(config: GatherConfig) -> torch.Tensor:
        k1.generation = partial(always, dataclasses.replace(entry, gather=config))
        found: torch.Tensor = k1._launch(logits, targets, with_rank=False)[1]
        return found

    wanted = k1.log_softmax_gather(logits, targets, impl="torch")[1]
    return wanted, ((config, partial(launch, config)) for config in configs)


def linear_launches(
    n: int, d: int, configs: Sequence[LinearConfig], vocabulary: int, dtype: torch.dtype, device: torch.device
) -> Launches:
    targets = torch.randint(0, vocabulary, (n, 1), device=device)
    hidden = torch.randn(n, d, device=device).to(dtype)
    weight = (3 * torch.randn(vocabulary, d, device=device) / d**0.5).to(dtype)

    def launch(config: LinearConfig) -> torch.Tensor:
        k2.linear_config = partial(always, config)
        found: torch.Tensor = k2._launch(hidden, weight, targets, None, 1.0, None, 0, vocabulary, whole=True)[3]
        return found

    wanted = k2.linear_log_softmax_gather(hidden, weight, targets, impl="torch")[1]
    return wanted, ((config, partial(launch, config)) for config in configs)


def always(value: Any, *_: object) -> Any:
    """What a module asks for, whatever it asks about."""
    return value


def timed(call: Callable[[], torch.Tensor], wanted: torch.Tensor, watch: Stopwatch, rounds: int) -> float:
    """Median seconds.

    Raises:
        Exception: what the launch raises; ValueError where its numbers are wrong.
    """
    worst = float((call() - wanted).abs().max())
    if not worst <= CLOSE:
        raise ValueError(f"log-probabilities are off by {worst:.3g}")
    prepared = watch.prepare(call)
    watch.seconds(prepared)
    return statistics.median(watch.seconds(prepared) for _ in range(rounds))


def show(row: dict[str, Any]) -> None:
    """The three fastest, and every reason with how many it stopped."""
    start = f"{row['kernel']:<3}{row['n']:>6}{row['d'] or '':>6}"
    for tried in row["tried"][:3]:
        launch = ", ".join(f"{name} {value}" for name, value in tried.items() if name != "ms")
        print(f"{start}{tried['ms']:>10.4f}  {launch}", flush=True)
    reasons = [failed["reason"] for failed in row["failed"]]
    for reason in dict.fromkeys(reasons):
        print(f"{start}    failed  {reasons.count(reason)} launches: {reason}", flush=True)
    if row["left_out"]:
        print(f"{start}    out of time: {row['left_out']} launches left out", flush=True)


if __name__ == "__main__":
    sys.exit(main())
