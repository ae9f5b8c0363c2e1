"""The vLLM engine against vLLM's own prompt_logprobs, as lm-evaluation-harness asks for it, side by side in one run.

    python bench/vllm_peer.py [--model DIR] [--candidates 2,4,8] [--samples 48] [--rounds 3] [--size 336x280]

The peer: ``LLM.generate`` with ``SamplingParams(prompt_logprobs=1, max_tokens=1, temperature=0)``, a request a
candidate, all submitted at once, images given as images. It gets the same resized images and token ids, the same
dtype, block size and token budget, and every default of vLLM else; raw logits are read (``logprobs_mode``), so that
its numbers can be compared with ours.

The floor of the work, in token positions of the language model for P tokens of prefix and K candidates of A tokens:
K * (P + A) for the peer, which reads no prefix cache when it is asked for prompt_logprobs; P + K * A for one pass.
Both run in this process, one engine after the other, each with one untimed round before.

Open: the peer preprocesses with vLLM's own image processor (torchvision), ours with PIL, so the two see slightly other
pixels; until it is given the same one, the logit difference that is printed is no parity result, and no ratio of this
script has been recorded.

Prints a table, then one JSON line.
"""

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")

from PIL import Image

from radar_fast.checkpoint import Checkpoint
from radar_fast.engines import EngineOptions, open_engine
from radar_fast.engines.encoding import Encoder
from radar_fast.protocols import open_protocol
from radar_fast.sample import ImageFile, Sample

WORDS = ("red", "green", "blue", "yellow", "purple", "orange", "light", "dark", "small", "large", "circle", "square")


def make_samples(folder: Path, count: int, candidates: int, size: tuple[int, int], seed: int) -> list[Sample]:
    """Random pictures, one question, ``candidates`` distinct answers of two words; another seed, other pictures."""
    rng = random.Random(seed)
    samples = []
    for index in range(count):
        path = folder / f"{seed}-{index}.png"
        if not path.exists():
            Image.effect_noise(size, rng.uniform(40, 120)).convert("RGB").save(path)
        pairs = rng.sample([(a, b) for a in WORDS for b in WORDS if a != b], candidates)
        parts = (ImageFile(path), "What is the missing color of the part denoted with a question mark?")
        answers = tuple(" ".join(pair) for pair in pairs)
        samples.append(Sample(f"{seed}-{index}", "bench", "bench", "other", parts, answers, 0))
    return samples


class Peer:
    """vLLM in generation mode."""

    def __init__(self, model: Path, protocol: Any, dtype: str, budget: int) -> None:
        import torch
        from vllm import LLM, SamplingParams

        self._encoder = Encoder(Checkpoint.open(model), protocol, torch.float32)
        least, most = protocol.pixels
        cpu = not torch.cuda.is_available()
        self._llm = LLM(
            model=str(model),
            dtype=dtype,
            enforce_eager=True,
            max_num_batched_tokens=budget,
            limit_mm_per_prompt={"video": 0},
            mm_processor_kwargs={"size": {"shortest_edge": least, "longest_edge": most}},
            logprobs_mode="raw_logits",
            **({"block_size": 32, "gpu_memory_utilization": 0.3} if cpu else {}),
        )
        # max_tokens=1 and prompt_logprobs=1, as lm-evaluation-harness's vllm_causallms asks for loglikelihoods.
        self._params = SamplingParams(temperature=0, prompt_logprobs=1, max_tokens=1, detokenize=False)

    def __call__(self, prompts: list[Any]) -> dict[tuple[str, str], list[list[float]]]:
        """Sample key -> raw logits, a list a candidate."""
        requests, spans = [], []
        for prompt in prompts:
            images, tokens = self._encoder.read_images(prompt), self._encoder.tokenise(prompt)
            for suffix in tokens.split.suffixes:
                ids = [*tokens.prefix[: tokens.split.shared], *suffix]
                requests.append({"prompt_token_ids": ids, "multi_modal_data": {"image": images}})
                spans.append((prompt.sample.key, len(suffix) - tokens.split.scored_from))
        found: dict[tuple[str, str], list[list[float]]] = {}
        for output, (key, count) in zip(self._llm.generate(requests, self._params, use_tqdm=False), spans, strict=True):
            ids, rows = output.prompt_token_ids, output.prompt_logprobs
            answer = range(len(ids) - count, len(ids))
            found.setdefault(key, []).append([rows[at][ids[at]].logprob for at in answer])
        return found

    def close(self) -> None:
        self._llm.llm_engine.engine_core.shutdown()


