"""The summary, against torch and against sums done by hand."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from radar_fast.errors import ResultsError, UsageError
from radar_fast.results import measures
from radar_fast.results.comparison import compare_tables
from radar_fast.results.judged import Judged
from radar_fast.results.measures import Measure
from radar_fast.results.metrics import is_macro, summarize
from radar_fast.results.outcomes import collect
from radar_fast.results.summary import Entry, Summary

MORE = ("sds_sum", "accuracy_sum", "sds_byte", "accuracy_byte", "brier", "confidence", "ece")


@dataclass(frozen=True)
class Line:
    """As little as the metrics ask for."""

    id: str
    task: str = "task"
    directory: str = "directory"
    ability: str = "reasoning"
    status: str = "scored"
    reason_kind: str | None = None
    candidates: Sequence[str] = ("x", "y")
    answer: int | None = 0
    logits: Sequence[Sequence[float]] = ((0.0,), (0.0,))
    logprobs: Sequence[Sequence[float]] = ((-1.0,), (-1.0,))
    tokens_computed: int = 10
    tokens_minimal: int = 8
    seconds: float = 0.5
    metadata: Mapping[str, str | int] = field(default_factory=dict)
    images: Sequence[str] | None = ()


def unscored(id: str, kind: str | None = "missing-image", **changes: Any) -> Line:  # noqa: A002
    return replace(Line(id, status="unscored", reason_kind=kind, answer=None, logits=(), logprobs=()), **changes)


def with_probability(id: str, probability: float, **changes: Any) -> Line:  # noqa: A002
    """Two one-token candidates whose answer has this probability; the same in log-probabilities."""
    logit = float(torch.logit(torch.tensor(probability, dtype=torch.float64)))
    return replace(Line(id, logits=((logit,), (0.0,)), logprobs=((logit - 99,), (-99.0,))), **changes)


def lines(count: int, seed: int = 0, tasks: int = 3) -> list[Line]:
    draw = random.Random(seed)
    result = []
    for number in range(count):
        names: dict[str, Any] = {
            "task": f"t{number % tasks}",
            "directory": f"d{number % tasks % 2}",
            "ability": draw.choice("pr"),
        }
        if draw.random() < 0.1:
            result.append(unscored(str(number), draw.choice(["too-long", "bad-record"]), **names))
            continue
        tokens = [[draw.gauss(3, 4) for _ in range(draw.randint(1, 4))] for _ in range(draw.randint(2, 5))]
        logprobs = [[-abs(token + draw.gauss(0, 2)) for token in candidate] for candidate in tokens]
        answer = draw.randrange(len(tokens))
        result.append(
            Line(
                str(number),
                **names,
                candidates=[f"candidate {place}" for place in range(len(tokens))],
                answer=answer,
                logits=tokens,
                logprobs=logprobs,
                seconds=draw.random(),
            )
        )
    return result


def by_torch(members: list[Line], scores: str) -> tuple[float, float]:
    """(mean probability of the answer, accuracy), as the published scripts get them."""
    probabilities, successes = [], []
    for line in members:
        if line.status == "scored":
            means = torch.tensor([sum(tokens) / len(tokens) for tokens in getattr(line, scores)])
            softmax = torch.softmax(means, dim=0)
            probabilities.append(softmax[line.answer].item())
            successes.append(softmax[line.answer].item() == softmax.max().item())
    return sum(probabilities) / len(probabilities), sum(successes) / len(successes)


def test_every_entry_agrees_with_torch() -> None:
    everything = lines(400)
    summary = summarize(everything)
    groups: list[tuple[Entry, list[Line]]] = [(summary.overall, everything)]
    for entries, name in ((summary.tasks, "task"), (summary.directories, "directory"), (summary.abilities, "ability")):
        assert list(entries) == sorted({getattr(line, name) for line in everything})
        groups += [
            (entry, [line for line in everything if getattr(line, name) == value]) for value, entry in entries.items()
        ]
    assert len(groups) == 1 + 3 + 2 + 2
    for entry, members in groups:
        sds, accuracy = by_torch(members, "logits")
        sds_logprob, accuracy_logprob = by_torch(members, "logprobs")
        # A float32 softmax in torch is good to 1e-6 at worst, and less in the mean.
        assert entry.sds == pytest.approx(sds, abs=1e-6)
        assert entry.sds_logprob == pytest.approx(sds_logprob, abs=1e-6)
        assert entry.accuracy == pytest.approx(accuracy)
        assert entry.accuracy_logprob == pytest.approx(accuracy_logprob)
        assert entry.scored == sum(line.status == "scored" for line in members)
        assert entry.scored + entry.unscored == len(members)
        assert entry.aggregation == "micro"
        assert entry.sds_low is not None
        assert entry.sds_high is not None
        assert entry.sds_low < sds < entry.sds_high


@settings(deadline=None, max_examples=30)
@given(st.permutations(lines(40)))
def test_the_order_of_the_records_changes_no_bit(permuted: list[Line]) -> None:
    assert summarize(permuted) == summarize(lines(40))


def test_an_entry_does_not_depend_on_the_others() -> None:
    everything = lines(300)
    alone = summarize([line for line in everything if line.task == "t1"])
    together = summarize(everything)
    assert alone.tasks["t1"] == together.tasks["t1"]
    assert alone.overall != together.overall


# Macro and micro


@pytest.mark.parametrize(
    ("benchmark", "aggregation", "sds", "accuracy"),
    [
        ("MMBench_ocr_3", "macro", (0.8 + (0.2 + 0.4 + 0.6) / 3) / 2, (1 + 1 / 3) / 2),
        ("MMMU_Pro_Art_3", "macro", (0.8 + (0.2 + 0.4 + 0.6) / 3) / 2, (1 + 1 / 3) / 2),
        ("MathVista_3", "micro", (0.8 + 0.2 + 0.4 + 0.6) / 4, 2 / 4),
    ],
)
def test_a_directory_of_many_files_is_averaged_as_published(
    benchmark: str, aggregation: str, sds: float, accuracy: float
) -> None:
    records = [
        with_probability("a", 0.8, task=f"{benchmark}_one"),
        *(with_probability(str(share), share, task=f"{benchmark}_two") for share in (0.2, 0.4, 0.6)),
        unscored("b", task=f"{benchmark}_two"),
        unscored("c", task=f"{benchmark}_three"),  # no mean of its own, and none that it spoils
    ]
    summary = summarize(records)
    entry = summary.directories["directory"]
    assert (entry.aggregation, entry.scored, entry.unscored) == (aggregation, 4, 2)
    assert [entry.sds, entry.sds_logprob] == pytest.approx([sds, sds])
    assert [entry.accuracy, entry.accuracy_logprob] == pytest.approx([accuracy, accuracy])
    # Abilities and the whole are over samples whatever the directory does.
    for other in (summary.abilities["reasoning"], summary.overall):
        assert other.aggregation == "micro"
        assert other.sds == pytest.approx(0.5)


def test_a_macro_interval_resamples_within_tasks() -> None:
    # Two tasks without any spread of their own: a resample over the pooled samples would vary, one within cannot.
    records = [with_probability(f"{n}", 0.9, task="MMBench_a") for n in range(30)]
    records += [with_probability(f"{n}", 0.1, task="MMBench_b") for n in range(10)]
    summary = summarize(records)
    entry = summary.directories["directory"]
    assert [entry.sds, entry.sds_low, entry.sds_high] == [pytest.approx(0.5)] * 3
    # The shares are 1 of 30 and 0 of 10, whose Wilson intervals end at 0.88649 and 0.27754: half the distance to each.
    assert entry.accuracy == 0.5
    assert entry.accuracy_low == pytest.approx(0.5 - (1 - 0.886486) / 2, abs=1e-5)
    assert entry.accuracy_high == pytest.approx(0.5 + 0.277533 / 2, abs=1e-5)
    assert summary.overall.sds_low is not None
    assert summary.overall.sds_low < 0.69 < 0.71 < (summary.overall.sds_high or 0)


def test_which_names_are_macro() -> None:
    assert is_macro(["other", "MMBench_ocr_5"])
    assert is_macro(iter(["MMMU_Pro_Art_5_4_pretrained_mllm_eval"]))
    assert not is_macro(["MMMU_Art", "mmbench"])
    assert not is_macro([])


# Ties, unscored samples, nothing at all


@pytest.mark.parametrize(("answer", "accuracy"), [(0, 0.0), (1, 1.0), (2, 1.0)])
def test_an_answer_that_ties_is_right_as_published(answer: int, accuracy: float) -> None:
    logprobs = [[-9.0], [-1.0], [-0.5, -1.5]]
    line = Line("a", candidates="xyz", answer=answer, logits=[[1.0], [5.0], [4.0, 6.0]], logprobs=logprobs)
    entry = summarize([line], confidence=None).overall
    assert (entry.accuracy, entry.accuracy_logprob) == (accuracy, accuracy)


def test_unscored_samples_are_counted_by_reason_and_in_no_mean() -> None:
    records = [
        with_probability("a", 0.75),
        unscored("b", "too-long"),
        unscored("c", "bad-record"),
        unscored("d", "too-long", task="empty"),
        unscored("e", None, task="empty"),
    ]
    summary = summarize(records)
    assert summary.overall.sds == pytest.approx(0.75)
    assert summary.overall.accuracy == 1
    assert (summary.overall.scored, summary.overall.unscored) == (1, 4)
    assert summary.overall.reasons == {"bad-record": 1, "too-long": 2, "unknown": 1}
    empty = summary.tasks["empty"]
    assert (empty.scored, empty.unscored, empty.reasons) == (0, 2, {"too-long": 1, "unknown": 1})
    numbers = [value for name, value in empty.to_dict().items() if name.startswith(("sds", "accuracy"))]
    assert numbers == [None] * 12


def test_no_records_at_all() -> None:
    summary = summarize([])
    assert summary.to_dict()["tasks"] == summary.to_dict()["abilities"] == {}
    assert (summary.overall.sds, summary.overall.scored, summary.overall.unscored) == (None, 0, 0)
    totals = summary.engine
    assert (totals.seconds, totals.scored, totals.samples_per_second) == (0, 0, None)


@pytest.mark.parametrize(("count", "with_interval"), [(1, False), (4, False), (5, True)])
def test_too_few_samples_have_no_interval(count: int, with_interval: bool) -> None:
    few = [with_probability(str(number), 0.75) for number in range(count)]
    entry = summarize([*few, *(unscored(f"u{number}") for number in range(9))]).overall
    assert entry.sds == pytest.approx(0.75)
    assert entry.accuracy == 1
    ends = [entry.sds_low, entry.sds_high, entry.accuracy_low, entry.accuracy_high]
    assert [end is not None for end in ends] == [with_interval] * 4


def test_a_macro_mean_needs_enough_samples_in_every_task() -> None:
    # One sample has no spread: files of a single one would make a mean over files look certain.
    records = [with_probability(str(number), (number + 1) / 50, task=f"MMBench_{number // 40}") for number in range(44)]
    summary = summarize(records)
    assert summary.directories["directory"].sds_low is summary.directories["directory"].accuracy_high is None
    assert summary.overall.sds_low is not None
    more = summarize([*records, with_probability("44", 0.9, task="MMBench_1")]).directories["directory"]
    assert more.sds_low is not None
    assert more.accuracy_high is not None


def test_an_accuracy_of_1_is_not_certain() -> None:
    entry = summarize([with_probability(str(number), 0.75) for number in range(10)]).overall
    assert (entry.accuracy, entry.accuracy_high) == (1, 1)
    assert entry.accuracy_low == pytest.approx(0.722467, abs=1e-6)


def test_without_confidence_there_are_no_intervals() -> None:
    entry = summarize(lines(20), confidence=None).overall
    assert entry.sds_low is entry.sds_high is entry.accuracy_low is entry.accuracy_high is None
    assert entry.sds is not None


# Intervals


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    # 200 runs of 120 coin flips: a 90 % interval should hold the coin's probability in about 180 of them.
    truth = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        flips = truth.random(120) < 0.3
        entry = summarize(
            [with_probability(str(n), 0.99 if flip else 0.01) for n, flip in enumerate(flips)],
            confidence=0.9,
        ).overall
        assert entry.accuracy_low is not None
        assert entry.accuracy_high is not None
        covered += entry.accuracy_low <= 0.3 <= entry.accuracy_high
    assert 165 <= covered <= 195


def test_intervals_have_the_width_of_the_normal_approximation() -> None:
    entry = summarize(lines(2000)).overall
    assert entry.accuracy is not None
    error = (entry.accuracy * (1 - entry.accuracy) / entry.scored) ** 0.5
    assert (entry.accuracy_high or 0) - (entry.accuracy_low or 0) == pytest.approx(2 * 1.96 * error, rel=0.1)
    wider = summarize(lines(2000), confidence=0.99).overall
    assert (wider.sds_low or 1) < (entry.sds_low or 0)


# Shape


def test_the_dictionary_is_flat_below_its_names() -> None:
    summary = summarize(lines(50))
    document = summary.to_dict()
    assert list(document) == [
        "format",
        "complete",
        "missing",
        "step",
        "shard",
        "tasks",
        "directories",
        "abilities",
        "overall",
        "engine",
    ]
    assert document["overall"] == {
        "sds": summary.overall.sds,
        "accuracy": summary.overall.accuracy,
        "sds_logprob": summary.overall.sds_logprob,
        "accuracy_logprob": summary.overall.accuracy_logprob,
        **{name: summary.overall.estimate(name).value for name in MORE},
        "sds_low": summary.overall.sds_low,
        "sds_high": summary.overall.sds_high,
        "accuracy_low": summary.overall.accuracy_low,
        "accuracy_high": summary.overall.accuracy_high,
        "scored": summary.overall.scored,
        "unscored": summary.overall.unscored,
        "clusters": summary.overall.scored,
        "chance": summary.overall.chance,
        "aggregation": "micro",
        "reasons": dict(summary.overall.reasons),
    }
    assert document["tasks"]["t0"] == summary.tasks["t0"].to_dict()  # type: ignore[index]


def test_engine_totals() -> None:
    members = [Line("a"), Line("b"), unscored("c", seconds=0.25, tokens_computed=1)]
    described = {"name": "fake", "device": "none", "head_seconds": 0.5}
    totals = summarize(members, confidence=None, engine=described).engine
    assert (totals.name, totals.device, totals.dtype, totals.described) == ("fake", "none", None, described)
    assert totals.to_dict() == {
        **described,
        "tokens_computed": 21,
        "tokens_minimal": 24,
        "seconds": 1.25,
        "scored": 2,
        "samples_per_second": 1.6,
    }


def test_records_are_read_once() -> None:
    def once() -> Iterator[Line]:
        yield from lines(30)

    assert summarize(once()) == summarize(collect(lines(30)))


def test_no_number_has_changed() -> None:
    # As radar-fast 0.1 had them: numbers that were published stay.
    summary = summarize([replace(line, task=f"MMBench_{line.task}") for line in lines(60)])
    entries = (summary.overall, summary.directories["d0"], summary.tasks["MMBench_t1"])
    assert [entry.aggregation for entry in entries] == ["micro", "macro", "micro"]
    sds, accuracy = ([entry.estimate(name) for entry in entries] for name in ("sds", "accuracy"))
    # Nearly to the last bit: those of an exponential are the C library's.
    assert [one.value for one in sds] == [
        pytest.approx(value, rel=1e-12) for value in (0.3852608752828135, 0.3417744594687697, 0.4835868044521047)
    ]
    assert [(one.value, one.low, one.high) for one in accuracy] == [
        pytest.approx(numbers, rel=1e-12)  # of scipy's binomtest, "wilson"
        for numbers in (
            (0.43137254901960786, 0.3050123610790954, 0.5673469789069776),
            (0.3741830065359477, 0.24476455313532036, 0.533588412233679),
            (0.5625, 0.331785563988119, 0.7690134759450765),
        )
    ]


# A measure more


def absolute(judged: Judged) -> NDArray[np.float64]:
    """How far the answer's probability is from 1."""
    return 1 - judged.probabilities[judged.right]


