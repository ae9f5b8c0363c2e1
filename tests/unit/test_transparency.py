"""What becomes of transparent pictures: white beneath them for Qwen2-VL's mode RGBA, dropped everywhere else."""

from pathlib import Path

import pytest
from llava_published import make_projector, write_base, write_projector, write_siglip
from PIL import Image
from tiny import write_internvl_chat

from radar_fast.images import read_image
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.models.llava import compose
from radar_fast.protocols import Protocol, open_protocol
from radar_fast.sample import ImageFile

RED, CLEAR = (200, 10, 20), 0


def write(folder: Path, mode: str) -> Path:
    """A picture that is red where it is seen, and green where it is not: the left half."""
    picture = Image.new("RGBA", (8, 6), (*RED, 255))
    picture.paste((0, 250, 0, CLEAR), (0, 0, 4, 6))
    path = folder / f"{mode}.png"
    if mode == "P":
        palette = Image.new("P", (8, 6), 0)
        palette.putpalette([*RED, 0, 250, 0])
        palette.paste(1, (0, 0, 4, 6))
        palette.save(path, transparency=bytes([255, CLEAR]))
    else:
        picture.convert(mode).save(path)
    return path


def seen(protocol: Protocol, path: Path) -> list[tuple[int, ...]]:
    """The pixels of the left and of the right half, as the protocol has them."""
    picture = read_image(ImageFile(path), protocol.rgb)
    assert isinstance(picture, Image.Image)
    assert picture.mode == "RGB"
    found = [picture.getpixel((x, 3)) for x in (1, 6)]
    return [pixel for pixel in found if isinstance(pixel, tuple)]


def test_qwen2vl_lays_rgba_on_white(tmp_path: Path) -> None:
    assert seen(open_protocol("qwen2vl", None), write(tmp_path, "RGBA")) == [(255, 255, 255), RED]
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 51))  # a fifth of black is four fifths of white
    half.save(tmp_path / "half.png")
    picture = read_image(ImageFile(tmp_path / "half.png"), open_protocol("qwen2vl", None).rgb)
    assert isinstance(picture, Image.Image)
    assert picture.getpixel((1, 1)) == (204, 204, 204)


@pytest.mark.parametrize("mode", ["LA", "P"])
def test_qwen2vl_drops_what_its_script_drops(tmp_path: Path, mode: str) -> None:
    path = write(tmp_path, mode)
    with Image.open(path) as opened:
        assert opened.mode == mode
        expected = opened.convert("RGB")
    assert seen(open_protocol("qwen2vl", None), path) == [expected.getpixel((1, 3)), expected.getpixel((6, 3))]
    assert expected.getpixel((1, 3)) != (255, 255, 255)


def test_internvl_and_llava_drop_alpha(tmp_path: Path) -> None:
    write_internvl_chat(tmp_path / "internvl", side=28)
    write_base(tmp_path / "llm")
    write_siglip(tmp_path / "siglip", side=28)
    write_projector(tmp_path / "mm_projector.bin", make_projector())
    compose(tmp_path / "llm", tmp_path / "siglip", tmp_path / "llava", tmp_path / "mm_projector.bin")
    path = write(tmp_path, "RGBA")
    for name in ("internvl", "llava"):
        assert seen(open_protocol("auto", Checkpoint.open(tmp_path / name)), path) == [(0, 250, 0), RED]


def test_white_is_in_the_identity() -> None:
    assert open_protocol("qwen2vl", None).settings["transparency"] == "white"
