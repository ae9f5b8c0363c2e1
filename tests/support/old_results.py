"""A result folder as radar-fast 0.1 wrote it, before its files said their format: frozen, never to be made anew."""

import json
from pathlib import Path
from typing import Any

__all__ = ["RUN", "SAMPLES", "SUMMARY", "write_old_folder"]

_PLACE = {"task": "colours", "directory": "data", "ability": "reasoning"}
_COST = {"tokens_computed": 13, "tokens_minimal": 13, "seconds": 0.5}

RUN: dict[str, Any] = {
    "format": 1,
    "created": "2026-01-02T03:04:05+00:00",
    "configuration": {"data": "/data", "out": "/out", "model": None, "engine": "fake", "engine_args": {}},
    "identity": {
        "model": None,
        "data": {"format": "jsonl", "samples": 4, "sha256": "74b0930dfbd7434a"},
        "protocol": {"name": "qwen2vl", "version": 1, "min_pixels": 200704, "max_pixels": 602112},
        "engine": {"name": "fake", "device": "none", "dtype": "none"},
    },
    "versions": {"radar-fast": "0.1.0"},
    "machine": {"platform": "Linux", "python": "3.11.7"},
    "engine": {"name": "fake", "device": "none", "dtype": "none", "scoring_seconds": 1.5},
}

SAMPLES: list[dict[str, Any]] = [
    {
        "id": "q0",
        **_PLACE,
        "status": "scored",
        "reason": None,
        "reason_kind": None,
        "candidates": ["red", "dark blue"],
        "answer": 1,
        "logits": [[3.5], [6.25, 1.75]],
        "logprobs": [[-2.5], [-4.25, -1.25]],
        "sds": 0.6224593312018546,
        "sds_logprob": 0.4378234991142019,
        "correct": True,
        "correct_logprob": False,
        **_COST,
        "metadata": {"question": "What?", "index": 0, "file": "colours.jsonl"},
    },
    {
        "id": "q1",
        **_PLACE,
        "status": "unscored",
        "reason": "colours.jsonl:2: no such file",
        "reason_kind": "missing-image",
        "candidates": ["red", "dark blue"],
        "answer": 0,
        "logits": [],
        "logprobs": [],
        "sds": None,
        "sds_logprob": None,
        "correct": None,
        "correct_logprob": None,
        **_COST,
        "metadata": {"question": "What?", "index": 1, "file": "colours.jsonl"},
    },
    {
        "id": "q2",
        **_PLACE,
        "status": "scored",
        "reason": None,
        "reason_kind": None,
        "candidates": ["red", "green", "blue"],
        "answer": 0,
        "logits": [[1.0, 2.0], [2.5], [0.5, 0.0]],
        "logprobs": [[-0.5, -1.0], [-2.0], [-3.0, -1.5]],
        "sds": 0.2497011934862539,
        "sds_logprob": 0.6624117938958737,
        "correct": False,
        "correct_logprob": True,
        **_COST,
        "metadata": {"question": "Which?", "index": 2, "file": "colours.jsonl", "group": 7},
    },
]

_ENTRY: dict[str, Any] = {
    "sds": 0.4360802623440542,
    "accuracy": 0.5,
    "sds_logprob": 0.5501176465050378,
    "accuracy_logprob": 0.5,
    "sds_low": 0.2497011934862539,
    "sds_high": 0.6224593312018546,
    "accuracy_low": 0.0,
    "accuracy_high": 1.0,
    "scored": 2,
    "unscored": 1,
    "aggregation": "micro",
    "reasons": {"missing-image": 1},
}

SUMMARY: dict[str, Any] = {
    "tasks": {"colours": {**_ENTRY, "circular": {"accuracy": 0.0, "groups": 1, "incomplete": 0}}},
    "directories": {"data": _ENTRY},
    "abilities": {"reasoning": _ENTRY},
    "overall": _ENTRY,
    "engine": {
        **RUN["engine"],
        "tokens_computed": 39,
        "tokens_minimal": 39,
        "seconds": 1.5,
        "scored": 2,
        "samples_per_second": 1.3333333333333333,
    },
}


def write_old_folder(path: Path) -> Path:
    """The three files in a new folder."""
    path.mkdir()
    (path / "run.json").write_text(json.dumps(RUN, indent=2) + "\n")
    (path / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in SAMPLES))
    (path / "summary.json").write_text(json.dumps(SUMMARY, indent=2) + "\n")
    return path
