"""Encoding in processes: the same as in threads; and what happens when any of them is killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import run_cli
from PIL import Image
from processes import uncovered

from radar_fast.engines import EngineContext, EngineOptions, choose_engine, open_engine
from radar_fast.engines.encode import fork_server as fork_server
from radar_fast.engines.encode import shared_memory
from radar_fast.engines.encode.encoder import Encoded, Encoder
from radar_fast.engines.encode.fork_server import ForkServer
from radar_fast.engines.encode.image_cache import ImageReuse
from radar_fast.engines.encode.pool import Pool, can_reopen
from radar_fast.errors import EngineError, UsageError
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import Protocol, open_protocol
from radar_fast.sample import EmbeddedImage, ImageFile, Prompt, Reason, ReasonKind, Sample
from radar_fast.util.clock import Clock


@pytest.fixture(scope="module")
def checkpoint(qwen2vl: Path) -> Checkpoint:
    return Checkpoint.open(qwen2vl)


@pytest.fixture(scope="module")
def protocol(checkpoint: Checkpoint) -> Protocol:
    return open_protocol("qwen2vl", checkpoint, min_pixels=3136, max_pixels=50176)


def start(
    checkpoint: Checkpoint,
    protocol: Protocol,
    source: ForkServer | None = None,
    *,
    count: int = 1,
    dtype: torch.dtype = torch.float32,
) -> Pool:
    return Pool(count, checkpoint, protocol, dtype, ImageReuse(), Clock(), fork_server=source)


@pytest.fixture(scope="module")
def source() -> Iterator[ForkServer]:
    """For all tests that do not ask for one of their own: it takes seconds to start."""
    with ForkServer() as made:
        yield made


@pytest.fixture(scope="module")
def crew(checkpoint: Checkpoint, protocol: Protocol, source: ForkServer) -> Iterator[Pool]:
    with start(checkpoint, protocol, source) as made:
        yield made


def prompts(folder: Path, protocol: Protocol) -> list[Prompt]:
    rng = np.random.default_rng(0)
    for index, size in enumerate([(222, 226), (640, 481), (31, 400)]):
        Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(folder / f"{index}.png")
    files = [ImageFile(folder / f"{index}.png") for index in range(3)]
    inside = EmbeddedImage("data.tsv:1 image", (folder / "1.png").read_bytes())
    parts = [
        (files[0], "What colour?"),
        ("no picture",),
        (files[1], files[2], files[1], "both?"),
        (inside, "and <|im_end|> this?"),
        (ImageFile(folder / "none.png"), "gone"),
    ]
    return [
        protocol.prompt(Sample(str(n), "t", "d", "a", some, ("red", "dark blue"), 0)) for n, some in enumerate(parts)
    ]


def assert_same(found: Encoded | Reason, expected: Encoded | Reason) -> None:
    if isinstance(expected, Reason):
        assert found == expected
        return
    assert isinstance(found, Encoded)
    assert found.prompt == expected.prompt
    for name in ("prefix", "unexpanded", "suffixes", "scored_from"):
        assert getattr(found, name) == getattr(expected, name)
    for mine, theirs in ((found.inputs, expected.inputs), (found.token_inputs, expected.token_inputs)):
        assert list(mine) == list(theirs)
        for name in mine:
            assert mine[name].dtype == theirs[name].dtype
            assert torch.equal(mine[name], theirs[name])


def test_a_worker_encodes_as_the_encoder_does(
    crew: Pool, checkpoint: Checkpoint, protocol: Protocol, tmp_path: Path
) -> None:
    encoder = Encoder(checkpoint, protocol, torch.float32)
    for prompt in prompts(tmp_path, protocol):
        assert_same(crew.encode(prompt), encoder.encode(prompt))


@pytest.mark.full
def test_half_precision_and_samples_larger_than_what_is_kept(
    checkpoint: Checkpoint, source: ForkServer, protocol: Protocol, tmp_path: Path
) -> None:
    """The shared memory grows for one sample and is given back after it."""
    folder = tmp_path
    many = prompts(folder, protocol)[2]
    large = Prompt(many.sample, many.parts * 40, many.joiner, many.candidates)
    wide = open_protocol("qwen2vl", checkpoint, min_pixels=200704, max_pixels=602112)
    with start(checkpoint, wide, source, dtype=torch.bfloat16) as crew:
        [worker] = crew._all
        expected = Encoder(checkpoint, wide, torch.bfloat16)
        for prompt in (many, large, many):
            found = crew.encode(prompt)
            assert_same(found, expected.encode(prompt))
            shared = os.fstat(worker._memory.descriptor).st_size
            assert isinstance(found, Encoded)
            if prompt is large:
                assert found.inputs["pixel_values"].nbytes > shared_memory.KEPT_BYTES
                assert shared > shared_memory.KEPT_BYTES
        assert shared <= shared_memory.KEPT_BYTES


def test_scores_are_those_of_threads_to_the_last_bit(qwen2vl: Path, demo: Path) -> None:
    from radar_fast.readers import open_reader

    checkpoint = Checkpoint.open(qwen2vl)
    protocol = open_protocol("qwen2vl", checkpoint, min_pixels=3136, max_pixels=12544)
    samples = [sample for sample in open_reader(demo / "mini-m3") if sample.reason is None][:80]
    found = []
    for kind in ("threads", "processes"):
        options = EngineOptions(device="cpu", dtype="float32", workers=2, worker_kind=kind)
        engine = open_engine("transformers", checkpoint, protocol, options)
        try:
            found.append(
                {scored.sample.key: scored.candidates for scored in engine.score(map(protocol.prompt, samples))}
            )
            described = engine.describe().to_dict()
        finally:
            engine.close()
        assert described["worker_kind"] == kind
        for stage in ("startup", "decode", "preprocess", "tokenise", "wait", "compute", "vision", "language", "head"):
            assert described[f"{stage}_seconds"] is not None, stage
        assert described["vision_seconds"] + described["head_seconds"] <= described["compute_seconds"]
    assert found[0] == found[1]


def test_a_worker_that_is_killed_is_replaced_and_its_prompt_encoded_again(
    crew: Pool, checkpoint: Checkpoint, protocol: Protocol, tmp_path: Path
) -> None:
    """Once between prompts, and once at work."""
    prompt = prompts(tmp_path, protocol)[0]
    expected = Encoder(checkpoint, protocol, torch.float32).encode(prompt)
    [first] = crew.pids
    os.kill(first, signal.SIGKILL)
    assert_same(crew.encode(prompt), expected)
    [second] = crew.pids
    assert second != first
    os.kill(second, signal.SIGSTOP)  # so that it cannot have answered
    result: list[Encoded | Reason] = []
    thread = threading.Thread(target=lambda: result.append(crew.encode(prompt)))
    thread.start()
    time.sleep(0.2)
    assert thread.is_alive()
    os.kill(second, signal.SIGKILL)
    thread.join(120)
    assert_same(result[0], expected)
    assert len(crew.pids) == 1


def with_encoder(monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """Have workers encode by an expression instead, without loading anything."""
    replaced = (
        "import os, signal, types, radar_fast.engines.encode.worker_main as w; "
        f"w._encoder = lambda *_: types.SimpleNamespace(encode=lambda _: {body}); serve()"
    )
    monkeypatch.setattr(fork_server, "_CODE", fork_server._CODE.replace("serve()", replaced))


def test_a_prompt_that_kills_every_worker_is_a_clear_error(
    checkpoint: Checkpoint, protocol: Protocol, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with an image for which there is no memory."""
    with_encoder(monkeypatch, "os.kill(os.getpid(), signal.SIGKILL)")
    with start(checkpoint, protocol) as crew:
        with pytest.raises(
            EngineError, match=r"sample '0' of task 't', twice \(killed by SIGKILL; killed by SIGKILL\)"
        ):
            crew.encode(prompts(tmp_path, protocol)[0])
        assert len(crew.pids) == 1, "the crew is complete again"


