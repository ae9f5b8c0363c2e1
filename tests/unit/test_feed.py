"""Samples on their way to vLLM: how many are read ahead, and who is woken. No vLLM."""

import queue
import threading
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from radar_fast.engines.vllm import feed as module
from radar_fast.engines.vllm.feed import FIRST, LEAST, MOST, Arrivals, Feed, Pace
from radar_fast.engines.vllm.prepare import Ready
from radar_fast.engines.vllm.requests import Plan
from radar_fast.sample import Prompt, Sample, Scored


def prompts(count: int) -> list[Prompt]:
    samples = [Sample(str(number), "t", "d", "a", ("What?",), ("a", "b"), 0) for number in range(count)]
    return [Prompt(sample, ("What?",), "", ("a", "b")) for sample in samples]


class Workers:
    """Prompts that were submitted; a test says when they are ready."""

    def __init__(self, nbytes: int = 0) -> None:
        self.futures: list[Future[Ready | Scored]] = []
        self.prompts: list[Prompt] = []
        self.nbytes = nbytes

    def submit(self, prompt: Prompt) -> "Future[Ready | Scored]":
        self.prompts.append(prompt)
        self.futures.append(Future())
        return self.futures[-1]

    def finish(self, number: int) -> None:
        self.futures[number].set_result(Ready(self.prompts[number], {}, Plan((), ()), 0, self.nbytes))


def engine(outputs: Any = None) -> Any:
    return SimpleNamespace(engine_core=SimpleNamespace(outputs_queue=outputs))


def test_a_step_holds_what_its_budget_takes() -> None:
    pace = Pace(tokens=8192, requests=256)
    assert pace.step == FIRST
    for _ in range(10):
        pace.note(tokens=400, requests=4)
    assert pace.step == 8192 // 400
    for _ in range(1000):
        pace.note(tokens=10, requests=4)
    assert pace.step == 256 * 1010 // 4040
    assert Pace(1, 1).step == FIRST
    small, large = Pace(100, 100), Pace(10**9, 10**9)
    for each in (small, large):
        each.note(tokens=500, requests=1)
    assert (small.step, large.step) == (LEAST, MOST)


def test_as_many_are_read_as_are_asked_for_and_taken_in_order() -> None:
    workers = Workers()
    feed = Feed(iter(prompts(10)), workers.submit, Arrivals(engine()))
    feed.read(4)
    feed.read(4)
    assert len(workers.futures) == 4
    workers.finish(1)
    assert not feed.ready, "the first is not there yet"
    workers.finish(0)
    taken = [feed.take() for _ in range(2)]
    assert [each.prompt.sample.id for each in taken if isinstance(each, Ready)] == ["0", "1"]
    feed.read(20)
    assert len(workers.futures) == 10
    feed.cancel()
    assert all(future.cancelled() for future in workers.futures[2:])


def test_bytes_hold_reading_back_until_vllm_is_done_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELD_BYTES", 100)
    workers = Workers(nbytes=60)
    feed = Feed(iter(prompts(10)), workers.submit, Arrivals(engine()))
    feed.read(3)
    for number in range(3):
        workers.finish(number)
    first = feed.take()
    feed.read(8)
    assert len(workers.futures) == 3, "180 bytes are held, one sample's of them by vLLM"
    assert isinstance(first, Ready)
    feed.done(first)
    feed.read(8)
    assert len(workers.futures) == 3
    for ready in (feed.take(), feed.take()):
        assert isinstance(ready, Ready)
    feed.read(8)
    assert len(workers.futures) == 10, "nothing waits: however large, something is read"


@pytest.mark.parametrize("source", ["a sample", "a step"])
def test_whoever_waits_is_woken_by_either(source: str) -> None:
    outputs: queue.Queue[object] = queue.Queue()
    arrivals = Arrivals(engine(outputs))
    workers = Workers()
    feed = Feed(iter(prompts(1)), workers.submit, arrivals)
    feed.read(1)
    arrivals.forget()
    woken = threading.Event()

    def wait() -> None:
        arrivals.wait()
        woken.set()

    waiter = threading.Thread(target=wait, daemon=True)
    waiter.start()
    assert not woken.wait(0.05)
    assert not arrivals.step_is_there
    if source == "a sample":
        workers.finish(0)
    else:
        outputs.put_nowait("scores")
    assert woken.wait(60)
    assert arrivals.step_is_there is (source == "a step")
    waiter.join(60)


def test_an_engine_in_this_process_computes_when_it_is_asked() -> None:
    assert Arrivals(SimpleNamespace(engine_core=SimpleNamespace())).step_is_there
