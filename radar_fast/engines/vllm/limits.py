"""How large a request to ``vllm serve`` may be, so that no client can keep the others waiting or fill the memory."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from radar_fast.images import open_image

__all__ = ["Limits", "TooLargeError"]


class TooLargeError(ValueError):
    """A request beyond a limit; the message names the limit. A ValueError, so that vLLM answers with status 400."""

    def __init__(self, where: str, found: str, limit: str, most: object) -> None:
        super().__init__(f"{where}: {found}; the limit {limit!r} of this server is {most}")
        self.limit = limit
        """Its name."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one request, but for ``in_flight``. Set by ``--additional-config '{"radar_fast": {"limits": {...}}}'``."""

    body_bytes: int = 16 * 2**20
    """Of the body, as it is sent."""
    values: int = 20_000
    """Objects, lists and commas in the body: what takes time and memory to parse, beside the text itself."""
    images: int = 16
    """Images."""
    pixels: int = 16 * 2**20
    """Of all its images, as they are encoded."""
    scans: int = 100
    """Of a progressive JPEG; each of them passes over all pixels."""
    characters: int = 200_000
    """Of all its texts and candidates."""
    candidates: int = 256
    """Candidates."""
    tokens: int = 65_536
    """Positions of all the requests that vLLM gets of it, image tokens counted once an image."""
    seconds: float = 10.0
    """Of CPU time, to decode and tokenise; looked at whenever a decoder asks for more of an image."""
    upload_seconds: float = 30.0
    """For a client to send the body."""
    in_flight: int = 32
    """Requests that are worked on at a time; others wait, with nothing read of them."""

    @classmethod
    def of(cls, settings: object) -> Self:
        """The limits that an object of the plugin's settings says. Raises ValueError, with what is wrong."""
        if not isinstance(settings, Mapping):
            raise ValueError(f"radar_fast.limits: give an object, not {settings!r}")
        known: dict[str, Any] = {field.name: field.default for field in fields(cls)}
        for name, value in settings.items():
            if name not in known:
                raise ValueError(f"radar_fast.limits: unknown limit {name!r}; there are {', '.join(known)}")
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise ValueError(f"radar_fast.limits.{name}: give a number above 0, not {value!r}")
            if isinstance(known[name], int) and not isinstance(value, int):
                raise ValueError(f"radar_fast.limits.{name}: give a whole number, not {value!r}")
        return cls(**{**known, **settings})

    def check(self, name: str, found: float, where: str = "data") -> None:
        """Raise TooLargeError where there is more of something than its limit."""
        most = getattr(self, name)
        if found > most:
            raise TooLargeError(where, f"{found} {name.replace('_', ' ')}", name, most)

    def check_body(self, body: bytes) -> None:
        """Before it is parsed. Raises TooLargeError."""
        self.check("body_bytes", len(body), "body")
        # Text may hold commas too: there are limits for text, and none comes near.
        self.check("values", sum(map(body.count, (b"{", b"[", b","))), "body")

    def check_image(self, data: bytes, before: int, where: str) -> int:
        """Before it is decoded: the pixels that it has by its header, as ``before`` is those of the others.

        One that cannot be opened has none; whoever decodes it says why. Raises TooLargeError.
        """
        try:
            image = open_image(io.BytesIO(data), self.seconds)
        except Exception:  # decoders raise anything
            return 0
        if image is None:
            return 0
        width, height = image.size
        self.check("pixels", before + width * height, where)
        if image.format in ("JPEG", "MPO"):
            self.check("scans", data.count(b"\xff\xda"), where)  # within a scan, a byte 255 is followed by a 0
        return width * height
