"""What a warm prefix cache does to the scores of the vLLM engine, in bf16 and in fp32.

    python bench/vllm_cache.py [--model DIR --data DIR] [--dtypes bfloat16,float32] [--device cpu] [--limit N]

Without --model and --data: the demo's last checkpoint on mini-M3. A dtype is scored three times in one engine: with
empty caches, again with the KV blocks and images of the first time cached, and with empty caches in another order, so
that what the cache does can be told from what another batch does. Prints a table, then one JSON line.
"""

import argparse
import json
import os
import random
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")

from radar_fast import aggregate
from radar_fast.engines import EngineOptions, open_engine
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import open_protocol
from radar_fast.readers import open_reader


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--dtypes", default="bfloat16,float32")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--limit", type=int, default=64, help="samples of each task, of mini-M3")
    parser.add_argument("--min-pixels", type=int)
    parser.add_argument("--max-pixels", type=int)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        model, data, least, most = args.model, args.data, args.min_pixels, args.max_pixels
        if model is None:
            from radar_fast.demo import write_checkpoints, write_mini_m3
            from radar_fast.demo.show import PIXELS

            model = write_checkpoints(Path(name) / "checkpoints")[-1]
            least = most = PIXELS
            if data is None:
                data = Path(name) / "mini-m3"
                write_mini_m3(data, samples_per_task=args.limit)
        checkpoint = Checkpoint.open(model)
        protocol = open_protocol("auto", checkpoint, min_pixels=least, max_pixels=most)
        samples = [sample for sample in open_reader(data) if sample.reason is None]
        rows: list[dict[str, Any]] = []
        reference = None
        for dtype in args.dtypes.split(","):
            engine = open_engine("vllm", checkpoint, protocol, EngineOptions(device=args.device, dtype=dtype))
            runs = {}
            for run in ("cold", "warm", "other order"):
                if run != "warm":
                    engine.drop_caches()
                order = random.Random(7).sample(samples, len(samples)) if run == "other order" else samples
                before: Any = engine.describe().to_dict()
                runs[run] = list(engine.score(map(protocol.prompt, order)))
                after: Any = engine.describe().to_dict()
                rows.append(
                    {
                        "dtype": dtype,
                        "run": run,
                        "samples": len(samples),
                        "tokens_computed": sum(scored.tokens_computed for scored in runs[run]),
                        "resubmissions": after["resubmissions"] - before["resubmissions"],
                        **compared(runs[run], runs["cold"]),
                    }
                )
            vllm = engine.describe().version
            engine.close()
            if reference is not None:
                rows.append(
                    {"dtype": f"{dtype} to {reference[0]}", "run": "cold", **compared(runs["cold"], reference[1])}
                )
            reference = (dtype, runs["cold"])
    print(f"{'dtype':<22}{'run':<13}{'logit':>10}{'SDS a task':>12}{'mean':>10}{'overall':>10}{'tokens':>9}")
    for row in rows:
        print(
            f"{row['dtype']:<22}{row['run']:<13}{row['logit']:>10.2g}{row['sds_task']:>12.2g}"
            f"{row['sds_task_mean']:>10.2g}{row['sds_overall']:>10.2g}{row.get('tokens_computed', ''):>9}"
        )
    print(json.dumps({"bench": "vllm_cache", "vllm": vllm, "rows": rows}))


def compared(mine: list[Any], theirs: list[Any]) -> dict[str, float]:
    """Largest difference of a raw logit, and of SDS: the worst task, the mean over tasks, all samples together."""
    other = {scored.sample.key: scored for scored in theirs}
    logit = max(
        abs(a - b)
        for scored in mine
        for one, two in zip(scored.candidates, other[scored.sample.key].candidates, strict=True)
        for a, b in zip(one.logits, two.logits, strict=True)
    )
    left: Any = aggregate(mine, confidence=None)
    right: Any = aggregate(theirs, confidence=None)
    tasks = [abs(entry.sds - right.tasks[name].sds) for name, entry in left.tasks.items()]
    return {
        "logit": logit,
        "sds_task": max(tasks),
        "sds_task_mean": sum(tasks) / len(tasks),
        "sds_overall": abs(left.overall.sds - right.overall.sds),
    }


if __name__ == "__main__":
    main()
