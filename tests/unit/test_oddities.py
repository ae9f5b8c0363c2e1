"""Pictures that the published rule reads otherwise than a person sees them: counted by kind, with the first of each."""

import io
from pathlib import Path

import pytest
from PIL import Image

from radar_fast.inspection import inspect_samples, odd_pictures
from radar_fast.oddities import Odd, OddCounter, Oddity, oddities_of
from radar_fast.sample import AnyImage, EmbeddedImage, ImageFile, Sample


def picture(folder: Path, name: str, mode: str = "RGB", fill: object = 0, **options: object) -> ImageFile:
    folder.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (16, 8), fill).save(folder / name, **options)  # type: ignore[arg-type]
    return ImageFile(folder / name)


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    tags[0x010F] = "maker"
    return tags


def sample(name: str, *images: AnyImage, task: str = "t") -> Sample:
    return Sample(name, task, "d", "other", (*images, "What?"), ("a", "b"), 0)


def frames() -> list[Image.Image]:
    return [Image.new("RGB", (16, 8), colour) for colour in ("red", "green")]


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_turned_by_exif(tmp_path: Path, name: str, orientation: int) -> None:
    found = oddities_of(picture(tmp_path, name, exif=exif(orientation)))
    assert found == (() if orientation == 1 else (Oddity.ROTATED,))


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_deep_grey(tmp_path: Path, name: str) -> None:
    assert oddities_of(picture(tmp_path, name, "I;16", 40_000)) == (Oddity.DEEP,)
    assert oddities_of(picture(tmp_path, name, "L", 40)) == ()


def test_whole_numbers_and_floats(tmp_path: Path) -> None:
    assert oddities_of(picture(tmp_path, "i.tif", "I", 70_000)) == (Oddity.DEEP,)
    assert oddities_of(picture(tmp_path, "f.tif", "F", 0.5)) == (Oddity.FLOAT,)


@pytest.mark.parametrize(
    ("mode", "clear", "full"), [("RGBA", (9, 9, 9, 254), (9, 9, 9, 255)), ("LA", (9, 0), (9, 255))]
)
@pytest.mark.parametrize("ending", ["png", "webp", "tif"])
def test_truly_transparent(tmp_path: Path, mode: str, clear: object, full: object, ending: str) -> None:
    if (mode, ending) == ("LA", "webp"):
        mode, clear, full = "RGBA", (0, 0, 0, 0), (0, 0, 0, 255)
    options = {"lossless": True, "exact": True} if ending == "webp" else {}
    assert oddities_of(picture(tmp_path, f"clear.{ending}", mode, clear, **options)) == (Oddity.TRANSPARENT,)
    assert oddities_of(picture(tmp_path, f"full.{ending}", mode, full, **options)) == ()


def test_transparency_of_palettes_and_colours(tmp_path: Path) -> None:
    for name, alphas, expected in (
        ("p.png", b"\xff\x00", (Oddity.TRANSPARENT,)),
        ("q.png", b"\x00\xff", ()),
        ("s.png", b"\x00", ()),
    ):
        palette = Image.new("P", (16, 8), 1)
        palette.putpalette([0, 0, 0, 255, 0, 0])
        palette.save(tmp_path / name, transparency=alphas)
        assert oddities_of(ImageFile(tmp_path / name)) == expected
    assert oddities_of(picture(tmp_path, "r.png", "RGB", (1, 2, 3), transparency=(1, 2, 3))) == (Oddity.TRANSPARENT,)
    assert oddities_of(picture(tmp_path, "l.png", "L", 5, transparency=6)) == ()


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.tif"])
def test_animated(tmp_path: Path, name: str) -> None:
    first, second = frames()
    first.save(tmp_path / name, save_all=True, append_images=[second])
    assert oddities_of(ImageFile(tmp_path / name)) == (Oddity.ANIMATED,)
    assert oddities_of(picture(tmp_path, f"still{name}")) == ()


def test_previews_are_no_animation(tmp_path: Path) -> None:
    first, second = frames()
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second])
    assert oddities_of(ImageFile(tmp_path / "a.jpg")) == ()


def test_several_kinds_at_once(tmp_path: Path) -> None:
    found = oddities_of(picture(tmp_path, "a.png", "RGBA", (0, 0, 0, 0), exif=exif(6)))
    assert found == (Oddity.ROTATED, Oddity.TRANSPARENT)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + b"x" * 40])
def test_what_cannot_be_read_is_not_odd(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    assert oddities_of(ImageFile(tmp_path / "a.png")) == oddities_of(ImageFile(tmp_path / "none.png")) == ()


def test_counted_by_kind_with_the_first(tmp_path: Path) -> None:
    turned = [picture(tmp_path, f"{number}.jpg", exif=exif(6)) for number in range(3)]
    buffer = io.BytesIO()
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(buffer, "PNG")
    clear = EmbeddedImage("a.tsv:2 image", buffer.getvalue())
    plain = picture(tmp_path, "plain.jpg")
    samples = [sample("1", plain, turned[1]), sample("2", turned[0], clear), sample("3", turned[1], turned[2])]
    expected = {Oddity.ROTATED: Odd(3, turned[1].name), Oddity.TRANSPARENT: Odd(1, "a.tsv:2 image")}
    assert odd_pictures(samples) == expected
    counter = OddCounter()
    assert list(counter.passing(samples)) == samples
    assert counter.found == expected
    line = counter.line()
    assert line is not None
    assert f"3 turned by EXIF (first: {turned[1].name}); 1 transparent (first: a.tsv:2 image)" in line
    inspected = OddCounter()
    assert inspect_samples(samples, inspected)["t"].problems == []
    assert inspected.found == expected


def test_a_look_within_bounds(tmp_path: Path) -> None:
    turned = [picture(tmp_path, f"{number}.jpg", exif=exif(6)) for number in range(8)]
    samples = [sample(str(n), image, task="a" if n < 5 else "b") for n, image in enumerate(turned)]
    counter = OddCounter(most=4, most_of_task=3)
    list(counter.passing(samples))
    assert (counter.looked_at, counter.passed_over) == (4, 4)
    assert counter.found == {Oddity.ROTATED: Odd(4, turned[0].name)}
    assert "of 4 looked at" in str(counter.line())
    clear = [picture(tmp_path, f"{number}.png", "RGBA", (0, 0, 0, number)) for number in range(4)]
    counter = OddCounter(alpha_pixels=2 * 16 * 8)
    list(counter.passing([sample("1", *clear)]))
    assert counter.found == {Oddity.TRANSPARENT: Odd(2, clear[0].name)}


def test_nothing_odd_is_not_told(tmp_path: Path) -> None:
    counter = OddCounter()
    list(counter.passing([sample("1", picture(tmp_path, "a.jpg"))]))
    assert counter.line() is None
