"""Images inside data files, bounded: what is too large for an image is not kept, and is refused with a reason."""

import binascii
import re

from radar_fast.images import MAX_ENCODED
from radar_fast.readers.records import Unfit
from radar_fast.sample import EmbeddedImage, ReasonKind

__all__ = ["embedded", "from_base64", "is_data_uri"]

_MAX_BASE64 = -(-MAX_ENCODED // 3) * 4
_WHITE = b" \t\r\n"
_URI = re.compile(rb"\s*data:([^,]{0,200}),", re.IGNORECASE)


def is_data_uri(text: str | bytes) -> bool:
    """Whether a field holds its image in itself, as ``data:image/png;base64,...``, in place of a path or index."""
    return text[:100].lstrip()[:5].lower() in ("data:", b"data:")


def embedded(name: str, data: bytes) -> EmbeddedImage:
    """An image of encoded bytes. Raises Unfit (``unreadable-image``) above :data:`MAX_ENCODED`."""
    if len(data) > MAX_ENCODED:
        raise _too_large(name, len(data))
    return EmbeddedImage(name, data)


def from_base64(name: str, text: bytes) -> EmbeddedImage:
    """An image of base64, whatever white space is in it, with or without ``data:image/png;base64,`` before it.

    Raises Unfit (``unreadable-image``) for what is no base64, and for more than :data:`MAX_ENCODED` bytes.
    """
    if match := _URI.match(text):
        if not match[1].lower().rstrip().endswith(b";base64"):
            found = f"image {name} is a data URI that is not in base64: write it as data:image/png;base64,..."
            raise Unfit(ReasonKind.UNREADABLE_IMAGE, found)
        text = text[match.end() :]
    if any(text.find(letter) >= 0 for letter in (b" ", b"\t", b"\r", b"\n")):
        text = text.translate(None, _WHITE)
    if len(text) > _MAX_BASE64:
        raise _too_large(name, len(text) // 4 * 3)
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error as error:
        raise Unfit(ReasonKind.UNREADABLE_IMAGE, f"image {name} is no base64 ({error}): replace it") from None
    return embedded(name, data)


def _too_large(name: str, size: int) -> Unfit:
    found = f"image {name} is too large: {size} bytes encoded, at most {MAX_ENCODED} are read from inside a data file"
    return Unfit(ReasonKind.UNREADABLE_IMAGE, f"{found}: make it smaller")
