"""The layout of Every Eval Ever (arXiv 2606.14516), schema 0.3.0: ``data/BENCHMARK/DEVELOPER/MODEL/UUID.json``, and
``UUID_samples.jsonl`` beside it.

The first holds SDS and accuracy of every task and ability, and of all; the second a line for each scored sample: its
SDS, and whether it is right. The UUID comes from what was run, so that the same run has the same files every time.
"""

import hashlib
import importlib.metadata
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from radar_fast.exports.folders import started, written_as
from radar_fast.results.folder import ResultFolder
from radar_fast.results.growth import Growth, Step
from radar_fast.results.journal import read_records
from radar_fast.results.record import Record
from radar_fast.results.summary import Entry
from radar_fast.scores import judge
from radar_fast.util.atomic import write_bytes_atomic, write_json_atomic
from radar_fast.util.codec import encode

__all__ = ["SCHEMA", "write_every_eval_ever"]

SCHEMA = "0.3.0"

DEVELOPER = "unknown"
"""Who has made a checkpoint is not on record."""

_SAID = {
    "sds": "Soft Discrimination Score: mean probability of the answer, softmax over the candidates' mean raw logits",
    "accuracy": "Share of samples whose answer has the highest mean raw logit among the candidates",
}


def write_every_eval_ever(series: Sequence[Growth], out: Path) -> int:
    """Write the files of each step that are not there yet; how many. Raises ResultsError where that fails."""
    written = 0
    for grown in series:
        for place, step in enumerate(grown.steps):
            folder = Path("data") / written_as(grown.benchmark) / DEVELOPER / written_as(_model(step))
            name = folder / f"{_identifier(grown, step)}"
            file = out / f"{name}.json"
            if file.exists():
                continue
            (out / folder).mkdir(parents=True, exist_ok=True)
            document = _document(grown, place, step)
            records = read_records(ResultFolder(step.folder).samples)
            lines = [encode(_sample(grown, document, record)) for record in records if record.status == "scored"]
            if lines:
                samples = f"{name}_samples.jsonl"
                write_bytes_atomic(out / samples, b"".join(lines))
                document["detailed_evaluation_results"] = {
                    "format": "jsonl",
                    "file_path": samples,
                    "hash_algorithm": "sha256",
                    "checksum": hashlib.sha256(b"".join(lines)).hexdigest(),
                    "total_rows": len(lines),
                }
                written += 1
            write_json_atomic(file, document)  # last: where it is, both are
            written += 1
    return written


def _sample(grown: Growth, document: Mapping[str, Any], record: Record) -> dict[str, Any]:
    """A line. A candidate that was chosen stands for an output: nothing was generated."""
    assert record.answer is not None  # of a scored sample it is known
    verdict = judge(record.logits, record.answer)
    question = record.metadata.get("question", "")
    chosen = record.candidates[verdict.chosen]
    about = {"task": record.task, "directory": record.directory, "ability": record.ability}
    if record.images is not None:
        about["images"] = str(len(record.images))
    return {
        "schema_version": SCHEMA,
        "evaluation_id": document["evaluation_id"],
        "model_id": document["model_info"]["id"],
        "evaluation_name": f"{grown.benchmark}/tasks/{record.task}/sds",
        "sample_id": record.id,
        "interaction_type": "single_turn",
        "input": {
            "raw": str(question),
            "reference": [record.candidates[record.answer]],
            "choices": list(record.candidates),
        },
        "output": {"raw": [chosen]},
        "answer_attribution": [
            {
                "turn_idx": 0,
                "source": "output.raw",
                "extracted_value": chosen,
                "extraction_method": "candidate with the highest mean raw logit",
                "is_terminal": True,
            }
        ],
        "evaluation": {"score": verdict.probability, "is_correct": verdict.correct},
        "metadata": about,
    }


def _model(step: Step) -> str:
    """The checkpoint's folder and its step, or its name."""
    return step.name if step.number is None else f"{step.folder.resolve().parent.name}-{step.name}"


def _identifier(grown: Growth, step: Step) -> uuid.UUID:
    manifest = ResultFolder(step.folder).manifest()
    said = orjson.dumps([grown.benchmark, step.name, step.created, manifest.identity], option=orjson.OPT_SORT_KEYS)
    return uuid.UUID(bytes=hashlib.sha256(said).digest()[:16], version=4)


def _document(grown: Growth, place: int, step: Step) -> dict[str, Any]:
    manifest = ResultFolder(step.folder).manifest()
    version = manifest.versions.get("radar-fast", importlib.metadata.version("radar-fast"))
    seconds = str(int(started(step.created).timestamp()))
    model = _model(step)
    details = {"step": step.number, "checkpoint": manifest.model, **manifest.identity.get("engine", {})}
    return {
        "schema_version": SCHEMA,
        "evaluation_id": f"{grown.benchmark}/{model}/{seconds}",
        "evaluation_timestamp": seconds,
        "retrieved_timestamp": seconds,
        "source_metadata": {
            "source_name": "radar-fast",
            "source_type": "evaluation_run",
            "source_organization_name": "unknown",
            "evaluator_relationship": "other",
        },
        "eval_library": {"name": "radar-fast", "version": version},
        "model_info": {
            "name": model,
            "id": f"{DEVELOPER}/{model}",
            "additional_details": {key: str(value) for key, value in details.items() if value is not None},
        },
        "evaluation_results": list(_results(grown, place)),
    }


def _results(grown: Growth, place: int) -> Iterator[dict[str, Any]]:
    for section, name, curve in grown.curves():
        entry = curve.entries[place]
        if section != "directories" and entry is not None and entry.scored:
            for measure in _SAID:
                yield _result(grown, f"{grown.benchmark}/{section}/{name}/{measure}", measure, entry)


def _result(grown: Growth, name: str, measure: str, entry: Entry) -> dict[str, Any]:
    estimate = entry.estimate(measure)
    uncertainty: dict[str, Any] = {"num_samples": entry.scored}
    if estimate.low is not None:
        uncertainty["confidence_interval"] = {
            "lower": estimate.low,
            "upper": estimate.high,
            "confidence_level": grown.confidence,
            "method": "Wilson, by clusters" if measure == "accuracy" else "jackknife over clusters, Student's t",
        }
    return {
        "evaluation_name": name,
        "source_data": {"dataset_name": grown.benchmark, "source_type": "other"},
        "metric_config": {
            "evaluation_description": _SAID[measure],
            "lower_is_better": False,
            "score_type": "continuous",
            "min_score": 0,
            "max_score": 1,
        },
        "score_details": {"score": estimate.value, "uncertainty": uncertainty},
    }
