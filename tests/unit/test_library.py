"""The library as others use it: samples of their own, asyncio, errors with fields, packages that bring parts."""

import asyncio
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import assert_type

import pytest

import radar_fast
from radar_fast import (
    Engine,
    Prompt,
    Reader,
    RunConfig,
    Sample,
    Scored,
    SilentProgress,
    Summary,
    UsageError,
    open_reader,
    score_samples,
)
from radar_fast.engines.fake import FakeEngine
from radar_fast.errors import one_line
from radar_fast.results.journal import read_records

ROOT = Path(__file__).resolve().parents[2]


def samples(count: int) -> list[Sample]:
    return [
        Sample(str(number), f"t{number % 3}", "d", "perception", (f"What is {number}?",), ("one", "two two"), 0)
        for number in range(count)
    ]


def prompts(count: int) -> list[Prompt]:
    return [Prompt(sample, ("What?",), " ", sample.candidates) for sample in samples(count)]


class Counts(SilentProgress):
    def __init__(self) -> None:
        self.count = 0

    def advance(self) -> None:
        self.count += 1


def test_any_samples_go_through_the_journal_and_are_resumed(tmp_path: Path) -> None:
    config = RunConfig(data=tmp_path / "mine", out=tmp_path / "out", engine="fake")
    progress = Counts()
    summary = score_samples(iter(samples(70)), config, progress)
    assert (summary.overall.scored, progress.count, summary.complete) == (70, 70, True)
    assert len(list(read_records(tmp_path / "out" / "samples.jsonl"))) == 70
    again = Counts()
    assert score_samples(samples(70), config, again).overall == summary.overall
    assert again.count == 0
    with pytest.raises(radar_fast.ResultsError, match="another configuration"):
        score_samples(samples(69), config)


class Stops(Counts):
    """Ends the run by an exception of its own."""

    def __init__(self, error: BaseException, at: int) -> None:
        super().__init__()
        self.error, self.at, self.stopped = error, at, False

    def advance(self) -> None:
        super().advance()
        if self.count == self.at:
            raise self.error

    def stop(self) -> None:
        self.stopped = True


def test_who_ends_a_run_from_within_goes_on_from_there(tmp_path: Path) -> None:
    config = RunConfig(data=tmp_path / "mine", out=tmp_path / "out", engine="fake")
    for error, at, held in ((KeyboardInterrupt(), 20, 20), (ValueError("mine"), 30, 50)):
        progress = Stops(error, at)
        with pytest.raises(type(error)):
            score_samples(samples(90), config, progress)
        assert progress.stopped
        assert len(list(read_records(tmp_path / "out" / "samples.jsonl"))) == held
    last = Counts()
    assert score_samples(samples(90), config, last).complete
    assert last.count == 40


class Slow(FakeEngine):
    """Says how far it has come, and whether its iterator was closed."""

    started = 0
    closed = False

    def score(self, prompts: Iterable[Prompt]) -> Iterator[Scored]:
        try:
            for scored in super().score(prompts):
                self.started += 1
                yield scored
        finally:
            self.closed = True


def test_a_stream_is_what_score_gives() -> None:
    async def asked() -> list[Scored]:
        return [scored async for scored in FakeEngine().stream(prompts(20))]

    assert asyncio.run(asked()) == list(FakeEngine().score(prompts(20)))


def test_who_leaves_a_stream_early_leaves_nothing_running() -> None:
    engine = Slow()

    async def three() -> None:
        async with aclosing(engine.stream(prompts(20))) as stream:
            for _ in range(3):
                await anext(stream)

    asyncio.run(three())
    assert (engine.started, engine.closed) == (3, True)
    assert len(list(engine.score(prompts(4)))) == 4


def test_a_stream_that_is_cancelled_closes_its_engine() -> None:
    engine = Slow()

    async def main() -> None:
        reached = asyncio.Event()

        async def reader() -> None:
            async with aclosing(engine.stream(prompts(20))) as stream:
                async for _ in stream:
                    reached.set()
                    await asyncio.sleep(60)

        task = asyncio.create_task(reader())
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert engine.closed


def test_errors_have_fields(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        RunConfig(data=tmp_path, out=tmp_path, engine="fake")
    assert caught.value.option == "--out"
    assert caught.value.path == tmp_path
    assert caught.value.hint == "results need a folder of their own"
    with pytest.raises(radar_fast.DataError) as missing:
        open_reader(tmp_path / "none")
    assert missing.value.option is None
    assert missing.value.path == tmp_path / "none"
    odd = tmp_path / "step: 5"
    with pytest.raises(radar_fast.DataError) as found:
        open_reader(odd)
    assert found.value.path == odd
    other = radar_fast.DataError(f"a/b: cannot be read: {one_line(OSError('no; not at all'))}")
    assert other.hint is None
    given = UsageError("no form at all", path=Path("a"), option="--b", hint="c")
    assert (given.path, given.option, given.hint) == (Path("a"), "--b", "c")
    assert str(given) == "no form at all"


def test_types_of_public_names() -> None:
    """Read by mypy; what runs here only keeps it honest."""

    def typed(config: RunConfig, engine: Engine, data: Path) -> None:
        assert_type(radar_fast.score(config), Summary)
        assert_type(radar_fast.open_reader(data), Reader)
        assert_type(next(iter(radar_fast.open_reader(data))), Sample)
        assert_type(next(engine.score([])), Scored)
        assert_type(radar_fast.aggregate(engine.score([])), Summary)
        assert_type(radar_fast.aggregate([]).overall.sds, float | None)
        assert_type(UsageError("a").option, str | None)

    assert callable(typed)


@pytest.mark.full
def test_a_package_of_ones_own_brings_parts(tmp_path: Path) -> None:
    """``examples/plugin``, installed as pip would leave it, beside one that is broken."""
    source = ROOT / "examples" / "plugin"
    shutil.copytree(source / "radar_fast_words", tmp_path / "radar_fast_words")
    groups = tomllib.loads((source / "pyproject.toml").read_text())["project"]["entry-points"]
    groups["radar_fast.engines"]["broken"] = "no_such_module:SPEC"
    info = tmp_path / "radar_fast_words-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: radar-fast-words\nVersion: 1.0\n")
    lines = [line for group, named in groups.items() for line in (f"[{group}]", *map(" = ".join, named.items()))]
    (info / "entry_points.txt").write_text("\n".join(lines))
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.words").write_text("Is it? | yes | certainly not\nIs it? | indeed | no | nay\n")
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); import logging; logging.basicConfig()\n"
        "import radar_fast; from radar_fast.protocols import PROTOCOLS; assert 'politely' in PROTOCOLS\n"
        "config = radar_fast.RunConfig(data=sys.argv[1], out=sys.argv[2], engine='shortest')\n"
        "summary = radar_fast.score(config)\n"
        "print(summary.overall.accuracy, summary.overall.estimates['candidates'].value)\n"
    )
    words = [sys.executable, "-c", code, str(tmp_path), str(data), str(tmp_path / "out")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "0.5 2.5\n"
    assert "radar_fast.engines: broken (no_such_module:SPEC) cannot be loaded" in done.stderr
