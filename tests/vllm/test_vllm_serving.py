"""``vllm serve`` with the plugin: a real server on the CPU build, over HTTP, against the transformers engine."""

import base64
import contextlib
import io
import json
import os
import random
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm", reason="no wheel of vLLM for this platform")

from PIL import Image
from served import served
from side_by_side import opened, scored_by

from radar_fast.demo.show import PIXELS
from radar_fast.engines.vllm.limits import Limits
from radar_fast.engines.vllm.questions import parse_question
from radar_fast.readers import open_reader
from radar_fast.sample import EmbeddedImage, Sample

BOUND = 1e-4

TEXT = {"type": "text", "text": "What is it?"}


def image(url: object) -> dict[str, object]:
    """A part of a question."""
    return {"type": "image_url", "image_url": url}


PIXEL = base64.b64encode(b"\x89PNG").decode()


def test_a_question_is_read() -> None:
    picture = image({"url": f"data:image/png;base64,{PIXEL}"})
    question = parse_question({"parts": [picture, TEXT], "candidates": ["a", "b"], "answer": 1})
    assert question.parts == (EmbeddedImage("data.parts[0].image_url", b"\x89PNG"), "What is it?")
    assert question.candidates == ("a", "b")
    assert question.answer == 1
    assert parse_question({"parts": [TEXT], "candidates": ["a"]}).answer is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (None, "give an object"),
        ([], "give an object"),
        ({"parts": [TEXT]}, "data.candidates"),
        ({"parts": [], "candidates": ["a"]}, "data.parts"),
        ({"parts": "What?", "candidates": ["a"]}, "data.parts"),
        ({"parts": [TEXT], "candidates": "ab"}, "data.candidates"),
        ({"parts": [TEXT], "candidates": ["a", " "]}, r"data.candidates\[1\]"),
        ({"parts": [TEXT], "candidates": ["a", 1]}, r"data.candidates\[1\]"),
        ({"parts": [TEXT], "candidates": ["a"], "answer": 1}, "data.answer"),
        ({"parts": [TEXT], "candidates": ["a"], "answer": True}, "data.answer"),
        ({"parts": [TEXT], "candidates": ["a"], "anwser": 0}, "'anwser'"),
        ({"parts": [{"type": "text", "text": 3}], "candidates": ["a"]}, r"data.parts\[0\].text"),
        ({"parts": [TEXT, {"type": "audio"}], "candidates": ["a"]}, r"data.parts\[1\]"),
        ({"parts": [image({})], "candidates": ["a"]}, "data:image"),
        ({"parts": [image("file:///etc/passwd")], "candidates": ["a"]}, "data:image"),
        (
            {"parts": [image("https://example.com/a.png")], "candidates": ["a"]},
            "data:image",
        ),
        ({"parts": [image("data:image/png,abc")], "candidates": ["a"]}, "not base64"),
        ({"parts": [image("data:image/png;base64,a*c=")], "candidates": ["a"]}, "base64"),
    ],
)
def test_a_wrong_request_names_its_field(data: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_question(data)


def png(width: int, height: int) -> str:
    """A data URL of a black picture."""
    data = io.BytesIO()
    Image.new("1", (width, height)).save(data, "PNG")
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"


def jpeg_of_scans(count: int) -> str:
    """A data URL of a small JPEG, with the marker of a scan so many times."""
    data = io.BytesIO()
    Image.new("L", (8, 8)).save(data, "JPEG")
    repeated = data.getvalue() + b"\xff\xda" * count
    return f"data:image/jpeg;base64,{base64.b64encode(repeated).decode()}"


TOO_LARGE: list[tuple[dict[str, Any], str]] = [
    ({"parts": [TEXT], "candidates": ["a"] * 257}, "candidates"),
    ({"parts": [TEXT], "candidates": ["word " * 40_001]}, "characters"),
    ({"parts": [{"type": "text", "text": "x" * 200_001}], "candidates": ["a"]}, "characters"),
    ({"parts": [image(png(1, 1))] * 17, "candidates": ["a"]}, "images"),
    ({"parts": [image(png(4097, 4096))], "candidates": ["a"]}, "pixels"),
    ({"parts": [image(png(2048, 4096))] * 3, "candidates": ["a"]}, "pixels"),
    ({"parts": [image(jpeg_of_scans(1500))], "candidates": ["a"]}, "scans"),
]


@pytest.mark.parametrize(("data", "limit"), TOO_LARGE)
def test_what_is_beyond_a_limit_is_refused_by_its_name(data: Any, limit: str) -> None:
    """Before anything is decoded, tokenised or planned."""
    with pytest.raises(ValueError, match=f"the limit '{limit}'"):
        parse_question(data)


def test_limits_are_set_by_name() -> None:
    limits = Limits.of({"candidates": 3, "seconds": 1})
    with pytest.raises(ValueError, match="the limit 'candidates' of this server is 3"):
        parse_question({"parts": [TEXT], "candidates": ["a"] * 4}, limits)
    wrong: Any
    for wrong in ({"candidate": 3}, {"candidates": 0}, {"candidates": "3"}, {"candidates": True}, {"images": 1.5}, []):
        with pytest.raises(ValueError, match=r"radar_fast\.limits"):
            Limits.of(wrong)


# The server ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def running(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """Address and process id of a running ``vllm serve``."""
    bounds = {"radar_fast": {"min_pixels": PIXELS, "max_pixels": PIXELS}}
    more = ("--additional-config", json.dumps(bounds), "--max-num-batched-tokens", "8192")
    with served(demo / "checkpoints" / "step-800", tmp_path_factory.mktemp("server"), *more) as (address, process):
        yield address, process.pid


@pytest.fixture(scope="module")
def server(running: tuple[str, int]) -> str:
    """Its address."""
    return running[0]


def ask(server: str, data: Any) -> Any:
    return json.loads(post(server, {"model": "step-800", "data": data}))["data"]


def post(server: str, body: Any, path: str = "pooling", **headers: str) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"{server}/{path}", data, {"Content-Type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=120) as response:
        return bytes(response.read())


def data_of(sample: Sample) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    for part in sample.parts:
        if isinstance(part, str):
            parts.append({"type": "text", "text": part})
        else:
            with part.open() as stream:
                encoded = base64.b64encode(stream.read()).decode()
            parts.append(image({"url": f"data:image/png;base64,{encoded}"}))
    return {"parts": parts, "candidates": list(sample.candidates), "answer": sample.answer}


def transparent() -> Sample:
    """A question about a picture that its protocol lays on white."""
    data = io.BytesIO()
    Image.new("RGBA", (56, 56), (200, 10, 10, 60)).save(data, "PNG")
    parts = (EmbeddedImage("transparent", data.getvalue()), "What colour is it?")
    return Sample("transparent", "t", "d", "other", parts, ("red", "white"), 0)


@pytest.mark.full
def test_served_scores_are_those_of_the_engine(demo: Path, server: str) -> None:
    """Every question twice, eight at a time: the second time its blocks would be cached, past its answer."""
    samples = [sample for sample in open_reader(demo / "mini-m3") if sample.reason is None][::4]
    samples.append(transparent())
    engine, protocol = opened("transformers", demo / "checkpoints" / "step-800", pixels=(PIXELS, PIXELS))
    wanted = scored_by(engine, protocol, samples)
    engine.close()
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda sample: ask(server, data_of(sample)), samples * 2))
    for sample, answer in zip(samples * 2, answers, strict=True):
        theirs = wanted[sample.key].candidates
        assert [each["text"] for each in answer["candidates"]] == list(sample.candidates)
        for mine, other in zip(answer["candidates"], theirs, strict=True):
            assert mine["logits"] == pytest.approx(other.logits, abs=BOUND, rel=0)
            assert mine["logprobs"] == pytest.approx(other.logprobs, abs=BOUND, rel=0)
        means = [sum(each["logits"]) / len(each["logits"]) for each in answer["candidates"]]
        assert answer["sds"] == answer["probabilities"][sample.answer]
        assert answer["prediction"] == means.index(max(means))
        assert sum(answer["probabilities"]) == pytest.approx(1.0)


