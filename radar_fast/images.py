"""Encoded image, in a file of its own or inside a data file -> RGB pixels, or the reason why not.

An image is decoded as the published scripts do it, ``Image.open(path).convert("RGB")``: no EXIF rotation, first frame
only. Benchmarks hold what people uploaded, so nothing that a file contains may stop a run or fill the memory.
"""

import hashlib
import struct
import threading
import warnings
from typing import BinaryIO

from PIL import Image

from radar_fast.sample import AnyImage, Reason, ReasonKind

__all__ = ["MAX_ENCODED", "MAX_PIXELS", "content_digest", "read_image"]

MAX_PIXELS = 178_956_970
"""Larger images are refused before they are decoded. Pillow itself refuses there, and so do the published scripts."""

MAX_ENCODED = 32 * 2**20
"""Bytes of an encoded image inside a data file. Readers refuse larger ones: unlike files, they are held in memory, as
many as an engine schedules together."""

Image.init()  # registers all plugins, once; afterwards threads only read the table
# Raster formats only: what Pillow opens by default includes EPS, which it hands to an interpreter.
_FORMATS = tuple(
    name for name in ("JPEG", "MPO", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF") if name in Image.OPEN
)
_QUIET = threading.Lock()


def content_digest(image: AnyImage) -> str:
    """SHA-256, in hexadecimal, of the bytes that an image is encoded in. Raises OSError, and ValueError for a path."""
    digest = hashlib.sha256()
    with image.open() as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def read_image(image: AnyImage) -> Image.Image | Reason:
    """The whole image as RGB, or why it cannot be had. Raises nothing; may be called from any thread.

    ``missing-image`` if there is no such file; ``unreadable-image`` if it is no regular file, empty, truncated, in
    none of the known formats, or larger than :data:`MAX_PIXELS`.
    """
    try:
        file = image.open()
    except (FileNotFoundError, NotADirectoryError):
        return Reason(ReasonKind.MISSING_IMAGE, f"image {image.name} does not exist: add it to the data folder")
    except (OSError, ValueError) as error:
        found = error.strerror if isinstance(error, OSError) else error
        return _unreadable(image, f"cannot be opened ({found})")
    try:
        with file:
            if image.size == 0:
                return _unreadable(image, "is empty (0 bytes)")
            return _decode(file, image)
    except Exception as error:
        # Decoders raise anything: OSError, SyntaxError, ValueError, struct.error, zlib.error, MemoryError, ...
        found = " ".join(str(error).split()) or "no further detail"
        return _unreadable(image, f"cannot be decoded ({type(error).__name__}: {found[:200]})")


def _decode(file: BinaryIO, image: AnyImage) -> Image.Image | Reason:
    """Raises whatever a decoder raises."""
    opened = _open(file, image.name)
    if opened is None:
        return _unreadable(image, f"is no image in a known format ({', '.join(_FORMATS)})")
    width, height = opened.size
    if width * height > MAX_PIXELS:
        return _unreadable(image, f"is too large: {width}x{height} pixels, at most {MAX_PIXELS} in all are read")
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
    return opened.convert("RGB")


def _open(file: BinaryIO, name: str) -> Image.Image | None:
    """``Image.open`` without its size check, which warns through process-wide filters; the size is checked above."""
    prefix = file.read(16)
    for format_name in _FORMATS:
        factory, accept = Image.OPEN[format_name]
        # A plugin that was built without its codec accepts with a str that says so.
        if accept is not None and accept(prefix) is not True:
            continue
        file.seek(0)
        try:
            return factory(file, name)
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue  # "not mine", in Pillow's convention: the next format may read it
    return None


def _unreadable(image: AnyImage, found: str) -> Reason:
    return Reason(ReasonKind.UNREADABLE_IMAGE, f"image {image.name} {found}: replace it")