@pytest.mark.parametrize("with_interval", [True, False])
def test_a_new_measure_is_one_row(with_interval: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, plainly = (
        summarize(lines(60)),
        compare_tables(collect(lines(60)).outcomes, ()),
    )
    row = Measure("absolute", absolute, interval=with_interval, means="Mean squared error of the probabilities.")
    monkeypatch.setattr(measures, "MEASURES", (*measures.MEASURES, row))
    summary = summarize(lines(60))

    estimate = summary.overall.estimate("absolute")
    assert estimate.value == pytest.approx(1 - by_torch(lines(60), "logits")[0], abs=1e-6)
    if with_interval:
        assert estimate.low is not None
        assert estimate.high is not None
        assert estimate.low < estimate.value < estimate.high
    else:
        assert estimate.low is estimate.high is None

    # It stands in summary.json and is read back, and what was there before is as it was.
    document: dict[str, Any] = summary.to_dict()
    names = {"absolute", "absolute_low", "absolute_high"} if with_interval else {"absolute"}
    assert names == set(document["overall"]) - set(plain.overall.to_dict())
    assert Summary.from_dict(document) == summary
    assert {**plain.overall.to_dict(), **document["overall"]} == document["overall"]

    # And in comparisons, if it has an interval.
    outcomes = collect(lines(60)).outcomes
    compared = compare_tables(outcomes, outcomes).overall
    assert set(compared.changes) == {"sds", "accuracy"} | ({"absolute"} if with_interval else set())
    if with_interval:
        assert (compared.change("absolute").first, compared.change("absolute").value) == (estimate.value, 0)
        more = {f"absolute_{end}" for end in ("low", "high", "p", "p_holm", "detectable")}
        sides = {"first_absolute", "second_absolute", "absolute"}
        assert sides | more == set(compared.to_dict()) - set(plainly.overall.to_dict())


def test_a_measure_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="measure 'bier': unknown; it is one of sds, accuracy, sds_logprob"):
        summarize(lines(5), confidence=None).overall.estimate("bier")
    with pytest.raises(UsageError, match="measure 'sds_logprob': not compared; it is one of sds, accuracy"):
        compare_tables((), ()).overall.change("sds_logprob")


