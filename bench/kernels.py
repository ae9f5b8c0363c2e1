"""The kernels against every peer that is installed, interleaved in one run: python bench/kernels.py [--quick]

    python bench/kernels.py [--quick] [--dtype bfloat16] [--seconds 540] [--out bench/results]

On a GPU. Each shape: all peers in turn, round after round, the L2 flushed before each call, random data, times by
events on the device; medians, and the distance between the quartiles. Memory is the peak above the inputs.

Beside every time stands its share of what the chip gives in the same run: for K1 of a kernel that only reads the same
logits, for K2 of the bare product by cuBLAS (N > 64) or of reading the weight (N <= 64). 100% is the floor.
Stops opening new shapes after --seconds and says which it left out. Prints a table, then one JSON line.

Without a GPU the twins run over a few small shapes, so that the script itself can be tried anywhere.
"""

import argparse
import dataclasses
import importlib
import importlib.metadata
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from radar_fast.kernels import log_softmax_gather as k1_module
from radar_fast.kernels.configs import generation
from radar_fast.kernels.linear_log_softmax_gather import linear_log_softmax_gather
from radar_fast.kernels.log_softmax_gather import log_softmax_gather
from radar_fast.kernels.runtime import capability, jit

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = tl = None

Call = Callable[[], Any]

ROWS = (1, 16, 64, 256, 1024, 8192)
VOCABULARIES = (32000, 151936, 262144)
DEPTHS = (896, 1536, 3584)
FEW = 64
"""Up to so many rows K2 is bound by reading the weight."""

READ_BLOCK = 8192


@jit
def _read_kernel(x: "tl.tensor", out: "tl.tensor", size: "tl.tensor", BLOCK: "tl.constexpr") -> None:  # noqa: N803
    """Reads BLOCK values, writes one: the bandwidth that reading can have."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + tl.program_id(0), tl.max(tl.load(x + at, mask=at < size, other=0.0).to(tl.float32), 0))


def reader(x: torch.Tensor) -> Call:
    """A call that reads ``x`` once."""
    if not x.is_cuda:
        return lambda: x.amax()
    flat = x.view(-1)
    programs = triton.cdiv(flat.numel(), READ_BLOCK)
    out = torch.empty(programs, device=x.device)
    return lambda: _read_kernel[(programs,)](flat, out, flat.numel(), BLOCK=READ_BLOCK, num_warps=8)


# Peers: (name, how to make the call); whatever cannot be made is named in the report ---------------------------------


def torch_k1(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return logits.log_softmax(-1, dtype=torch.float32).gather(1, targets[:, None])


def logsumexp_k1(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return logits.gather(1, targets[:, None])[:, 0].float() - logits.float().logsumexp(-1)


def without_split(logits: torch.Tensor, targets: torch.Tensor) -> Any:
    """Our kernel as most are written: a program a row."""
    kept = k1_module.MAX_PROGRAMS_Y
    k1_module.MAX_PROGRAMS_Y = 1
    try:
        return log_softmax_gather(logits, targets, impl="triton")
    finally:
        k1_module.MAX_PROGRAMS_Y = kept


def k1_peers(logits: torch.Tensor, targets: torch.Tensor, quick: bool) -> Iterator[tuple[str, Callable[[], Call]]]:
    def imported(module: str, name: str) -> Any:
        return getattr(importlib.import_module(module), name)

    def vllm() -> Call:
        function = imported("vllm.v1.worker.gpu.sample.logprob", "compute_token_logprobs")
        return lambda: function(logits, targets[:, None])

    def quack() -> Call:
        function = imported("quack.cross_entropy", "cross_entropy_fwd")
        return lambda: function(logits, targets)

    def trl() -> Call:
        function = imported("trl.trainer.utils", "selective_log_softmax")
        return lambda: function(logits, targets)

    def liger() -> Call:
        function = imported("liger_kernel.transformers.functional", "liger_cross_entropy")
        # It writes gradients over its input when that needs them; ours needs none.
        return lambda: function(logits, targets, reduction="none")

    def compiled() -> Call:
        function = torch.compile(logsumexp_k1)
        return lambda: function(logits, targets)

    yield "ours", lambda: lambda: log_softmax_gather(logits, targets)
    if logits.is_cuda:
        yield "ours, no split", lambda: lambda: without_split(logits, targets)
    yield "torch log_softmax", lambda: lambda: torch_k1(logits, targets)
    yield "torch logsumexp", lambda: lambda: logsumexp_k1(logits, targets)
    yield "torch cross_entropy", lambda: lambda: functional.cross_entropy(logits, targets, reduction="none")
    if not quick:
        yield "torch.compile", compiled
    if logits.is_cuda:
        yield from (("vLLM", vllm), ("quack", quack), ("TRL", trl), ("Liger", liger))


def k2_peers(
    hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, quick: bool
) -> Iterator[tuple[str, Callable[[], Call]]]:
    def cce() -> Call:
        function = importlib.import_module("cut_cross_entropy").linear_cross_entropy
        return lambda: function(hidden, weight, targets, reduction="none")

    def liger() -> Call:
        function = importlib.import_module("liger_kernel.transformers.functional").liger_fused_linear_cross_entropy
        return lambda: function(hidden, weight, targets, reduction="none")

    def native() -> Call:
        function = functional.linear_cross_entropy  # since torch 2.13
        return lambda: function(hidden, weight, targets, reduction="none")

    def compiled() -> Call:
        function = torch.compile(lambda h, w, t: logsumexp_k1(h @ w.t(), t))
        return lambda: function(hidden, weight, targets)

    yield "ours", lambda: lambda: linear_log_softmax_gather(hidden, weight, targets)
    yield "product + K1", lambda: lambda: log_softmax_gather(hidden @ weight.t(), targets)
    yield "product + log_softmax", lambda: lambda: torch_k1(hidden @ weight.t(), targets)
    yield "torch linear_ce", native
    if not quick:
        yield "torch.compile", compiled
    if hidden.is_cuda:
        yield from (("CCE", cce), ("Liger", liger))


# Measuring -----------------------------------------------------------------------------------------------------------


class Stopwatch:
    """Times calls on one device from a cold L2."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        # Several times the largest L2 (50 MiB on Hopper, 126 MB on Blackwell).
        self._flush = torch.empty(512 * 2**20 if device.type == "cuda" else 0, dtype=torch.uint8, device=device)

    def seconds(self, call: Call) -> float:
        if self.device.type != "cuda":
            started = time.perf_counter()
            call()
            return time.perf_counter() - started
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call] # torch's
        self._flush.zero_()
        start.record()
        call()
        stop.record()
        stop.synchronize()
        return start.elapsed_time(stop) / 1e3

    def memory(self, call: Call) -> int | None:
        """Peak bytes above what was there before."""
        if self.device.type != "cuda":
            return None
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before


