"""Small pictures of one thing each: shapes, dots, digits, scenes, tools, instruments, and invented species.

Every function returns a new RGB image of ``size`` (width, height) in pixels. Positions are fractions of the
picture, (0, 0) at the top left; radii are fractions of its shorter side. Nothing here is random: whatever varies
is an argument, so that the caller's seed alone decides.
"""

import math
from collections.abc import Iterable

from PIL import Image, ImageDraw

__all__ = [
    "COLOURS",
    "SCENES",
    "SHAPES",
    "TOOLS",
    "Colour",
    "Point",
    "Size",
    "draw_animal",
    "draw_building",
    "draw_number",
    "draw_plant",
    "draw_portrait",
    "draw_scene",
    "draw_shapes",
    "draw_slope",
    "draw_thermometer",
    "draw_tool",
]

Colour = tuple[int, int, int]
Size = tuple[int, int]
Point = tuple[float, float]

COLOURS: dict[str, Colour] = {
    "red": (220, 30, 30),
    "dark red": (115, 0, 20),
    "green": (40, 160, 50),
    "light green": (150, 230, 120),
    "blue": (40, 90, 230),
    "dark blue": (10, 20, 110),
    "light blue": (130, 200, 250),
    "yellow": (245, 220, 30),
    "orange": (250, 140, 20),
    "purple": (140, 40, 170),
    "pink": (250, 150, 200),
    "brown": (125, 75, 35),
    "black": (15, 15, 15),
    "grey": (130, 130, 130),
}
"""Names as they are used in questions and answers; some are two words, so that candidates differ in length."""

SHAPES = ("circle", "square", "triangle", "diamond", "star", "cross", "ring")

SCENES = (
    "a beach by day",
    "a beach at night",
    "a green meadow",
    "a forest at night",
    "a snowy field by day",
    "a snowy field at night",
    "a desert at dusk",
    "a city street",
)

TOOLS: dict[str, str] = {
    "key": "to open a lock",
    "hammer": "to drive a nail",
    "cup": "to drink from",
    "umbrella": "to keep off the rain",
    "ladder": "to climb up a wall",
    "lamp": "to read at night",
    "ball": "to play a game",
    "comb": "to tidy hair",
}
"""Tool -> what it is for."""

# Which of the seven segments (top, upper left, upper right, middle, lower left, lower right, bottom) a digit lights.
_SEGMENTS = (
    *("1110111", "0010010", "1011101", "1011011", "0111010"),
    *("1101011", "1101111", "1010010", "1111111", "1111011"),
)


def draw_shapes(size: Size, background: Colour, shapes: Iterable[tuple[str, Colour, Point, float]]) -> Image.Image:
    """Shapes of SHAPES, each (name, colour, centre, radius), later ones over earlier ones."""
    image = Image.new("RGB", size, background)
    draw = ImageDraw.Draw(image)
    for name, colour, (x, y), radius in shapes:
        _shape(draw, name, colour, x * size[0], y * size[1], radius * min(size), background)
    return image


def draw_number(size: Size, background: Colour, ink: Colour, number: str, shift: Point = (0.0, 0.0)) -> Image.Image:
    """Decimal digits in seven segments, side by side across the picture, moved by ``shift``."""
    image = Image.new("RGB", size, background)
    draw = ImageDraw.Draw(image)
    cell = size[0] / len(number)
    stroke = max(3, round(min(size) * 0.09))
    for place, digit in enumerate(number):
        left = (place + 0.2 + shift[0]) * cell
        right = (place + 0.8 + shift[0]) * cell
        top, bottom = (0.14 + shift[1]) * size[1], (0.86 + shift[1]) * size[1]
        middle = (top + bottom) / 2
        lines = (
            (left, top, right, top),
            (left, top, left, middle),
            (right, top, right, middle),
            (left, middle, right, middle),
            (left, middle, left, bottom),
            (right, middle, right, bottom),
            (left, bottom, right, bottom),
        )
        for line, lit in zip(lines, _SEGMENTS[int(digit)], strict=True):
            if lit == "1":
                draw.line(line, fill=ink, width=stroke)
    return image


def draw_scene(size: Size, scene: str, horizon: float, shade: int, light: Point) -> Image.Image:
    """One of SCENES: sky, ground from ``horizon`` down, and what tells it apart.

    ``shade`` shifts every colour; ``light`` is where the sun or the moon stands, if there is one.
    """
    night = "night" in scene
    sky: Colour = (25, 25, 70) if night else (150, 205, 245)
    grounds: dict[str, Colour] = {
        "beach": (235, 215, 150),
        "meadow": (90, 190, 70),
        "forest": (15, 70, 30),
        "snowy": (245, 245, 250),
        "desert": (215, 150, 70),
        "city": (110, 110, 115),
    }
    ground = next(colour for word, colour in grounds.items() if word in scene)
    if night:
        ground = _shifted(ground, -55)
    if "dusk" in scene:
        sky = (235, 120, 60)
    width, height = size
    image = Image.new("RGB", size, _shifted(sky, shade))
    draw = ImageDraw.Draw(image)
    level = horizon * height
    draw.rectangle((0, level, width, height), fill=_shifted(ground, shade))
    if "beach" in scene:
        draw.rectangle((0, level, width, level + 0.15 * height), fill=_shifted((30, 110, 190), -60 if night else shade))
    if "forest" in scene:
        for place in range(5):
            x = (place + 0.5) * width / 5
            crown = ((x, level - 0.35 * height), (x - 0.1 * width, level + 2), (x + 0.1 * width, level + 2))
            draw.polygon(crown, fill=(10, 60, 30))
    if "city" in scene:
        for place, tall in enumerate((0.4, 0.25, 0.5, 0.3)):
            x = (place + 0.15) * width / 4
            draw.rectangle((x, level - tall * height, x + 0.17 * width, level), fill=_shifted((90, 70, 80), shade))
    if night:
        _disc(draw, light[0] * width, light[1] * height, 0.08 * min(size), (240, 240, 210))
    else:
        _disc(draw, light[0] * width, light[1] * height, 0.11 * min(size), (255, 225, 60))
    return image