@pytest.mark.full
@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"parts": [TEXT]}, "data.candidates"),
        (
            {"parts": [image(f"data:image/png;base64,{PIXEL}")], "candidates": ["a"]},
            "image",
        ),
        ({"parts": [{"type": "text", "text": "what " * 5000}], "candidates": ["a"]}, "maximum context length"),
    ],
)
def test_a_wrong_request_gets_a_clear_answer_and_the_server_goes_on(server: str, data: Any, words: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask(server, data)
    assert caught.value.code == 400
    said = json.loads(caught.value.read())["error"]["message"]
    assert words in said, said
    assert "Traceback" not in said
    assert len(ask(server, {"parts": [TEXT], "candidates": ["red", "blue"]})["candidates"]) == 2


def refused(server: str, body: Any, path: str = "pooling") -> tuple[int, str]:
    with pytest.raises(urllib.error.HTTPError) as caught:
        post(server, body, path)
    return caught.value.code, json.loads(caught.value.read())["error"]["message"]


@pytest.mark.parametrize(("data", "limit"), TOO_LARGE)
def test_the_server_says_which_limit(server: str, data: Any, limit: str) -> None:
    status, said = refused(server, {"model": "step-800", "data": data})
    assert status in (400, 413)
    assert f"the limit '{limit}'" in said


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{" + b" " * (16 * 2**20), 413, "the limit 'body_bytes'"),
        (b"[" * 30_000, 400, "the limit 'values'"),
        (b"[" * 3_000, 400, "not JSON"),
        (b"\xff\xfe", 400, "not JSON"),
        (b'{"data": "\\ud800"}', 400, "not JSON"),
        (b"[]", 400, "give an object"),
        (b"{}", 400, "data"),
        ({"model": "step-800", "data": {"radar_fast_ticket": "1"}}, 400, "radar_fast_ticket"),
        ({"model": "step-800", "data": {"parts": [TEXT], "candidates": ["a"]}, "request_id": "1"}, 400, "request_id"),
        ({"model": "step-801", "data": {"parts": [TEXT], "candidates": ["a"]}}, 404, "step-801"),
        ({"model": "step-800", "messages": [{"role": "user", "content": "a"}]}, 400, "messages"),
        ({"model": "step-800", "input": "a"}, 400, "input"),
    ],
)
def test_no_other_form_of_a_request_is_taken(server: str, body: Any, status: int, words: str) -> None:
    found, said = refused(server, body)
    assert (found, words in said) == (status, True), said


