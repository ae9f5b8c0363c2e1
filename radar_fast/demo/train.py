"""Train the demo's tiny Qwen2-VL and keep it at several steps: ``python -m radar_fast.demo.train --out DIR``.

The real architecture, tokenizer format and prompt, at a size that two CPU cores train in minutes. It learns from
pictures of mini-M3's kind under other seeds; no pair of pictures and question of mini-M3 is among them. The same
seed, torch and number of threads give the same weights.
"""

import json
import shutil
import time
from collections import defaultdict
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

import click
import numpy as np
import torch
from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration, Qwen2VLImageProcessorPil

from radar_fast.demo.blueprint import PREPROCESSOR, make_config, make_tokenizer
from radar_fast.demo.lessons import Lesson, ask, collate, draw_items, fingerprint, guarded_fingerprints, prepare
from radar_fast.models.bounds import BOUNDS

__all__ = ["evaluate", "save", "train"]

STEPS = (50, 100, 200, 400, 800, 1600)
"""The steps to keep; training ends at the last."""
BATCH = 64
LEARNING_RATE = 2e-3
WARM_UP = 50
"""Steps over which the learning rate rises; from there it falls in a line to a twentieth."""
SEED = 1
THREADS = 1
EXAMPLES_PER_TASK = 1600
HELD_OUT_PER_TASK = 48


@torch.no_grad()
def evaluate(model: Any, examples: Sequence[Lesson]) -> dict[str, tuple[float, float]]:
    """Task -> (SDS, accuracy): mean raw logit a candidate, softmax over the candidates, the answer's share."""
    rows = [(example, which) for example in examples for which in range(len(example.candidates))]
    means: list[float] = []
    for start in range(0, len(rows), 4 * BATCH):
        inputs, ids, answers = collate(rows[start : start + 4 * BATCH], model)
        logits = model(**inputs, use_cache=False).logits[:, :-1].float()
        chosen = logits.gather(-1, ids[:, 1:, None])[..., 0]
        mask = answers[:, 1:]
        means += ((chosen * mask).sum(1) / mask.sum(1)).tolist()
    results: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    taken = 0
    for example in examples:
        scores = torch.tensor(means[taken : taken + len(example.candidates)])
        taken += len(example.candidates)
        results[example.task].append((scores.softmax(0)[0].item(), float(scores.argmax() == 0)))
    means_of = {task: np.mean(pairs, axis=0) for task, pairs in results.items()}
    return {task: (float(sds), float(accuracy)) for task, (sds, accuracy) in means_of.items()}


def save(model: Any, folder: Path) -> None:
    """The weights in bf16 as ``folder/model.safetensors``."""
    deepcopy(model).to(torch.bfloat16).save_pretrained(folder / "all")
    (folder / "model.safetensors").write_bytes((folder / "all" / "model.safetensors").read_bytes())
    shutil.rmtree(folder / "all")  # the configuration lies once in common/


def train(out: Path) -> None:
    """Train from scratch; write ``out/common`` and ``out/step-<N>`` for each of STEPS."""
    torch.manual_seed(SEED)
    torch.set_num_threads(THREADS)
    started = time.perf_counter()

    def say(line: str) -> None:
        click.echo(f"{time.perf_counter() - started:6.1f} s  {line}")

    guarded = guarded_fingerprints()
    drawn = list(draw_items("train", EXAMPLES_PER_TASK, guarded))
    trained = frozenset(fingerprint(item) for _, item in drawn)
    assert not guarded & trained
    held = list(draw_items("held-out", HELD_OUT_PER_TASK, guarded | trained))
    tokenizer = make_tokenizer(["".join((a, *b)) for a, _, b in (ask(item, Random(SEED)) for _, item in drawn)])
    config = make_config(tokenizer)
    common = out / "common"
    common.mkdir(parents=True)
    tokenizer.save_pretrained(common)
    (common / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (common / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR, indent=2) + "\n")
    bounds = {name: PREPROCESSOR[name] for name in ("min_pixels", "max_pixels")}
    (common / BOUNDS).write_text(json.dumps(bounds) + "\n")
    processor = Qwen2VLImageProcessorPil.from_pretrained(common)
    model: Any = Qwen2VLForConditionalGeneration(Qwen2VLConfig.from_pretrained(common)).float()
    say(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer)} tokens, {len(drawn)} examples")

    examples, tests = prepare(drawn, tokenizer, processor, SEED), prepare(held, tokenizer, processor, SEED)
    say("examples prepared")
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.02)
    order, shuffler = list[int](), Random(SEED)
    running = 0.0
    for step in range(STEPS[-1] + 1):
        if step in STEPS:
            model.eval()
            results = evaluate(model, tests)
            save(model, out / f"step-{step}")
            say(f"step {step}, loss {running:.3f}; SDS and accuracy on held-out questions:")
            for task, (sds, accuracy) in results.items():
                click.echo(f"{task:32} {sds:6.3f} {accuracy:6.3f}")
            model.train()
        if len(order) < BATCH:
            order = shuffler.sample(range(len(examples)), len(examples))
        batch, order = order[:BATCH], order[BATCH:]
        inputs, ids, answers = collate([(examples[i], 0) for i in batch], model)
        logits = model(**inputs, use_cache=False).logits[:, :-1]
        rows = logits[answers[:, 1:]]
        loss: Any = torch.nn.functional.cross_entropy(rows, ids[:, 1:][answers[:, 1:]])
        progress = step / STEPS[-1]
        rate = LEARNING_RATE * min((step + 1) / WARM_UP, 0.05 + 0.95 * (1 - progress))
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        running = loss.item() if step == 0 else 0.95 * running + 0.05 * loss.item()
        if step % 50 == 0:
            say(f"step {step}: loss {running:.3f}")


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A new folder.")
def main(out: Path) -> None:
    """Train the demo's checkpoints into OUT."""
    train(out)


if __name__ == "__main__":
    main()