def draw_slope(size: Size, background: Colour, ball: Colour, tilt: float, place: float) -> Image.Image:
    """A ball ``place`` (0 to 1) along a slope. ``tilt`` > 0: the right end is lower, by that fraction of the height."""
    image = Image.new("RGB", size, background)
    draw = ImageDraw.Draw(image)
    width, height = size
    left, right = (0.65 - tilt / 2) * height, (0.65 + tilt / 2) * height
    # Filled down to the floor: a wedge is seen by its area, a bare line by its edge only.
    draw.polygon(((0, left), (width, right), (width, height), (0, height)), fill=(120, 80, 40))
    radius = 0.13 * min(size)
    _disc(draw, place * width, left + (right - left) * place - radius, radius, ball)
    return image


def draw_tool(size: Size, background: Colour, ink: Colour, tool: str, shift: Point) -> Image.Image:
    """One of TOOLS as a plain sign, moved by ``shift``."""
    image = Image.new("RGB", size, background)
    draw = ImageDraw.Draw(image)
    width, height = size

    def at(*points: float) -> list[float]:
        return [(value + shift[i % 2]) * (width if i % 2 == 0 else height) for i, value in enumerate(points)]

    thick = max(3, round(0.09 * min(size)))
    if tool == "key":
        draw.ellipse(at(0.1, 0.35, 0.4, 0.65), outline=ink, width=thick)
        draw.line(at(0.4, 0.5, 0.9, 0.5), fill=ink, width=thick)
        draw.line(at(0.75, 0.5, 0.75, 0.7), fill=ink, width=thick)
        draw.line(at(0.87, 0.5, 0.87, 0.7), fill=ink, width=thick)
    elif tool == "hammer":
        draw.rectangle(at(0.2, 0.12, 0.8, 0.36), fill=ink)
        draw.rectangle(at(0.44, 0.36, 0.56, 0.9), fill=(150, 100, 50))
    elif tool == "cup":
        draw.rectangle(at(0.2, 0.3, 0.65, 0.85), fill=ink)
        draw.ellipse(at(0.55, 0.4, 0.88, 0.72), outline=ink, width=thick)
    elif tool == "umbrella":
        draw.pieslice(at(0.1, 0.12, 0.9, 0.9), 180, 360, fill=ink)
        draw.line(at(0.5, 0.5, 0.5, 0.9), fill=(60, 60, 60), width=thick)
    elif tool == "ladder":
        for x in (0.3, 0.7):
            draw.line(at(x, 0.08, x, 0.92), fill=ink, width=thick)
        for y in (0.25, 0.5, 0.75):
            draw.line(at(0.3, y, 0.7, y), fill=ink, width=thick)
    elif tool == "lamp":
        draw.polygon(at(0.35, 0.12, 0.65, 0.12, 0.85, 0.5, 0.15, 0.5), fill=ink)
        draw.rectangle(at(0.46, 0.5, 0.54, 0.85), fill=(60, 60, 60))
        draw.rectangle(at(0.3, 0.82, 0.7, 0.9), fill=(60, 60, 60))
    elif tool == "ball":
        draw.ellipse(at(0.15, 0.15, 0.85, 0.85), fill=ink)
        draw.line(at(0.15, 0.5, 0.85, 0.5), fill=background, width=thick)
    else:
        draw.rectangle(at(0.1, 0.2, 0.9, 0.4), fill=ink)
        for x in (0.14, 0.32, 0.5, 0.68, 0.86):
            draw.line(at(x, 0.4, x, 0.8), fill=ink, width=thick)
    return image


def draw_thermometer(size: Size, background: Colour, level: float, place: float) -> Image.Image:
    """A thermometer at ``place`` of the width, its column ``level`` (0 to 1) of the scale high."""
    image = Image.new("RGB", size, background)
    draw = ImageDraw.Draw(image)
    width, height = size
    half = 0.12 * width
    x = place * width
    top, bottom = 0.06 * height, 0.8 * height
    draw.rectangle((x - half, top, x + half, bottom), fill=(255, 255, 255), outline=(60, 60, 60))
    draw.rectangle((x - half + 1, bottom - level * (bottom - top), x + half - 1, bottom), fill=(215, 20, 20))
    _disc(draw, x, 0.84 * height, 0.14 * min(size), (215, 20, 20))
    return image


