"""The kernels against every peer that is installed, interleaved in one run: python bench/kernels.py [--quick]

    python bench/kernels.py [--quick] [--dtype bfloat16] [--seconds 540] [--out bench/results]

On a GPU. Each shape: all peers in turn, round after round, each from a cold L2 and as a CUDA graph, random data, times
by events on the device; medians, and the distance between the quartiles. Memory is the peak above the inputs. What
fails is a row with its reason; what is not installed is named at the end.

Beside every time stands its share of what the chip gives in the same run: for K1 of a kernel that only reads the same
logits, for K2 of the bare product by cuBLAS (N > 64) or of reading the weight (N <= 64). 100% is the floor.
Stops opening new shapes after --seconds and says which it left out. Prints a table, then one JSON line; with --out that
line lies in a file too, written anew after every shape. Exit status 1: a kernel of ours failed.

Without a GPU the twins run over a few small shapes, so that the script itself can be tried anywhere.
"""

import argparse
import dataclasses
import importlib.metadata
import json
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from kernel_peers import OURS, Peers, k1_peers, k2_peers, product, reader
from results_file import keep
from stopwatch import Call, Prepared, Stopwatch, reason_of

from radar_fast.kernels.configs import generation
from radar_fast.kernels.linear_log_softmax_gather import linear_log_softmax_gather
from radar_fast.kernels.log_softmax_gather import log_softmax_gather
from radar_fast.kernels.runtime import capability

ROWS = (1, 16, 64, 256, 1024, 8192)
FEW = 64
"""Up to so many rows K2 is bound by reading the weight."""
FLOOR = "floor"
"""The name of the row that the others' shares are of."""


@dataclass(frozen=True)
class Shape:
    """One comparison."""

    kernel: str
    """K1 or K2."""
    n: int
    v: int
    d: int = 0
    """0 of K1, which has none."""


def main() -> int:
    args = arguments()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    on_gpu = device.type == "cuda"
    dtype = getattr(torch, args.dtype or ("bfloat16" if on_gpu else "float32"))
    rounds = args.rounds or (10 if args.quick else 20)
    stop = time.monotonic() + (args.seconds or (270 if args.quick else 540))
    shapes = args.shapes or list(all_shapes(args.quick, on_gpu))
    watch = Stopwatch(device)
    machine = torch.cuda.get_device_name() if on_gpu else f"cpu ({platform.machine()})"
    report: dict[str, Any] = {
        "bench": "kernels",
        "command": " ".join(["python", *sys.argv]),
        "machine": machine,
        "versions": versions(),
        "dtype": str(dtype).removeprefix("torch."),
        "rounds": rounds,
        "config": dataclasses.asdict(generation(capability(device))),
        "missing": {},
        "left_out": [dataclasses.astuple(shape) for shape in shapes],
        "rows": [],
    }
    file = args.out and args.out / f"kernels-{machine.replace(' ', '-').lower()}.json"
    print(f"{'':<3}{'N':>6}{'V':>8}{'D':>6}  {'name':<22}{'ms':>10}{'+-':>8}{'share':>7}{'MiB':>9}")
    with torch.inference_mode():
        for shape in shapes:
            if time.monotonic() > stop:
                break
            rows = measure(shape, dtype, watch, rounds, args.quick, report["missing"])
            for row in rows:
                print(line_of(row), flush=True)
            report["rows"] += rows
            report["left_out"].pop(0)
            if file:
                keep(file, json.dumps(report) + "\n")
    for name, reason in report["missing"].items():
        print(f"not compared: {name} ({reason})")
    if report["left_out"]:
        print(f"out of time: {len(report['left_out'])} shapes left out, from {report['left_out'][0]}")
    for said in crossovers(report["rows"]):
        print(said)
    print(json.dumps(report))
    return int(any(row["name"] == OURS and "failed" in row for row in report["rows"]))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer shapes, peers and rounds: under five minutes")
    parser.add_argument(
        "--dtype", choices=("bfloat16", "float16", "float32"), help="default: bfloat16; float32 without a GPU"
    )
    parser.add_argument("--rounds", type=int, help="default: 20, or 10 with --quick")
    parser.add_argument("--seconds", type=float, help="no new shape after these; default: 540, or 270 with --quick")
    parser.add_argument("--out", type=Path, help="a folder: the JSON goes there too, named by GPU")
    parser.add_argument(
        "--shape",
        dest="shapes",
        action="append",
        type=parse_shape,
        metavar="K1:N:V|K2:N:V:D",
        help="this shape instead of all; may be given several times",
    )
    return parser.parse_args()


