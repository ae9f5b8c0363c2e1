"""A writer saves twelve checkpoints at uneven times, in pieces, and rotates, while `radar-fast watch` scores them.

    python bench/watch_writer.py [--seconds 1.5] [--keep 2] [--limit 4] [--engines N] [--log FILE]

The writer is that of the tests (tests/support/slow_trainer.py): it saves as transformers' Trainer does, and keeps the
last few. The checkpoints are the demo's, each under two steps. Afterwards each is scored by `radar-fast score` from
where nobody wrote to it, and the records are compared. Prints what the watch said, then one JSON line.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from farm_ways import difference, said

ROOT = Path(__file__).resolve().parents[1]
COUNT = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.5, help="the writer's pause is up to four times that")
    parser.add_argument("--keep", type=int, default=2)
    parser.add_argument("--limit", type=int, default=4)
    parser.add_argument("--engines", type=int)
    parser.add_argument("--log", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        result, log = run(args, Path(name))
    print(log)
    if args.log is not None:
        args.log.write_text(log)
    print(json.dumps({"what": "watch", "cpus": len(os.sched_getaffinity(0)), **result}))


def run(args: argparse.Namespace, folder: Path) -> tuple[dict[str, object], str]:
    from radar_fast.demo import write_checkpoints, write_mini_m3

    data = folder / "mini-m3"
    write_mini_m3(data, samples_per_task=args.limit)
    demo = write_checkpoints(folder / "demo")
    kept = []
    for number in range(COUNT):
        kept.append(folder / "kept" / f"step-{100 * (number + 1)}")
        shutil.copytree(demo[number % len(demo)], kept[-1])
    root = folder / "run"
    root.mkdir()
    words = ["--data", str(data), "--engine", "transformers", "--device", "cpu", "--out"]
    watch = [sys.executable, "-m", "radar_fast", "watch", str(root), *words, str(folder / "out"), "--poll", "0.2"]
    watch += ["--until", str(100 * COUNT)]
    if args.engines is not None:
        watch += ["--address", "local", "--engines", str(args.engines), "--cpus-per-engine", "1"]
    writer = [sys.executable, str(ROOT / "tests" / "support" / "slow_trainer.py"), str(root), str(args.keep)]
    started = time.perf_counter()
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(watch, stdout=log, stderr=subprocess.STDOUT) as watching,
        subprocess.Popen([*writer, str(args.seconds), *map(str, kept)]) as writing,
    ):
        status = watching.wait(timeout=330)
        writing.wait(timeout=60)
    seconds = time.perf_counter() - started
    told = (folder / "log").read_text().replace(str(folder), "...")
    score = [sys.executable, "-m", "radar_fast", "score", "--model", *map(str, kept), *words, str(folder / "alone")]
    subprocess.run(score, check=True, stdout=subprocess.DEVNULL)
    names = {each.name: f"checkpoint-{each.name.rpartition('-')[2]}" for each in kept}
    once = sum(len(re.findall(rf" {name}: SDS", told)) == 1 for name in names.values())
    same = 0
    for name, saved in names.items():
        out = folder / "out" / saved
        same += (out / "summary.json").exists() and difference(said(out), said(folder / "alone" / name)) == 0
    left = sorted(path.name for path in root.iterdir())
    result: dict[str, object] = {"status": status, "checkpoints": COUNT, "scored_once": once, "same_as_score": same}
    return {**result, "left_by_writer_and_watch": left, "seconds": round(seconds, 1)}, told


if __name__ == "__main__":
    main()
