"""The report's colours: people without one kind of cones can tell them apart, and all stand out from their paper."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from colour_vision import VISIONS, difference, lab, palettes, seen

import radar_fast.report

PALETTES = palettes((Path(radar_fast.report.__file__).parent / "page" / "style.css").read_text())
SERIES = [f"c{number}" for number in range(8)]
APART = 9.5
"""CIEDE2000 of any two series: with the palette before, blue and violet were 0.2 apart to people without M cones."""


def test_the_distance_is_that_of_the_published_pairs() -> None:
    """Rows 1, 25 and 34 of table 1 of Sharma, Wu and Dalal."""
    for one, other, expected in [
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
    ]:
        assert difference(np.array(one, float), np.array(other, float)) == pytest.approx(expected, abs=1e-4)


def test_grey_looks_grey_to_everybody() -> None:
    for vision in VISIONS:
        assert np.ptp(seen("#808080", vision)) < 1e-5
    red, green = (lab(seen(colour, "deuteranopia")) for colour in ("#a87000", "#c44f00"))
    assert difference(red, green) < 2, "a pair that the simulation makes one"


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("number", range(len(PALETTES)), ids=["light", "dark", "dark by system", "print"])
def test_any_two_series_can_be_told_apart(number: int, vision: str) -> None:
    colours = {name: lab(seen(PALETTES[number][name], vision)) for name in SERIES}
    near = {
        pair: round(found, 1)
        for pair in combinations(SERIES, 2)
        if (found := difference(colours[pair[0]], colours[pair[1]])) < APART
    }
    assert not near
    for pair in (("good", "bad"), ("high", "low")):
        one, other = (lab(seen(PALETTES[number][name], vision)) for name in pair)
        assert difference(one, other) >= APART, pair


@pytest.mark.parametrize("palette", PALETTES, ids=["light", "dark", "dark by system", "print"])
def test_every_series_stands_out_from_its_paper(palette: dict[str, str]) -> None:
    """WCAG 2.2, success criterion 1.4.11: a contrast of 3 to 1 for what has to be seen in a figure."""
    paper = luminance(palette.get("card", "#ffffff"))  # in print #fff, which is short
    for name in SERIES:
        bright, dark = sorted((luminance(palette[name]), paper), reverse=True)
        assert (bright + 0.05) / (dark + 0.05) >= 3, name


def luminance(colour: str) -> float:
    return float(np.array([0.2126, 0.7152, 0.0722]) @ seen(colour, "all cones"))
