"""The transformers engine on a CPU with ``--attention dense`` and ``split``, in turn on the same encoded samples.

    python bench/split_attention.py [--models demo,qwen2vl-70m] [--rounds 3]

Encoding is no part of it. Prints milliseconds of CPU time a sample, the least of all rounds (what other work on the
machine adds to it is never negative), and how far the logits are apart; then one JSON line.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from radar_fast.bench.models import prepare_model
from radar_fast.bench.workload import generated_samples
from radar_fast.engines import EngineContext, EngineOptions
from radar_fast.engines.encode.encoder import Encoded
from radar_fast.engines.transformers.engine import TransformersEngine
from radar_fast.protocols import open_protocol

WORKS = (("short", 0, (56, 64), 64), ("370 tokens", 190, (56, 64), 24), ("pictures", 0, (336, 400), 12))
"""Name, words before a question, sides of the pictures, and samples for the demo's model; of 70 M a fourth."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="demo,qwen2vl-70m")
    parser.add_argument("--candidates", default="2,4,8")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in args.models.split(","):
        with tempfile.TemporaryDirectory(prefix="radar-fast-bench-") as temporary:
            folder = Path(temporary)
            model = prepare_model(name, tokenizer=None, device="cpu", dtype="float32", folder=folder / "model")
            for title, words, size, count in WORKS:
                pixels = 3136 if size[1] < 100 else None
                protocol = open_protocol("auto", model.checkpoint, min_pixels=pixels, max_pixels=pixels)
                engines = {
                    attention: TransformersEngine(
                        model.checkpoint,
                        protocol,
                        EngineOptions(device="cpu", dtype="float32", attention=attention),
                        EngineContext(),
                    )
                    for attention in ("dense", "split")
                }
                for candidates in map(int, args.candidates.split(",")):
                    made = folder / f"{title}-{candidates}"
                    made.mkdir()
                    samples = generated_samples(
                        made,
                        count=count if name == "demo" else count // 4,
                        candidates=candidates,
                        size=size,
                        words=words,
                    )
                    encoded = [engines["dense"]._encoder.encode(protocol.prompt(sample)) for sample in samples]
                    usable = [each for each in encoded if isinstance(each, Encoded)]
                    rows.append({"model": name, "work": title, "candidates": candidates, **race(engines, usable, args)})
                    shown(rows[-1])
                for engine in engines.values():
                    engine.close()
    print(json.dumps({"bench": "split_attention", "threads": torch.get_num_threads(), "rows": rows}))


def race(engines: dict[str, TransformersEngine], samples: list[Encoded], args: Any) -> dict[str, Any]:
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    logits: dict[str, list[float]] = {}
    for number in range(args.rounds + 1):
        for name in sorted(engines, reverse=bool(number % 2)):
            started = time.process_time()
            found = list(engines[name]._score_window(samples))
            seconds[name].append(time.process_time() - started)
            ordered = sorted(found, key=lambda scored: scored.sample.key)
            logits[name] = [value for scored in ordered for each in scored.candidates for value in each.logits]
    dense, split = (1000 * min(seconds[name][1:]) / len(samples) for name in ("dense", "split"))
    apart = max(abs(a - b) for a, b in zip(logits["dense"], logits["split"], strict=True))
    return {"dense_ms": dense, "split_ms": split, "times": dense / split, "apart": apart}


def shown(row: dict[str, Any]) -> None:
    print(
        f"{row['model']:<12}{row['work']:<11} K={row['candidates']}  dense {row['dense_ms']:8.2f} ms  split "
        f"{row['split_ms']:8.2f} ms  {row['times']:.2f} times  {row['apart']:.1e} apart",
        flush=True,
    )


if __name__ == "__main__":
    main()