def parse_shape(text: str) -> Shape:
    kernel, *sizes = text.split(":")
    if kernel not in ("K1", "K2") or len(sizes) != (2 if kernel == "K1" else 3):
        raise argparse.ArgumentTypeError(f"{text}: K1:N:V or K2:N:V:D is wanted")
    return Shape(kernel, *map(int, sizes))


def all_shapes(quick: bool, on_gpu: bool) -> Iterator[Shape]:
    """What matters most first."""
    if not on_gpu:
        yield from (Shape("K1", n, 32000) for n in (1, 16))
        yield from (Shape("K2", n, 32000, 896) for n in (1, 16))
        return
    vocabularies = (151936,) if quick else (151936, 32000, 262144)
    depths = (896, 3584) if quick else (3584, 896, 1536)
    yield from (Shape("K1", n, v) for v in vocabularies for n in ROWS)
    yield from (Shape("K2", n, v, d) for v in vocabularies for d in depths for n in ROWS)


def measure(
    shape: Shape, dtype: torch.dtype, watch: Stopwatch, rounds: int, quick: bool, missing: dict[str, str]
) -> list[dict[str, Any]]:
    """One shape: a row a contender. Peers that turn out not to be installed are added to ``missing``."""
    said = dataclasses.asdict(shape)
    try:
        floor, peers, least = operands(shape, dtype, watch, quick)
        found = compare(peers, floor, watch, rounds, missing)
    except Exception as error:  # no operands, or a device that has had enough: the next shape may fare better
        found, least = [{"name": OURS, "failed": reason_of(error)}], {}
    watch.forget()
    return [{**said, **least, **row} for row in found]


def operands(shape: Shape, dtype: torch.dtype, watch: Stopwatch, quick: bool) -> tuple[Call, Peers, dict[str, int]]:
    """The floor, the peers, and the floor's bytes and operations; ours is right, or this raises."""
    n, v, d = shape.n, shape.v, shape.d
    device, on_gpu = watch.device, watch.device.type == "cuda"
    torch.manual_seed(n * 7 + v + d)
    targets = torch.randint(0, v, (n,), device=device)
    if shape.kernel == "K1":
        logits = torch.empty(n, v, device=device, dtype=dtype).normal_(0, 3)
        check(log_softmax_gather(logits, targets), logits, targets, 1e-4)
        peers = k1_peers(logits, targets, quick=quick, on_gpu=on_gpu)
        return reader(logits, on_gpu=on_gpu), peers, {"bytes": n * v * dtype.itemsize, "operations": 0}
    hidden = torch.empty(n, d, device=device, dtype=dtype).normal_()
    weight = torch.empty(v, d, device=device, dtype=dtype).normal_(0, 3 / d**0.5)
    few = hidden[:4].float() @ weight.float().t()
    check(linear_log_softmax_gather(hidden, weight, targets), few, targets, 1e-3)
    floor = reader(weight, on_gpu=on_gpu) if n <= FEW else product(hidden, weight)
    peers = k2_peers(hidden, weight, targets, quick=quick, on_gpu=on_gpu)
    return floor, peers, {"bytes": v * d * dtype.itemsize, "operations": 2 * n * v * d}


