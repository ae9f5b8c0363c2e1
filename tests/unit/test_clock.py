"""The clock against time that really passes, and under threads."""

import threading
import time

import pytest

from radar_fast.engines.base import EngineReport
from radar_fast.util.clock import PARTS, Clock


def test_a_block_counts_what_it_takes_also_where_it_raises() -> None:
    clock = Clock()
    with clock.measure("decode"):
        time.sleep(0.02)

    def refuse() -> None:
        with clock.measure("decode"):
            time.sleep(0.02)
            raise ValueError("no image")

    with pytest.raises(ValueError, match="no image"):
        refuse()
    assert 0.04 <= clock.seconds()["decode"] < 2.0


def test_threads_lose_nothing() -> None:
    clock = Clock()

    def count() -> None:
        for _ in range(2000):
            clock.add("preprocess", 0.25)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.seconds() == {"preprocess": 8 * 2000 * 0.25}


def test_what_one_clock_gives_away_another_adds() -> None:
    worker, engine = Clock(), Clock()
    engine.add("decode", 1.0)
    worker.add("decode", 0.5)
    worker.add("tokenise", 0.125)
    engine.add_all(worker.take())
    engine.add_all(worker.take())
    assert worker.seconds() == {}
    assert engine.seconds() == {"decode": 1.5, "tokenise": 0.125}


def test_a_report_names_every_part_and_says_where_nothing_was_measured() -> None:
    clock = Clock()
    clock.add("vision", 0.1234567)
    report = EngineReport(name="some", device="cpu", device_name="cpu", dtype="float32", seconds=clock.seconds())
    written = report.to_dict()
    assert {name for name in written if name.endswith("_seconds")} == {f"{part}_seconds" for part in PARTS}
    assert written["vision_seconds"] == 0.123457
    assert written["head_seconds"] is None
