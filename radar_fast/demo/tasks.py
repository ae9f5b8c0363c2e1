"""The tasks of mini-M3: what each draws, asks and offers.

A task is a function of a random generator and a question number: it draws the picture first and reads the
question number last, so that the questions about one picture all see the same picture.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from PIL import Image

from radar_fast.demo import pictures
from radar_fast.demo.pictures import COLOURS, SCENES, SHAPES, TOOLS, Colour, Point, Size

__all__ = ["TASKS", "Item", "Task", "many_pictures"]


@dataclass(frozen=True, slots=True)
class Item:
    """One multiple-choice question, its pictures still in memory."""

    images: tuple[Image.Image, ...]
    """RGB, in the order in which the record numbers them."""
    question: str
    """As published; MMMU_Pro's holds ``<image n>`` (n from 1), unless the pictures are options."""
    answer: str | int
    """An int where the question asks how many."""
    distraction: tuple[str, ...]
    """One or more, none of them the answer."""
    options: str | None = None
    """MMMU_Pro's ``ori_options``: a Python list of the options, written as one string."""


@dataclass(frozen=True, slots=True)
class Task:
    """One task file of mini-M3."""

    bench: str
    """``MMBench``, ``MMMU_Pro``, ...: the first part of the file name."""
    category: str
    """Second part of the file name; empty where the benchmark has one file only."""
    directory: str
    """The folder the file lies in."""
    make: Callable[[Random, int], Item]
    """(generator, number of the question about its picture) -> the item."""
    questions_per_picture: int = 1
    """More than one: the questions share a picture and are told apart by ``--0``, ``--1`` in their q_id."""

    @property
    def name(self) -> str:
        """The file name up to the count; unique."""
        return f"{self.bench}_{self.category}" if self.category else self.bench


_SQUARE: Size = (56, 56)
_PLACES: dict[str, Point] = {
    "at the top left": (0.27, 0.27),
    "at the top right": (0.73, 0.27),
    "at the bottom left": (0.27, 0.73),
    "at the bottom right": (0.73, 0.73),
    "in the middle": (0.5, 0.5),
}
_SIDES: dict[str, tuple[Point, Point]] = {
    "to the left of it": ((0.26, 0.5), (0.74, 0.5)),
    "to the right of it": ((0.74, 0.5), (0.26, 0.5)),
    "above it": ((0.5, 0.26), (0.5, 0.74)),
    "below it": ((0.5, 0.74), (0.5, 0.26)),
}
_PAINTS = ("red", "green", "blue", "yellow", "purple", "black", "light blue", "orange")
"""Colours that nobody mixes up: for tasks that are not about colour."""
_ORDINALS = ("the first one", "the second one", "the third one")


def _background(rng: Random) -> Colour:
    return rng.randint(225, 255), rng.randint(225, 255), rng.randint(225, 255)


def _jittered(rng: Random, point: Point, by: float = 0.05) -> Point:
    return point[0] + rng.uniform(-by, by), point[1] + rng.uniform(-by, by)


def _others(rng: Random, names: Sequence[str], answer: str, count: int) -> tuple[str, ...]:
    return tuple(rng.sample([name for name in names if name != answer], count))


def _numbers(rng: Random, answer: int, highest: int, count: int) -> tuple[str, ...]:
    return _others(rng, [str(number) for number in range(1, highest + 1)], str(answer), count)


def _one_shape(rng: Random, colour: str, shape: str, size: Size = _SQUARE) -> Image.Image:
    spec = (shape, COLOURS[colour], _jittered(rng, (0.5, 0.5), 0.12), rng.uniform(0.26, 0.38))
    return pictures.draw_shapes(size, _background(rng), [spec])


