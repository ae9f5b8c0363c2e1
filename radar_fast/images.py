"""Encoded image, in a file of its own or inside a data file -> RGB pixels, or the reason why not.

An image is decoded as the published scripts do it: no EXIF rotation, first frame only, and made RGB as a protocol has
it, most often by ``convert("RGB")``. Benchmarks hold what people uploaded, so nothing that a file contains may stop a
run or fill the memory.
"""

import errno
import hashlib
import struct
import threading
import warnings
from collections.abc import Callable
from typing import BinaryIO, cast

from PIL import Image, ImageFile

from radar_fast.sample import AnyImage, Reason, ReasonKind
from radar_fast.util.timed_file import TimedFile, TookTooLongError

__all__ = [
    "DECODE_SECONDS",
    "MAX_ENCODED",
    "MAX_PIXELS",
    "MAX_SIDE",
    "content_digest",
    "drop_alpha",
    "encoded_image",
    "open_image",
    "read_image",
    "why_too_large",
    "why_too_many",
]

MAX_PIXELS = 178_956_970
"""Larger images are refused before they are decoded. Pillow itself refuses there, and so do the published scripts."""

MAX_SIDE = 65_535
"""Longest side in pixels, JPEG's own bound: Pillow keeps a pointer for each row, and some models pad to a square."""

_MAX_DECODED = 800 * 10**6
"""Bytes that decoding may take where so few are encoded that the picture is next to empty."""
_PIXELS_PER_BYTE = 32
"""Above it a large picture is taken for such a one; photographs have ten at most."""
_MAX_PREPARED = 48 * 10**6
"""Pixels of such pictures that an image processor gets for a question: its copies take some 14 bytes for each, measured
on CLIP's, InternVL's and Qwen's. A page of A4 at 600 dots an inch has 35 million."""
_MODE_BYTES = {"1": 5, "L": 5, "P": 5, "I;16": 6, "I;16B": 6, "I;16L": 6}
"""Bytes that decoding takes for each pixel, the RGB copy counted; 8 for other modes. Measured, as those below."""
_FORMAT_BYTES = {"WEBP": 18, "AVIF": 18, "TIFF": 16}
"""The same for formats whose decoders keep more than one copy."""
_MAX_TAGS = 4096
"""Of a TIFF directory."""

DECODE_SECONDS = 8.0
"""CPU time that a picture may take to decode; the largest photograph takes three. Looked at whenever a decoder asks for
more of the file; the formats that are decoded in one go, WebP, AVIF and TIFF, are bounded by their pixels."""
_SCAN_BLOCK = 1024
"""Bytes that a decoder gets at a time of a progressive JPEG, each scan of which passes over all pixels."""

MAX_ENCODED = 32 * 2**20
"""Bytes of an encoded image inside a data file. Readers refuse larger ones: unlike files, they are held in memory, as
many as an engine schedules together."""

