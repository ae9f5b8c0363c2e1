"""Images: what is read equals Pillow's own conversion; what is not comes back as a reason, whatever the file holds."""

import errno
import io
import os
import random
import re
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image, features

from radar_fast.images import MAX_PIXELS, read_image
from radar_fast.sample import EmbeddedImage, ImageFile, Reason, ReasonKind

FORMATS = ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM"] + (["AVIF"] if features.check("avif") else [])


def picture(width: int = 24, height: int = 17, seed: int = 0) -> Image.Image:
    return Image.frombytes("RGB", (width, height), random.Random(seed).randbytes(width * height * 3))


def unreadable(path: Path, *words: str) -> None:
    found = read_image(ImageFile(path))
    assert isinstance(found, Reason)
    assert found.kind is ReasonKind.UNREADABLE_IMAGE
    assert path.name in found.detail
    assert "\n" not in found.detail
    for word in words:
        assert word in found.detail


@pytest.mark.parametrize("name", FORMATS)
def test_equals_pillow(tmp_path: Path, name: str) -> None:
    path = tmp_path / "named.whatever"
    picture().save(path, name)
    found = read_image(ImageFile(path))
    assert isinstance(found, Image.Image)
    assert found.mode == "RGB"
    with Image.open(path) as opened:
        assert found.tobytes() == opened.convert("RGB").tobytes()


