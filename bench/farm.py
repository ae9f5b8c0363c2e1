"""What a farm's driver costs: samples a second through it.

    python bench/farm.py [--samples 20000] [--engines 1,2,4,8] [--repeats 3]

The fake engine on questions without images, one Ray cluster for all, so that little but reading, sending and writing is
left; beside it one process. Prints a table, then one JSON line. What whole commands take: ``bench/farm_ways.py``.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
os.environ.setdefault("RAY_worker_niceness", "0")

from radar_fast import FarmOptions, FarmState, RunConfig, score, score_farm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--engines", default="1,2,4,8")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        result = overhead(args, Path(name))
    print(json.dumps({"what": "overhead", "cpus": len(os.sched_getaffinity(0)), **result}))


def overhead(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    import ray

    data = folder / "questions.jsonl"
    records = (
        {"id": str(number), "question": f"What is {number}?", "options": ["one", "another one"], "answer": "one"}
        for number in range(args.samples)
    )
    data.write_text("".join(json.dumps(record) + "\n" for record in records))
    counts = [int(count) for count in args.engines.split(",")]
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


if __name__ == "__main__":
    main()
