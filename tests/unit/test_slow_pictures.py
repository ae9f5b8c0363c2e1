"""Pictures that take long to decode, or much memory to prepare, end in a reason."""

import io
import time
from pathlib import Path

import pytest
from PIL import Image

from radar_fast.engines.vllm.limits import Limits
from radar_fast.images import MAX_PIXELS, read_image, why_too_many
from radar_fast.oddities import oddities_of
from radar_fast.protocols.llava import pad_to_square
from radar_fast.sample import EmbeddedImage, Reason, ReasonKind
from radar_fast.util.timed_file import TimedFile, TookTooLongError


def jpeg_of_scans(side: int, scans: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again: each passes over all pixels."""
    buffer = io.BytesIO()
    Image.new("L", (side, side), 90).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


def jpeg_of_junk(size: int) -> bytes:
    """A JPEG with junk ahead of a marker, which Pillow skips a byte at a time."""
    buffer = io.BytesIO()
    Image.new("L", (8, 8), 90).save(buffer, "JPEG")
    data = buffer.getvalue()
    return data[:2] + data[2:20] + bytes(size) + data[20:]


def grey_of_odd_depth(side: int) -> bytes:
    """A PGM whose pixels Pillow reads one at a time, in Python."""
    return f"P5 {side} {side} 254\n".encode() + bytes(side * side)


SLOW = {
    "scans": lambda: jpeg_of_scans(2048, 3000),
    "junk": lambda: jpeg_of_junk(2 * 2**20),
    "odd depth": lambda: grey_of_odd_depth(2500),
}


@pytest.mark.parametrize("name", SLOW)
def test_a_slow_picture_is_stopped(name: str) -> None:
    image = EmbeddedImage("slow", SLOW[name]())
    started = time.thread_time()
    found = read_image(image, seconds=0.2)
    spent = time.thread_time() - started
    assert isinstance(found, Reason)
    assert found.kind is ReasonKind.UNREADABLE_IMAGE
    assert "more than 0.2 s of CPU time" in found.detail
    assert spent < 4, "it takes longer than that to the end"


def test_a_slow_header_is_no_reason_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("radar_fast.images.open_image.__defaults__", (0.2,))
    assert oddities_of(EmbeddedImage("slow", SLOW["junk"]())) == ()
    assert Limits(seconds=0.2).check_image(SLOW["junk"](), 0, "data") == 0


def test_pictures_that_are_quick_stay_as_they_are() -> None:
    for data in (jpeg_of_scans(64, 3), jpeg_of_junk(2000), grey_of_odd_depth(40)):
        found = read_image(EmbeddedImage("quick", data))
        assert isinstance(found, Image.Image)
        with Image.open(io.BytesIO(data)) as opened:
            assert found.tobytes() == opened.convert("RGB").tobytes()


def test_time_is_of_the_thread_that_reads() -> None:
    file = TimedFile(io.BytesIO(b"abc"), 0.05)
    time.sleep(0.1)
    assert file.read() == b"abc", "to wait takes no CPU time"
    end = time.thread_time() + 0.1
    while time.thread_time() < end:
        pass
    with pytest.raises(TookTooLongError):
        file.read()


def test_another_file_of_the_same_name_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow maps what it is told the name of, whatever it is given to read."""
    monkeypatch.chdir(tmp_path)
    mine, theirs = (b"P5 64 64 255\n" + bytes([value]) * 4096 for value in (7, 200))
    Path("a.pgm").write_bytes(theirs)
    found = read_image(EmbeddedImage("a.pgm", mine))
    assert isinstance(found, Image.Image)
    assert found.getpixel((0, 0)) == (7, 7, 7)


def test_padded_squares_have_bounds() -> None:
    side = int(MAX_PIXELS**0.5) + 1
    with pytest.raises(ValueError, match="padded to a square"):
        pad_to_square((0, 0, 0), Image.new("RGB", (side, 1)))
    assert pad_to_square((1, 2, 3), Image.new("RGB", (9, 1))).size == (9, 9)


def test_a_questions_pixels_have_bounds() -> None:
    assert why_too_many(12_000_000, 5_000) is None
    assert why_too_many(100_000_000, 20_000_000) is None, "photographs"
    assert "nearly empty" in (why_too_many(100_000_000, 20_000) or "")
    assert "for a question" in (why_too_many(MAX_PIXELS + 1, 10**9) or "")