def timed(run: Any, rounds: list[list[Sample]]) -> tuple[list[float], list[Any]]:
    """Seconds and results of each round but the first."""
    seconds, results = [], []
    for samples in rounds:
        started = time.perf_counter()
        results.append(run(samples))
        seconds.append(time.perf_counter() - started)
    return seconds[1:], results[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a Qwen2-VL checkpoint; default: the demo's last")
    parser.add_argument("--candidates", default="2,4,8")
    parser.add_argument("--samples", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", default="336x280", help="of the pictures, before both resizes")
    parser.add_argument("--min-pixels", type=int, default=256 * 28 * 28)
    parser.add_argument("--max-pixels", type=int, default=768 * 28 * 28)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    args = parser.parse_args()
    width, height = map(int, args.size.split("x"))

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = args.model
        if model is None:
            from radar_fast.demo import write_checkpoints

            model = write_checkpoints(folder / "checkpoints")[-1]
        checkpoint = Checkpoint.open(model)
        protocol = open_protocol("qwen2vl", checkpoint, min_pixels=args.min_pixels, max_pixels=args.max_pixels)
        counts = list(map(int, args.candidates.split(",")))
        # Fresh pictures each round, the same for both, so that no round lives on what an earlier one left in a cache.
        plan = {
            count: [
                make_samples(folder, args.samples, count, (width, height), seed=100 * count + number)
                for number in range(args.rounds + 1)
            ]
            for count in counts
        }
        options = EngineOptions(device=args.device, dtype=args.dtype)
        engine = open_engine("vllm", checkpoint, protocol, options)
        budget = int(engine.describe()["batch_tokens"] or 0)
        mine = {
            count: timed(lambda samples: list(engine.score(map(protocol.prompt, samples))), rounds)
            for count, rounds in plan.items()
        }
        versions = {"vllm": engine.describe()["vllm"]}
        engine.close()
        peer = Peer(model, protocol, args.dtype, budget)
        theirs = {
            count: timed(lambda samples: peer(list(map(protocol.prompt, samples))), rounds)
            for count, rounds in plan.items()
        }
        peer.close()

    rows = [row for count in counts for row in compare(count, args.samples, mine[count], theirs[count])]
    print(f"{'candidates':>10}  {'name':<16}{'samples/s':>10}{'seconds':>9}{'tokens':>10}{'ratio':>8}{'spread':>16}")
    for row in rows:
        low, high = row["ratio_range"]
        print(
            f"{row['candidates']:>10}  {row['name']:<16}{row['samples_per_second']:>10.2f}{row['seconds']:>9.2f}"
            f"{row['tokens_computed']:>10}{row['ratio']:>8.2f}{low:>8.2f}-{high:<7.2f}"
        )
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    print(json.dumps({"bench": "vllm_peer", **versions, "threads": threads, "rows": rows}))


def compare(count: int, samples: int, mine: Any, theirs: Any) -> list[dict[str, Any]]:
    """Medians, ratios round by round, and the largest difference of any raw logit."""
    worst = 0.0
    for scored, logits in zip(mine[1], theirs[1], strict=True):
        for result in scored:
            assert result.reason is None, result.reason
            for one, other in zip(result.candidates, logits[result.sample.key], strict=True):
                worst = max([worst, *(abs(a - b) for a, b in zip(one.logits, other, strict=True))])
    ratios = [b / a for a, b in zip(mine[0], theirs[0], strict=True)]
    answers = [sum(len(candidate.logits) for candidate in result.candidates) for result in mine[1][0]]
    full = [
        (result.tokens_minimal - tokens) * count + tokens for result, tokens in zip(mine[1][0], answers, strict=True)
    ]
    return [
        {
            "candidates": count,
            "name": name,
            "prompt_tokens": full[0] // count,
            "samples_per_second": samples / statistics.median(seconds),
            "seconds": statistics.median(seconds),
            "tokens_computed": tokens,
            "ratio": ratio,
            "ratio_range": [low, high],
            "largest_logit_difference": worst,
        }
        for name, seconds, tokens, ratio, low, high in (
            ("prompt_logprobs", theirs[0], sum(full), 1.0, 1.0, 1.0),
            (
                "radar-fast",
                mine[0],
                sum(result.tokens_computed for result in mine[1][0]),
                statistics.median(ratios),
                min(ratios),
                max(ratios),
            ),
        )
    ]


if __name__ == "__main__":
    main()
