"""What a farm costs: samples a second through the driver, and the wall time of whole commands, side by side.

    python bench/farm.py overhead [--samples 20000] [--engines 1,2,4,8] [--repeats 3]
    python bench/farm.py commands [--samples-per-task 96] [--checkpoints 2] [--engines 1,2]

``overhead``: the fake engine on questions without images, one Ray cluster for all, so that little but reading, sending
and writing is left; beside it one process. ``commands``: the demo's last checkpoints on mini-M3 (16 tasks) on
transformers, ``radar-fast score`` and ``radar-fast farm`` with so many engines, each command from its start to its end;
their journals are compared by id. Prints a table, then one JSON line.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
os.environ.setdefault("RAY_worker_niceness", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from radar_fast import FarmOptions, FarmState, RunConfig, score, score_farm
from radar_fast.demo.show import PIXELS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["overhead", "commands"])
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--samples-per-task", type=int, default=96)
    parser.add_argument("--checkpoints", type=int, default=2)
    parser.add_argument("--engines", default=None)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        result = overhead(args, Path(name)) if args.what == "overhead" else commands(args, Path(name))
    print(json.dumps({"what": args.what, "cpus": len(os.sched_getaffinity(0)), **result}))


def overhead(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    import ray

    data = folder / "questions.jsonl"
    records = (
        {"id": str(number), "question": f"What is {number}?", "options": ["one", "another one"], "answer": "one"}
        for number in range(args.samples)
    )
    data.write_text("".join(json.dumps(record) + "\n" for record in records))
    counts = [int(count) for count in (args.engines or "1,2,4,8").split(",")]
    ray.init(address="local", num_cpus=max(counts), include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    rates: dict[str, list[float]] = {}
    driver: dict[str, list[float]] = {}
    for repeat in range(args.repeats):
        out = folder / f"one-{repeat}"
        started = time.perf_counter()
        score(RunConfig(engine="fake", data=data, out=out))
        rates.setdefault("one process", []).append(args.samples / (time.perf_counter() - started))
        for count in counts:
            states: list[tuple[FarmState, float]] = []

            def watch(state: FarmState, states: list[tuple[FarmState, float]] = states) -> None:
                states.append((state, time.process_time()))

            score_farm(
                RunConfig(engine="fake", data=data, out=folder / f"farm-{count}-{repeat}"),
                farm=FarmOptions(engines=count, cpus_per_engine=1),
                watch=watch,
            )
            # Until all is recorded: the summary is the same for all, and no part of the driver's loop.
            last, end = next(each for each in states if each[0].fresh == args.samples)
            began = next(cpu for state, cpu in states if state.seconds)
            name = f"farm, {count} engines"
            rates.setdefault(name, []).append(last.rate)
            driver.setdefault(name, []).append((last.fresh - states[0][0].fresh) / (end - began))
    ray.shutdown()
    medians, of_driver = (
        {name: round(statistics.median(values), 1) for name, values in each.items()} for each in (rates, driver)
    )
    print(f"{args.samples} samples, median of {args.repeats}\n{'':20} samples/s  a CPU second of the driver")
    for name, rate in medians.items():
        print(f"{name:20} {rate:9.0f}  {of_driver.get(name, 0):9.0f}")
    return {"samples": args.samples, "samples_per_second": medians, "per_driver_cpu_second": of_driver, "all": rates}


def commands(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from radar_fast.demo import write_checkpoints, write_mini_m3

    write_mini_m3(folder / "mini-m3", samples_per_task=args.samples_per_task)
    models = write_checkpoints(folder / "checkpoints")[-args.checkpoints :]
    words = ["--engine", "transformers", "--device", "cpu", "--data", str(folder / "mini-m3")]
    words += ["--min-pixels", str(PIXELS), "--max-pixels", str(PIXELS), "--model", *map(str, models), "--out"]
    counts = [int(count) for count in (args.engines or "1,2").split(",")]
    runs = {"score": ["score", *words, str(folder / "score")]}
    for count in counts:
        more = ["--address", "local", "--engines", str(count), "--cpus-per-engine", "1"]
        runs[f"farm, {count} engines"] = ["farm", *words, str(folder / f"farm-{count}"), *more]
    seconds: dict[str, float] = {}
    for name, command in runs.items():
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "radar_fast", *command], check=True, stdout=subprocess.DEVNULL)
        seconds[name] = round(time.perf_counter() - started, 1)
    samples = 16 * args.samples_per_task
    print(f"{len(models)} checkpoints, {samples} samples each\n{'':20} seconds  journals and summaries")
    same = {}
    for name, command in runs.items():
        out, alone = (Path(each[each.index("--out") + 1]) for each in (command, runs["score"]))
        same[name] = all(said(out / model.name) == said(alone / model.name) for model in models)
        print(f"{name:20} {seconds[name]:7.1f}  {'the same' if same[name] else 'DIFFER'}")
    return {"samples": samples, "checkpoints": len(models), "seconds": seconds, "same": same}


def said(out: Path) -> tuple[Any, Any]:
    """Records by id and the numbers of the summary, but for times."""
    records = map(json.loads, (out / "samples.jsonl").read_text().splitlines())
    summary = json.loads((out / "summary.json").read_text())
    by_id = {(record["task"], record["id"]): {**record, "seconds": 0} for record in records}
    return by_id, {name: summary[name] for name in ("tasks", "directories", "abilities", "overall")}


if __name__ == "__main__":
    main()