def compare(
    peers: Iterator[tuple[str, Callable[[], Call]]], floor: Call, watch: Stopwatch, rounds: int, missing: dict[str, str]
) -> list[dict[str, Any]]:
    """All that can be called, in turn, ``rounds`` times."""
    calls: dict[str, Call] = {"floor": floor}
    for name, make in peers:
        if name in missing:
            continue
        try:
            call = make()
            call()  # compiles, and shows what cannot run at all
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            continue
        except Exception as error:  # a peer may fail in any way; it is named with its reason
            if name == "ours":
                raise
            missing[name] = f"{type(error).__name__}: {str(error).splitlines()[0][:90] if str(error) else ''}"
            continue
        calls[name] = call
    for call in calls.values():
        for _ in range(2):
            watch.seconds(call)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(watch.seconds(call))
    bottom = statistics.median(times["floor"])
    rows = []
    for name, taken in times.items():
        low, middle, high = statistics.quantiles(taken, n=4)
        share = bottom / middle
        row = {"name": name, "ms": 1e3 * middle, "spread_ms": 1e3 * (high - low), "share": share}
        rows.append({**row, "peak_bytes": watch.memory(calls[name])})
    return rows


def check(ours: tuple[torch.Tensor, torch.Tensor], logits: torch.Tensor, targets: torch.Tensor, bound: float) -> None:
    """Ours against fp64, on a few rows: a wrong kernel has no time."""
    few = slice(0, 4)
    full = logits[few].double()
    wanted = full.log_softmax(-1).gather(1, targets[few, None])[:, 0]
    worst = float((ours[1][few] - wanted).abs().max())
    assert worst <= bound, f"log-probabilities are off by {worst}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer shapes, peers and rounds: under five minutes")
    parser.add_argument(
        "--dtype", choices=("bfloat16", "float16", "float32"), help="default: bfloat16; float32 without a GPU"
    )
    parser.add_argument("--rounds", type=int, help="default: 20, or 10 with --quick")
    parser.add_argument("--seconds", type=float, help="no new shape after these; default: 540, or 270 with --quick")
    parser.add_argument("--out", type=Path, help="a folder: the JSON goes there too, named by GPU")
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = getattr(torch, args.dtype or ("bfloat16" if device.type == "cuda" else "float32"))
    rounds = args.rounds or (10 if args.quick else 20)
    stop = time.monotonic() + (args.seconds or (270 if args.quick else 540))
    shapes = list(all_shapes(args.quick, device))
    watch = Stopwatch(device)
    rows: list[dict[str, Any]] = []
    left_out: list[tuple[str, int, int, int]] = []
    missing: dict[str, str] = {}
    print(f"{'':<3}{'N':>6}{'V':>8}{'D':>6}  {'name':<22}{'ms':>10}{'± ms':>8}{'share':>7}{'MiB':>9}")
    with torch.inference_mode():
        for kernel, n, v, d in shapes:
            if time.monotonic() > stop:
                left_out.append((kernel, n, v, d))
                continue
            for row in measure(kernel, n, v, d, dtype, watch, rounds, args.quick, missing):
                rows.append(row)
                memory = "" if row["peak_bytes"] is None else f"{row['peak_bytes'] / 2**20:.1f}"
                print(
                    f"{kernel:<3}{n:>6}{v:>8}{d or '':>6}  {row['name']:<22}{row['ms']:>10.4f}{row['spread_ms']:>8.4f}"
                    f"{row['share']:>7.0%}{memory:>9}",
                    flush=True,
                )
    for name, reason in missing.items():
        print(f"not compared: {name} ({reason})")
    if left_out:
        print(f"out of time: {len(left_out)} shapes left out, from {left_out[0]}")
    report: dict[str, Any] = {
        "bench": "kernels",
        "command": " ".join(["python", *sys.argv]),
        "machine": torch.cuda.get_device_name() if device.type == "cuda" else f"cpu ({platform.machine()})",
        "versions": versions(),
        "dtype": str(dtype).removeprefix("torch."),
        "rounds": rounds,
        "config": dataclasses.asdict(generation(capability(device))),
        "missing": missing,
        "left_out": left_out,
        "rows": rows,
    }
    line = json.dumps(report)
    print(line)
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / f"kernels-{report['machine'].replace(' ', '-').lower()}.json").write_text(line + "\n")


