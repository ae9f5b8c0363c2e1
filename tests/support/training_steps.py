"""The demo's model in training, a few steps of it: the real architecture, loss and optimiser."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, Qwen2VLForConditionalGeneration, Qwen2VLImageProcessorPil

from radar_fast.demo.lessons import Lesson, collate, draw_items, prepare


def load(checkpoint: Path) -> Any:
    """The model in float32 and training mode."""
    return Qwen2VLForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32).train()


def lessons_of(checkpoint: Path, per_task: int = 1) -> list[Lesson]:
    """Questions of mini-M3's kind."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    images = Qwen2VLImageProcessorPil.from_pretrained(checkpoint)
    return prepare(list(draw_items("train", per_task, frozenset())), tokenizer, images, 1)


def batch_of(lessons: Sequence[Lesson], model: Any) -> dict[str, torch.Tensor]:
    """Model inputs with labels, -100 but for the answers' tokens."""
    inputs, ids, answers = collate([(lesson, 0) for lesson in lessons], model)
    return {**inputs, "labels": ids.masked_fill(~answers, -100)}


def train_step(called: Any, model: Any, optimizer: torch.optim.Optimizer, lessons: Sequence[Lesson]) -> float:
    """One step; ``called`` is the model or what wraps it. Returns the loss."""
    optimizer.zero_grad()
    loss = called(**batch_of(lessons, model), use_cache=False).loss
    loss.backward()
    optimizer.step()
    return float(loss.detach())
