"""Numbers of single benchmarks, against sums done by hand and the rules of each benchmark written out anew."""

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import numpy as np
import pytest

from radar_fast.results.facets import Classes, Graded, Groups, Versions, directory_facets, task_facets


@dataclass(frozen=True)
class Line:
    """As little as is asked for."""

    id: str
    sds: float | None = 0.5
    answer: int | None = 0
    chosen: int | None = 0
    facts: Mapping[str, str | int] = field(default_factory=dict)


def line(name: str, right: bool | None, **facts: str | int) -> Line:
    if right is None:
        return Line(name, None, None, None, facts)
    return Line(name, 0.75 if right else 0.25, 1, 1 if right else 0, facts)


def test_most_benchmarks_have_none() -> None:
    assert task_facets([Line("a"), Line("b", facts={"other": 1})]) == {}
    assert directory_facets([Line("a")]) == {}
    assert task_facets([]) == directory_facets([]) == {}


def test_a_group_is_right_only_if_all_of_it_is() -> None:
    samples = [
        *(line(f"0{n}", True, group=0) for n in range(4)),
        *(line(f"1{n}", n != 2, group=1) for n in range(4)),
        line("2", False, group=2),
        *(line(f"3{n}", None if n == 1 else True, group=3) for n in range(4)),
        *(line(f"4{n}", None if n == 1 else False, group="4") for n in range(2)),
        line("alone", True),
    ]
    random.Random(0).shuffle(samples)
    assert task_facets(samples) == {"circular": Groups(accuracy=1 / 3, groups=3, incomplete=2)}
    assert task_facets([line("a", None, group=1)]) == {"circular": Groups(None, 0, 1)}


def test_hallusion_bench_counts_over_figures_and_over_questions() -> None:
    # As VLMEvalKit does it: all of a (category, set, figure), and all of a (category, set, question).
    draw = random.Random(3)
    right = {(s, f, q): draw.random() < 0.7 for s in range(5) for f in range(3) for q in range(4)}
    samples = [
        line(f"VD_x_{s}_{f}_{q}", is_right, group_figure=f"x_{s}_{f}", group_question=f"x_{s}_{q}")
        for (s, f, q), is_right in right.items()
    ]
    found = task_facets(samples)
    figures = np.mean([all(right[s, f, q] for q in range(4)) for s in range(5) for f in range(3)])
    questions = np.mean([all(right[s, f, q] for f in range(3)) for s in range(5) for q in range(4)])
    for name, accuracy, count in (("figures", figures, 15), ("questions", questions, 20)):
        groups = found[name]
        assert isinstance(groups, Groups)
        assert asdict(groups) == {"accuracy": pytest.approx(accuracy), "groups": count, "incomplete": 0}
    assert "circular" not in found


def test_grades() -> None:
    draw = np.random.default_rng(0)
    truth, guess = draw.integers(5, size=200), draw.integers(5, size=200)
    samples = [
        Line(str(n), 0.2, int(t), int(g), {"class": str(t), "graded": 5, "split_at": 2})
        for n, (t, g) in enumerate(zip(truth, guess, strict=True))
    ]
    samples.append(Line("unscored", None, None, None, {"class": "0", "graded": 5, "split_at": 2}))
    found = task_facets(samples)
    graded, classes = found["graded"], found["classes"]
    assert isinstance(graded, Graded)
    assert isinstance(classes, Classes)
    assert graded.mean_absolute_error == pytest.approx(np.abs(truth - guess).mean())
    assert graded.split_accuracy == pytest.approx(np.mean(np.isin(truth, [0, 1]) == np.isin(guess, [0, 1])))
    assert graded.split_at == 2
    for grade in range(5):
        mask = truth == grade
        assert classes.accuracy[str(grade)] == pytest.approx((guess[mask] == grade).mean())
        assert classes.scored[str(grade)] == mask.sum()
    assert classes.mean_accuracy == pytest.approx(np.mean(list(classes.accuracy.values())))


def test_classes_without_grades_and_grades_without_a_split() -> None:
    plain = task_facets([Line("a", facts={"class": "cat"}), Line("b", answer=1, facts={"class": "dog"})])
    assert plain == {"classes": Classes({"cat": 1.0, "dog": 0.0}, {"cat": 1, "dog": 1}, 0.5)}
    found = task_facets([Line("a", chosen=3, facts={"graded": 5})])["graded"]
    assert found == Graded(mean_absolute_error=3, split_at=None, split_accuracy=None)
    facts: dict[str, str | int] = {"class": "cat", "graded": 2}
    assert task_facets([line("a", None, **facts)]) == {}


def test_versions_are_compared_over_what_all_of_them_have() -> None:
    samples = [
        *(line(f"p{n}", n != 0, version="Text Dominant") for n in range(4)),
        *(line(f"p{n}", n == 1, version="Vision Only") for n in range(4)),
        line("p9", False, version="Text Dominant"),  # not in the other
        line("p8", None, version="Text Dominant"),  # unscored here
        line("p8", True, version="Vision Only"),
    ]
    [(name, found)] = directory_facets(samples).items()
    assert name == "versions"
    assert isinstance(found, Versions)
    assert asdict(found) == {
        "questions": 4,
        "sds": {"Text Dominant": pytest.approx(0.625), "Vision Only": pytest.approx(0.375)},
        "accuracy": {"Text Dominant": 0.75, "Vision Only": 0.25},
        "sds_spread": pytest.approx(0.25),
        "accuracy_spread": 0.5,
    }
    assert directory_facets([line("a", True, version="x")]) == {}, "one version differs from no other"
    apart = [line("a", True, version="x"), line("b", True, version="y"), line("c", None, version="z")]
    assert directory_facets(apart) == {"versions": Versions(0, {}, {}, None, None)}
