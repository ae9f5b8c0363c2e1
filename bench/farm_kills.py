"""Ten SIGKILLs spread over driver, engines and encoding workers of a farm, and what is in the journals at the end.

    python bench/farm_kills.py [--samples-per-task 32] [--kills driver,engine,worker,...]

Two of the demo's checkpoints on mini-M3, on transformers with two engines. A kill comes as soon as more samples are
recorded since the last one; a driver that was killed is started again with the same command. Prints what was killed
when, then one JSON line, with the comparison to an undisturbed `radar-fast score`.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from farm_ways import said

from radar_fast.demo import write_checkpoints, write_mini_m3
from radar_fast.demo.show import PIXELS

KILLS = "engine,worker,driver,engine,worker,engine,driver,worker,engine,engine"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples-per-task", type=int, default=32)
    parser.add_argument("--kills", default=KILLS)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_mini_m3(folder / "mini-m3", samples_per_task=args.samples_per_task)
        models = write_checkpoints(folder / "checkpoints")[-2:]
        words = ["--engine", "transformers", "--device", "cpu", "--worker-kind", "processes", "--workers", "2"]
        words += ["--data", str(folder / "mini-m3"), "--min-pixels", str(PIXELS), "--max-pixels", str(PIXELS)]
        words += ["--model", *map(str, models), "--out"]
        out = folder / "farm"
        farm = [*command("farm", *words, str(out)), "--address", "local", "--engines", "2", "--cpus-per-engine", "1"]
        started = time.perf_counter()
        killed, runs = disturbed(farm, out, args.kills.split(","))
        seconds = time.perf_counter() - started
        subprocess.run(command("score", *words, str(folder / "score")), check=True, stdout=subprocess.DEVNULL)
        found, expected = ([said(where / model.name) for model in models] for where in (out, folder / "score"))
        lines = sum(len((out / model.name / "samples.jsonl").read_text().splitlines()) for model in models)
    samples = sum(len(records) for records, _ in expected)
    result = {"samples": samples, "lines": lines, "killed": killed, "runs": runs, "same": found == expected}
    print(json.dumps({**result, "seconds": round(seconds, 1), "cpus": len(os.sched_getaffinity(0))}))


def command(name: str, *words: str) -> list[str]:
    return [sys.executable, "-m", "radar_fast", name, *words]


def disturbed(farm: list[str], out: Path, kills: list[str]) -> tuple[list[str], int]:
    """What was killed, and how often the command was given until it was done."""
    killed: list[str] = []
    runs = 0
    while True:
        runs += 1
        before = recorded(out)
        with subprocess.Popen(farm, stdout=subprocess.DEVNULL) as driver:
            while driver.poll() is None:
                time.sleep(0.05)
                if not kills or recorded(out) <= before or not (pid := victim(kills[0], driver.pid, out)):
                    continue
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:  # farm.json is two seconds old
                    continue
                print(f"{kills[0]:7} killed at {recorded(out)} samples", flush=True)
                killed.append(kills.pop(0))
                before = recorded(out)
        if driver.returncode == 0:
            return killed, runs


def victim(kind: str, driver: int, out: Path) -> int:
    """A process of that kind; 0 where there is none now."""
    if kind == "driver":
        return driver
    try:
        state = json.loads((out / "farm.json").read_text())
    except (OSError, ValueError):
        return 0
    engines = [engine["pid"] for engine in state["engines"] if engine["pid"] and engine["state"] == "scoring"]
    if state["pid"] != driver or not engines:
        return 0
    return engines[0] if kind == "engine" else (below(engines[-1]) or [0])[-1]


def below(pid: int) -> list[int]:
    """Processes that a process has started, and those that they have; of workers the last."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            children = (task / "children").read_text().split()
        except OSError:
            continue
        for child in children:
            found += [int(child), *below(int(child))]
    return found


def recorded(out: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in out.glob("*/samples.jsonl"))


if __name__ == "__main__":
    main()
