"""What the server lets in at a time."""

import asyncio
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

pytest.importorskip("vllm")

from radar_fast.engines.vllm import guard, serving
from radar_fast.engines.vllm.limits import Limits


class _Processor:
    """Its questions are as many requests as they have candidates."""

    limits = Limits()

    def prepare(self, question: int) -> Any:
        return SimpleNamespace(plan=SimpleNamespace(requests=[None] * question))

    def issue(self, prepared: Any) -> str:
        return str(len(prepared.plan.requests))

    def forget(self, ticket: str, prepared: Any) -> None:
        pass


class _App:
    """vLLM, which takes a moment for a question and knows how many it has at once."""

    def __init__(self) -> None:
        self.now: list[int] = []
        self.most = {"few": 0, "many": 0}

    async def __call__(self, _: Any, receive: Any, __: Any) -> None:
        asked = orjson.loads((await receive())["body"])
        requests = int(asked["data"][serving.TICKET])
        self.now.append(requests)
        many = sum(each > guard._FEW for each in self.now)
        self.most = {"few": max(self.most["few"], len(self.now) - many), "many": max(self.most["many"], many)}
        await asyncio.sleep(0.02)
        self.now.remove(requests)
        if requests == 99:
            raise RuntimeError("its client has left")


def test_questions_of_many_requests_go_in_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each keeps the event loop for as long as it has requests; the others go by them, and a failed one lets go."""
    app, processor = _App(), _Processor()
    monkeypatch.setattr(serving, "serving", lambda: processor)
    monkeypatch.setattr(guard, "_prepare", lambda _, body: (processor.prepare(int(body)), {}))
    served = guard.Guard(app)
    scope = {"type": "http", "method": "POST", "path": "/pooling", "headers": []}

    async def ask(requests: int) -> None:
        async def receive() -> Any:
            return {"type": "http.request", "body": b"%d" % requests, "more_body": False}

        async def send(message: Any) -> None:
            pass

        await served(scope, receive, send)

    async def all_at_once() -> list[Any]:
        counts = (99, 255, 4, 255, 4, 16, 17)
        return await asyncio.wait_for(asyncio.gather(*map(ask, counts), return_exceptions=True), 30)

    assert [type(each) for each in asyncio.run(all_at_once())] == [RuntimeError, *[type(None)] * 6]
    assert app.most == {"few": 3, "many": 1}
