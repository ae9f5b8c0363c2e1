"""Image file on disk -> RGB pixels, or the reason why not.

An image is decoded as the published scripts do it, ``Image.open(path).convert("RGB")``: no EXIF rotation, first frame
only. Benchmarks hold what people uploaded, so nothing that a file contains may stop a run or fill the memory.
"""

import stat
import struct
import threading
import warnings
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from radar_fast.sample import ImageFile, Reason, ReasonKind

__all__ = ["MAX_PIXELS", "read_image"]

MAX_PIXELS = 178_956_970
"""Larger images are refused before they are decoded. Pillow itself refuses there, and so do the published scripts."""

Image.init()  # registers all plugins, once; afterwards threads only read the table
# Raster formats only: what Pillow opens by default includes EPS, which it hands to an interpreter.
_FORMATS = tuple(
    name for name in ("JPEG", "MPO", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF") if name in Image.OPEN
)
_QUIET = threading.Lock()


def read_image(image: ImageFile) -> Image.Image | Reason:
    """The whole image as RGB, or why it cannot be had. Raises nothing; may be called from any thread.

    ``missing-image`` if there is no such file; ``unreadable-image`` if it is no regular file, empty, truncated, in
    none of the known formats, or larger than :data:`MAX_PIXELS`.
    """
    path = image.path
    try:
        status = path.stat()
        # Before opening: to open a pipe would wait for its writer, and devices have no end.
        if stat.S_ISDIR(status.st_mode):
            return _unreadable(path, "is a directory")
        if not stat.S_ISREG(status.st_mode):
            return _unreadable(path, "is not a regular file")
        if status.st_size == 0:
            return _unreadable(path, "is empty (0 bytes)")
        with path.open("rb") as file:
            return _decode(file, path)
    except (FileNotFoundError, NotADirectoryError):
        return Reason(ReasonKind.MISSING_IMAGE, f"image {_shown(path)} does not exist: add it to the data folder")
    except Exception as error:
        # Decoders raise anything: OSError, SyntaxError, ValueError, struct.error, zlib.error, MemoryError, ...
        found = " ".join(str(error).split()) or "no further detail"
        return _unreadable(path, f"cannot be decoded ({type(error).__name__}: {found[:200]})")


def _decode(file: BinaryIO, path: Path) -> Image.Image | Reason:
    """Raises whatever a decoder raises."""
    opened = _open(file, str(path))
    if opened is None:
        return _unreadable(path, f"is no image in a known format ({', '.join(_FORMATS)})")
    width, height = opened.size
    if width * height > MAX_PIXELS:
        return _unreadable(path, f"is too large: {width}x{height} pixels, at most {MAX_PIXELS} in all are read")
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


def _unreadable(path: Path, found: str) -> Reason:
    return Reason(ReasonKind.UNREADABLE_IMAGE, f"image {_shown(path)} {found}: replace the file")


def _shown(path: Path) -> str:
    """The path on one line, whatever is in its name."""
    text = str(path)
    return text if text.isprintable() else ascii(text)
