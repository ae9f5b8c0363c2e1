"""Images inside data files, bounded: what is too large for an image is not kept, and is refused with a reason."""

import binascii

from radar_fast.images import MAX_ENCODED
from radar_fast.readers.records import Unfit
from radar_fast.sample import EmbeddedImage, ReasonKind

__all__ = ["embedded", "from_base64"]

_MAX_BASE64 = -(-MAX_ENCODED // 3) * 4
_WHITE = b" \t\r\n"


def embedded(name: str, data: bytes) -> EmbeddedImage:
    """An image of encoded bytes. Raises Unfit (``unreadable-image``) above :data:`MAX_ENCODED`."""
    if len(data) > MAX_ENCODED:
        raise _too_large(name, len(data))
    return EmbeddedImage(name, data)


def from_base64(name: str, text: bytes) -> EmbeddedImage:
    """An image of base64, whatever white space is in it.

    Raises Unfit (``unreadable-image``) for what is no base64, and for more than :data:`MAX_ENCODED` bytes.
    """
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
