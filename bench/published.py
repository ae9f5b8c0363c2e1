"""One-pass scoring against the published algorithm, side by side in one run.

    python bench/published.py [--model DIR] [--candidates 2,4,8] [--samples 96] [--rounds 3] [--size 336x280]

The published side is the plain loop of tests/support/plain.py: a forward a candidate, the image preprocessed and
encoded anew for each, logits at every position. The floor of the work, in token positions of the language model for P
tokens of prefix and K candidates of A tokens: K * (P + A) for the plain loop and P + K * (A - 1) for one pass, so that
with P far above A the arithmetic alone gives K; the vision tower likewise runs K times or once.

Prints a table, then one JSON line.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

import torch
from PIL import Image
from plain import TAG, PlainLoop, Question

from radar_fast.checkpoint import Checkpoint
from radar_fast.demo.series import write_checkpoints
from radar_fast.engines import EngineOptions, open_engine
from radar_fast.protocols import open_protocol
from radar_fast.sample import ImageFile, Sample

WORDS = ("red", "green", "blue", "yellow", "purple", "orange", "light", "dark", "small", "large", "circle", "square")


def make_samples(folder: Path, count: int, candidates: int, size: tuple[int, int]) -> list[Sample]:
    """Random pictures, one question, ``candidates`` distinct answers of two words."""
    rng = random.Random(candidates)
    samples = []
    for index in range(count):
        path = folder / f"{index}.png"
        if not path.exists():
            Image.effect_noise(size, 80 + index % 40).convert("RGB").save(path)
        pairs = rng.sample([(a, b) for a in WORDS for b in WORDS if a != b], candidates)
        parts = (ImageFile(path), "What is the missing color of the part denoted with a question mark?")
        samples.append(Sample(str(index), "bench", "bench", "other", parts, tuple(" ".join(pair) for pair in pairs), 0))
    return samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a Qwen2-VL checkpoint; default: the demo's last")
    parser.add_argument("--candidates", default="2,4,8")
    parser.add_argument("--samples", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", default="336x280", help="of the pictures, before both resizes")
    parser.add_argument("--min-pixels", type=int, default=256 * 28 * 28)
    parser.add_argument("--max-pixels", type=int, default=768 * 28 * 28)
    args = parser.parse_args()
    width, height = map(int, args.size.split("x"))

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = args.model or write_checkpoints(folder / "checkpoints")[-1]
        checkpoint = Checkpoint.open(model)
        protocol = open_protocol("qwen2vl", checkpoint, min_pixels=args.min_pixels, max_pixels=args.max_pixels)
        engine = open_engine("transformers", checkpoint, protocol, EngineOptions(device="cpu", dtype="float32"))
        loop = PlainLoop(model, args.min_pixels, args.max_pixels)
        rows = []
        for candidates in map(int, args.candidates.split(",")):
            samples = make_samples(folder, args.samples, candidates, (width, height))
            rows += compare(samples, loop, engine, protocol, args.rounds)
        engine.close()

    print(f"{'candidates':>10}  {'name':<10}{'samples/s':>10}{'seconds':>9}{'tokens':>10}{'ratio':>8}")
    for row in rows:
        print(
            f"{row['candidates']:>10}  {row['name']:<10}{row['samples_per_second']:>10.2f}{row['seconds']:>9.2f}"
            f"{row['tokens_computed']:>10}{row['ratio']:>8.2f}"
        )
    report = {"bench": "published", "torch": torch.__version__, "threads": torch.get_num_threads(), "rows": rows}
    print(json.dumps(report))


def compare(samples: list, loop: PlainLoop, engine, protocol, rounds: int) -> list[dict]:
    """Both on the same samples, in turn, ``rounds`` times after a warm-up; medians, and the largest difference."""
    questions = [
        Question(sample.task, sample.id, TAG + sample.parts[1], [sample.images[0].path], list(sample.candidates))
        for sample in samples
    ]
    loop(questions[0])
    scored = list(engine.score(map(protocol.prompt, samples)))
    seconds = {"published": [], "one-pass": []}
    tokens = sum(result.tokens_computed for result in scored)
    for _ in range(rounds):
        started = time.perf_counter()
        plain = {question.q_id: loop(question)[0] for question in questions}
        seconds["published"].append(time.perf_counter() - started)
        started = time.perf_counter()
        scored = list(engine.score(map(protocol.prompt, samples)))
        seconds["one-pass"].append(time.perf_counter() - started)
    worst = max(
        abs(a - b)
        for result in scored
        for mine, theirs in zip(result.candidates, plain[result.sample.id], strict=True)
        for a, b in zip(mine.logits, theirs, strict=True)
    )
    assert worst < 1e-4, f"the two disagree by {worst}"
    plain_tokens = sum(len(c.logits) for r in scored for c in r.candidates) + sum(
        (r.tokens_minimal - sum(len(c.logits) for c in r.candidates)) * len(r.candidates) for r in scored
    )
    ratio = statistics.median(a / b for a, b in zip(seconds["published"], seconds["one-pass"], strict=True))
    return [
        {
            "candidates": len(samples[0].candidates),
            "name": name,
            "samples_per_second": len(samples) / statistics.median(taken),
            "seconds": statistics.median(taken),
            "tokens_computed": count,
            "ratio": factor,
            "largest_logit_difference": worst,
        }
        for name, taken, count, factor in (
            ("published", seconds["published"], plain_tokens, 1.0),
            ("one-pass", seconds["one-pass"], tokens, ratio),
        )
    ]


if __name__ == "__main__":
    main()