def all_shapes(quick: bool, device: torch.device) -> Iterator[tuple[str, int, int, int]]:
    """(kernel, N, V, D), what matters most first; K1 has no D, here 0."""
    if device.type != "cuda":
        yield from (("K1", n, v, 0) for v in (32000,) for n in (1, 16))
        yield from (("K2", n, 32000, 896) for n in (1, 16))
        return
    vocabularies = (151936,) if quick else (151936, 32000, 262144)
    depths = (896, 3584) if quick else (3584, 896, 1536)
    yield from (("K1", n, v, 0) for v in vocabularies for n in ROWS)
    yield from (("K2", n, v, d) for v in vocabularies for d in depths for n in ROWS)


def measure(
    kernel: str,
    n: int,
    v: int,
    d: int,
    dtype: torch.dtype,
    watch: Stopwatch,
    rounds: int,
    quick: bool,
    missing: dict[str, str],
) -> list[dict[str, Any]]:
    """One shape."""
    generator = torch.Generator(watch.device).manual_seed(n * 7 + v + d)
    targets = torch.randint(0, v, (n,), device=watch.device, generator=generator)
    if kernel == "K1":
        logits = torch.empty(n, v, device=watch.device, dtype=dtype).normal_(0, 3, generator=generator)
        check(log_softmax_gather(logits, targets), logits, targets, 1e-4)
        found = compare(k1_peers(logits, targets, quick), reader(logits), watch, rounds, missing)
        floor = {"bytes": n * v * dtype.itemsize, "operations": 0}
    else:
        hidden = torch.empty(n, d, device=watch.device, dtype=dtype).normal_(generator=generator)
        weight = torch.empty(v, d, device=watch.device, dtype=dtype).normal_(0, 3 / d**0.5, generator=generator)
        few = hidden[:4].float() @ weight.float().t()
        check(linear_log_softmax_gather(hidden, weight, targets), few, targets, 1e-3)
        del few
        bare = reader(weight) if n <= FEW else lambda: hidden @ weight.t()
        found = compare(k2_peers(hidden, weight, targets, quick), bare, watch, rounds, missing)
        floor = {"bytes": v * d * dtype.itemsize, "operations": 2 * n * v * d}
    return [{"kernel": kernel, "n": n, "v": v, "d": d, **floor, **row} for row in found]


def versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "torch": torch.__version__, "cuda": torch.version.cuda or "none"}
    for name in ("triton", "vllm", "quack-kernels", "trl", "liger-kernel", "cut-cross-entropy"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    main()
