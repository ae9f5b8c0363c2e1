"""Two runs side by side, against SciPy and against cases whose answer is known."""

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from radar_fast.errors import ResultsError, UsageError
from radar_fast.results.comparison import compare, compare_tables, read_run
from radar_fast.results.difference import Change, Difference
from radar_fast.results.journal import Journal
from radar_fast.results.metrics import summarize
from radar_fast.results.outcomes import Outcome, collect
from radar_fast.results.record import record_of
from radar_fast.sample import Candidate, Reason, ReasonKind, Sample, Scored


def outcome(name: str, sds: float | None, correct: bool = True, **changes: Any) -> Outcome:
    scores = None
    if sds is not None:
        scores = {"sds": sds, "accuracy": float(correct), "sds_logprob": 0.5, "accuracy_logprob": 1.0}
    kept = Outcome("task", name, "directory", "reasoning", scores, 0, 0, None, 10, 8, 0.5, {})
    return replace(kept, **changes)


def outcomes(count: int, seed: int, tasks: int = 3, names: str = "t") -> list[Outcome]:
    draw = random.Random(seed)
    return [
        outcome(
            str(number),
            None if draw.random() < 0.1 else draw.random(),
            draw.random() < 0.6,
            task=f"{names}{number % tasks}",
            directory=f"d{number % tasks % 2}",
            ability="p" if number % 5 else "r",
        )
        for number in range(count)
    ]


def by_scipy(groups: Sequence[Sequence[tuple[Outcome, Outcome]]]) -> dict[str, float]:
    """The difference and its interval of unclustered pairs: one sample's t, Welch's for a mean over groups."""
    result: dict[str, float] = {}
    for kind in ("sds", "accuracy"):
        deltas = [
            np.array([second.scores[kind] - first.scores[kind] for first, second in group])  # type: ignore[index]
            for group in groups
        ]
        value = float(np.mean([each.mean() for each in deltas]))
        errors = np.array([each.var(ddof=1) / len(each) for each in deltas]) / len(deltas) ** 2
        freedom = errors.sum() ** 2 / sum(e**2 / (len(d) - 1) for e, d in zip(errors, deltas, strict=True))
        low, high = stats.t.interval(0.95, freedom, value, errors.sum() ** 0.5)
        result |= {kind: value, f"{kind}_low": low, f"{kind}_high": high}
        result[f"{kind}_p"] = 2 * stats.t.sf(abs(value) / errors.sum() ** 0.5, freedom)
    return result


def pairs_of(first: list[Outcome], second: list[Outcome], **wanted: str) -> list[tuple[Outcome, Outcome]]:
    """As in a run's order: by task, then id."""
    theirs = {(member.task, member.id): member for member in second}
    return [
        (mine, theirs[mine.task, mine.id])
        for mine in sorted(first, key=lambda member: (member.task, member.id))
        if mine.scores is not None
        and theirs[mine.task, mine.id].scores is not None
        and all(getattr(mine, name) == value for name, value in wanted.items())
    ]


def agrees(found: Difference, expected: dict[str, float]) -> None:
    for name, value in expected.items():
        assert found.to_dict()[name] == pytest.approx(value, abs=1e-12), name


# Against an independent computation


def test_every_entry_agrees_with_scipy() -> None:
    first, second = outcomes(300, 1), outcomes(300, 2)
    found = compare_tables(first, second)
    agrees(found.overall, by_scipy([pairs_of(first, second)]))
    for kind, entries in (("task", found.tasks), ("directory", found.directories), ("ability", found.abilities)):
        assert list(entries) == sorted({getattr(member, kind) for member in first})
        for name, entry in entries.items():
            pairs = pairs_of(first, second, **{kind: name})
            agrees(entry, by_scipy([pairs]))
            assert entry.paired == len(pairs)
            assert entry.aggregation == "micro"


