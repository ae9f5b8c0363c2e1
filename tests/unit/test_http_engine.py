"""The client of a server: what it sends, what it makes of every answer, and a server that is away.

The server here is a real one on a socket, with answers of the tests' own; a real ``vllm serve`` is in tests/vllm.
"""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from radar_fast.engines import EngineOptions
from radar_fast.engines.http import client as module
from radar_fast.engines.http.client import Client
from radar_fast.engines.http.engine import question_of
from radar_fast.engines.http.spec import SPEC
from radar_fast.errors import EngineError, UsageError
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.sample import EmbeddedImage, ImageFile, Reason, ReasonKind, Sample, Scored

INFO = {
    "model_name": "step-1",
    "model": {"name": "step-1", "sha256": "a"},
    "protocol": {"name": "qwen2vl", "min_pixels": 1},
    "prompt": "b",
    "engine": {"name": "vllm", "device": "cuda", "dtype": "bfloat16"},
    "versions": {"vllm": "0.32.0"},
}
Answer = tuple[int, object]


class Server:
    """Answers as ``answer`` says, and keeps what it was asked."""

    def __init__(self) -> None:
        self.info: dict[str, Any] = INFO
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.answer: Callable[[dict[str, Any]], Answer] = scores
        self.most_at_once = self._now = 0
        lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.say(200 if self.path == module.INFO else 404, outer.info)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    outer._now += 1
                    outer.most_at_once = max(outer.most_at_once, outer._now)
                    outer.asked.append(body)
                    outer.headers.append(dict(self.headers))
                try:
                    self.say(*outer.answer(body))
                finally:
                    with lock:
                        outer._now -= 1

            def say(self, status: int, value: object) -> None:
                if status == 0:  # hang up
                    self.close_connection = True
                    return
                body = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


def scores(body: dict[str, Any]) -> Answer:
    candidates = [
        {"text": text, "logits": [float(len(text)), 1.5], "logprobs": [-0.5, -1.0]}
        for text in body["data"]["candidates"]
    ]
    return 200, {"data": {"candidates": candidates}}


def refuse(status: int, message: str) -> Callable[[dict[str, Any]], Answer]:
    return lambda _: (status, {"error": {"message": message}})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(module, "_FIRST_WAIT", 0.01)
    made = Server()
    yield made
    made.close()


SAMPLE = Sample("1", "t", "d", "perception", ("What?",), ("one", "three"), 1, {"question": "What?", "index": 3})


def score(server: Server, *samples: Sample, workers: int = 4) -> list[Scored]:
    options = SPEC.resolve(None, EngineOptions(url=server.url, workers=workers))
    assert SPEC.protocol is not None
    with SPEC.open(None, SPEC.protocol(options), options, None) as engine:  # type: ignore[arg-type] # it takes no context
        return list(engine.score(map(SPEC.protocol(options).prompt, samples)))


def test_a_question_is_sent_whole_and_once(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "secret")
    file = tmp_path / "a.png"
    file.write_bytes(b"\x89PNG of a file")
    sample = Sample("1", "t", "d", "a", (ImageFile(file), "What?", EmbeddedImage("e", b"GIF")), ("one", "three"), 0)
    [scored] = score(server, sample)
    assert [each.logits for each in scored.candidates] == [(3.0, 1.5), (5.0, 1.5)]
    assert [each.logprobs for each in scored.candidates] == [(-0.5, -1.0)] * 2
    [asked] = server.asked
    assert asked["model"] == "step-1"
    images = [part["image_url"]["url"] for part in asked["data"]["parts"] if part["type"] == "image_url"]
    assert [base64.b64decode(url.partition(",")[2]) for url in images] == [b"\x89PNG of a file", b"GIF"]
    assert asked["data"]["sample"] == {"task": "t", "directory": "d", "metadata": {}}
    assert server.headers[0]["Authorization"] == "Bearer secret"


