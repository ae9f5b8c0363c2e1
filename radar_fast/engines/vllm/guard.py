"""Between the network and ``vllm serve``: requests are bounded, and prepared in threads, before vLLM sees them.

vLLM loads :class:`Guard` where it is told ``--middleware radar_fast.engines.vllm.guard.Guard``. Of what the server
offers, clients get ``POST /pooling`` with a question, and whatever is asked for without a body, such as ``/health``.
A body is read only when vLLM asks for it, hence after vLLM's own check of the API key.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Any

import orjson
from fastapi import HTTPException

from radar_fast.engines.vllm import serving as plugin
from radar_fast.engines.vllm.limits import Limits, TooLargeError
from radar_fast.engines.vllm.questions import parse_question

__all__ = ["Guard"]

log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

INFO = "/radar_fast/info"
"""Where a client asks what the server runs."""

_THREADS = 2
"""That decode and tokenise. Both leave Python's lock to others most of the time; more would only slow each other."""

_FEW = 16
"""vLLM requests of a question that enters whenever it comes; those of more enter one at a time. vLLM takes all requests
of a question in one turn of the event loop: 256 of them kept every other client waiting for 0.2 s on two cores, and
several such questions as many times as long."""

_TAKEN = {"model", "data", "task", "user", "priority"}
"""Fields of a request. ``request_id`` is not among them: two requests of one name would get each other's scores."""


class Guard:
    """ASGI middleware."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="prepare")
        self._slots: asyncio.Semaphore | None = None
        self._many = asyncio.Lock()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request, or the server's own start and end."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": 1008})
            return
        if scope["method"] == "GET" and scope["path"] == f"{scope.get('root_path', '')}{INFO}":
            await self._info(scope, receive, send)
        elif scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
        elif scope["path"] != f"{scope.get('root_path', '')}/pooling":
            await _refuse(send, 404, f"{scope['path']}: this server answers POST /pooling only")
        elif (processor := plugin.serving()) is None:
            await _refuse(send, 503, "the server is not ready, or lacks --io-processor-plugin radar_fast")
        else:
            await self._pooling(processor, scope, receive, send)

    async def _info(self, scope: Message, receive: Receive, send: Send) -> None:
        """What this server runs, for whoever may also see vLLM's own list of models: that asks for the API key."""
        said: list[Message] = []

        async def keep(message: Message) -> None:
            said.append(message)

        path = f"{scope.get('root_path', '')}/v1/models"
        await self._app({**scope, "path": path, "raw_path": path.encode()}, receive, keep)
        if said[0].get("status") != 200:
            for message in said:
                await send(message)
        elif (processor := plugin.serving()) is None:
            await _refuse(send, 503, "the server is not ready, or lacks --io-processor-plugin radar_fast")
        else:
            info = await asyncio.get_running_loop().run_in_executor(self._pool, lambda: processor.info)
            await _reply(send, 200, orjson.dumps(info))

    async def _pooling(
        self, processor: "plugin.CandidateProcessor", scope: Message, receive: Receive, send: Send
    ) -> None:
        limits = processor.limits
        if self._slots is None:
            self._slots = asyncio.Semaphore(limits.in_flight)
        issued: list[tuple[str, plugin.Prepared]] = []
        taken = False

        async def prepared() -> Message:
            nonlocal taken
            if taken:
                return await receive()
            taken = True
            body = await _body(receive, limits)
            if body is None:
                return {"type": "http.disconnect"}
            ready, fields = await asyncio.get_running_loop().run_in_executor(self._pool, _prepare, processor, body)
            if len(ready.plan.requests) > _FEW:
                await turn.enter_async_context(self._many)
            issued.append((processor.issue(ready), ready))
            fields["data"] = {plugin.TICKET: issued[0][0]}
            return {"type": "http.request", "body": orjson.dumps(fields), "more_body": False}

        # Scores find their question by the request's name, which a client may not choose.
        headers = [(name, value) for name, value in scope["headers"] if name.lower() != b"x-request-id"]
        async with self._slots, AsyncExitStack() as turn:
            try:
                await self._app({**scope, "headers": headers}, prepared, send)
            finally:
                for ticket, ready in issued:
                    processor.forget(ticket, ready)


async def _body(receive: Receive, limits: Limits) -> bytes | None:
    """The whole body; None where the client has left. Raises HTTPException."""
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(limits.upload_seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                part = message.get("body", b"")
                size += len(part)
                if size > limits.body_bytes:
                    raise HTTPException(413, str(TooLargeError("body", "more bytes", "body_bytes", limits.body_bytes)))
                parts.append(part)
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        raise HTTPException(
            408, str(TooLargeError("body", "it took longer to arrive", "upload_seconds", limits.upload_seconds))
        ) from None


def _prepare(processor: "plugin.CandidateProcessor", body: bytes) -> tuple["plugin.Prepared", dict[str, Any]]:
    """Parse and prepare, in a thread. Raises HTTPException, which says to the client what is wrong."""
    try:
        processor.limits.check_body(body)
        try:
            asked = orjson.loads(body)
        except ValueError as error:
            raise ValueError(f"body: not JSON: {error}") from None
        if not isinstance(asked, dict):
            raise ValueError("body: give an object with model and data")
        if unknown := sorted(set(asked) - _TAKEN):
            raise ValueError(f"body: unknown field {unknown[0][:100]!r}; it takes {', '.join(sorted(_TAKEN))}")
        if "data" not in asked:
            raise ValueError("body: give the question as data; this server takes no other form of a request")
        question = parse_question(asked.pop("data"), processor.limits)
        return processor.prepare(question), asked
    except TooLargeError as error:
        raise HTTPException(413 if error.limit in ("body_bytes", "pixels") else 400, str(error)) from None
    except ValueError as error:
        raise HTTPException(400, str(error)) from None
    except Exception:
        log.exception("a request could not be prepared")
        raise HTTPException(500, "the request could not be prepared; the server's log says why") from None


async def _refuse(send: Send, status: int, message: str) -> None:
    body = json.dumps({"error": {"message": message, "type": "Refused", "param": None, "code": status}}).encode()
    await _reply(send, status, body)


async def _reply(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
