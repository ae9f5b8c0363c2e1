"""The engine's side of a farm, without Ray: one stream over many windows, and what becomes of those that fail."""

import json
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from radar_fast.benchmark import open_benchmark
from radar_fast.config import RunConfig
from radar_fast.engines import fake
from radar_fast.errors import EngineError
from radar_fast.farm.host import EngineHost
from radar_fast.farm.messages import Order
from radar_fast.results.record import Record
from radar_fast.sample import Prompt, Scored
from radar_fast.terminal.progress import SilentProgress
from radar_fast.windows import Window, windows

COUNT = 3 * 64 + 5


@pytest.fixture
def order(tmp_path: Path) -> tuple[Order, list[Window]]:
    data = tmp_path / "q.jsonl"
    records = [
        {"id": f"q{number}", "question": f"What is {number}?", "options": ["a", "b b"], "answer": "a"}
        for number in range(COUNT)
    ]
    data.write_text("".join(json.dumps(record) + "\n" for record in records))
    config = RunConfig(engine="fake", data=data, out=tmp_path / "out")
    benchmark = open_benchmark(config, SilentProgress())
    made = Order(7, "trial", config, benchmark.identity(), benchmark.reader.root, COUNT)
    return made, list(windows(benchmark.samples()))


class Streams:
    """What the fake engine is asked, stream by stream."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lengths: list[int] = []
        self.deadly: set[str] = set()
        harmless = fake.FakeEngine.score
        streams = self

        def score(engine: fake.FakeEngine, prompts: Iterable[Prompt]) -> Iterator[Scored]:
            streams.lengths.append(0)

            def counted() -> Iterator[Prompt]:
                for prompt in prompts:
                    streams.lengths[-1] += 1
                    if prompt.sample.id in streams.deadly:
                        raise EngineError("it is too much")
                    yield prompt

            return harmless(engine, counted())

        monkeypatch.setattr(fake.FakeEngine, "score", score)


def ids(records: list[Record]) -> list[str]:
    return [record.id for record in records]


def test_windows_that_wait_are_one_stream(order: tuple[Order, list[Window]], monkeypatch: pytest.MonkeyPatch) -> None:
    streams = Streams(monkeypatch)
    asked, cut = order
    with EngineHost() as host, ThreadPoolExecutor(8) as threads:
        opened = host.open(asked)
        assert opened.identity["engine"]["name"] == "fake"
        answers = list(threads.map(lambda window: host.score(7, window), cut))
        for window, records in zip(cut, answers, strict=True):
            assert ids(records) == [sample.id for sample in window.samples]
        assert streams.lengths == [COUNT]
        assert ids(host.score(7, cut[0])) == ids(answers[0]), "a stream that has ended is begun anew"
        report = host.report(7)
        assert report.engine.name == "fake"
        assert "engine" in report.seconds


def test_a_failure_is_told_to_those_it_concerns(
    order: tuple[Order, list[Window]], monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = Streams(monkeypatch)
    streams.deadly = {"q70"}
    asked, cut = order
    with EngineHost() as host:
        host.open(asked)
        with pytest.raises(EngineError, match="too much"):
            host.score(7, cut[1])
        assert len(host.score(7, cut[2])) == 64, "the engine was loaded anew"
        with pytest.raises(EngineError, match="job 3 is not open here"):
            host.score(3, cut[0])
        assert len(host.score(7, cut[0])) == 64


def test_what_was_done_for_a_job_is_known_after_the_next_is_open(order: tuple[Order, list[Window]]) -> None:
    asked, cut = order
    with EngineHost() as host:
        host.open(asked)
        host.score(7, cut[0])
        host.open(Order(8, "next", asked.config, asked.benchmark, asked.root, COUNT))
        assert host.report(7).engine.name == "fake"
        with pytest.raises(EngineError, match="nothing is known here of job 5"):
            host.report(5)


def test_close_ends_its_thread(order: tuple[Order, list[Window]]) -> None:
    host = EngineHost()
    host.open(order[0])
    before = threading.active_count()
    host.close()
    host.close()
    assert threading.active_count() == before - 1