def test_a_macro_directory_is_averaged_over_its_tasks() -> None:
    first, second = outcomes(200, 3, names="MMBench_"), outcomes(200, 4, names="MMBench_")
    found = compare_tables(first, second).directories["d0"]
    groups = [pairs_of(first, second, task=task) for task in ("MMBench_0", "MMBench_2")]
    agrees(found, by_scipy(groups))
    assert found.aggregation == "macro"


def test_both_sides_are_the_means_that_a_summary_has() -> None:
    records = [
        Scored(
            Sample(str(n), "t", "d", "a", ("?",), ("x", "y"), n % 2),
            (Candidate((n / 7,), (-1.0,)), Candidate((1.0,), (-1.0,))),
        )
        for n in range(40)
    ]
    table = list(map(record_of, records))
    found = compare_tables(collect(table).outcomes, collect(table).outcomes).overall
    summary = summarize(table, confidence=None).overall
    assert (found.first_sds, found.second_sds) == (summary.sds, summary.sds)
    assert (found.first_accuracy, found.accuracy) == (summary.accuracy, 0)


# Cases whose interval is known


def test_a_run_against_itself_differs_by_nothing() -> None:
    found = compare_tables(outcomes(100, 5), outcomes(100, 5)).overall
    assert (found.sds, found.sds_low, found.sds_high) == (0, 0, 0)
    assert (found.accuracy, found.accuracy_low, found.accuracy_high) == (0, 0, 0)
    assert (found.only_first, found.only_second) == (0, 0)


def test_what_all_samples_gain_alike_has_an_interval_of_no_width() -> None:
    # Hard and easy samples, wide apart, each better by a quarter: two separate intervals would overlap by far.
    first = [outcome(str(n), n / 64, False) for n in range(40)]
    second = [outcome(str(n), n / 64 + 0.25, True) for n in range(40)]
    found = compare_tables(first, second).overall
    assert (found.sds, found.sds_low, found.sds_high) == (0.25, 0.25, 0.25)
    assert (found.accuracy, found.accuracy_low, found.accuracy_high) == (1, 1, 1)


def test_the_interval_has_the_width_of_the_normal_approximation() -> None:
    # 2000 pairs: 30 % right in the second run alone, 10 % in the first alone. A difference is 1, -1 or 0.
    kinds = [(False, True)] * 600 + [(True, False)] * 200 + [(True, True)] * 1200
    first = [outcome(str(n), 0.5, before) for n, (before, _) in enumerate(kinds)]
    second = [outcome(str(n), 0.5, after) for n, (_, after) in enumerate(kinds)]
    found = compare_tables(first, second).overall
    error = ((0.3 + 0.1 - 0.2**2) / 2000) ** 0.5
    assert found.accuracy == pytest.approx(0.2)
    assert found.accuracy_low == pytest.approx(0.2 - 1.96 * error, abs=0.01 * error)
    assert found.accuracy_high == pytest.approx(0.2 + 1.96 * error, abs=0.01 * error)


# What pairs and what does not


def test_what_is_only_in_one_is_counted() -> None:
    first = [
        outcome("a", 0.1),
        outcome("b", 0.2),
        outcome("c", None),
        outcome("d", 0.3),
        outcome("e", None),
        outcome("x", 0.9, task="u"),
    ]
    second = [
        outcome("b", 0.4),
        outcome("c", 0.5),
        outcome("d", None),
        outcome("e", None),
        outcome("f", 0.6),
        outcome("g", 0.7),
    ]
    found = compare_tables(first, second)
    assert (found.overall.paired, found.overall.only_first, found.overall.only_second) == (1, 3, 3)
    assert found.overall.sds == pytest.approx(0.2)
    empty = found.tasks["u"]
    assert (empty.paired, empty.only_first, empty.only_second) == (0, 1, 0)
    assert empty.sds is empty.sds_low is empty.first_sds is empty.second_accuracy is None


def test_without_confidence_there_are_no_intervals() -> None:
    found = compare_tables(outcomes(20, 1), outcomes(20, 2), confidence=None).overall
    assert found.sds is not None
    assert found.sds_low is found.accuracy_high is None