def check(ours: tuple[torch.Tensor, torch.Tensor], logits: torch.Tensor, targets: torch.Tensor, bound: float) -> None:
    """Ours against fp64, on a few rows: a wrong kernel has no time."""
    few = slice(0, 4)
    full = logits[few].double()
    wanted = full.log_softmax(-1).gather(1, targets[few, None])[:, 0]
    worst = float((ours[1][few] - wanted).abs().max())
    if not worst <= bound:  # no number is not either
        raise ValueError(f"log-probabilities are off by {worst:.3g}")


def compare(peers: Peers, floor: Call, watch: Stopwatch, rounds: int, missing: dict[str, str]) -> list[dict[str, Any]]:
    """All that can be called, in turn, ``rounds`` times; then those that cannot, with the reason."""
    calls: dict[str, Prepared] = {FLOOR: watch.prepare(floor)}
    failed: dict[str, str] = {}
    for name, make in peers:
        if name in missing:
            continue
        try:
            calls[name] = watch.prepare(make())
        except ImportError as error:
            missing[name] = reason_of(error)
        except Exception as error:  # a peer may fail in any way
            failed[name] = reason_of(error)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(-2, rounds):  # two that do not count
        for name, call in calls.items():
            if name in failed:
                continue
            try:
                seconds = watch.seconds(call)
            except Exception as error:
                failed[name] = reason_of(error)
                continue
            if number >= 0:
                times[name].append(seconds)
    rows = [row_of(name, taken, times[FLOOR]) for name, taken in times.items() if name not in failed]
    for row in rows:
        call = calls[row["name"]]
        row["graph"], row["ungraphed"] = call.timed is not call.eager, call.ungraphed
        try:
            row["peak_bytes"] = watch.peak_bytes(call)
        except Exception as error:
            row["peak_bytes"], row["memory_failed"] = None, reason_of(error)
    return rows + [{"name": name, "failed": reason} for name, reason in failed.items()]


def row_of(name: str, taken: list[float], floor: list[float]) -> dict[str, Any]:
    low, middle, high = statistics.quantiles(taken, n=4) if len(taken) > 1 else taken * 3
    share = statistics.median(floor) / middle if floor and middle else None
    return {"name": name, "ms": 1e3 * middle, "spread_ms": 1e3 * (high - low), "share": share}


def line_of(row: dict[str, Any]) -> str:
    start = f"{row['kernel']:<3}{row['n']:>6}{row['v']:>8}{row['d'] or '':>6}  {row['name']:<22}"
    if "failed" in row:
        return f"{start}  failed: {row['failed']}"
    share = "-" if row["share"] is None else f"{row['share']:.0%}"
    memory = "" if row["peak_bytes"] is None else f"{row['peak_bytes'] / 2**20:.1f}"
    eager = f"  not a graph: {row['ungraphed']}" if row["ungraphed"] else ""
    return f"{start}{row['ms']:>10.4f}{row['spread_ms']:>8.4f}{share:>7}{memory:>9}{eager}"


def crossovers(rows: list[dict[str, Any]]) -> Iterator[str]:
    """For ``fused_from`` of kernels/configs.py: at how many rows the fused kernel is the slower of the two."""
    times: dict[tuple[int, int, int], dict[str, float]] = {}
    for row in rows:
        if row["kernel"] == "K2" and "ms" in row:
            times.setdefault((row["v"], row["d"], row["n"]), {})[row["name"]] = row["ms"]
    for (v, d, n), mine in times.items():
        if OURS in mine and "product + K1" in mine and mine[OURS] > mine["product + K1"]:
            both = f"{mine[OURS]:.4f} ms, product + K1 {mine['product + K1']:.4f}"
            yield f"the fused kernel is slower at N {n}, V {v}, D {d}: {both}"


def versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "torch": torch.__version__, "cuda": torch.version.cuda or "none"}
    for name in ("triton", "vllm", "quack-kernels", "trl", "liger-kernel", "cut-cross-entropy"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    sys.exit(main())