Image.init()  # registers all plugins, once; afterwards threads only read the table
# Raster formats only: what Pillow opens by default includes EPS, which it hands to an interpreter.
_FORMATS = tuple(
    name for name in ("JPEG", "MPO", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF") if name in Image.OPEN
)
_QUIET = threading.Lock()
_NO_FILE_OF_ONES_OWN = {errno.EISDIR, errno.EINVAL, errno.ELOOP, errno.ENAMETOOLONG}
"""What is wrong with the name, and hence with the data: no later attempt mends it."""


def content_digest(image: AnyImage) -> str:
    """SHA-256, in hexadecimal, of the bytes that an image is encoded in. Raises OSError, and ValueError for a path."""
    digest = hashlib.sha256()
    with image.open() as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def drop_alpha(picture: Image.Image) -> Image.Image:
    """The picture as RGB by Pillow's own conversion: what is transparent shows the colour that is stored there."""
    return picture.convert("RGB")


def read_image(
    image: AnyImage,
    rgb: Callable[[Image.Image], Image.Image] = drop_alpha,
    seconds: float = DECODE_SECONDS,
) -> Image.Image | Reason:
    """The whole image as RGB, or why it cannot be had. Raises nothing; may be called from any thread.

    ``rgb`` makes it of the decoded picture, in whatever mode that is; ``seconds`` are of CPU time, to decode it.

    ``missing-image`` if there is no such file; ``io-error`` if the operating system does not give it;
    ``unreadable-image`` if it is no regular file, empty, truncated, in none of the known formats, or larger than
    :data:`MAX_PIXELS`, or if it takes longer than its seconds to decode.
    """
    try:
        file = image.open()
    except (FileNotFoundError, NotADirectoryError):
        return _missing(image)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_FILE_OF_ONES_OWN:
            return _not_given(image, error)
        found = error.strerror if isinstance(error, OSError) else error
        return _unreadable(image, f"cannot be opened ({found})")
    try:
        with file:
            if image.size == 0:
                return _unreadable(image, "is empty (0 bytes)")
            return _decode(file, image, rgb, seconds)
    except TookTooLongError as error:
        return _unreadable(image, f"cannot be decoded: {error}")
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:  # decoders' own have no number
            return _not_given(image, error)
        # Decoders raise anything: OSError, SyntaxError, ValueError, struct.error, zlib.error, MemoryError, ...
        found = " ".join(str(error).split()) or "no further detail"
        return _unreadable(image, f"cannot be decoded ({type(error).__name__}: {found[:200]})")


def _decode(
    file: BinaryIO, image: AnyImage, rgb: Callable[[Image.Image], Image.Image], seconds: float
) -> Image.Image | Reason:
    """Raises whatever a decoder raises."""
    opened = open_image(file, seconds)
    if opened is None:
        return _unreadable(image, f"is no image in a known format ({', '.join(_FORMATS)})")
    if found := why_too_large(opened, image.size):
        return _unreadable(image, found)
    width, height = opened.size
    if opened.format == "TIFF" and width * height > MAX_PIXELS // 2:
        # Only the TIFF plugin repeats Pillow's size check, with its warning, while it decodes. Warning filters belong
        # to the whole process, so they are touched for these rare files alone, by one thread at a time.
        with _QUIET, warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            opened.load()
    opened.load()
    # Transparency of a palette does not survive the conversion; dropped here, Pillow does not warn that it is.
    if isinstance(opened.info.get("transparency"), bytes):
        del opened.info["transparency"]
    return rgb(opened)


def why_too_large(opened: Image.Image, encoded: int) -> str | None:
    """What is too large about an image of so many encoded bytes, known from its header; None where nothing is."""
    width, height = opened.size
    pixels = width * height
    if pixels > MAX_PIXELS:
        return f"is too large: {width}x{height} pixels, at most {MAX_PIXELS} in all are read"
    if max(width, height) > MAX_SIDE:
        return f"is too large: {width}x{height} pixels, at most {MAX_SIDE} on a side are read"
    needed = pixels * _FORMAT_BYTES.get(opened.format or "", _MODE_BYTES.get(opened.mode, 8))
    if needed > _MAX_DECODED and pixels > _PIXELS_PER_BYTE * encoded:
        found = f"is too large: {width}x{height} pixels in {encoded} bytes would take {needed // 10**6} MB to decode"
        return f"{found}, at most {_MAX_DECODED // 10**6} MB are spent on a picture that is nearly empty"
    return None


def why_too_many(pixels: int, encoded: int) -> str | None:
    """What is wrong with the pixels that an image processor is to get for one question, made of so many encoded bytes,
    those of an image that is there twice counted once; None where nothing is."""
    if pixels > MAX_PIXELS:
        return (
            f"is too much: {pixels} pixels with the images before it, at most {MAX_PIXELS} are prepared for a question"
        )
    if pixels > _MAX_PREPARED and pixels > _PIXELS_PER_BYTE * encoded:
        found = f"is too much: {pixels} pixels with the images before it, of {encoded} bytes"
        return f"{found}, at most {_MAX_PREPARED} are prepared where pictures are nearly empty"
    return None


def open_image(file: BinaryIO, seconds: float = DECODE_SECONDS) -> ImageFile.ImageFile | None:
    """``Image.open`` without its size check, which warns through process-wide filters; the caller has to ask
    :func:`why_too_large` before it decodes.

    Pillow is told no name: of some formats it would map the file that has it now, whichever that is, and die with it
    if that is cut short meanwhile.

    Args:
        file: read from its start; from then on the image's.
        seconds: of this thread's CPU time, to read the header and to decode.

    Returns:
        The image, of which the header is read; None where it is in none of the known formats.

    Raises:
        TookTooLongError: the seconds are over; ``load`` raises it as well.
        Exception: whatever a decoder raises.
    """
    prefix = file.read(16)
    if prefix[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        _check_tags(file)
    timed = cast(BinaryIO, TimedFile(file, seconds))
    for format_name in _FORMATS:
        factory, accept = Image.OPEN[format_name]
        # A plugin that was built without its codec accepts with a str that says so.
        if accept is not None and accept(prefix) is not True:
            continue
        file.seek(0)
        try:
            opened = factory(timed, "")
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue  # "not mine", in Pillow's convention: the next format may read it
        if opened.info.get("progressive"):
            opened.decodermaxblock = _SCAN_BLOCK
        return opened
    return None


def _check_tags(file: BinaryIO) -> None:
    """Raises ValueError for a TIFF whose directory claims more than the file holds: Pillow reads all that it claims,
    so that tags which point to the same bytes would take thousands of times the file's size."""
    end = file.seek(0, 2)
    file.seek(0)
    head = file.read(16)
    order, big = "<" if head[:2] == b"II" else ">", 43 in (head[2], head[3])
    at = struct.unpack_from(f"{order}Q", head, 8)[0] if big else struct.unpack_from(f"{order}L", head, 4)[0]
    count_code, entry_code, inline = ("Q", "HHQ", 8) if big else ("H", "HHL", 4)
    file.seek(min(at, end))
    (count,) = struct.unpack(order + count_code, file.read(struct.calcsize(order + count_code)))
    if count > _MAX_TAGS:
        raise ValueError(f"its directory has {count} tags, at most {_MAX_TAGS} are read")
    claimed = 0
    for _ in range(count):
        entry = file.read(struct.calcsize(order + entry_code) + inline)
        if len(entry) < struct.calcsize(order + entry_code):
            break
        _, kind, values = struct.unpack_from(order + entry_code, entry)
        size = values * _TAG_BYTES.get(kind, 1)
        claimed += size if size > inline else 0
    if claimed > end:
        raise ValueError(f"the tags of its directory claim {claimed} bytes, and the file has {end}")


_TAG_BYTES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value of each type of a TIFF tag; 1 for others."""


def encoded_image(image: AnyImage) -> bytes | Reason:
    """The image's bytes as they lie there, or why they cannot be had; nothing is decoded. Raises nothing."""
    try:
        with image.open() as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return _missing(image)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_FILE_OF_ONES_OWN:
            return _not_given(image, error)
        return _unreadable(image, f"cannot be opened ({error.strerror if isinstance(error, OSError) else error})")


def _missing(image: AnyImage) -> Reason:
    return Reason(ReasonKind.MISSING_IMAGE, f"image {image.name} does not exist: add it to the data folder")


def _not_given(image: AnyImage, error: OSError) -> Reason:
    return Reason(
        ReasonKind.IO_ERROR, f"image {image.name} cannot be read ({error.strerror}): the next run tries again"
    )


def _unreadable(image: AnyImage, found: str) -> Reason:
    return Reason(ReasonKind.UNREADABLE_IMAGE, f"image {image.name} {found}: replace it")
