"""Pictures: damaged bytes, headers that lie, and what is small as a file and large when it is decoded."""

import contextlib
import io
import random
import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import attack_mutations as mutations
from attack_frame import Attack, MismatchError
from PIL import Image, features

from radar_fast.engines.vllm.limits import Limits, TooLargeError
from radar_fast.images import MAX_PIXELS, MAX_SIDE, read_image
from radar_fast.oddities import oddities_of
from radar_fast.protocols.llava import pad_to_square
from radar_fast.protocols.qwen2vl import qwen2vl
from radar_fast.sample import EmbeddedImage, ImageFile, Reason

__all__ = ["ATTACKS", "picture"]

_MODES = {
    "JPEG": ("L", "RGB", "CMYK"),
    "MPO": ("RGB",),
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "WEBP": ("RGB", "RGBA"),
    "BMP": ("1", "L", "P", "RGB", "RGBA"),
    "GIF": ("L", "P"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"),
    "PPM": ("1", "L", "RGB", "I;16"),
    **({"AVIF": ("RGB", "RGBA")} if features.check("avif") else {}),
}
_TIFF = (None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "tiff_lzma")
_LARGE = (0, 1, 2, 255, 256, 65_535, 65_536, 178_956_970, 2**31 - 1, 2**31, 2**32 - 1)


def picture(rng: random.Random, kind: str) -> bytes:
    """A small picture of noise in one of the modes that the format has."""
    mode = rng.choice(_MODES[kind])
    made = Image.frombytes("L", size := (rng.randint(1, 40), rng.randint(1, 40)), rng.randbytes(size[0] * size[1]))
    made = made.convert("RGB").convert(mode) if mode not in ("LA", "I;16") else made.convert(mode)
    options: dict[str, object] = {}
    if kind == "JPEG":
        options = {"progressive": rng.random() < 0.5, "exif": Image.Exif().tobytes()}
    elif kind == "TIFF":
        options = {"compression": rng.choice(_TIFF), "big_tiff": rng.random() < 0.2}
    elif kind in ("GIF", "WEBP", "MPO", "PNG", "AVIF") and rng.random() < 0.3:
        options = {"save_all": True, "append_images": [made.copy() for _ in range(3)]}
    buffer = io.BytesIO()
    made.save(buffer, kind, **options)
    return buffer.getvalue()


def _look(path: Path, data: bytes) -> None:
    """All that reads a picture, from a file and from within one."""
    (path / "picture").write_bytes(data)
    one, other = (read_image(each) for each in (ImageFile(path / "picture"), EmbeddedImage("picture", data)))
    if isinstance(one, Reason) != isinstance(other, Reason):
        raise MismatchError(f"{one} and {other}")
    if isinstance(one, Image.Image) and isinstance(other, Image.Image) and one.tobytes() != other.tobytes():
        raise MismatchError("other pixels from a file than from within one")
    _use(one, data)


def _use(found: Image.Image | Reason, data: bytes) -> None:
    """What becomes of a picture that was read."""
    oddities_of(EmbeddedImage("picture", data))
    with contextlib.suppress(TooLargeError):
        Limits().check_image(data, 0, "picture")
    if isinstance(found, Reason):
        if not found.detail.isprintable():
            raise MismatchError(f"no line: {found.detail!a}")
        raise ValueError(str(found))
    if found.mode != "RGB" or found.width * found.height > MAX_PIXELS or max(found.size) > MAX_SIDE:
        raise MismatchError(f"{found.mode}, {found.size}")
    for prepare in (qwen2vl(None, None).image, partial(pad_to_square, (1, 2, 3))):
        try:
            prepare(found)
        except ValueError as error:
            if "pixels" not in str(error):
                raise


def _damaged(kind: str) -> Callable[[random.Random, Path], None]:
    def attempt(rng: random.Random, path: Path) -> None:
        _look(path, mutations.mutated_bytes(rng, picture(rng, kind)))

    return attempt


def _lying(kind: str) -> Callable[[random.Random, Path], None]:
    def attempt(rng: random.Random, path: Path) -> None:
        """Numbers of the header are others than they should be."""
        data = bytearray(picture(rng, kind))
        for _ in range(rng.choice([1, 1, 2, 3])):
            code = rng.choice(["<H", ">H", "<L", ">L"])
            size = struct.calcsize(code)
            value = rng.choice(_LARGE) % 256**size
            place = rng.randrange(max(1, min(len(data), rng.choice([32, 64, 512])) - size))
            data[place : place + size] = struct.pack(code, value)
        _look(path, _with_checksums(bytes(data)) if kind == "PNG" else bytes(data))

    return attempt


def _with_checksums(data: bytes) -> bytes:
    """A PNG whose chunks say the sum of what they hold."""
    out, at = data[:8], 8
    while at + 12 <= len(data):
        size = min(struct.unpack_from(">L", data, at)[0], len(data) - at - 12)
        body = data[at + 4 : at + 8 + size]
        out += data[at : at + 4] + body + struct.pack(">L", zlib.crc32(body))
        at += 12 + size
    return out + data[at:]


# What is large when it is decoded ------------------------------------------------------------------------------------


def _empty_png(rng: random.Random) -> bytes:
    area = 10 ** rng.uniform(4, 8.2)
    width = max(1, min(300_000, int(area ** rng.uniform(0, 1))))
    height = max(1, min(300_000, int(area / width)))
    depth, colour = rng.choice([(1, 0), (8, 0), (8, 2), (8, 3), (16, 2), (8, 6), (16, 6)])
    row = bytes(1 + -(-width * depth * {0: 1, 2: 3, 3: 1, 6: 4}[colour] // 8))
    squeeze = zlib.compressobj(9)
    body = b"".join(squeeze.compress(row) for _ in range(min(height, 10**8 // len(row)))) + squeeze.flush()
    pieces = [(b"IHDR", struct.pack(">LLBBBBB", width, height, depth, colour, 0, 0, rng.choice([0, 1])))]
    pieces += [(b"PLTE", bytes(9))] if colour == 3 else []
    pieces += [(b"IDAT", body), (b"IEND", b"")]
    chunks = [struct.pack(">L", len(data)) + name + data + bytes(4) for name, data in pieces]
    return _with_checksums(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def _empty(rng: random.Random) -> bytes:
    """In a format that says much with little."""
    kind = rng.choice(["GIF", "TIFF", "WEBP", "JPEG", "BMP"])
    long = rng.choice([1, 16, 1000, 3000, 6000])
    size = (long, min(16_000, max(1, int(10 ** rng.uniform(4, 7.3)) // long)))
    made = Image.new(rng.choice([mode for mode in _MODES[kind] if mode not in ("CMYK", "F")]), size)
    buffer = io.BytesIO()
    made.save(buffer, kind, **({"compression": rng.choice(_TIFF[1:])} if kind == "TIFF" else {}))
    return buffer.getvalue()


def _scans(rng: random.Random) -> bytes:
    side, buffer = rng.choice([64, 512, 2048, 4096]), io.BytesIO()
    Image.new("L", (side, side), 90).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * rng.choice([1, 10, 100, 400]) + data[-2:]


def _tags(rng: random.Random) -> bytes:
    count, region = rng.choice([10, 4000, 20_000]), rng.choice([100, 300_000])
    head = b"II*\0" + struct.pack("<L", 8) + struct.pack("<H", count)
    kinds = [rng.randrange(20) for _ in range(count)]
    tags = b"".join(
        struct.pack("<HHLL", rng.choice([256, 257, 258, 259, 273, 279, 40_000]), kind, rng.choice([1, region]), 8)
        for kind in kinds
    )
    return head + tags + bytes(max(0, region - len(tags)))


def _digits(rng: random.Random) -> bytes:
    """A PPM, whose header is text."""
    sides = [rng.choice(["1", "0", "-1", "9" * rng.choice([4, 9, 20, 5000]), "4096"]) for _ in range(2)]
    most = rng.choice(["1", "254", "255", "65535", "0", "9" * 400])
    return f"P{rng.randint(1, 6)} {' '.join(sides)} {most}\n".encode() + rng.randbytes(rng.choice([0, 10, 300_000]))


def _junk(rng: random.Random) -> bytes:
    """What decoders pass over a byte, or a block, at a time."""
    size = rng.choice([1000, 800_000])
    if rng.random() < 0.5:
        data = picture(rng, "JPEG")
        return data[:20] + rng.choice([b"\0", b"\xff", b"\xff\0"]) * size + data[20:]
    data = picture(rng, "GIF")
    return data[:13] + b"\x21\xfe" + b"\x01c" * (size // 2) + b"\0" + data[13:]


_LARGE_WHEN_DECODED = (_empty_png, _empty_png, _empty, _scans, _tags, _digits, _junk)


def small_and_large(rng: random.Random, path: Path) -> None:  # noqa: ARG001 - no files
    """A file of under a megabyte that would take much memory or time."""
    data = rng.choice(_LARGE_WHEN_DECODED)(rng)
    if len(data) < 2**20:
        image = EmbeddedImage("picture", data)
        _use(read_image(image), data)


ATTACKS: tuple[Attack, ...] = (
    *(Attack(f"{kind}, bytes", _damaged(kind), (ValueError,)) for kind in _MODES),
    *(Attack(f"{kind}, header", _lying(kind), (ValueError,)) for kind in _MODES),
    Attack("small as a file", small_and_large, (ValueError,), few=3),
)