def test_an_unexpected_error_in_a_worker_is_one_line(
    checkpoint: Checkpoint, protocol: Protocol, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_encoder(monkeypatch, "1 / 0")
    with (
        start(checkpoint, protocol) as crew,
        pytest.raises(EngineError, match=r"failed on \('t', '0'\): ZeroDivisionError: division by zero"),
    ):
        crew.encode(prompts(tmp_path, protocol)[0])


def test_a_checkpoint_that_a_worker_cannot_open(
    checkpoint: Checkpoint, source: ForkServer, protocol: Protocol, tmp_path: Path
) -> None:
    from radar_fast.errors import ModelError

    elsewhere = Checkpoint(tmp_path / "gone", checkpoint.config)
    with start(elsewhere, protocol, source) as crew, pytest.raises(ModelError, match="no such checkpoint folder"):
        crew.encode(prompts(tmp_path, protocol)[0])


def test_a_workers_imports(crew: Pool) -> None:
    """Neither a model's engine nor a GPU is touched."""
    [pid] = crew.pids
    maps = Path(f"/proc/{pid}/maps").read_text()
    assert "torch" in maps
    assert "vllm" not in maps
    assert "CUDA_VISIBLE_DEVICES=\0" in Path(f"/proc/{pid}/environ").read_text()


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_workers_are_forked_from_one_process_that_has_one_thread(checkpoint: Checkpoint, protocol: Protocol) -> None:
    """And that may have been started before; it outlives its first workers, and can lose any."""
    with ForkServer() as early:
        with start(checkpoint, protocol, early, count=2) as crew:
            first = crew.pids
            [origin] = {parent(pid) for pid in first}
            assert origin == early._process.pid
            assert len(list(Path(f"/proc/{origin}/task").iterdir())) == 1
            assert parent(origin) == os.getpid()
        assert gone(first)
        assert not gone([origin], 0.05)
        with start(checkpoint, protocol, early, dtype=torch.bfloat16) as crew:
            encoded = crew.encode(protocol.prompt(Sample("1", "t", "d", "a", ("no picture",), ("red", "blue"), 0)))
            assert isinstance(encoded, Encoded)
            assert parent(crew.pids[0]) == origin
    assert gone([origin])


@pytest.mark.full
def test_a_killed_source_of_workers_is_replaced_with_the_next_worker(
    checkpoint: Checkpoint, protocol: Protocol, tmp_path: Path
) -> None:
    prompt = prompts(tmp_path, protocol)[0]
    expected = Encoder(checkpoint, protocol, torch.float32).encode(prompt)
    with start(checkpoint, protocol) as crew:
        [worker] = crew.pids
        source = parent(worker)
        os.kill(source, signal.SIGKILL)
        assert_same(crew.encode(prompt), expected)
        assert crew.pids == [worker], "it goes on without where it came from"
        os.kill(worker, signal.SIGKILL)
        assert_same(crew.encode(prompt), expected)
        assert parent(crew.pids[0]) not in (source, os.getpid())


def test_a_crew_may_be_closed_before_it_is_there(checkpoint: Checkpoint, protocol: Protocol) -> None:
    crew = start(checkpoint, protocol, count=2)
    assert crew._own is not None
    source = crew._own._process.pid
    prompt = protocol.prompt(Sample("1", "t", "d", "a", ("no picture",), ("red", "blue"), 0))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(crew.encode, prompt)
        time.sleep(0.1)
        crew.close()
        with pytest.raises(EngineError, match="was closed"):
            waiting.result(10)
    assert gone([source], 1)


PARENT = """
import json, sys, time
from pathlib import Path
from radar_fast import Checkpoint, EngineOptions, Sample, open_engine, open_protocol
from radar_fast.sample import ImageFile

checkpoint = Checkpoint.open(Path(sys.argv[1]))
protocol = open_protocol("qwen2vl", checkpoint, min_pixels=3136, max_pixels=50176)
options = EngineOptions(device="cpu", dtype="float32", workers=1, worker_kind="processes")
engine = open_engine("transformers", checkpoint, protocol, options)
print(json.dumps(engine._processes.pids), flush=True)
if sys.argv[3] == "at work":
    sample = lambda n: Sample(str(n), "t", "d", "a", (ImageFile(Path(sys.argv[2])), "What?"), ("red", "blue"), 0)
    for n, scored in enumerate(engine.score(protocol.prompt(sample(n)) for n in range(100000))):
        if n == 10:
            print("working", flush=True)
else:
    print("working", flush=True)
    time.sleep(600)
"""


def gone(pids: list[int], within: float = 20.0) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if not any(Path(f"/proc/{pid}").exists() and "Z" not in state(pid) for pid in pids):
            return True
        time.sleep(0.02)
    return False


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


@pytest.mark.parametrize(
    ("number", "when"),
    [
        (signal.SIGKILL, "at work"),
        pytest.param(signal.SIGKILL, "at start", marks=pytest.mark.full),
        pytest.param(signal.SIGTERM, "at work", marks=pytest.mark.full),
    ],
)
def test_workers_end_with_their_engine_and_leave_nothing(
    qwen2vl: Path, tmp_path: Path, number: signal.Signals, when: str
) -> None:
    Image.effect_noise((640, 480), 90).convert("RGB").save(tmp_path / "a.png")
    before = set(Path("/dev/shm").iterdir())
    words = [sys.executable, "-c", PARENT, str(qwen2vl), str(tmp_path / "a.png"), when]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=uncovered()
    ) as process:
        try:
            assert process.stdout is not None
            pids = json.loads(process.stdout.readline())
            assert process.stdout.readline() == "working\n"
            assert len(pids) == 1
            pids.append(parent(pids[0]))
            assert not gone(pids, 0.05), "the test's premise: they are there"
            process.send_signal(number)
            process.wait(60)
        finally:
            process.kill()
    assert gone(pids)
    left = {path.name for path in set(Path("/dev/shm").iterdir()) - before}
    assert not {name for name in left if "radar" in name or "torch" in name}


