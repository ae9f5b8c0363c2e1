"""Many samples at once are judged as one at a time, and the measures are what their papers say."""

import math
import random

import numpy as np
import pytest

from radar_fast.results import measures
from radar_fast.results.judged import Gatherer, Judged
from radar_fast.scores import judge

Sampled = tuple[list[str], int, list[list[float]], list[list[float]]]


def samples(count: int, seed: int = 0) -> list[Sampled]:
    draw = random.Random(seed)
    made: list[Sampled] = []
    for _ in range(count):
        lengths = [draw.randint(1, 9) for _ in range(draw.randint(1, 6))]
        # Few values, so that there are ties.
        logits = [[draw.choice((1.0, 2.0, 2.5, -3.0, draw.gauss(0, 3))) for _ in range(length)] for length in lengths]
        logprobs = [[-abs(draw.gauss(0, 3)) for _ in range(length)] for length in lengths]
        texts = ["x" * draw.randint(0, 9) + draw.choice(("", "ö", "鳥", "\ud800")) for _ in lengths]
        made.append((texts, draw.randrange(len(lengths)), logits, logprobs))
    return made


def judged(made: list[Sampled]) -> Judged:
    gathered = Gatherer()
    for each in made:
        gathered.add(*each)
    return gathered.judged()


def of(name: str, many: Judged) -> np.ndarray:
    [measure] = [measure for measure in measures.MEASURES if measure.name == name]
    return measure.of(many)


def test_as_one_at_a_time() -> None:
    made = samples(500)
    many = judged(made)
    raw = [judge(logits, answer) for _, answer, logits, _ in made]
    normalised = [judge(logprobs, answer) for _, answer, _, logprobs in made]
    assert of("sds", many) == pytest.approx([verdict.probability for verdict in raw], rel=1e-13)
    assert of("sds_logprob", many) == pytest.approx([verdict.probability for verdict in normalised], rel=1e-13)
    assert of("accuracy", many).tolist() == [verdict.correct for verdict in raw]
    assert of("accuracy_logprob", many).tolist() == [verdict.correct for verdict in normalised]
    assert many.chosen.tolist() == [verdict.chosen for verdict in raw]
    assert of("confidence", many) == pytest.approx([max(verdict.probabilities) for verdict in raw], rel=1e-6)


def test_summed_and_per_byte() -> None:
    made = samples(200, 1)
    many = judged(made)
    for place, (texts, answer, _, logprobs) in enumerate(made):
        sums = [math.fsum(tokens) for tokens in logprobs]
        per_byte = [
            total / max(1, len(text.encode("utf-8", "surrogatepass"))) for total, text in zip(sums, texts, strict=True)
        ]
        for kind, scores in (("sum", sums), ("byte", per_byte)):
            weights = [math.exp(score) for score in scores]
            assert of(f"sds_{kind}", many)[place] == pytest.approx(weights[answer] / sum(weights), rel=1e-9)
            assert of(f"accuracy_{kind}", many)[place] == (scores[answer] == pytest.approx(max(scores), rel=1e-12))


def test_brier_by_its_definition() -> None:
    made = samples(200, 2)
    expected = []
    for _, answer, logits, _ in made:
        shares = judge(logits, answer).probabilities
        expected.append(sum((share - (place == answer)) ** 2 for place, share in enumerate(shares)))
    assert of("brier", judged(made)) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    sure = judged([(["a", "b"], 1, [[40.0], [0.0]], [[-1.0], [-1.0]])])
    assert of("brier", sure) == pytest.approx([2.0])


def test_calibration_error_by_its_definition() -> None:
    draws = np.random.default_rng(0)
    confidence = draws.uniform(0.01, 1, size=500)
    right = (draws.random(500) < confidence**2).astype(float)
    expected = 0.0
    for number in range(15):  # Guo et al. (2017): bins (m - 1) / 15 < p <= m / 15
        mine = (confidence > number / 15) & (confidence <= (number + 1) / 15)
        if mine.any():
            expected += mine.mean() * abs(right[mine].mean() - confidence[mine].mean())
    assert measures.expected_calibration_error(confidence, right) == pytest.approx(expected)
    assert measures.expected_calibration_error(np.ones(4), np.ones(4)) == 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"answer": None}, "no answer"),
        ({"answer": 2}, "answer 2 is not an index into 2"),
        ({"candidates": ["x"], "answer": 0}, "1 candidates, and scores of 2"),
        ({"logits": [[1.0], []]}, "a candidate has no tokens"),
        ({"logprobs": [[-1.0], [-1.0, -1.0]]}, "not of the same tokens"),
    ],
)
def test_what_cannot_be_a_samples_scores(changes: dict[str, object], said: str) -> None:
    arguments = {"candidates": ["x", "y"], "answer": 1, "logits": [[1.0], [2.0]], "logprobs": [[-1.0], [-1.0]]}
    with pytest.raises(ValueError, match=said):
        Gatherer().add(**(arguments | changes))  # type: ignore[arg-type]


def test_a_score_that_is_no_number_is_told_with_its_sample() -> None:
    made = samples(5)
    made[3][2][0][0] = 1e41  # no float32
    with pytest.raises(ValueError, match="finite in float32") as caught:
        judged(made)
    assert caught.value.args[1] == 3


def test_no_samples() -> None:
    assert [measure.of(judged([])).tolist() for measure in measures.MEASURES] == [[]] * len(measures.MEASURES)
