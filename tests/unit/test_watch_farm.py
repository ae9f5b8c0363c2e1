"""A watch whose checkpoints are scored by a crew: as many at a time as there are engines, which stay warm."""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bench_data import write_jsonl
from scripted_crew import KILLED, ScriptedCrew

from radar_fast.config import RunConfig
from radar_fast.errors import IncompleteError, ModelError, RadarError, UsageError
from radar_fast.farm.crew import EngineDied
from radar_fast.farm.driver import Driver
from radar_fast.farm.messages import Order
from radar_fast.farm.options import FarmOptions
from radar_fast.farm.state import read_state
from radar_fast.run import score
from radar_fast.series import FailedRun, ScoredRun
from radar_fast.terminal.progress import Progress, SilentProgress
from radar_fast.watch.loop import WatchOptions, watch
from radar_fast.watch.ready import Ready
from radar_fast.watch.wanted import Wanted

SIGN = "model.safetensors"


class News(SilentProgress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def crewed(monkeypatch: pytest.MonkeyPatch) -> Callable[[ScriptedCrew], None]:
    """In place of Ray, a crew without processes."""

    def use(crew: ScriptedCrew) -> None:
        @contextlib.contextmanager
        def placed(
            _: FarmOptions, config: RunConfig, progress: Progress, tell: Callable[[Any], None]
        ) -> Iterator[tuple[Driver, int | None]]:
            try:
                yield Driver(crew, config.out, progress, tell), None
            finally:
                crew.close()

        monkeypatch.setattr("radar_fast.watch.scorers.on_ray", placed)

    return use


def checkpoints(root: Path, demo: Path, *steps: int) -> Path:
    for step in steps:
        shutil.copytree(demo / "checkpoints" / f"step-{step}", root / f"step-{step}")
    return root


def watched(root: Path, data: Path, out: Path, news: News, **wanted: Any) -> list[ScoredRun | FailedRun]:
    options = WatchOptions(
        root=root, ready=Ready.parse(SIGN), wanted=Wanted(**wanted), once=True, poll=0.05, farm=FarmOptions(engines=2)
    )
    return watch(options, RunConfig(engine="fake", protocol="qwen2vl", data=data, out=out), [data], news)


def lines(out: Path) -> dict[tuple[str, str], Any]:
    read = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    assert len({(line["task"], line["id"]) for line in read}) == len(read), "nothing twice"
    return {(line["task"], line["id"]): {**line, "seconds": 0} for line in read}


def test_each_checkpoint_once_in_engines_that_stay(
    tmp_path: Path, demo: Path, crewed: Callable[[ScriptedCrew], None]
) -> None:
    root, data = checkpoints(tmp_path / "run", demo, 50, 100, 200, 400, 800), write_jsonl(tmp_path / "data", count=30)
    crew, news = ScriptedCrew(2), News()
    crewed(crew)
    runs = watched(root, data, tmp_path / "out", news)
    assert [run.name for run in runs] == ["step-50", "step-100", "step-200", "step-400", "step-800"]
    assert sorted(name for _, name in crew.opened) == sorted(run.name for run in runs), "each loaded once"
    assert (crew.starts, crew.closed) == (2, True)
    score(RunConfig(engine="fake", protocol="qwen2vl", model=root / "step-50", data=data, out=tmp_path / "alone"))
    for run in runs:
        assert lines(run.out) == lines(tmp_path / "alone"), "the fake engine knows no checkpoint"
        manifest = json.loads((run.out / "run.json").read_text())
        assert manifest["configuration"]["model"] == str(root / run.name), "not where it was held"
        assert sum(f" {run.name}: SDS" in line for line in news.lines) == 1
    assert all(line[2] == ":" for line in news.lines), "each says when"
    assert read_state(tmp_path / "out").state == "done"
    assert not list(root.glob(".*")), "nothing is held any more"


def test_one_that_cannot_be_loaded_and_one_that_is_still_written(
    tmp_path: Path, demo: Path, crewed: Callable[[ScriptedCrew], None]
) -> None:
    root, data = checkpoints(tmp_path / "run", demo, 50, 100, 200), write_jsonl(tmp_path / "data", count=5)
    early = [IncompleteError("a file of it changed")]

    def opening(_: int, order: Order) -> RadarError | EngineDied | None:
        if order.name == "step-50":
            return ModelError("torn")
        return early.pop() if order.name == "step-100" and early else None

    news = News()
    crewed(ScriptedCrew(2, opening=opening))
    runs = watched(root, data, tmp_path / "out", news)
    assert {run.name: type(run) for run in runs} == {
        "step-50": FailedRun,
        "step-100": ScoredRun,
        "step-200": ScoredRun,
    }
    assert sum("step-50: not scored: torn" in line for line in news.lines) == 1
    assert sum("step-100: waited for: a file of it changed" in line for line in news.lines) == 1


def test_an_engine_that_dies_costs_nothing(tmp_path: Path, demo: Path, crewed: Callable[[ScriptedCrew], None]) -> None:
    root, data = checkpoints(tmp_path / "run", demo, 50, 100), write_jsonl(tmp_path / "data", count=5)
    deaths = [KILLED]
    crew = ScriptedCrew(2, scoring=lambda *_: deaths.pop() if deaths else None)
    crewed(crew)
    runs = watched(root, data, tmp_path / "out", News())
    assert [type(run) for run in runs] == [ScoredRun, ScoredRun]
    assert crew.starts == 3


def test_without_ray(tmp_path: Path, demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("radar_fast.farm.scoring.find_spec", lambda _: None)
    root, data = checkpoints(tmp_path / "run", demo, 50), write_jsonl(tmp_path / "data", count=5)
    with pytest.raises(UsageError, match=r"watch --engines: needs Ray, which is not installed"):
        watched(root, data, tmp_path / "out", News())