def test_no_more_questions_at_a_time_than_asked_for(server: Server) -> None:
    samples = [replace(SAMPLE, id=str(number)) for number in range(40)]
    assert [scored.sample.id for scored in score(server, *samples, workers=3)] == [one.id for one in samples]
    assert server.most_at_once <= 3


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (400, "too-long: 9000 tokens", ReasonKind.TOO_LONG),
        (400, "unreadable-image: data.parts[0] is empty", ReasonKind.UNREADABLE_IMAGE),
        (400, "data: 900 tokens; the limit 'maximum context length' of this server is 5", ReasonKind.TOO_LONG),
        (400, "scores must be finite in float32, found [nan]", ReasonKind.NON_FINITE),
        (413, "body: more bytes; the limit 'body_bytes' of this server is 5", ReasonKind.REFUSED),
    ],
)
def test_a_question_that_is_refused_is_unscored(server: Server, status: int, message: str, kind: ReasonKind) -> None:
    server.answer = refuse(status, message)
    [scored] = score(server, SAMPLE)
    assert scored.reason is not None
    assert scored.reason.kind == kind
    assert len(server.asked) == 1


def test_an_image_that_is_not_there_is_not_sent(server: Server, tmp_path: Path) -> None:
    [scored] = score(server, Sample("1", "t", "d", "a", (ImageFile(tmp_path / "none.png"), "?"), ("a", "b"), 0))
    assert scored.reason is not None
    assert scored.reason.kind == ReasonKind.MISSING_IMAGE
    assert server.asked == []
    assert isinstance(question_of(scored.sample), Reason)


def test_a_server_that_is_away_is_asked_again(server: Server) -> None:
    said: list[Answer] = [(503, {}), (0, None), (429, {})]
    server.answer = lambda body: said.pop(0) if said else scores(body)
    [scored] = score(server, SAMPLE)
    assert scored.candidates
    assert len(server.asked) == 4


def test_another_checkpoint_in_its_place_ends_the_run(server: Server) -> None:
    def hang_up(_: dict[str, Any]) -> Answer:
        server.info = {**INFO, "model": {"name": "step-1", "sha256": "other"}}
        server.answer = scores
        return 0, None

    server.answer = hang_up
    with pytest.raises(EngineError, match="another checkpoint or version is served there now"):
        score(server, SAMPLE)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (refuse(404, "no model step-1"), "status 404: no model step-1"),
        (refuse(401, "Unauthorized"), "status 401"),
        (lambda _: (200, {"data": []}), "no object"),
        (lambda _: (200, {"data": {"candidates": [{"text": "one"}]}}), "cannot be read"),
        (lambda _: (200, {"data": {"candidates": []}}), "of other candidates"),
    ],
)
def test_what_no_other_question_would_mend_ends_the_run(server: Server, answer: Any, words: str) -> None:
    server.answer = answer
    with pytest.raises(EngineError, match=words):
        score(server, SAMPLE)


def test_patience_has_an_end(server: Server) -> None:
    client = Client(server.url, 1, patience=0.05)
    known = client.info()
    server.answer = refuse(503, "busy")
    with pytest.raises(EngineError, match="no answer for 0 s"):
        client.ask({}, known)
    client.close()


def test_wrong_options_are_told(server: Server, demo: Path) -> None:
    with pytest.raises(UsageError, match="needs --url"):
        SPEC.resolve(None, EngineOptions())
    with pytest.raises(UsageError, match="--dtype: with --engine http the server settles it"):
        SPEC.resolve(None, EngineOptions(url=server.url, dtype="float32"))
    with pytest.raises(UsageError, match=r"the server at .* has its own"):
        SPEC.resolve(Checkpoint.open(demo / "checkpoints" / "step-50"), EngineOptions(url=server.url))
    for url in ("node:8000:1", "ftp://node", "http://"):
        with pytest.raises(UsageError, match="is no address"):
            SPEC.resolve(None, EngineOptions(url=url))
    with pytest.raises(EngineError, match="does not answer"):
        SPEC.resolve(None, EngineOptions(url="http://127.0.0.1:9"))
    server.info = {"hello": "world"}
    with pytest.raises(EngineError, match="is no radar-fast server"):
        SPEC.resolve(None, EngineOptions(url=server.url))
