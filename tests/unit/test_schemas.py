"""The files of a result folder are what their schemas say, and docs/results.md names the same fields."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from bench_data import write_jsonl

from radar_fast import RunConfig, UsageError, score
from radar_fast.results import SCHEMAS, measures, schema
from radar_fast.results.folder import ResultFolder
from radar_fast.results.metrics import summarize
from radar_fast.results.record import record_of
from radar_fast.sample import Candidate, Sample, Scored

DOCS = Path(__file__).resolve().parents[2] / "docs" / "results.md"
FILES = {"run": "run.json", "samples": "samples.jsonl", "summary": "summary.json"}


def check(name: str, document: object) -> None:
    jsonschema.Draft202012Validator(schema(name)).validate(document)


def objects(node: object) -> Iterator[dict[str, Any]]:
    """Every object in a schema."""
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from objects(value)
    elif isinstance(node, list):
        for value in node:
            yield from objects(value)


def described(name: str) -> dict[str, list[dict[str, Any]]]:
    """Every field of a schema, wherever it stands, with what is said of it; the conditions say nothing new."""
    document = {key: value for key, value in schema(name).items() if key not in ("if", "then", "else")}
    found: dict[str, list[dict[str, Any]]] = {}
    for node in objects(document):
        if isinstance(properties := node.get("properties"), dict):
            for field, said in properties.items():
                found.setdefault(field, []).append(said)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> ResultFolder:
    """A real run, with a sample that cannot be scored."""
    path = tmp_path_factory.mktemp("schemas")
    data = write_jsonl(path / "data", options=["only one"])
    score(RunConfig(data=data, out=path / "out", engine="fake", without="image"))
    return ResultFolder(path / "out")


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_are_schemas(name: str) -> None:
    document = schema(name)
    jsonschema.Draft202012Validator.check_schema(document)
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for field, said in described(name).items():
        assert all(one["description"].strip() for one in said), field


def test_a_schema_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="schema 'sumary': unknown, did you mean summary"):
        schema("sumary")


def test_a_real_run_writes_what_the_schemas_say(folder: ResultFolder) -> None:
    run, summary = (json.loads(path.read_bytes()) for path in (folder.run, folder.summary))
    check("run", run)
    assert run["identity"]["conditions"] == {"without": "image"}
    assert run["engine"]["name"] == "fake"
    check("summary", summary)
    assert (summary["complete"], summary["missing"], summary["overall"]["unscored"]) == (True, 0, 1)
    lines = [json.loads(line) for line in folder.samples.read_text().splitlines()]
    for line in lines:
        check("samples", line)
    assert {line["status"] for line in lines} == {"scored", "unscored"}


def test_numbers_of_single_benchmarks_are_as_their_schema_says() -> None:
    facts: list[dict[str, str | int]] = [
        {"group": 1},
        {"group_figure": 1, "group_question": 2},
        {"class": "no", "graded": 1, "split_at": 1},
        {"class": "no", "graded": 1},
        {"version": "easy"},
        {"version": "hard"},
    ]
    records = [
        record_of(
            Scored(
                Sample("q", f"t{number}", "d", "a", ("?",), ("x", "y"), 0, some),
                (Candidate((1.0,), (-1.0,)), Candidate((0.0,), (-2.0,))),
            )
        )
        for number, some in enumerate(facts)
    ]
    document: dict[str, Any] = json.loads(json.dumps(summarize(records).to_dict()))
    check("summary", document)
    blocks = {name for kind in ("tasks", "directories") for entry in document[kind].values() for name in entry}
    assert {"circular", "figures", "questions", "classes", "graded", "versions"} <= blocks
    check("summary", json.loads(json.dumps(summarize([]).to_dict())))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("samples", {"sds": None}),
        ("samples", {"reason": "but it is scored"}),
        ("samples", {"metadata": {"x": 0.5}}),
        ("samples", {"format": 2}),
        ("samples", {"later": 1}),
        ("summary", {"complete": None}),
        ("summary", {"missing": -1}),
        ("summary", {"overall": {}}),
        ("run", {"identity": {}}),
        ("run", {"created": None}),
    ],
)
def test_what_is_not_such_a_file_is_refused(folder: ResultFolder, name: str, change: dict[str, object]) -> None:
    text = (folder.path / FILES[name]).read_text()
    document = json.loads(text.splitlines()[-1] if name == "samples" else text)
    check(name, document)
    with pytest.raises(jsonschema.ValidationError):
        check(name, document | change)


def test_every_measure_is_described() -> None:
    fields = described("summary")
    for measure in measures.MEASURES:
        assert fields[measure.name][0]["description"] == measure.means
        assert (f"{measure.name}_low" in fields) == measure.interval


@pytest.mark.parametrize("name", FILES)
def test_the_documentation_names_the_same_fields(name: str) -> None:
    [section] = re.findall(
        rf"^## {re.escape(FILES[name])}\n(.*?)(?=^## |\Z)", DOCS.read_text(), re.DOTALL | re.MULTILINE
    )
    cells = re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE)
    named = {field for cell in cells for field in re.findall(r"`(\w+)`", cell)}
    assert named == set(described(name))