def test_mpo(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    picture().save(path, "MPO", save_all=True, append_images=[picture(seed=1)])
    found = read_image(ImageFile(path))
    assert isinstance(found, Image.Image)
    with Image.open(path) as opened:
        assert found.tobytes() == opened.convert("RGB").tobytes()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_modes_equal_pillow(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.png"
    (picture().convert("I").convert("I;16") if mode == "I;16" else picture().convert(mode)).save(path)
    found = read_image(ImageFile(path))
    assert isinstance(found, Image.Image)
    with Image.open(path) as opened:
        assert found.tobytes() == opened.convert("RGB").tobytes()


def test_exif_rotation_is_not_applied(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(24, 17).save(path, exif=exif)
    found = read_image(ImageFile(path))
    assert isinstance(found, Image.Image)
    assert found.size == (24, 17)


def test_palette_transparency_does_not_warn(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    image = picture().convert("P")
    image.save(path, transparency=bytes(range(256)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(path) as opened:
            expected = opened.convert("RGB").tobytes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = read_image(ImageFile(path))
    assert isinstance(found, Image.Image)
    assert found.tobytes() == expected


@pytest.mark.parametrize("path", ["none.png", "none/none.png", "file.txt/none.png"])
def test_missing(tmp_path: Path, path: str) -> None:
    (tmp_path / "file.txt").write_text("x")
    found = read_image(ImageFile(tmp_path / path))
    assert isinstance(found, Reason)
    assert found.kind is ReasonKind.MISSING_IMAGE
    assert path in found.detail


def test_dangling_symlink_is_missing(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to("nowhere.png")
    found = read_image(ImageFile(tmp_path / "a.png"))
    assert isinstance(found, Reason)
    assert found.kind is ReasonKind.MISSING_IMAGE


def test_directory(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    unreadable(tmp_path / "a.png", "is a directory")


def test_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    unreadable(tmp_path / "a.png", "not a regular file")


def test_symlink_loop(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to("a.png")
    unreadable(tmp_path / "a.png")


def test_impossible_names(tmp_path: Path) -> None:
    for name in ("a" * 300, "a\0b", "line\nbreak" * 40):
        found = read_image(ImageFile(tmp_path / name))
        assert isinstance(found, Reason)
        assert "\n" not in found.detail


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_not_permitted(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    (tmp_path / "a.png").chmod(0)
    found = read_image(ImageFile(tmp_path / "a.png"))
    assert isinstance(found, Reason)
    assert found.kind is ReasonKind.IO_ERROR


@pytest.mark.parametrize("where", ["open", "read"])
def test_what_the_system_does_not_give_may_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """An error of the disk is no fault of the picture: a truncated one is."""
    path = tmp_path / "a.png"
    picture().save(path)

    class Failing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:  # noqa: ARG002 - as it is
            raise OSError(errno.EIO, "Input/output error")

    def failing(_: ImageFile) -> io.BytesIO:
        if where == "open":
            raise OSError(errno.ESTALE, "Stale file handle")
        return Failing()

    monkeypatch.setattr(ImageFile, "open", failing)
    found = read_image(ImageFile(path))
    assert isinstance(found, Reason)
    assert found.kind is ReasonKind.IO_ERROR
    assert "the next run tries again" in found.detail


def test_zero_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    unreadable(tmp_path / "a.png", "0 bytes")


@pytest.mark.parametrize(
    "content", [b"hello", b"<svg/>", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"\x89PNG\r\n\x1a\n"]
)
def test_no_image(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    unreadable(tmp_path / "a.png")


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "GIF"])
def test_truncated(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.img"
    picture(90, 90).save(path, name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    unreadable(path)


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_never_raise(tmp_path: Path, name: str) -> None:
    path, draw = tmp_path / "a.img", random.Random(7)
    picture(40, 40).save(path, name)
    content = path.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TIFF tags that are cut short
        for _ in range(60):
            damaged = bytearray(content)
            for _ in range(4):
                damaged[draw.randrange(min(len(damaged), 200))] = draw.randrange(256)
            path.write_bytes(damaged)
            found = read_image(ImageFile(path))
            assert isinstance(found, Image.Image) or found.kind is ReasonKind.UNREADABLE_IMAGE


def header_only(path: Path, width: int, height: int) -> None:
    """A BMP that promises more than it holds."""
    picture(1, 1).save(path, "BMP")
    content = bytearray(path.read_bytes())
    content[18:22], content[22:26] = width.to_bytes(4, "little"), height.to_bytes(4, "little")
    path.write_bytes(content)


def test_too_large_is_refused_by_its_header(tmp_path: Path) -> None:
    assert Image.MAX_IMAGE_PIXELS is not None
    assert MAX_PIXELS == 2 * Image.MAX_IMAGE_PIXELS  # where Pillow itself refuses
    path = tmp_path / "a.bmp"
    header_only(path, MAX_PIXELS + 1, 1)
    unreadable(path, "too large", str(MAX_PIXELS))


@pytest.mark.parametrize("name", ["PNG", "TIFF"])
def test_large_but_allowed_does_not_warn(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.img"
    Image.new("1", (12_000, 8_000)).save(path, name)  # Pillow warns from 89 million pixels
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = read_image(ImageFile(path))
    assert isinstance(found, Image.Image)
    assert found.size == (12_000, 8_000)


def open_handles() -> int:
    """0 where the system does not tell."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


def test_threads_and_handles(tmp_path: Path) -> None:
    for number in range(8):
        picture(seed=number).save(tmp_path / f"{number}.png")
    expected = [picture(seed=number).tobytes() for number in range(8)]
    handles = open_handles()
    barrier = threading.Barrier(8)

    def read(number: int) -> bytes:
        barrier.wait()
        found = read_image(ImageFile(tmp_path / f"{number}.png"))
        assert isinstance(found, Image.Image)
        return found.tobytes()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, range(8))) == expected
    if handles:
        assert open_handles() <= handles


def test_an_image_inside_a_data_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    picture().save(path)
    inside, file = EmbeddedImage("t.tsv:17 image", path.read_bytes()), ImageFile(path)
    found, expected = read_image(inside), read_image(file)
    assert isinstance(found, Image.Image)
    assert isinstance(expected, Image.Image)
    assert found.tobytes() == expected.tobytes()
    assert inside.size == file.size == path.stat().st_size
    assert inside.key == EmbeddedImage("elsewhere", path.read_bytes()).key != EmbeddedImage("t", b"x").key
    assert len(repr(inside)) < 100


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "empty"),
        (b"no image", "no image in a known format"),
        (b"\x89PNG\r\n\x1a\n", "cannot be decoded|known format"),
    ],
)
def test_an_unreadable_image_inside_a_data_file(data: bytes, word: str) -> None:
    found = read_image(EmbeddedImage("t.tsv:17 image", data))
    assert isinstance(found, Reason)
    assert found.kind is ReasonKind.UNREADABLE_IMAGE
    assert "image t.tsv:17 image" in found.detail
    assert re.search(word, found.detail)


def test_a_bomb_inside_a_data_file() -> None:
    buffer = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(buffer, "PNG")
    found = read_image(EmbeddedImage("t.tsv:17 image", buffer.getvalue()))
    assert isinstance(found, Reason)
    assert "20000x20000" in found.detail
