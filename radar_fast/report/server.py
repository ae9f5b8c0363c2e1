"""A page with its pictures over HTTP, on loopback alone: for image folders that are too large for thumbnails.

A request names a picture by its number in the page, never by a path, so nothing but those pictures can be asked for.
Requests that another site's page sends here are refused by their Host header.
"""

import contextlib
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from re import fullmatch

from radar_fast.errors import UsageError
from radar_fast.report.pictures import thumbnail
from radar_fast.sample import AnyImage

__all__ = ["PICTURES", "ReportServer"]

PICTURES = "picture/"
"""What the address of a picture begins with, below the page's own."""

_SIDE = 1024
"""Pixels of a picture's longer side, at most: it is made when it is looked at."""


class ReportServer(ThreadingHTTPServer):
    """Serves until :meth:`~socketserver.BaseServer.shutdown`. A context manager, which closes its socket."""

    daemon_threads = True

    def __init__(self, page: bytes, images: Sequence[AnyImage], port: int = 0) -> None:
        """Bind to ``port`` of 127.0.0.1; 0: any that is free.

        Raises:
            UsageError: the port cannot be had.
        """
        self.page = page
        self.images = images
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except (OSError, OverflowError) as error:
            found = error.strerror if isinstance(error, OSError) else error
            raise UsageError(f"--port {port}: cannot be had ({found}); leave it out to take any that is free") from None

    @property
    def url(self) -> str:
        """The page's address."""
        return f"http://127.0.0.1:{self.server_port}/"

    def serve_until_interrupted(self) -> None:
        """Answer until Ctrl-C, which is how it is ended, and no error."""
        with contextlib.suppress(KeyboardInterrupt):
            self.serve_forever()


class _Handler(BaseHTTPRequestHandler):
    """GET and HEAD of the page and its pictures."""

    server: ReportServer
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        """The page, or a picture."""
        if self.headers.get("Host") not in {f"{name}:{self.server.server_port}" for name in ("127.0.0.1", "localhost")}:
            return self._give(HTTPStatus.FORBIDDEN, "text/plain", b"ask 127.0.0.1 by its own name\n")
        if self.path == "/":
            return self._give(HTTPStatus.OK, "text/html; charset=utf-8", self.server.page)
        data = self._picture()
        if data is not None:
            return self._give(HTTPStatus.OK, "image/jpeg", data)
        return self._give(HTTPStatus.NOT_FOUND, "text/plain", b"not here\n")

    do_HEAD = do_GET  # noqa: N815 - likewise

    def _picture(self) -> bytes | None:
        """The picture that the path asks for by its number."""
        found = fullmatch(rf"/{PICTURES}([0-9]{{1,9}})\.jpg", self.path)
        if found is None or int(found[1]) >= len(self.server.images):
            return None
        return thumbnail(self.server.images[int(found[1])], _SIDE)

    def _give(self, status: HTTPStatus, kind: str, data: bytes) -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(data))),
            ("X-Content-Type-Options", "nosniff"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Referrer-Policy", "no-referrer"),
            ("Cache-Control", "no-store" if kind.startswith("text") else "private, max-age=3600"),
        ):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Requests are not logged."""