def test_nothing_but_pooling_is_served(server: str) -> None:
    for path in ("v1/chat/completions", "invocations", "tokenize", "v1/embeddings", "classify", "pooling/"):
        assert refused(server, {"model": "step-800", "input": "a"}, path)[0] == 404


def test_a_client_cannot_name_its_request(server: str) -> None:
    """Scores find their question by that name: two of one name would get each other's."""
    questions = [{"parts": [TEXT], "candidates": [f"colour {index}", "blue"]} for index in range(16)]

    def asked(data: dict[str, Any]) -> Any:
        body = {"model": "step-800", "data": data}
        return json.loads(post(server, body, **{"X-Request-Id": "mine"}))["data"]

    with ThreadPoolExecutor(8) as clients:
        for data, answer in zip(questions, clients.map(asked, questions), strict=True):
            assert [each["text"] for each in answer["candidates"]] == data["candidates"]


def test_no_server_that_would_fetch_addresses_for_its_clients(demo: Path) -> None:
    code = "from radar_fast.engines.vllm import serve; import sys; serve.FORBIDDEN = (); serve.main(sys.argv[1:])"
    more = ["--port", "1", "--dtype", "float32", "--enforce-eager", "--gpu-memory-utilization", "0.3"]
    words = [sys.executable, "-c", code, str(demo / "checkpoints" / "step-800"), *more]
    result = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode != 0
    assert "give --allowed-media-domains too" in result.stderr


# Among good clients ---------------------------------------------------------------------------------------------------

FLOOD = int(os.environ.get("RADAR_FAST_FLOOD", "1000"))
"""Hostile requests."""


def noise(side: int, kind: str, **options: Any) -> dict[str, object]:
    """A part with a picture that does not compress."""
    data = io.BytesIO()
    Image.frombytes("L", (side, side), os.urandom(side * side)).convert("RGB").save(data, kind, **options)
    return image({"url": f"data:image/{kind.lower()};base64,{base64.b64encode(data.getvalue()).decode()}"})