@settings(deadline=None, max_examples=30)
@given(st.permutations(outcomes(40, 7)), st.permutations(outcomes(40, 8)))
def test_the_order_changes_no_bit(first: list[Outcome], second: list[Outcome]) -> None:
    assert compare_tables(first, second) == compare_tables(outcomes(40, 7), outcomes(40, 8))


def test_the_other_way_round_is_the_negative() -> None:
    forth, back = (compare_tables(outcomes(80, a), outcomes(80, b)).overall for a, b in ((1, 2), (2, 1)))
    assert back.sds == pytest.approx(-(forth.sds or 0))
    assert (back.sds_low, back.sds_high) == pytest.approx((-(forth.sds_high or 0), -(forth.sds_low or 0)))
    assert (back.only_first, back.first_sds) == (forth.only_second, forth.second_sds)


# Folders


def write_run(path: Path, seed: int, count: int = 30, question: str = "What?", **identity: object) -> Path:
    path.mkdir()
    draw = random.Random(seed)
    with Journal.open(path / "samples.jsonl") as journal:
        for task in ("base", "full"):
            for number in range(count):
                metadata: dict[str, str | int] = {"question": f"{question} {task} {number}"}
                sample = Sample(f"q{number}", task, "d", "a", ("?",), ("x", "y"), 0, metadata)
                if number == 3:
                    journal.append([record_of(Scored(sample, reason=Reason(ReasonKind.TOO_LONG, "too long")))])
                    continue
                scores = tuple(Candidate((draw.gauss(0, 1),), (-abs(draw.gauss(0, 1)),)) for _ in range(2))
                journal.append([record_of(Scored(sample, scores))])
    run = {
        "format": 1,
        "configuration": {"model": f"/ckpt/{path.name}"},
        "identity": {"model": {"files": {"a": path.name}}, "protocol": {"name": "qwen2vl"}, **identity},
    }
    (path / "run.json").write_text(json.dumps(run))
    return path