def draw_animal(size: Size, background: Colour, body: str, coat: Colour, spots: Colour, shift: Point) -> Image.Image:
    """An invented animal: a body of SHAPES in its coat's colour, two spots, two legs and an eye."""
    image = Image.new("RGB", size, background)
    draw = ImageDraw.Draw(image)
    width, height = size
    x, y, radius = (0.5 + shift[0]) * width, (0.45 + shift[1]) * height, 0.32 * min(size)
    for side in (-0.6, 0.6):
        leg = (x + side * radius - 2, y + 0.5 * radius, x + side * radius + 2, y + 1.5 * radius)
        draw.rectangle(leg, fill=(50, 40, 40))
    _shape(draw, body, coat, x, y, radius, background)
    for side in (-0.4, 0.4):
        _disc(draw, x + side * radius, y + 0.3 * radius, 0.2 * radius, spots)
    _disc(draw, x, y - 0.3 * radius, 0.12 * radius, (255, 255, 255))
    return image


def draw_plant(size: Size, background: Colour, petal: str, bloom: Colour, leaf: Colour, shift: Point) -> Image.Image:
    """An invented plant: a bloom of SHAPES on a stem with two leaves."""
    image = Image.new("RGB", size, background)
    draw = ImageDraw.Draw(image)
    width, height = size
    x, y, radius = (0.5 + shift[0]) * width, (0.34 + shift[1]) * height, 0.27 * min(size)
    draw.rectangle((x - 2, y, x + 2, height), fill=leaf)
    for side in (-1, 1):
        tip = (x + side * 0.35 * width, 0.62 * height)
        draw.polygon(((x, 0.85 * height), tip, (x, 0.7 * height)), fill=leaf)
    _shape(draw, petal, bloom, x, y, radius, background)
    return image


def draw_building(size: Size, sky: Colour, roof: str, tiles: Colour, wall: Colour, shift: float) -> Image.Image:
    """An invented sight: walls, a door, and a roof of SHAPES; ``shift`` moves it sideways."""
    image = Image.new("RGB", size, sky)
    draw = ImageDraw.Draw(image)
    width, height = size
    x = (0.5 + shift) * width
    draw.rectangle((0, 0.92 * height, width, height), fill=(120, 150, 90))
    _shape(draw, roof, tiles, x, 0.3 * height, 0.27 * min(size), sky)
    draw.rectangle((x - 0.3 * width, 0.48 * height, x + 0.3 * width, 0.92 * height), fill=wall)
    draw.rectangle((x - 0.07 * width, 0.7 * height, x + 0.07 * width, 0.92 * height), fill=(60, 45, 40))
    return image


def draw_portrait(size: Size, background: Colour, hair: Colour, coat: Colour, shift: Point) -> Image.Image:
    """An invented person: hair over a face, and a coat below it."""
    image = Image.new("RGB", size, background)
    draw = ImageDraw.Draw(image)
    width, height = size
    x, y, radius = (0.5 + shift[0]) * width, (0.4 + shift[1]) * height, 0.26 * min(size)
    draw.pieslice((x - 0.42 * width, 0.6 * height, x + 0.42 * width, 1.5 * height), 180, 360, fill=coat)
    _disc(draw, x, y - 0.2 * radius, 1.15 * radius, hair)
    _disc(draw, x, y + 0.2 * radius, 0.85 * radius, (240, 205, 170))
    for side in (-0.35, 0.35):
        _disc(draw, x + side * radius, y + 0.1 * radius, 0.1 * radius + 1, (30, 30, 30))
    return image


def _shape(draw: ImageDraw.ImageDraw, name: str, colour: Colour, x: float, y: float, r: float, behind: Colour) -> None:
    if name in ("circle", "ring"):
        _disc(draw, x, y, r, colour)
        if name == "ring":
            _disc(draw, x, y, 0.55 * r, behind)
    elif name == "square":
        draw.rectangle((x - 0.88 * r, y - 0.88 * r, x + 0.88 * r, y + 0.88 * r), fill=colour)
    elif name == "cross":
        draw.rectangle((x - 0.33 * r, y - r, x + 0.33 * r, y + r), fill=colour)
        draw.rectangle((x - r, y - 0.33 * r, x + r, y + 0.33 * r), fill=colour)
    else:
        corners, inner = {"triangle": (3, 1.0), "diamond": (4, 1.0), "star": (5, 0.42)}[name]
        points = []
        for step in range(corners * 2):
            reach = r * (1.0 if step % 2 == 0 else inner)
            if step % 2 == 0 or inner < 1.0:
                angle = math.pi * step / corners - math.pi / 2
                points.append((x + reach * math.cos(angle), y + reach * math.sin(angle)))
        draw.polygon(points, fill=colour)


def _disc(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, colour: Colour) -> None:
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _shifted(colour: Colour, by: int) -> Colour:
    red, green, blue = (min(255, max(0, value + by)) for value in colour)
    return red, green, blue