def test_processes_for_a_protocol_that_a_program_made(checkpoint: Checkpoint, protocol: Protocol) -> None:
    mine = Protocol("mine", protocol.prompt, protocol.image)
    assert can_reopen(protocol, checkpoint)
    assert not can_reopen(mine, checkpoint)
    assert not can_reopen(Protocol("qwen2vl", protocol.prompt, protocol.image, (28, 56)), checkpoint)
    with pytest.raises(UsageError, match="--worker-kind processes"):
        open_engine("transformers", checkpoint, mine, EngineOptions(device="cpu", worker_kind="processes"))
    with pytest.raises(UsageError, match="--worker-kind fibres"):
        open_engine("transformers", checkpoint, mine, EngineOptions(device="cpu", worker_kind="fibres"))


def test_a_prompt_without_a_picture_reason(crew: Pool, protocol: Protocol, tmp_path: Path) -> None:
    missing = crew.encode(prompts(tmp_path, protocol)[4])
    assert isinstance(missing, Reason)
    assert missing.kind is ReasonKind.MISSING_IMAGE


def test_what_auto_takes(checkpoint: Checkpoint, protocol: Protocol) -> None:
    from radar_fast.engines.encode.context import PROCESSES_PAY
    from radar_fast.engines.encode.pool import choose_worker_kind

    many, few = PROCESSES_PAY["prompts"], PROCESSES_PAY["prompts"] - 1
    for expected, count, kind in (
        (many, 2, "processes"),
        (few, 8, "threads"),
        (None, 8, "threads"),
        (many, 1, "threads"),
    ):
        assert (
            choose_worker_kind(EngineOptions(workers=count), EngineContext(expected=expected), protocol, checkpoint)
            == kind
        )
    mine = Protocol("mine", protocol.prompt, protocol.image)
    assert choose_worker_kind(EngineOptions(workers=8), EngineContext(expected=many), mine, checkpoint) == "threads"


