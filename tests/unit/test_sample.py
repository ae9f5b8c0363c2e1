"""The stages go wherever plain values go, and Scored says what the published arithmetic says."""

import copy
import pickle
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from bench_data import write_jsonl
from published_data import MATHVERSE, PGPS9K, write_classes, write_mathverse, write_pgps9k

from radar_fast.conditions import Conditions
from radar_fast.demo.mini_m3 import write_mini_m3
from radar_fast.protocols import open_protocol
from radar_fast.readers import FORMATS, open_reader
from radar_fast.sample import Candidate, EmbeddedImage, Reason, ReasonKind, Sample, Scored
from radar_fast.util.frozen import FrozenMapping
from radar_fast.writers import plan_export

SAMPLE = Sample(
    "q", "task", "directory", "seeing", ("What?",), ("cat", "dog", "owl"), 1, {"question": "What?", "index": 3}
)
SCORES = (Candidate((1.5, 2.25), (-0.5, -1.0)), Candidate((2.5,), (-2.0,)), Candidate((0.125,), (-3.5,)))


# What they hold


def test_metadata_are_a_copy_that_cannot_be_changed() -> None:
    given: dict[str, str | int] = {"question": "What?"}
    sample = replace(SAMPLE, metadata=given)
    given["question"] = "Which?"
    assert sample.metadata == {"question": "What?"}
    with pytest.raises(TypeError, match="does not support item assignment"):
        sample.metadata["question"] = "Which?"  # type: ignore[index]
    with pytest.raises(AttributeError, match="cannot be changed"):
        sample.metadata._items = {}  # type: ignore[attr-defined]


def test_equal_mappings_hash_alike_whatever_their_order() -> None:
    one, other = FrozenMapping({"a": 1, "b": 2}), FrozenMapping([("b", 2), ("a", 1)])
    assert one == other == {"a": 1, "b": 2}
    assert hash(one) == hash(other)
    assert one != FrozenMapping({"a": 1})
    assert {**one} == dict(one)
    assert repr(one) == "FrozenMapping({'a': 1, 'b': 2})"
    with pytest.raises(TypeError, match="unhashable"):
        hash(FrozenMapping({"a": []}))


def everything(samples: Iterable[Sample]) -> list[object]:
    """Each sample, its prompt, and what an engine could make of it."""
    protocol = open_protocol("auto", None, min_pixels=None, max_pixels=None)
    found: list[object] = []
    for sample in samples:
        found.append(sample)
        if sample.reason is None:
            found.append(protocol.prompt(sample))
        scores = tuple(Candidate((0.5,), (-0.5,)) for _ in sample.candidates)
        found.append(Scored(sample, () if sample.reason else scores, sample.reason))
    return found


def made_of(kind: str, data: Path) -> Path:
    """A small folder in that format, one unfit sample in it where that is easily had."""
    if kind == "m3":
        write_mini_m3(data)
    elif kind == "jsonl":
        write_jsonl(data, options=["only one"])
    elif kind in ("parquet", "vlmevalkit"):
        given = write_jsonl(data.with_name("given"))
        plan_export(open_reader(given), kind).write(open_reader(given), data)
    elif kind == "folder":
        write_classes(data, "none/1.png", "arm/2.png", "arm/3.txt")
    elif kind == "mathverse":
        record = MATHVERSE
        write_mathverse(data, [record, {**record, "problem_index": "2", "answer": "?"}])
    else:
        record = PGPS9K
        write_pgps9k(data, {"prob_1": record, "prob_2": {**record, "choices": "?"}})
    return data


@pytest.mark.parametrize("kind", FORMATS)
def test_what_every_reader_makes_pickles_copies_and_hashes(kind: str, tmp_path: Path) -> None:
    reader = open_reader(made_of(kind, tmp_path / "data"))
    assert reader.format == kind
    samples = list(reader)
    embedded = any(isinstance(image, EmbeddedImage) for sample in samples for image in sample.images)
    assert embedded == (kind in ("parquet", "vlmevalkit"))
    assert all(sample.metadata for sample in samples)
    for value in everything([*samples, *Conditions(candidates="letter").apply(samples)]):
        again = pickle.loads(pickle.dumps(value))
        assert again == value
        assert hash(again) == hash(value)
        assert copy.deepcopy(value) == value


# What Scored says


def test_scored_says_what_the_published_arithmetic_says() -> None:
    scored = Scored(SAMPLE, SCORES)
    raw = torch.softmax(torch.tensor([1.875, 2.5, 0.125], dtype=torch.float64), dim=0)
    normalised = torch.softmax(torch.tensor([-0.75, -2.0, -3.5], dtype=torch.float64), dim=0)
    assert scored.sds == pytest.approx(raw[1].item(), rel=1e-12)
    assert scored.sds_logprob == pytest.approx(normalised[1].item(), rel=1e-12)
    assert (scored.correct, scored.correct_logprob) == (True, False)
    verdict = scored.verdict
    assert verdict is not None
    assert verdict.probabilities == pytest.approx(raw.tolist(), rel=1e-12)
    assert (verdict.probability, verdict.chosen) == (verdict.probabilities[1], 1)


@pytest.mark.parametrize("by_reader", [True, False])
def test_what_is_unscored_has_no_numbers(by_reader: bool) -> None:
    reason = Reason(ReasonKind.TOO_LONG, "too long")
    scored = Scored(replace(SAMPLE, reason=reason)) if by_reader else Scored(SAMPLE, reason=reason)
    assert scored.verdict is scored.verdict_logprob is None
    assert scored.sds is scored.sds_logprob is scored.correct is scored.correct_logprob is None


def test_scores_that_are_not_the_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="3 candidates, but scores of 2"):
        _ = Scored(SAMPLE, SCORES[:2]).sds
    with pytest.raises(ValueError, match="must be finite"):
        _ = Scored(SAMPLE, (*SCORES[:2], Candidate((float("nan"),), (-1.0,)))).sds