# What only some benchmarks have


def test_facets_stand_beside_the_numbers_of_the_tasks_and_directories_they_are_of() -> None:
    records = [
        with_probability("a", 0.9, task="MMBench", metadata={"group": 7, "question": "?"}),
        with_probability("b", 0.2, task="MMBench", metadata={"group": 7}),
        with_probability("c", 0.8, task="MMBench", metadata={"group": 8}),
        with_probability("1", 0.9, task="easy", directory="gap", metadata={"version": "easy"}),
        with_probability("1", 0.6, task="hard", directory="gap", metadata={"version": "hard"}),
        with_probability("d", 0.9, task="plain"),
    ]
    document: dict[str, Any] = summarize(records).to_dict()
    assert document["tasks"]["MMBench"]["circular"] == {"accuracy": 0.5, "groups": 2, "incomplete": 0}
    assert document["tasks"]["MMBench"]["accuracy"] == pytest.approx(2 / 3)
    versions = document["directories"]["gap"]["versions"]
    assert versions["questions"] == 1
    assert versions["sds_spread"] == pytest.approx(0.3)
    plain = set(document["tasks"]["plain"])
    assert set(document["overall"]) == plain
    assert set(document["tasks"]["MMBench"]) - plain == {"circular"}
    assert set(document["directories"]["gap"]) - plain == {"versions"}


# Refusals


def test_a_sample_twice_is_refused() -> None:
    with pytest.raises(ResultsError, match="'a' of task 'task' is in the records twice"):
        summarize([Line("a"), Line("b"), Line("a")])


@pytest.mark.parametrize(
    "changes", [{"answer": None}, {"answer": 2}, {"logits": [[float("nan")], [1.0]]}, {"logprobs": [[], [1.0]]}]
)
def test_unusable_scores_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ResultsError, match="'a' of task 'task' is scored, but"):
        summarize([replace(Line("a"), **changes)])


@pytest.mark.parametrize("arguments", [{"confidence": 0}, {"confidence": 1}])
def test_arguments_out_of_range_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="a confidence between 0 and 1"):
        summarize([], **arguments)