def _dots(rng: Random, colours: Sequence[str], size: Size = _SQUARE) -> Image.Image:
    """One dot for each colour, on a 3 x 3 grid."""
    cells = rng.sample(range(9), len(colours))
    specs = []
    for cell, colour in zip(cells, colours, strict=True):
        centre = (0.19 + 0.31 * (cell % 3), 0.19 + 0.31 * (cell // 3))
        specs.append(("circle", COLOURS[colour], _jittered(rng, centre, 0.03), rng.uniform(0.09, 0.12)))
    return pictures.draw_shapes(size, _background(rng), specs)


def _attribute_recognition(rng: Random, _question: int) -> Item:
    colour, shape = rng.choice(list(COLOURS)), rng.choice(SHAPES)
    image = _one_shape(rng, colour, shape)
    wrong = _others(rng, list(COLOURS), colour, rng.randint(2, 5))
    return Item((image,), f"What colour is the {shape}?", colour, wrong)


def _object_localization(rng: Random, _question: int) -> Item:
    place, shape, colour = rng.choice(list(_PLACES)), rng.choice(SHAPES), rng.choice(_PAINTS)
    spec = (shape, COLOURS[colour], _jittered(rng, _PLACES[place], 0.04), rng.uniform(0.17, 0.22))
    image = pictures.draw_shapes(_SQUARE, _background(rng), [spec])
    return Item((image,), f"Where is the {shape}?", place, _others(rng, list(_PLACES), place, rng.randint(2, 4)))


def _attribute_comparison(rng: Random, _question: int) -> Item:
    colours, shape = rng.sample(_PAINTS, 3), rng.choice(("circle", "square", "triangle", "diamond"))
    radii = (rng.uniform(0.2, 0.24), rng.uniform(0.08, 0.12))
    left, right = (0.26, 0.5), (0.74, 0.5)
    places = (left, right) if rng.random() < 0.5 else (right, left)
    specs = [
        (shape, COLOURS[colour], _jittered(rng, place, 0.03), radius)
        for colour, place, radius in zip(colours[:2], places, radii, strict=True)
    ]
    image = pictures.draw_shapes(_SQUARE, _background(rng), specs)
    names = [f"the {colour} {shape}" for colour in colours]
    if rng.random() < 0.5:
        return Item((image,), "Which one is bigger?", names[0], (names[1], names[2]))
    return Item((image,), "Which one is smaller?", names[1], (names[0], names[2]))


def _ocr(rng: Random, _question: int) -> Item:
    number = f"{rng.randint(10, 99)}"
    ink, shift = COLOURS[rng.choice(("black", "dark blue", "dark red"))], _jittered(rng, (0.0, 0.0), 0.04)
    image = pictures.draw_number((64, 48), _background(rng), ink, number, shift)
    wrong: list[str] = []
    while len(wrong) < 3:
        other = f"{rng.randint(10, 99)}"
        if other != number and other not in wrong:
            wrong.append(other)
    return Item((image,), "Which number is written here?", number, tuple(wrong))


def _image_scene(rng: Random, _question: int) -> Item:
    scene = rng.choice(SCENES)
    light = (rng.uniform(0.1, 0.9), rng.uniform(0.12, 0.28))
    image = pictures.draw_scene((100, 75), scene, rng.uniform(0.45, 0.62), rng.randint(-15, 15), light)
    return Item((image,), "What does the picture show?", scene, _others(rng, SCENES, scene, rng.randint(2, 4)))


def _physical_relation(rng: Random, _question: int) -> Item:
    ways = {"to the left": -1, "to the right": 1, "it stays where it is": 0}
    way, colour = rng.choice(list(ways)), rng.choice(_PAINTS)
    tilt = ways[way] * rng.uniform(0.2, 0.45)
    image = pictures.draw_slope((64, 48), _background(rng), COLOURS[colour], tilt, rng.uniform(0.35, 0.65))
    return Item((image,), f"Which way will the {colour} ball roll?", way, _others(rng, list(ways), way, 2))


def _function_reasoning(rng: Random, _question: int) -> Item:
    tool, colour = rng.choice(list(TOOLS)), rng.choice(_PAINTS)
    image = pictures.draw_tool(_SQUARE, _background(rng), COLOURS[colour], tool, _jittered(rng, (0.0, 0.0)))
    uses = list(TOOLS.values())
    return Item((image,), "What can this be used for?", TOOLS[tool], _others(rng, uses, TOOLS[tool], rng.randint(2, 4)))


def _art_theory(rng: Random, _question: int) -> Item:
    kind = rng.randrange(3)
    colours, shapes = rng.sample(_PAINTS, 2), rng.sample(SHAPES, 2)
    if kind == 0:
        image = _one_shape(rng, colours[0], shapes[0], (100, 100))
        question = "Look at <image 1> and name the colour that the painter chose."
        wrong = _others(rng, list(COLOURS), colours[0], 3)
        return Item((image,), question, colours[0], wrong, repr([colours[0], *wrong]))
    first, second = _one_shape(rng, colours[0], shapes[0]), _one_shape(rng, colours[1], shapes[0])
    if kind == 1:
        question, shown = f"Which painting is {colours[0]}?", [first, second]
    else:
        question = "The painter of <image 1> has made one more painting in the same colour."
        shown = [_one_shape(rng, colours[0], shapes[1]), first, second]
    right, wrong_one = len(shown) - 1, len(shown)
    if rng.random() < 0.5:
        shown[-2:] = [second, first]
        right, wrong_one = wrong_one, right
    options = repr([f"<image {len(shown) - 1}>", f"<image {len(shown)}>"])
    return Item(tuple(shown), question, f"<image {right}>", (f"<image {wrong_one}>",), options)


def _math(rng: Random, _question: int) -> Item:
    kind, colour = rng.randrange(3), rng.choice(_PAINTS)
    counts = rng.sample(range(1, 7), 2)
    if kind == 0:
        image = _dots(rng, [colour] * counts[0])
        wrong = _numbers(rng, counts[0], 6, 3)
        question = "<image 1> How many dots are there?"
        return Item((image,), question, counts[0], wrong, repr([str(counts[0]), *wrong]))
    images = (_dots(rng, [colour] * counts[0]), _dots(rng, [colour] * counts[1]))
    if kind == 1:
        total = sum(counts)
        wrong = _numbers(rng, total, 11, 3)
        question = "How many dots are there in <image 1> and <image 2> together?"
        return Item(images, question, total, wrong, repr([str(total), *wrong]))
    right = counts.index(max(counts))
    answer, wrong = _ORDINALS[right], (_ORDINALS[1 - right], "neither of them")
    return Item(images, "Which has more dots, <image 1> or <image 2>?", answer, wrong, repr([answer, *wrong]))


def many_pictures(rng: Random, count: int = 13) -> Item:
    """An MMMU_Pro question about more pictures than the published protocol scores (12)."""
    dots = [rng.randint(1, 2) for _ in range(count)]
    images = tuple(_dots(rng, ["black"] * number) for number in dots)
    tags = " ".join(f"<image {n}>" for n in range(1, count + 1))
    wrong = (str(sum(dots) - 2), str(sum(dots) + 1), str(sum(dots) + 3))
    return Item(images, f"How many dots are there in all? {tags}", sum(dots), wrong, repr([str(sum(dots)), *wrong]))


def _counting(rng: Random, question: int) -> Item:
    colours = rng.sample(_PAINTS, 2)
    counts = (rng.randint(1, 4), rng.randint(1, 3))
    size = rng.choice((_SQUARE, (100, 100)))
    image = _dots(rng, [colours[0]] * counts[0] + [colours[1]] * counts[1], size)
    if question == 0:
        return Item((image,), "How many dots are there?", sum(counts), _numbers(rng, sum(counts), 7, 4))
    asked = f"How many {colours[0]} dots are there?"
    return Item((image,), asked, counts[0], _numbers(rng, counts[0], 5, rng.randint(2, 3)))


def _thermometers(rng: Random, question: int) -> Item:
    count = rng.randint(1, 3)
    steps = rng.sample((0.1, 0.5, 0.9), count)
    levels = [step + rng.uniform(-0.08, 0.08) for step in steps]
    images = tuple(
        pictures.draw_thermometer(_SQUARE, _background(rng), level, rng.uniform(0.35, 0.65)) for level in levels
    )
    if count == 1:
        states = {0.1: "cold as ice", 0.5: "mild", 0.9: "very hot"}
        answer = states[steps[0]]
        asked = ("How warm is it?", "What is the air like?")[question]
        return Item(images, asked, answer, _others(rng, list(states.values()), answer, 2))
    right = steps.index(max(steps) if question == 0 else min(steps))
    asked = "In which picture is it warmest?" if question == 0 else "In which picture is it coldest?"
    wrong = tuple(name for index, name in enumerate(_ORDINALS) if index != right)
    return Item(images, asked, _ORDINALS[right], wrong)


def _spatial(rng: Random, question: int) -> Item:
    colours, shapes, side = rng.sample(_PAINTS, 2), rng.sample(SHAPES, 2), rng.choice(list(_SIDES))
    size = rng.choice((_SQUARE, (64, 48)))
    specs = [
        (shape, COLOURS[colour], _jittered(rng, place, 0.04), rng.uniform(0.17, 0.22))
        for colour, shape, place in zip(colours, shapes, _SIDES[side], strict=True)
    ]
    image = pictures.draw_shapes(size, _background(rng), specs)
    names = [f"the {colour} {shape}" for colour, shape in zip(colours, shapes, strict=True)]
    if question == 1:
        names.reverse()
        around = list(_SIDES)
        side = around[around.index(side) ^ 1]
    return Item((image,), f"Seen from {names[1]}, where is {names[0]}?", side, _others(rng, list(_SIDES), side, 3))


_BODIES = ("circle", "square", "triangle", "diamond")
_ANIMALS = (
    ("red velvet mouse", "circle", "red", "black"),
    ("snow hopper", "circle", "light blue", "blue"),
    ("marsh lizard", "square", "green", "yellow"),
    ("golden beetle", "square", "yellow", "brown"),
    ("night owl", "triangle", "dark blue", "yellow"),
    ("sand fox", "triangle", "orange", "dark red"),
    ("river crab", "diamond", "dark red", "orange"),
    ("violet moth", "diamond", "purple", "pink"),
    ("stone tortoise", "circle", "grey", "green"),
    ("coal bear", "square", "black", "grey"),
    ("rose snail", "triangle", "pink", "purple"),
    ("bark wren", "diamond", "brown", "light green"),
)
"""name, body, coat, spots: every coat its own."""
_PLANTS = tuple(
    (f"{bloom} {kind}", petal, bloom, leaf)
    for kind, petal, leaf in (
        ("bellflower", "circle", "green"),
        ("starwort", "star", "dark blue"),
        ("crosslily", "cross", "brown"),
    )
    for bloom in ("red", "yellow", "purple", "light blue")
)
"""name, petal, bloom, leaf: the name says the colour, and the kind has to be learned from petal and leaf."""
_SIGHTS = tuple(
    (f"the {town} {kind}", roof, tiles, wall)
    for kind, roof, wall in (
        ("chapel", "triangle", (225, 215, 190)),
        ("lighthouse", "circle", (250, 250, 250)),
        ("gatehouse", "square", (170, 110, 80)),
    )
    for town, tiles in (("Harrow", "dark red"), ("Linden", "green"), ("Ostmark", "dark blue"), ("Vell", "orange"))
)
"""name, roof, tiles, wall: town and kind are independent, and both have to be learned."""
_PEOPLE = tuple(
    (f"{first} {last}", hair, coat)
    for first, hair in (("Mira", "black"), ("Tobin", "orange"), ("Anouk", "yellow"), ("Silas", "brown"))
    for last, coat in (("Holt", "red"), ("Varga", "green"), ("Quist", "blue"), ("Adair", "purple"))
)
"""name, hair, coat: nobody of this world."""


def _wiki_animal(rng: Random, question: int) -> Item:
    names = [animal[0] for animal in _ANIMALS]
    name, body, coat, spots = rng.choice(_ANIMALS)
    shift = _jittered(rng, (0.0, 0.0), 0.09)
    image = pictures.draw_animal(_SQUARE, _background(rng), body, COLOURS[coat], COLOURS[spots], shift)
    asked = ("What animal is this?", "Which animal does the picture show?")[question]
    return Item((image,), asked, name, _others(rng, names, name, rng.randint(2, 5)))


def _wiki_plant(rng: Random, _question: int) -> Item:
    names = [plant[0] for plant in _PLANTS]
    name, petal, bloom, leaf = rng.choice(_PLANTS)
    shift = _jittered(rng, (0.0, 0.0))
    image = pictures.draw_plant((100, 100), _background(rng), petal, COLOURS[bloom], COLOURS[leaf], shift)
    return Item((image,), "What plant is this?", name, _others(rng, names, name, rng.randint(2, 4)))


def _wiki_attraction(rng: Random, _question: int) -> Item:
    names = [sight[0] for sight in _SIGHTS]
    name, roof, tiles, wall = rng.choice(_SIGHTS)
    sky = (rng.randint(170, 200), rng.randint(205, 230), rng.randint(235, 255))
    image = pictures.draw_building((100, 100), sky, roof, COLOURS[tiles], wall, rng.uniform(-0.12, 0.12))
    return Item((image,), "Which sight is this?", name, _others(rng, names, name, 3))


def _wiki_celebrity(rng: Random, _question: int) -> Item:
    names = [person[0] for person in _PEOPLE]
    name, hair, coat = rng.choice(_PEOPLE)
    shift = _jittered(rng, (0.0, 0.0), 0.06)
    image = pictures.draw_portrait(_SQUARE, _background(rng), COLOURS[hair], COLOURS[coat], shift)
    return Item((image,), "Who is this?", name, _others(rng, names, name, rng.randint(2, 5)))


_GENERAL, _DISCIPLINES = "general_visual_question_answering", "multiple_discipline_reasoning"

TASKS: tuple[Task, ...] = (
    Task("MMBench", "attribute_comparison", _GENERAL, _attribute_comparison),
    Task("MMBench", "attribute_recognition", _GENERAL, _attribute_recognition),
    Task("MMBench", "function_reasoning", _GENERAL, _function_reasoning),
    Task("MMBench", "image_scene", _GENERAL, _image_scene),
    Task("MMBench", "object_localization", _GENERAL, _object_localization),
    Task("MMBench", "ocr", _GENERAL, _ocr),
    Task("MMBench", "physical_relation", _GENERAL, _physical_relation),
    Task("MMMU_Pro", "Art_Theory", _DISCIPLINES, _art_theory),
    Task("MMMU_Pro", "Math", _DISCIPLINES, _math),
    Task("MathVista", "", "mathematical_reasoning", _counting, 2),
    Task("SeePhys", "", "physical_reasoning", _thermometers, 2),
    Task("Spatial_reasoning", "", "spatial_reasoning", _spatial, 2),
    Task("Wiki_animal", "identification", "Wiki_animal_identification", _wiki_animal, 2),
    Task("Wiki_plant", "identification", "Wiki_plant_identification", _wiki_plant),
    Task("Wiki_attraction", "identification", "Wiki_attraction_identification", _wiki_attraction),
    Task("Wiki_celebrity", "identification", "Wiki_celebrity_identification", _wiki_celebrity),
)
"""In the order in which mini-M3 is written: 16 files."""
