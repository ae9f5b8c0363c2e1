"""The layout of lm-evaluation-harness 0.4: ``MODEL/results_TIME.json`` and ``MODEL/samples_TASK_TIME.jsonl``.

Its ``acc`` takes the candidate with the highest summed log-probability, its ``acc_bytes`` that with the highest per
byte: these are ``accuracy_sum`` and ``accuracy_byte`` here. ``sds`` and ``radar_acc`` are the published scores.
"""

import hashlib
import importlib.metadata
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from radar_fast.exports.folders import started, written_as
from radar_fast.results.clusters import cluster_codes
from radar_fast.results.folder import ResultFolder
from radar_fast.results.growth import Growth, Step
from radar_fast.results.intervals import Design, cluster_means
from radar_fast.results.journal import read_records
from radar_fast.results.record import Record
from radar_fast.util.atomic import write_bytes_atomic, write_json_atomic
from radar_fast.util.codec import encode

__all__ = ["write_lm_eval"]

_METRICS = {"acc": "accuracy_sum", "acc_bytes": "accuracy_byte", "sds": "sds", "radar_acc": "accuracy"}
"""Its metric -> our measure."""


def write_lm_eval(series: Sequence[Growth], out: Path) -> int:
    """Write the files of each step that are not there yet; how many. Raises ResultsError where that fails."""
    return sum(_write(grown, place, step, out) for grown in series for place, step in enumerate(grown.steps))


def _write(grown: Growth, place: int, step: Step, out: Path) -> int:
    when = started(step.created).strftime("%Y-%m-%dT%H-%M-%S.%f")
    folder = out / written_as(f"{grown.benchmark}__{step.name}")
    results = folder / f"results_{when}.json"
    if results.exists():
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    tasks: dict[str, list[bytes]] = {}
    for record in read_records(ResultFolder(step.folder).samples):
        if record.status == "scored":
            lines = tasks.setdefault(record.task, [])
            lines.append(encode(_sample(record, len(lines))))
    for task, lines in tasks.items():
        write_bytes_atomic(folder / f"samples_{written_as(task)}_{when}.jsonl", b"".join(lines))
    write_json_atomic(results, _results(grown, place, step))  # last: where it is, all are
    return 1 + len(tasks)


def _results(grown: Growth, place: int, step: Step) -> dict[str, Any]:
    manifest = ResultFolder(step.folder).manifest()
    scored = {name: curve for name, curve in grown.tasks.items() if (entry := curve.entries[place]) and entry.scored}
    counts = {name: curve.entries[place] for name, curve in scored.items()}
    return {
        "results": {name: {"alias": name, **dict(_metrics(grown, place, name))} for name in scored},
        "group_subtasks": {name: [] for name in scored},
        "configs": {name: {"task": name, "output_type": "multiple_choice", "num_fewshot": 0} for name in scored},
        "versions": dict.fromkeys(scored, 1),
        "n-shot": dict.fromkeys(scored, 0),
        "higher_is_better": {name: dict.fromkeys(_METRICS, True) for name in scored},
        "n-samples": {
            name: {"original": entry.scored + entry.unscored, "effective": entry.scored}
            for name, entry in counts.items()
            if entry is not None
        },
        "config": {
            "model": f"radar-fast {manifest.versions.get('radar-fast', importlib.metadata.version('radar-fast'))}",
            "model_args": {"pretrained": manifest.model},
            "step": step.number,
            "batch_size": None,
            "device": manifest.engine.get("device"),
            "limit": manifest.configuration.get("limit"),
        },
        "git_hash": None,
        "date": started(step.created).timestamp(),
        "model_source": "radar-fast",
        "model_name": manifest.model,
        "model_name_sanitized": written_as(step.name),
    }


def _metrics(grown: Growth, place: int, task: str) -> Iterator[tuple[str, float | str]]:
    """Each metric with its standard error, by clusters; ``N/A`` as the harness has it where there are too few."""
    samples = grown.samples
    mine = [at for at, row in enumerate(samples.rows) if row.task == task]
    scored = [at for at in mine if not math.isnan(samples.values[place, at, 0])]
    codes = dict(zip(mine, cluster_codes(samples.rows[at].links for at in mine), strict=True))
    design = Design.of(np.array([codes[at] for at in scored], np.intp))
    for metric, measure in _METRICS.items():
        [mean] = cluster_means(design, [samples.measure(measure)[place, scored]])
        if mean is not None:
            yield f"{metric},none", mean.value
            yield f"{metric}_stderr,none", "N/A" if mean.error is None else mean.error


def _sample(record: Record, number: int) -> dict[str, object]:
    """A line of its samples. Whether a candidate is what greedy decoding gives is not known: null."""
    question = str(record.metadata.get("question", ""))
    sums = [math.fsum(tokens) for tokens in record.logprobs]
    widths = [max(1, len(text.encode("utf-8", "surrogatepass"))) for text in record.candidates]
    per_byte = [total / width for total, width in zip(sums, widths, strict=True)]
    answer = record.answer or 0
    return {
        "doc_id": number,
        "doc": {"id": record.id, "question": question, "choices": list(record.candidates), "answer": answer},
        "target": answer,
        "arguments": {
            f"gen_args_{place}": {"arg_0": question, "arg_1": text} for place, text in enumerate(record.candidates)
        },
        "resps": [[[total, None]] for total in sums],
        "filtered_resps": [[total, None] for total in sums],
        "filter": "none",
        "metrics": list(_METRICS),
        "doc_hash": _hash(f"{record.task}\0{record.id}\0{question}"),
        "prompt_hash": _hash(question),
        "target_hash": _hash(str(answer)),
        "acc": float(sums[answer] == max(sums)),
        "acc_bytes": float(per_byte[answer] == max(per_byte)),
        "sds": record.sds,
        "radar_acc": float(bool(record.correct)),
    }


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
