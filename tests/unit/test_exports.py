"""Exports: lm-evaluation-harness reads its layout back, Every Eval Ever's has what its schema asks for."""

import hashlib
import json
import math
from pathlib import Path

import pytest
from command_line import run_cli
from some_series import TASKS, write_series

import radar_fast
from radar_fast.results.folder import ResultFolder
from radar_fast.results.journal import read_records
from radar_fast.results.metrics import summarize


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_series(tmp_path_factory.mktemp("exports") / "results", 2)


def test_lm_evaluation_harness_reads_its_own_layout(results: Path, tmp_path: Path) -> None:
    utils = pytest.importorskip("lm_eval.utils")
    assert "8 new files" in run_cli("export", results, "--to", "lm-eval", "--out", tmp_path).stdout
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.json*")}
    assert "0 new files" in run_cli("export", results, "--to", "lm-eval", "--out", tmp_path).stdout
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.json*")} == before
    names = list(map(str, before))
    assert len(utils.get_results_filenames(names)) == 2
    assert {utils.get_file_task_name(Path(name).name) for name in utils.get_sample_results_filenames(names)} == set(
        TASKS
    )
    [file] = utils.get_results_filenames([name for name in names if "step-200" in name])
    document = json.loads(Path(file).read_text())
    table = utils.make_table(document)
    assert all(task in table for task in TASKS)
    summary = summarize(read_records(ResultFolder(results / "step-200").samples))
    for task, entry in summary.tasks.items():
        assert document["results"][task]["acc,none"] == pytest.approx(entry.estimate("accuracy_sum").value)
        assert document["results"][task]["sds,none"] == pytest.approx(entry.sds)
        reach = (entry.sds_high - entry.sds_low) / 2
        assert 0 < document["results"][task]["sds_stderr,none"] < reach
        assert document["n-samples"][task] == {"original": 24, "effective": 23}


def test_its_samples_hold_the_log_probabilities(results: Path, tmp_path: Path) -> None:
    run_cli("export", results, "--to", "lm-eval", "--out", tmp_path)
    [file] = tmp_path.glob("*step-100/samples_counting_8_*.jsonl")
    records = [r for r in read_records(ResultFolder(results / "step-100").samples) if r.task == "counting_8"]
    scored = [record for record in records if record.status == "scored"]
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["doc_id"] for line in lines] == list(range(23))
    for line, record in zip(lines, scored, strict=True):
        sums = [math.fsum(tokens) for tokens in record.logprobs]
        assert [response[0][0] for response in line["resps"]] == pytest.approx(sums)
        assert line["acc"] == (max(range(3), key=sums.__getitem__) == record.answer == line["target"])
        assert [each["arg_1"] for each in line["arguments"].values()] == list(record.candidates)
    [results_file] = file.parent.glob("results_*.json")
    stated = json.loads(results_file.read_text())["results"]["counting_8"]["acc,none"]
    assert sum(line["acc"] for line in lines) / 23 == pytest.approx(stated)


def test_every_eval_ever_has_what_its_schema_asks_for(results: Path, tmp_path: Path) -> None:
    assert "4 new files" in run_cli("export", results, "--to", "every-eval-ever", "--out", tmp_path).stdout
    assert "0 new files" in run_cli("export", results, "--to", "every-eval-ever", "--out", tmp_path).stdout
    files = sorted(tmp_path.rglob("*.json"))
    assert [len(file.relative_to(tmp_path).parts) for file in files] == [5, 5], "data/benchmark/developer/model/uuid"
    [grown] = radar_fast.growth(results)
    for file in files:
        document = json.loads(file.read_text())
        required = {"schema_version", "evaluation_id", "retrieved_timestamp", "source_metadata", "eval_library"}
        assert required | {"model_info", "evaluation_results"} <= set(document)
        assert document["source_metadata"]["source_type"] == "evaluation_run"
        assert {"name", "version"} <= set(document["eval_library"])
        assert {"name", "id", "additional_details"} <= set(document["model_info"])
        assert all(isinstance(value, str) for value in document["model_info"]["additional_details"].values())
        assert len(document["evaluation_results"]) == 2 * (3 + 2 + 1)
        for result in document["evaluation_results"]:
            assert {"evaluation_name", "source_data", "metric_config", "score_details"} <= set(result)
            assert result["metric_config"]["lower_is_better"] is False
            assert result["metric_config"] | {"min_score": 0, "max_score": 1} == result["metric_config"]
            ends = result["score_details"]["uncertainty"]["confidence_interval"]
            assert ends["lower"] <= result["score_details"]["score"] <= ends["upper"]
    last = json.loads(next(file for file in files if "step-200" in str(file)).read_text())
    [overall] = [
        each for each in last["evaluation_results"] if each["evaluation_name"] == "Some-Bench/overall/overall/sds"
    ]
    assert overall["score_details"]["score"] == grown.overall.entries[-1].sds


def test_every_eval_ever_has_every_scored_sample(results: Path, tmp_path: Path) -> None:
    """As its schema of single samples asks (instance_level_eval.schema.json), which knows of no other members."""
    run_cli("export", results, "--to", "every-eval-ever", "--out", tmp_path)
    required = {"schema_version", "evaluation_id", "model_id", "evaluation_name", "sample_id", "interaction_type"}
    required |= {"input", "output", "answer_attribution", "evaluation"}
    files = sorted(tmp_path.rglob("*.json"))
    for file in files:
        document = json.loads(file.read_text())
        details = document["detailed_evaluation_results"]
        data = (tmp_path / details["file_path"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == details["checksum"]
        lines = [json.loads(line) for line in data.splitlines()]
        step = "step-200" if "step-200" in str(file) else "step-100"
        records = [each for each in read_records(results / step / "samples.jsonl") if each.status == "scored"]
        assert len(lines) == len(records) == details["total_rows"]
        stated = {each["evaluation_name"]: each["score_details"] for each in document["evaluation_results"]}
        found: dict[str, list[float]] = {}
        for line, record in zip(lines, records, strict=True):
            assert set(line) - {"metadata"} == required
            assert line["evaluation_id"] == document["evaluation_id"]
            assert line["model_id"] == document["model_info"]["id"]
            assert (line["sample_id"], line["input"]["choices"]) == (record.id, list(record.candidates))
            assert line["evaluation"] == {"score": pytest.approx(record.sds), "is_correct": record.correct}
            [said] = line["answer_attribution"]
            assert (said["extracted_value"] in line["input"]["reference"]) == record.correct
            assert all(isinstance(value, str) for value in line["metadata"].values())
            found.setdefault(line["evaluation_name"], []).append(line["evaluation"]["score"])
        for name, scores in found.items():
            assert stated[name]["score"] == pytest.approx(sum(scores) / len(scores))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_tables(results: Path, tmp_path: Path, kind: str) -> None:
    result = run_cli("export", results, "--to", kind, "--out", tmp_path / "new" / "folder")
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "new" / "folder" / f"growth.{kind}").stat().st_size > 1000


def test_a_folder_that_cannot_be_made(results: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run_cli("export", results, "--to", "csv", "--out", tmp_path / "file")
    assert result.exit_code == 2
    assert "cannot be made a folder" in result.stderr
