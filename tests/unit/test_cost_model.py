"""A cost model's factors are found again where the measurements were made by them, and a departure shows."""

from dataclasses import replace

import pytest

from radar_fast.bench.cost_model import APART, TERMS, Point, fit, modelled, terms_of
from radar_fast.bench.roofline import Architecture, Work, sample_flops

ARCHITECTURE = Architecture(64, 2, 4, 2, 16, 128, 512, 64, 2, 256, 1176, 4)
FACTORS = {
    "vision": (2e-10, 1e-6, 3e-4),
    "language": (1e-10, 3e-10, 2e-6, 1e-3),
    "head": (5e-11, 2e-4),
    "host": (1e-3, 2e-6, 5e-6),
}


def points() -> list[Point]:
    found = []
    for prefix in (20, 100, 400):
        for count, length in ((2, 2), (8, 2), (4, 9)):
            for patches in (16, 256):
                works = [Work(prefix, (length,) * count, (patches,))] * 6
                terms = terms_of(ARCHITECTURE, works, 1 + prefix // 100)
                seconds = {part: sum(a * b for a, b in zip(FACTORS[part], terms[part], strict=True)) for part in TERMS}
                found.append(Point("prefix", prefix, 2, terms, seconds))
    return found


def test_the_terms_are_the_rooflines_operations() -> None:
    works = [Work(30, (2, 4, 1), (64,)), Work(7, (3, 3), ())]
    terms = terms_of(ARCHITECTURE, works, 1)
    operations = terms["vision"][0] + sum(terms["language"][:2]) + terms["head"][0]
    assert operations == sum(sample_flops(ARCHITECTURE, work) for work in works)
    assert {part: len(amounts) for part, amounts in terms.items()} == {
        part: len(names) for part, names in TERMS.items()
    }


def test_factors_are_found_again() -> None:
    factors = fit(points())
    for part, expected in FACTORS.items():
        assert factors[part] == pytest.approx(expected, rel=1e-6), part


def test_a_departure_shows_and_no_factor_is_negative() -> None:
    made = points()
    slow = made[0].seconds["head"] * 3
    made[0] = replace(made[0], seconds={**made[0].seconds, "head": slow, "vision": 0.0})
    factors = fit(made)
    assert all(factor >= 0 for part in factors.values() for factor in part)
    assert slow / modelled(factors, made[0])["head"] - 1 > APART
    assert modelled(factors, made[5])["host"] == pytest.approx(made[5].seconds["host"])
