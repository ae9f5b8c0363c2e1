"""A result folder: what its small files say, to whom it belongs, and that those of earlier versions stay readable."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import old_results
import pytest
from bench_data import write_jsonl

from radar_fast import RunConfig, Summary, compare, score, summarize
from radar_fast.errors import ResultsError
from radar_fast.results.differing import told_differences
from radar_fast.results.folder import ResultFolder
from radar_fast.results.journal import read_records
from radar_fast.results.manifest import Manifest


@pytest.fixture
def old(tmp_path: Path) -> ResultFolder:
    """Of radar-fast 0.1, with a sample missing."""
    return ResultFolder(old_results.write_old_folder(tmp_path / "old"))


def less(document: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in names}


def without_intervals(value: Any) -> Any:
    """A summary, or a part of one, without its intervals."""
    if not isinstance(value, dict):
        return value
    return {key: None if key.endswith(("_low", "_high")) else without_intervals(inner) for key, inner in value.items()}


def as_before(found: Any, before: Any) -> bool:
    """Whether everything that an old document says stands in another: numbers nearly to the last bit."""
    if isinstance(before, dict):
        return all(as_before(found[key], inner) for key, inner in before.items())
    return bool(found == (pytest.approx(before, rel=1e-12) if isinstance(before, float) else before))


# Of earlier versions


def test_an_old_summary_is_read(old: ResultFolder) -> None:
    summary = old.read_summary()
    assert (summary.missing, summary.complete) == (None, False)
    assert as_before(summary.to_dict(), old_results.SUMMARY)
    assert (summary.overall.chance, summary.overall.clusters) == (None, None)
    assert (summary.overall.sds, summary.overall.reasons) == (0.4360802623440542, {"missing-image": 1})
    assert (summary.engine.name, summary.engine.samples_per_second) == ("fake", 4 / 3)


def test_an_old_folder_is_summarised_as_before_and_brought_up_to_date(old: ResultFolder) -> None:
    summary = summarize(str(old.path))
    document = json.loads(old.summary.read_text())
    assert as_before(document, without_intervals(old_results.SUMMARY)), "of two samples"
    assert document["overall"]["chance"] == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert document["overall"]["clusters"] == 2
    assert (document["format"], document["complete"], document["missing"]) == (1, False, 1)
    assert old.read_summary() == summary
    assert old.run.read_text() == json.dumps(old_results.RUN, indent=2) + "\n"


def test_an_old_folder_is_compared_and_its_records_have_all_they_had(old: ResultFolder) -> None:
    assert compare(str(old.path), old.path).overall.paired == 2
    records = list(read_records(str(old.samples)))
    assert [(record.id, record.sds) for record in records] == [
        (line["id"], line["sds"]) for line in old_results.SAMPLES
    ]


def test_an_old_folder_is_resumed(tmp_path: Path) -> None:
    config = RunConfig(data=write_jsonl(tmp_path / "data"), out=tmp_path / "out", engine="fake")
    whole = score(config)
    folder = ResultFolder(config.out)
    lines = [json.loads(line) for line in folder.samples.read_text().splitlines()]
    folder.samples.write_text("".join(json.dumps(less(line, "format")) + "\n" for line in lines[:7]))
    partial = summarize(config.out)
    assert (partial.complete, partial.missing, partial.overall.scored) == (False, 13, 7)
    again = score(config)
    assert replace(again, engine=whole.engine) == whole
    assert folder.read_summary() == again
    resumed = [json.loads(line) for line in folder.samples.read_text().splitlines()]
    assert [line.get("format") for line in resumed] == [None] * 7 + [1] * 13
    assert [less(line, "format") for line in resumed] == [less(line, "format") for line in lines]


# Of later ones, and of others


def test_a_later_format_is_refused_and_named(old: ResultFolder) -> None:
    old.summary.write_text(json.dumps({**old_results.SUMMARY, "format": 2}))
    with pytest.raises(ResultsError, match=r"summary\.json: a summary of format 2, .* reads format 1.*radar-fast summ"):
        old.read_summary()
    old.samples.write_text(json.dumps({**old_results.SAMPLES[0], "format": 3}) + "\n")
    with pytest.raises(ResultsError, match=r"line 1: .*of format 3, and this version reads format 1"):
        list(read_records(old.samples))
    old.run.write_text(json.dumps({**old_results.RUN, "format": 4}))
    with pytest.raises(ResultsError, match=r"run\.json: not of format 1; another version"):
        old.manifest()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ([], "not a summary: it is not an object"),
        ({"overall": None}, "not a summary"),
        ({"tasks": []}, "not a summary"),
        ({"engine": {}}, "has no 'tokens_computed'"),
        ({"overall": {**old_results.SUMMARY["overall"], "sds": "high"}}, "'high' is not a number"),
    ],
)
def test_what_is_not_a_summary(change: Any, message: str) -> None:
    with pytest.raises(ResultsError, match=message):
        Summary.from_dict({**old_results.SUMMARY, **change} if isinstance(change, dict) else change)


def test_files_that_are_not_there(tmp_path: Path, old: ResultFolder) -> None:
    with pytest.raises(ResultsError, match=r"not a radar-fast result folder: it has no run\.json"):
        ResultFolder(tmp_path).manifest()
    old.summary.unlink()
    with pytest.raises(ResultsError, match=r"has no summary\.json; `radar-fast summarize .*old` writes it"):
        old.read_summary()
    old.run.write_bytes(b"{")
    with pytest.raises(ResultsError, match=r"run\.json: cannot be read"):
        old.manifest()


# To whom it belongs


def test_a_folder_is_claimed_once(tmp_path: Path) -> None:
    folder = ResultFolder(str(tmp_path))
    identity = {"data": {"samples": 4}, "engine": {"dtype": "float32"}}
    folder.claim(identity, {"model": "/ckpt"}, empty=True)
    folder.claim(identity, {"model": "/moved"}, empty=False)
    manifest = folder.manifest()
    assert (manifest.model, manifest.samples, manifest.engine) == ("/ckpt", 4, {})
    assert "radar-fast" in manifest.versions
    other = {**identity, "engine": {"dtype": "bfloat16"}}
    message = r"--out .*another configuration; name another --out.*--dtype was float32, is bfloat16"
    with pytest.raises(ResultsError, match=message):
        folder.claim(other, {}, empty=False)
    folder.amend(engine={"name": "fake"})
    assert folder.manifest() == Manifest.from_dict({**manifest.to_dict(), "engine": {"name": "fake"}})
    folder.run.unlink()
    with pytest.raises(ResultsError, match=r"--out .*samples\.jsonl is there without its run\.json.*another --out"):
        folder.claim(identity, {}, empty=False)


def differing(old: dict[str, Any], new: dict[str, Any], **options: tuple[Any, Any]) -> list[str]:
    before, after = ({name: pair[side] for name, pair in options.items()} for side in (0, 1))
    return told_differences(old, new, before, after)


def test_differences_are_told_by_option_and_file() -> None:
    old = {
        "protocol": {"name": "chat", "min_pixels": None},
        "model": {"files": {"merges.txt": "a", "config.json": "b"}},
    }
    new = {"protocol": {"name": "plain", "min_pixels": 4}, "model": {"files": {"vocab.json": "a", "config.json": "c"}}}
    assert differing(old, new) == [
        "--protocol was chat, is plain",
        "--min-pixels was not given, is 4",
        "--model: merges.txt is not there any more",
        "--model: config.json is another",
        "--model: vocab.json was not there",
    ]
    assert differing({"a": {"b": 1}}, {"a": {"b": 1}, "d": {"e": "x" * 50}}) == [f"d.e was not given, is {'x' * 32}..."]
    assert differing({"prompt": "a"}, {"prompt": "b"})[0].startswith("the prompt is rendered otherwise")
    assert differing(new, new, tasks=(["a"], ["b"])) == [], "the same samples by other words"


@pytest.mark.parametrize(
    ("option", "values", "told"),
    [
        ("tasks", (["a*"], ["a*", "b*"]), "--tasks was a*, is a* b*"),
        ("limit", (None, 6), "--limit was not given, is 6"),
        ("fields", ({}, {"hint": "clue"}), "--field was not given, is hint=clue"),
        ("data", ("/here", "/there"), "--data: the data are not what they were: 4 samples, now 6"),
    ],
)
def test_other_samples_are_told_by_the_option_that_picks_them(option: str, values: tuple[Any, Any], told: str) -> None:
    old, new = ({"data": {"samples": count, "sha256": str(count)}} for count in (4, 6))
    assert differing(old, new, **{option: values}) == [told]


def test_a_folder_of_an_earlier_version_is_not_gone_on_with(old: ResultFolder) -> None:
    before = old.run.read_bytes(), old.samples.read_bytes()
    with pytest.raises(
        ResultsError, match=r"--out .*old: an earlier version of radar-fast began it.*name another --out"
    ):
        old.claim({"version": 2, **old_results.RUN["identity"]}, {}, empty=False)
    assert (old.run.read_bytes(), old.samples.read_bytes()) == before


def test_a_failure_leaves_nothing_unless_something_was_recorded(tmp_path: Path) -> None:
    folder = ResultFolder(tmp_path / "series" / "step-1")
    for recorded in (False, True):
        folder.make()
        folder.run.write_text("{}")
        folder.samples.write_text("a line\n" if recorded else "")
        with pytest.raises(KeyError), folder.nothing_left_by_failures():
            raise KeyError
        assert (tmp_path / "series").exists() == folder.run.exists() == recorded


def test_a_format_that_is_no_number_is_told_in_a_line() -> None:
    for found in ("a\nb", [1] * 100, "x" * 5000):
        with pytest.raises(ResultsError, match="a summary of format") as caught:
            Summary.from_dict({"format": found})
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 300
