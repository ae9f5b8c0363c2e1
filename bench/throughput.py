"""A whole run of `radar-fast score`, as users start it: wall time by stage, how busy the model was, and memory.

    python bench/throughput.py [--engines transformers,vllm] [--samples 15360] [--model DIR --model DIR] [--data DIR]

Without --model and --data: the demo's last two checkpoints on mini-M3, generated at that size. Every engine scores the
checkpoints in one command; the second must pay for little more than its own computing. Memory is that of the command
and its children, what they share counted once (proportional set size), read twice a second. Prints a table, then one
JSON line.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from radar_fast.bench.memory import family

TASKS = 16  # of mini-M3
STAGES = ("survey", "fingerprint", "engine", "first_sample", "scoring", "compute", "wait", "write")
WORK = ("decode", "preprocess", "tokenise", "vision", "language", "head")


class Memory:
    """Reads the memory of a process and its children until it is stopped."""

    def __init__(self, pid: int) -> None:
        self.readings: list[tuple[float, int]] = []
        self._pid, self._stop = pid, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.5):
            self.readings.append((time.time(), sum(map(proportional, family(self._pid)))))


def proportional(pid: int) -> int:
    """Bytes that a process takes, its share of what it has in common with others."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has just ended
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def run(engine: str, models: list[Path], data: Path, out: Path, options: list[str]) -> dict[str, Any]:
    words = [word for model in models for word in ("--model", str(model))]
    command = [sys.executable, "-m", "radar_fast", "score", "--engine", engine, *words, "--data", str(data)]
    command += ["--out", str(out), *options]
    started = time.time()
    with (out.parent / f"{out.name}.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        memory = Memory(process.pid)
        status = process.wait()
        memory.stop()
    if status not in (0, 1):
        raise SystemExit((out.parent / f"{out.name}.log").read_text()[-3000:])
    seconds = time.time() - started
    rows = []
    for model in models:
        folder = out / model.name if len(models) > 1 else out
        engine_block = json.loads((folder / "summary.json").read_text())["engine"]
        ended = (folder / "run.json").stat().st_mtime  # amended when the last sample is written
        rows.append({"model": model.name, **stages(engine_block), **flatness(memory.readings, ended, engine_block)})
    named = [word for model in models for word in ("--model", model.name)]
    shown = " ".join(["radar-fast", "score", "--engine", engine, *named, *options])
    return {"engine": engine, "command": shown, "seconds": seconds, "checkpoints": rows}


def stages(block: dict[str, Any]) -> dict[str, Any]:
    found = {f"{stage}_seconds": block.get(f"{stage}_seconds") for stage in (*STAGES, *WORK)}
    scoring, compute = block["scoring_seconds"], block["compute_seconds"]
    return {
        "scored": block["scored"],
        "samples_per_second": block["scored"] / scoring,
        **found,
        "compute_share": compute / scoring,
        "over_compute": (block["engine_seconds"] + scoring) / compute,
        "tokens_over_minimum": block["tokens_computed"] / block["tokens_minimal"],
    }


def flatness(readings: list[tuple[float, int]], ended: float, block: dict[str, Any]) -> dict[str, Any]:
    """Peak MiB of every tenth of scoring, by time, and how much the last is above the second."""
    started, tenth = ended - block["scoring_seconds"], block["scoring_seconds"] / 10
    peaks = []
    for number in range(10):
        inside = [size for at, size in readings if number * tenth <= at - started <= (number + 1) * tenth]
        peaks.append(max(inside, default=0) / 2**20)
    second, last = peaks[1], peaks[-1]
    growth = last / second - 1 if second else 0.0
    return {"tenths_mib": peaks, "second_tenth_mib": second, "last_tenth_mib": last, "growth": growth}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", default="transformers,vllm")
    parser.add_argument("--samples", type=int, default=15360)
    parser.add_argument("--model", type=Path, action="append", default=[])
    parser.add_argument("--data", type=Path)
    parser.add_argument(
        "--option", action="append", default=[], help="for radar-fast score, e.g. --option=--device=cpu"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, models, data = Path(name), args.model, args.data
        options = [*args.option, "--limit", str(-(-args.samples // TASKS))] if data is None else args.option
        if not models:
            from radar_fast.demo import write_checkpoints
            from radar_fast.demo.show import PIXELS

            models = write_checkpoints(folder / "checkpoints")[-2:]
            options = [*options, "--min-pixels", str(PIXELS), "--max-pixels", str(PIXELS)]
        if data is None:
            from radar_fast.demo import write_mini_m3

            data = folder / "mini-m3"
            data.mkdir()
            write_mini_m3(data, samples_per_task=-(-args.samples // TASKS))
        found = [run(engine, models, data, folder / engine, options) for engine in args.engines.split(",")]
    for each in found:
        print(f"\n{each['engine']}: {each['seconds']:.1f} s in all")
        names = [*STAGES, *WORK]
        print(f"{'':<22}" + "".join(f"{row['model']:>12}" for row in each["checkpoints"]))
        for stage in names:
            cells = [row[f"{stage}_seconds"] for row in each["checkpoints"]]
            print(f"{stage:<22}" + "".join(f"{'-' if cell is None else f'{cell:.2f}':>12}" for cell in cells))
        for key, shape in (
            ("scored", "d"),
            ("samples_per_second", ".1f"),
            ("compute_share", ".1%"),
            ("over_compute", ".3f"),
            ("tokens_over_minimum", ".3f"),
            ("second_tenth_mib", ".0f"),
            ("last_tenth_mib", ".0f"),
            ("growth", ".1%"),
        ):
            print(f"{key:<22}" + "".join(f"{row[key]:>12{shape}}" for row in each["checkpoints"]))
        for row in each["checkpoints"]:
            print(f"MiB by tenth, {row['model']}: {', '.join(f'{peak:.0f}' for peak in row['tenths_mib'])}")
    print(json.dumps({"bench": "throughput", "cores": os.cpu_count(), "runs": found}))


if __name__ == "__main__":
    main()
