"""The vLLM engine of this checkout against an older one's, and what either spends in its pooler.

    python bench/against_checkout.py DIR [--rounds 3] [--samples 255] [--long 96]

DIR: another checkout, back to the first that has ``radar_fast.demo`` and a pooler of its own. Both engines are loaded
at once, vLLM in the process itself, and score the same samples in turn, ``--rounds`` times after one that is not
counted, every cache dropped in between: mini-M3, and generated texts of 370 tokens with a picture of four. The demo's
last checkpoint, float32, one thread of torch's each. Prints a table, then one JSON line.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = {"OMP_NUM_THREADS": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1"}
WAYS = {"one request a candidate": {"request": "per-candidate"}, "one a sample": {"request": "one"}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=255, help="of mini-M3")
    parser.add_argument("--long", type=int, default=96, help="samples of 370 tokens")
    parser.add_argument("--candidates", type=int, default=4, help="of a long one")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="radar-fast-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        model, data = prepare(folder, args.long, args.candidates)
        trees: dict[str, tuple[Path, dict[str, str]]] = {"before": (args.before.resolve(), {})}
        trees |= {way: (ROOT, options) for way, options in WAYS.items()}
        running = {way: stack.enter_context(contender(tree, model, options)) for way, (tree, options) in trees.items()}
        rows = [
            row
            for title, path, count in (("mini-M3", data[0], args.samples), ("370 tokens", data[1], args.long))
            for row in race(running, title, path, count, args.rounds)
        ]
    print(f"{'samples':<12}{'':<26}{'samples/s':>10}{'times':>7}{'us a sample in the pooler':>28}{'apart':>10}")
    for row in rows:
        print(
            f"{row['data']:<12}{row['way']:<26}{row['samples_per_second']:>10.1f}{row['times']:>7.2f}"
            f"{row['pooler_us']:>28.0f}{row['apart']:>10.1e}"
        )
    print(json.dumps({"bench": "against_checkout", "before": args.before.name, "rounds": args.rounds, "rows": rows}))


def prepare(folder: Path, count: int, candidates: int) -> tuple[Path, tuple[Path, Path]]:
    """The checkpoint, and files of mini-M3's samples and of long ones."""
    from radar_fast.bench.workload import generated_samples, write_samples
    from radar_fast.demo import write_checkpoints, write_mini_m3
    from radar_fast.readers import open_reader

    write_mini_m3(folder / "mini-m3")
    (folder / "long").mkdir()
    samples = generated_samples(folder / "long", count=count, candidates=candidates, size=(56, 64), words=190)
    write_samples(samples, folder / "long.jsonl")
    mini = [sample for sample in open_reader(folder / "mini-m3") if sample.reason is None]
    write_samples(mini, folder / "mini-m3.jsonl")
    return write_checkpoints(folder / "checkpoints")[-1], (folder / "mini-m3.jsonl", folder / "long.jsonl")


@contextmanager
def contender(tree: Path, model: Path, options: dict[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """A process that scores with the code of ``tree`` what it is asked for, a line of JSON each."""
    paths = os.pathsep.join([str(tree), str(tree / "tests" / "support")])
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(model), json.dumps(options)],
        env={**os.environ, **SETTINGS, "PYTHONPATH": paths},
        cwd=tree,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def race(
    running: dict[str, "subprocess.Popen[str]"], title: str, data: Path, count: int, rounds: int
) -> list[dict[str, Any]]:
    """Medians of rounds in turn; ``times``: as the first contender's rate."""
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in running}
    ways = list(running)
    for number in range(rounds + 1):
        for way in ways[number % len(ways) :] + ways[: number % len(ways)]:
            found[way].append(ask(running[way], {"data": str(data), "count": count}))
    first = found[ways[0]]
    rows = []
    for way, outcomes in found.items():
        counted = outcomes[1:]
        seconds = statistics.median(outcome["seconds"] for outcome in counted)
        scored = len(outcomes[0]["logits"])
        rows.append(
            {
                "data": title,
                "way": way,
                "samples": scored,
                "seconds": seconds,
                "samples_per_second": scored / seconds,
                "times": statistics.median(outcome["seconds"] for outcome in first[1:]) / seconds,
                "pooler_us": 1e6 * statistics.median(outcome["pooler"] for outcome in counted) / scored,
                "apart": apart(outcomes[-1]["logits"], first[-1]["logits"]),
            }
        )
    return rows


def ask(process: "subprocess.Popen[str]", words: dict[str, Any]) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(words) + "\n")
    process.stdin.flush()
    for line in process.stdout:
        if line.startswith("{"):  # vLLM writes here too
            answer: dict[str, Any] = json.loads(line)
            return answer
    raise SystemExit(f"a contender ended with exit status {process.wait()}; what it said is above")


def apart(mine: dict[str, list[list[float]]], theirs: dict[str, list[list[float]]]) -> float:
    """The largest difference of two rounds' logits."""
    assert mine.keys() == theirs.keys()
    return max(
        abs(one - other)
        for key, candidates in mine.items()
        for a, b in zip(candidates, theirs[key], strict=True)
        for one, other in zip(a, b, strict=True)
    )


WORKER = """
import json, sys, time
from pathlib import Path
from side_by_side import opened, scored_by
from radar_fast.bench.workload import read_samples
from radar_fast.demo.show import PIXELS

engine, protocol = opened(
    "vllm", Path(sys.argv[1]), pixels=(PIXELS, PIXELS), workers=1, **json.loads(sys.argv[2])
)
[pooler] = engine._engine.collective_rpc(lambda worker: worker.model_runner.get_model().pooler)
spent = 0.0
inner = pooler.forward


def timed(*args, **words):
    global spent
    started = time.perf_counter()
    try:
        return inner(*args, **words)
    finally:
        spent += time.perf_counter() - started


pooler.forward = timed
for line in sys.stdin:
    asked = json.loads(line)
    samples = read_samples(Path(asked["data"]))[: asked["count"]]
    engine.drop_caches()
    spent, started = 0.0, time.perf_counter()
    found = scored_by(engine, protocol, samples)
    seconds = time.perf_counter() - started
    scored = {"/".join(key): each for key, each in found.items() if each.reason is None}
    logits = {key: [list(candidate.logits) for candidate in each.candidates] for key, each in scored.items()}
    if not scored:
        sys.exit(f"{asked['data']}: nothing could be scored: {[s.reason for s in found.values()][:1]}")
    print(json.dumps({"seconds": seconds, "pooler": spent, "logits": logits}), flush=True)
"""


if __name__ == "__main__":
    main()
