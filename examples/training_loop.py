"""Score a model while it is trained, from a loop of your own: ``python examples/training_loop.py OUT``.

The demo's tiny Qwen2-VL goes on from step 800 for a few steps. With a Trainer of transformers it is one line:
``trainer.add_callback(ScorerCallback(scorer, trainer.log))``.
"""

import sys
from pathlib import Path
from random import Random

import torch
from transformers import AutoTokenizer, Qwen2VLForConditionalGeneration, Qwen2VLImageProcessorPil

from radar_fast import open_reader
from radar_fast.demo import write_checkpoints, write_mini_m3
from radar_fast.demo.lessons import collate, draw_items, prepare
from radar_fast.training import Scorer

STEPS, EVERY = 4, 2


def main(out: Path) -> None:
    """Train, and print what was found."""
    write_mini_m3(out / "mini-m3", samples_per_task=4)
    start = next(path for path in write_checkpoints(out / "checkpoints") if path.name == "step-800")

    model = Qwen2VLForConditionalGeneration.from_pretrained(start, dtype=torch.float32)
    images = Qwen2VLImageProcessorPil.from_pretrained(start)
    lessons = prepare(list(draw_items("train", 2, frozenset())), AutoTokenizer.from_pretrained(start), images, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    scorer = Scorer.from_model(model, start, open_reader(out / "mini-m3"), every=EVERY, limit=24, out=out / "scores")

    model.train()
    for step in range(1, STEPS + 1):
        inputs, ids, answers = collate([(lesson, 0) for lesson in Random(step).sample(lessons, 8)], model)
        loss = model(**inputs, labels=ids.masked_fill(~answers, -100), use_cache=False).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if summary := scorer.score(step):
            print(f"step {step}: loss {loss.item():.3f}, SDS {summary.overall.sds:.4f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