def hostile() -> list[Any]:
    """Bodies: the largest that are let in, larger ones, and what is no request."""
    of_data: list[dict[str, Any]] = [data for data, _ in TOO_LARGE]
    of_data += [
        {"parts": [TEXT], "candidates": ["word " * 10_000]},
        {"parts": [TEXT], "candidates": [f"{index} " * 50 for index in range(256)]},
        {"parts": [{"type": "text", "text": "x" * 199_000}], "candidates": ["a"]},
        {"parts": [noise(1024, "PNG")] * 3, "candidates": ["a", "b"]},
        {"parts": [noise(3500, "JPEG", progressive=True)], "candidates": ["a"]},
        {"parts": [image(png(4096, 4096))], "candidates": ["a"]},
        {"parts": [image(png(1, 16_000_000))], "candidates": ["a"]},
        {"parts": [image(png(1, 1))] * 16, "candidates": ["a"] * 256},
    ]
    bodies = [json.dumps({"model": "step-800", "data": data}).encode() for data in of_data]
    good = json.dumps({"model": "step-800", "data": {"parts": [TEXT], "candidates": ["a", "b"]}}).encode()
    random.seed(0)
    bodies += [good[: random.randrange(len(good))] for _ in range(8)]
    bodies += [b"[" * 20_000, b'{"data": ' + b"7" * 5000 + b"}", b"\xff" * 1000, b" " * (16 * 2**20 + 1)]
    return bodies


def resident(pid: int) -> float:
    """MiB of a process and its children."""
    pids, found = [pid], 0.0
    while pids:
        one = pids.pop()
        for thread in Path(f"/proc/{one}/task").iterdir():
            pids += map(int, (thread / "children").read_text().split())
        pages = int(Path(f"/proc/{one}/statm").read_text().split()[1])
        found += pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return found


ASK_HEALTH = """
import select, sys, time, urllib.request
slowest = 0.0
while not select.select([sys.stdin], [], [], 0.05)[0]:
    started = time.monotonic()
    urllib.request.urlopen(f"{sys.argv[1]}/health", timeout=60).close()
    slowest = max(slowest, time.monotonic() - started)
print(slowest)
"""
"""Until its input ends; the longest that it waited."""


@pytest.mark.slow
def test_hostile_clients_do_not_keep_good_ones_waiting(demo: Path, running: tuple[str, int]) -> None:
    server, pid = running
    samples = [sample for sample in open_reader(demo / "mini-m3") if sample.reason is None][:16]
    wanted = [ask(server, data_of(sample)) for sample in samples]
    bodies = hostile()
    for body in bodies:  # what is kept of the largest of each kind is there before it is measured
        with contextlib.suppress(urllib.error.HTTPError):
            post(server, body)
    ended = threading.Event()
    sizes: list[float] = []

    def watch() -> None:
        while not ended.wait(0.2):
            sizes.append(resident(pid))

    def well_meant(number: int) -> int:
        asked = 0
        while not ended.is_set():
            place = (number + asked) % len(samples)
            answer = ask(server, data_of(samples[place]))
            assert answer["prediction"] == wanted[place]["prediction"]
            assert answer["probabilities"] == pytest.approx(wanted[place]["probabilities"], abs=BOUND)
            asked += 1
        return asked

    def ill_meant(number: int) -> int:
        try:
            post(server, bodies[number % len(bodies)])
        except urllib.error.HTTPError as error:
            error.read()
            return error.code
        return 200

    # In a process of its own: the threads here wait for each other.
    asking = subprocess.Popen([sys.executable, "-c", ASK_HEALTH, server], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with ThreadPoolExecutor(8) as good, ThreadPoolExecutor(8) as bad, ThreadPoolExecutor(1) as health:
        clients = [good.submit(well_meant, number) for number in range(8)]
        watching = health.submit(watch)
        try:
            statuses = Counter(bad.map(ill_meant, range(FLOOD)))
        finally:
            ended.set()
        answered = sum(client.result() for client in clients)
        watching.result()
    slowest = float(asking.communicate()[0])
    third = len(sizes) // 3
    before, after = max(sizes[:third]), max(sizes[-third:])
    said = (
        f"{statuses}, {answered} good answers, health {slowest:.2f} s, {before:.0f} and {after:.0f} MiB, "
        f"load of the machine {os.getloadavg()[1]:.1f}"
    )
    sys.stdout.write(f"{said}\n")
    assert set(statuses) <= {200, 400, 413}, said
    assert answered > 8, said
    assert slowest < 0.5, said
    assert after < before + 256, said