def test_two_folders_and_what_differs(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", 1)
    two = write_run(tmp_path / "two", 2, conditions={"without": "image"})
    found = compare(one, two)
    assert (found.first, found.second) == (str(one), str(two))
    assert found.differing == ("--without was not given, is image", "model: /ckpt/one and /ckpt/two")
    assert (found.overall.paired, found.overall.only_first) == (58, 0)
    expected = compare_tables(read_run(one).table.outcomes, read_run(two).table.outcomes)
    assert (found.tasks, found.overall) == (expected.tasks, expected.overall)
    document = json.loads(json.dumps(found.to_dict()))
    missing = ["first_missing", "second_missing"]
    assert [document[name] for name in missing] == [None, None], "nothing says how many there are"
    assert list(document) == ["tasks", "directories", "abilities", "overall", "first", "second", "differing", *missing]
    base = found.tasks["base"]
    assert document["tasks"]["base"] == {
        "first_sds": base.first_sds,
        "second_sds": base.second_sds,
        "sds": base.sds,
        "sds_low": base.sds_low,
        "sds_high": base.sds_high,
        "sds_p": base.change("sds").p,
        "sds_p_holm": base.change("sds").p_holm,
        "sds_detectable": base.change("sds").detectable,
        "first_accuracy": base.first_accuracy,
        "second_accuracy": base.second_accuracy,
        "accuracy": base.accuracy,
        "accuracy_low": base.accuracy_low,
        "accuracy_high": base.accuracy_high,
        "accuracy_p": base.change("accuracy").p,
        "accuracy_p_holm": base.change("accuracy").p_holm,
        "accuracy_detectable": base.change("accuracy").detectable,
        "paired": 29,
        "clusters": 29,
        "only_first": 0,
        "only_second": 0,
        "aggregation": "micro",
    }


def test_what_a_part_of_a_run_lacks(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", 1, data={"samples": 60})
    part = write_run(tmp_path / "part", 2, count=20, data={"samples": 60})
    found = compare(one, part, confidence=None)
    assert (found.first_missing, found.second_missing) == (0, 20)


@pytest.mark.parametrize(("count", "with_interval"), [(4, False), (5, True)])
def test_too_few_pairs_have_no_interval(count: int, with_interval: bool) -> None:
    found = compare_tables(outcomes(count, 1), outcomes(count, 2)).overall
    paired = min(count, found.paired)
    assert found.sds is not None
    assert (found.sds_low is not None) == (found.accuracy_high is not None) == (with_interval and paired >= 5)
    assert (found.change("sds").significant is None) == (found.sds_low is None)


@pytest.mark.parametrize(
    ("p", "p_holm", "significant"), [(0.01, 0.04, True), (0.01, 0.06, False), (0.05, 0.05, False), (None, None, None)]
)
def test_a_difference_is_significant_by_its_corrected_p_value(
    p: float | None, p_holm: float | None, significant: bool | None
) -> None:
    assert Change(0.1, 0.2, 0.1, 0.01, 0.2, p, p_holm).significant is significant


def by_closed_testing(ps: Sequence[float]) -> list[float]:
    """What Holm's procedure abbreviates: a hypothesis falls if every set of them that holds it does, by Bonferroni."""
    places = range(len(ps))
    sets = [some for count in places for some in combinations(places, count + 1)]
    return [min(1.0, max(len(some) * min(ps[each] for each in some) for some in sets if one in some)) for one in places]


def test_tasks_are_corrected_for_being_many_and_each_section_for_itself() -> None:
    first, second = outcomes(300, 1), outcomes(300, 2)
    found = compare_tables(first, second)
    for entries in (found.tasks, found.directories, found.abilities):
        ps = [p for each in entries.values() if (p := each.change("sds").p) is not None]
        assert [each.change("sds").p_holm for each in entries.values()] == pytest.approx(by_closed_testing(ps))
    assert found.overall.change("sds").p_holm == found.overall.change("sds").p


def test_tasks_of_one_run_against_each_other(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", 1)
    found = compare(one, one, pairs=[("base", "full")])
    assert list(found.tasks) == ["base -> full"]
    [entry] = found.tasks.values()
    table = read_run(one).table.outcomes
    first, second = ([member for member in table if member.task == task] for task in ("base", "full"))
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if a.scores is not None]
    assert entry.paired == len(pairs) == 29
    assert entry.sds == pytest.approx(np.mean([(b.sds or 0) - (a.sds or 0) for a, b in pairs]))
    assert found.differing == ()


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([("base", "none")], r"no task 'none' in the second run: .*'full'"),
        ([("none", "base")], "no task 'none' in the first run"),
        ([("base", "full"), ("base", "base")], "'base' comes twice"),
    ],
)
def test_pairs_that_are_not_there(tmp_path: Path, pairs: list[tuple[str, str]], message: str) -> None:
    one = write_run(tmp_path / "one", 1)
    with pytest.raises(UsageError, match=message):
        compare(one, one, pairs=pairs)


def test_other_benchmarks_are_refused(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", 1)
    other = write_run(tmp_path / "other", 1, question="Where?")
    with pytest.raises(ResultsError, match=r"sample 'q0' of task 'base' is another question.*--pair"):
        compare(one, other)
    empty = write_run(tmp_path / "empty", 1, count=0)
    with pytest.raises(ResultsError, match="no sample is scored in both"):
        compare(one, empty)
    with pytest.raises(ResultsError, match=r"no run\.json"):
        compare(one, tmp_path)
    (empty / "run.json").write_text('{"format": 1, "identity": [], "configuration": {}}')
    with pytest.raises(ResultsError, match="no identity"):
        compare(one, empty)


@pytest.mark.parametrize("arguments", [{"confidence": 0}, {"confidence": 1.0}])
def test_arguments_out_of_range(tmp_path: Path, arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="confidence between 0 and 1"):
        compare(tmp_path, tmp_path, **arguments)