def test_another_engine_refuses_what_it_would_not_heed() -> None:
    with pytest.raises(UsageError, match="only --engine transformers takes it"):
        choose_engine("vllm", EngineOptions(attention="cascade"))
    assert choose_engine("vllm", EngineOptions(worker_kind="processes"))[0].name == "vllm"


def test_the_command_line_says_the_same_whoever_preprocesses(qwen2vl: Path, puzzlevqa: Path, tmp_path: Path) -> None:
    """Threads; processes that fill a cache; threads that read from it."""
    cache = ["--preprocess-cache", tmp_path / "cache", "--preprocess-cache-gb", 0.5]
    ways = {"plain": [], "filling": ["--worker-kind", "processes", "--workers", 2, *cache], "reading": cache}
    found = {}
    for name, options in ways.items():
        words = ["score", "--model", qwen2vl, "--data", puzzlevqa, "--out", tmp_path / name]
        words += ["--min-pixels", 3136, "--max-pixels", 12544, "--device", "cpu", *options]
        result = run_cli(*words)
        assert result.exit_code == 0, result.stderr
        lines = [json.loads(line) for line in (tmp_path / name / "samples.jsonl").read_text().splitlines()]
        found[name] = {(line["task"], line["id"]): (line["logits"], line["logprobs"]) for line in lines}
    assert found["plain"] == found["filling"] == found["reading"]
    assert len(list((tmp_path / "cache").glob("??/*.safetensors"))) == len(found["plain"]) == 10
    engine = json.loads((tmp_path / "reading" / "summary.json").read_text())["engine"]
    assert engine["worker_kind"] == "threads"
    assert engine["preprocess_seconds"] > 0
