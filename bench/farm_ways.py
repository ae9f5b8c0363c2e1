"""The same benchmark scored in several ways: whether journals and summaries are the same, and how long each took.

    python bench/farm_ways.py FOLDER prepare [--samples-per-task 960] [--checkpoints 2]
    python bench/farm_ways.py FOLDER one shards farm-1 farm-2 [--engine vllm]
    python bench/farm_ways.py FOLDER compare [--within 2e-6]

FOLDER keeps everything, so that each way can be run by itself, when the machine is free. ``prepare`` makes mini-M3 (16
tasks) and writes the demo's last checkpoints. ``one``: ``radar-fast score``; ``shards``: four of it one after another,
each with a shard, then ``radar-fast merge``; ``farm-N``: ``radar-fast farm`` with N engines on a Ray cluster of its
own. Each command is timed from its start to its end; with ``--seconds`` it is ended after so long, and goes on when it
is given again, its times added up. ``compare`` takes the records by task and id, every field but ``seconds``, and the
numbers of the summary, against those of ``one``, and prints a table, then one JSON line.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

SHARDS = 4
TIMES = "seconds.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("what", nargs="+")
    parser.add_argument("--samples-per-task", type=int, default=960)
    parser.add_argument("--checkpoints", type=int, default=2)
    parser.add_argument("--engine", default="transformers")
    parser.add_argument("--engine-arg", action="append", default=[])
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--within", type=float, default=0.0)
    args = parser.parse_args()
    for what in args.what:
        if what == "prepare":
            prepare(args.folder, args.samples_per_task, args.checkpoints)
        elif what == "compare":
            print(json.dumps({"what": "ways", "cpus": len(os.sched_getaffinity(0)), **compare(args)}))
        else:
            run(args, what)


def prepare(folder: Path, samples_per_task: int, checkpoints: int) -> None:
    from radar_fast.demo import write_checkpoints, write_mini_m3

    write_mini_m3(folder / "mini-m3", samples_per_task=samples_per_task)
    for model in write_checkpoints(folder / "all")[-checkpoints:]:
        (folder / "models").mkdir(exist_ok=True)
        model.rename(folder / "models" / model.name)


def models(folder: Path) -> list[Path]:
    return sorted((folder / "models").iterdir())


def run(args: argparse.Namespace, way: str) -> None:
    """One way from its start to its end; what it took, added to what it took before it was ended."""
    from radar_fast.demo.show import PIXELS

    folder: Path = args.folder
    out = folder / f"{way}-{args.engine}"
    words = ["--engine", args.engine, "--data", str(folder / "mini-m3"), "--model", *map(str, models(folder))]
    words += ["--min-pixels", str(PIXELS), "--max-pixels", str(PIXELS), "--out", str(out)]
    if args.engine == "transformers":
        words += ["--device", "cpu"]
    for each in args.engine_arg:
        words += ["--engine-arg", each]
    if way == "one":
        commands = [["score", *words]]
    elif way == "shards":
        commands = [["score", *words, "--shard", f"{index}/{SHARDS}"] for index in range(SHARDS)]
        commands.append(["merge", str(out)])
    elif way.startswith("farm-"):
        placed = ["--address", "local", "--engines", way.removeprefix("farm-"), "--cpus-per-engine", "1"]
        commands = [["farm", *words, *placed]]
    else:
        raise SystemExit(f"{way}: is no way; see --help")
    file = folder / TIMES
    deadline = math.inf if args.seconds is None else time.monotonic() + args.seconds
    for number, command in enumerate(commands):
        times: dict[str, list[float]] = json.loads(file.read_text()) if file.exists() else {}
        name = f"{way} {args.engine} {number}"
        left = deadline - time.monotonic()
        if times.get(f"{name} done"):
            continue
        if left < 1:
            raise SystemExit(f"{name}: there is more to do; give the command again")
        started = time.perf_counter()
        ended = False
        try:
            subprocess.run(
                [sys.executable, "-m", "radar_fast", *command],
                check=True,
                stdout=subprocess.DEVNULL,
                timeout=None if args.seconds is None else left,
            )
            ended = True
        except subprocess.TimeoutExpired:
            pass
        finally:
            times.setdefault(name, []).append(round(time.perf_counter() - started, 2))
            if ended:
                times[f"{name} done"] = [1.0]
            file.write_text(json.dumps(times, indent=1))
        print(f"{name}: {times[name]} s{'' if ended else ', not done'}", flush=True)


def compare(args: argparse.Namespace) -> dict[str, Any]:
    folder: Path = args.folder
    times: dict[str, list[float]] = json.loads((folder / TIMES).read_text())
    seconds: dict[str, float] = {}
    parts: dict[str, list[float]] = {}
    for name, passed in times.items():
        way, engine, last = name.split(" ", 2)
        if engine == args.engine and not last.endswith("done"):
            seconds[way] = round(seconds.get(way, 0.0) + sum(passed), 1)
            parts.setdefault(way, []).append(sum(passed))
    alone = folder / f"one-{args.engine}"
    same: dict[str, bool] = {}
    furthest: dict[str, float] = {}
    samples = 0
    for way in seconds:
        out = folder / f"{way}-{args.engine}"
        apart = [difference(said(out / model.name), said(alone / model.name)) for model in models(folder)]
        furthest[way], same[way] = max(apart), max(apart) <= args.within
        samples = sum(1 for _ in journal(out / models(folder)[0].name))
    print(f"{len(models(folder))} checkpoints, {samples} samples each, {args.engine}")
    print(f"{'':10} seconds  furthest apart")
    for way, total in seconds.items():
        print(f"{way:10} {total:7.1f}  {furthest[way]:.3g}{'' if same[way] else '  TOO FAR'}")
    result = {"engine": args.engine, "samples": samples, "checkpoints": len(models(folder)), "seconds": seconds}
    return {**result, "commands": parts, "furthest": furthest, "within": args.within, "same": same}


def journal(out: Path) -> Iterator[dict[str, Any]]:
    with (out / "samples.jsonl").open() as file:
        yield from map(json.loads, file)


def said(out: Path) -> tuple[Any, Any]:
    """Records by task and id, but for times, and the numbers of the summary."""
    by_id: dict[tuple[str, str], Any] = {}
    for record in journal(out):
        if (key := (record["task"], record["id"])) in by_id:
            raise SystemExit(f"{out}: {key} is there twice")
        by_id[key] = {**record, "seconds": 0}
    summary = json.loads((out / "summary.json").read_text())
    return by_id, {name: summary[name] for name in ("tasks", "directories", "abilities", "overall")}


def difference(one: object, other: object) -> float:
    """How far two documents are apart: the largest difference of two numbers; infinity where anything else differs."""
    if one == other:  # most are, to the bit
        return 0.0
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return max((difference(one[key], other[key]) for key in one), default=0.0)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        return max(map(difference, one, other), default=0.0)
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other)
    return math.inf


if __name__ == "__main__":
    main()
