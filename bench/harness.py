"""Requests a second of CPU time under lm-evaluation-harness: its ``hf`` model and ours in turn, on the same local
tasks. CPU time, so that it hardly matters what else the machine does.

    PYTHONPATH=tests/support python bench/harness.py --choices 4,10

Answers are checked to agree. Prints a table, then one JSON line.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")

import torch
from harness_tasks import write_tasks
from lm_eval import simple_evaluate
from lm_eval.api.registry import get_model
from lm_eval.tasks import TaskManager
from tiny import ROLE_TEMPLATE, write_tokenizer
from transformers import Qwen2Config, Qwen2ForCausalLM

import radar_fast.harness  # noqa: F401 - makes the model known

MODELS = ("hf", "radar-fast")


def write_model(folder: Path) -> Path:
    """A text model of 6 layers of 384 and a vocabulary of 32,000, 24 M parameters in all, with random weights."""
    folder.mkdir()
    write_tokenizer(folder, ROLE_TEMPLATE)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=32_000,
        hidden_size=384,
        intermediate_size=1152,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=4096,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return folder


def answered(model: Any, tasks: Path) -> tuple[list[float], float]:
    """Log-likelihoods of all requests, and the CPU seconds that the model took for them, tokenising counted."""
    seconds = 0.0
    ask = type(model).loglikelihood

    def timed(requests: Any, **more: Any) -> Any:
        nonlocal seconds
        started = time.process_time()
        said = ask(model, requests, **more)
        seconds += time.process_time() - started
        return said

    model.loglikelihood = timed
    manager = TaskManager(include_path=str(tasks), include_defaults=False)
    found = simple_evaluate(
        model=model, tasks=["tiny_choice"], task_manager=manager, bootstrap_iters=0, log_samples=True
    )
    samples = sorted(found["samples"]["tiny_choice"], key=lambda sample: sample["doc_id"])
    return [float(one[0][0]) for sample in samples for one in sample["resps"]], seconds


def main() -> None:
    """Race them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--choices", default="4,10", help="candidates of a question, several parted by commas")
    parser.add_argument("--questions", type=int, default=16)
    parser.add_argument("--words", type=int, default=200, help="most words of a question; they have half of it or more")
    parser.add_argument("--batch", type=int, default=8, help="hf's batch size")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = write_model(Path(folder) / "model")
        arguments = {"pretrained": str(checkpoint), "dtype": "float32", "device": "cpu", "batch_size": options.batch}
        models = {name: get_model(name)(**arguments) for name in MODELS}
        for choices in map(int, options.choices.split(",")):
            where = Path(folder) / f"tasks-{choices}"
            tasks = write_tasks(where, questions=options.questions, choices=choices, words=options.words)
            seconds: dict[str, list[float]] = {name: [] for name in MODELS}
            said: dict[str, list[float]] = {}
            for _ in range(options.repeats):
                for name in MODELS:
                    said[name], passed = answered(models[name], tasks)
                    seconds[name].append(passed)
            apart = max(abs(one - other) for one, other in zip(said["hf"], said["radar-fast"], strict=True))
            requests = options.questions * choices
            rates = {name: requests / statistics.median(seconds[name]) for name in MODELS}
            rows.append({"choices": choices, "requests": requests, "largest_difference": apart, **rates})
    print("choices  requests   hf 1/s  radar-fast 1/s  times  largest difference")
    for row in rows:
        times = row["radar-fast"] / row["hf"]
        print(
            f"{row['choices']:7d} {row['requests']:9d} {row['hf']:8.2f} {row['radar-fast']:15.2f} {times:6.2f} "
            f"{row['largest_difference']:19.2e}"
        )
    print(json.dumps({"rows": rows, "options": vars(options), "threads": torch.get_num_threads()}))


if __name__ == "__main__":
    main()
