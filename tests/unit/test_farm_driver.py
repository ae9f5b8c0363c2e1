"""The farm's driver, with engines that die when a test says so: nothing lost, nothing twice, the same numbers.

The fake engine's scores depend on a sample alone, so here it is the windows that are watched too: a sample whose window
was not cut must have been scored with all its neighbours.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted_crew import KILLED, ScriptedCrew

from radar_fast.config import RunConfig
from radar_fast.engines import WINDOW
from radar_fast.errors import DataError, EngineError, ModelError, RadarError, ResultsError
from radar_fast.farm.choosing import DEPTH
from radar_fast.farm.crew import EngineDied
from radar_fast.farm.driver import Driver
from radar_fast.farm.jobs import FarmJob, State
from radar_fast.farm.messages import Opened, Order
from radar_fast.farm.state import FarmState, read_state
from radar_fast.run import score
from radar_fast.series import planned
from radar_fast.terminal.progress import SilentProgress
from radar_fast.windows import Window

COUNT = 5 * WINDOW + 7


def write_jsonl(folder: Path, count: int) -> Path:
    """Questions without images; the first has no distractor."""
    folder.mkdir()
    records = [
        {"id": f"q{number}", "question": f"What is {number}?", "options": ["a", "b b"], "answer": "a"}
        for number in range(count)
    ]
    records[0]["options"] = ["a"]
    (folder / "colours.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six windows, and an unfit sample in the first."""
    return write_jsonl(tmp_path_factory.mktemp("farm") / "data", count=COUNT)


class News(SilentProgress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def drive(
    out: Path,
    crew: ScriptedCrew,
    data: list[Path],
    models: list[Path] | None = None,
    watch: Callable[[FarmState], None] = lambda _: None,
) -> tuple[list[FarmJob], list[str]]:
    news = News()
    config = RunConfig(engine="fake", protocol="qwen2vl", data=data[0], out=out, model=models[0] if models else None)
    with planned(config, models or [], data, "{name}", news) as series:
        jobs = [
            FarmJob(number, job, series.config(job), series.benchmark(job), series.label(job))
            for number, job in enumerate(series.jobs)
        ]
        out.mkdir(exist_ok=True)
        Driver(crew, out, news, watch).run(jobs, single=series.single)
    return jobs, news.lines


def lines(out: Path) -> dict[tuple[str, str], Any]:
    read = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    by_key = {(line["task"], line["id"]): {**line, "seconds": 0} for line in read}
    assert len(by_key) == len(read), "nothing twice"
    return by_key


def numbers(out: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return {name: summary[name] for name in ("tasks", "directories", "abilities", "overall")}


@pytest.fixture(scope="module")
def alone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result folder of one process."""
    out = tmp_path_factory.mktemp("alone") / "out"
    score(RunConfig(engine="fake", data=data, out=out))
    return out


def same(out: Path, alone: Path) -> None:
    assert lines(out) == lines(alone)
    assert numbers(out) == numbers(alone)


@pytest.mark.parametrize("size", [1, 2, 9])
def test_undisturbed(tmp_path: Path, data: Path, alone: Path, size: int) -> None:
    crew = ScriptedCrew(size)
    states: list[FarmState] = []
    [job], _ = drive(tmp_path / "out", crew, [data], watch=states.append)
    same(tmp_path / "out", alone)
    assert job.state is State.DONE
    assert sorted(number for _, number, _ in crew.scored) == list(range(6)), "each window once"
    assert crew.most_asked == DEPTH, "more windows would only wait there"
    final = read_state(tmp_path / "out")
    assert final == states[-1]
    assert (final.state, final.jobs_done, final.done, final.fresh) == ("done", 1, COUNT, COUNT)
    assert sum(engine.samples for engine in final.engines) == COUNT - 1, "the unfit one was no engine's"
    engine = json.loads((tmp_path / "out" / "run.json").read_text())["engine"]
    assert engine["engines"] == len({number for number, _ in crew.opened})
    assert engine["asked"] == 6, "counts are added up"
    assert engine["engine_seconds"] == 0.5 * engine["engines"]


def test_what_an_engine_had_is_scored_as_whole_windows(tmp_path: Path, data: Path, alone: Path) -> None:
    """By engines that have nothing else: any of these windows may have been the cause."""
    killed: list[int] = []

    def once(engine: int, _: int, __: Window) -> EngineDied | None:
        if killed:
            return None
        killed.append(engine)
        return KILLED

    crew = ScriptedCrew(2, scoring=once)
    _, news = drive(tmp_path / "out", crew, [data])
    same(tmp_path / "out", alone)
    assert sorted(number for _, number, _ in crew.scored) == list(range(6)), "no window was cut"
    assert crew.starts == 3
    assert any("has died (killed by a test), with 4 windows" in line for line in news)


@pytest.mark.parametrize("error", [KILLED, EngineError("it gave up")])
def test_a_sample_that_kills_is_unscored_and_no_other(
    tmp_path: Path, data: Path, alone: Path, error: EngineDied | EngineError
) -> None:
    killer = "q100"

    def deadly(_: int, __: int, window: Window) -> EngineDied | EngineError | None:
        return error if any(sample.id == killer for sample in window.samples) else None

    crew = ScriptedCrew(2, scoring=deadly)
    drive(tmp_path / "out", crew, [data])
    found, expected = lines(tmp_path / "out"), lines(alone)
    line = found.pop(("colours", killer))
    expected.pop(("colours", killer))
    assert found == expected
    assert (line["status"], line["reason_kind"]) == ("unscored", "engine-died")
    cut = [ids for _, _, ids in crew.scored if len(ids) == 1]
    assert len(cut) == WINDOW - 1, "only the window with the killer was cut"
    whole = sorted(number for _, number, ids in crew.scored if len(ids) > 1)
    assert whole == [0, 2, 3, 4, 5]
    if isinstance(error, EngineDied):
        assert crew.starts == 2 + 3, "it killed three times: among others, alone in its window, and by itself"
    again = ScriptedCrew(1, scoring=deadly)
    drive(tmp_path / "out", again, [data])
    assert not again.scored, "what is unscored for that reason is done"


def test_a_lost_machine_is_nobody_s_fault(tmp_path: Path, data: Path, alone: Path) -> None:
    left = [3]

    def preempted(engine: int, _: int, __: Window) -> EngineDied | None:
        left[0] -= 1
        return EngineDied("its machine is gone", node_lost=True) if left[0] >= 0 and engine == 0 else None

    crew = ScriptedCrew(2, scoring=preempted)
    drive(tmp_path / "out", crew, [data])
    same(tmp_path / "out", alone)


def test_engines_that_die_of_everything_end_the_job(tmp_path: Path, data: Path) -> None:
    with pytest.raises(EngineError, match="6 engines have died or failed one after the other"):
        drive(tmp_path / "out", ScriptedCrew(2, scoring=lambda *_: KILLED), [data])
    assert read_state(tmp_path / "out").state == "stopped"
    drive(tmp_path / "out", ScriptedCrew(2), [data])
    assert len(lines(tmp_path / "out")) == COUNT, "the same command goes on"


def test_no_engine_can_be_started(tmp_path: Path, data: Path) -> None:
    crew = ScriptedCrew(2, starting=lambda _: EngineDied("no such module", node_lost=False))
    with pytest.raises(EngineError, match="no engine can be started; the last one died so: no such module"):
        drive(tmp_path / "out", crew, [data])
    assert crew.starts == 6


def models(tmp_path: Path, count: int) -> list[Path]:
    """Folders that the fake engine takes for checkpoints."""
    folders = [tmp_path / f"step-{number}" for number in range(1, count + 1)]
    for number, folder in enumerate(folders):
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"model_type": "qwen2_vl", "hidden_size": number}))
        (folder / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    return folders


def test_each_engine_takes_a_checkpoint_of_its_own(tmp_path: Path, data: Path, alone: Path) -> None:
    folders = models(tmp_path, 5)
    crew = ScriptedCrew(2)
    drive(tmp_path / "out", crew, [data], folders)
    assert sorted(job for _, job in crew.opened) == [folder.name for folder in folders], "each loaded once"
    for folder in folders:
        assert lines(tmp_path / "out" / folder.name) == lines(alone)


def test_a_checkpoint_stays_for_its_other_benchmarks(tmp_path: Path, data: Path) -> None:
    other = write_jsonl(tmp_path / "other", count=9)
    folders = models(tmp_path, 4)
    crew = ScriptedCrew(2)
    drive(tmp_path / "out", crew, [data, other], folders)
    loads = {(engine, name.partition("/")[2]) for engine, name in crew.opened}
    assert len(loads) == 4, "no checkpoint was loaded in two engines"
    assert len(lines(tmp_path / "out" / "other" / "step-2")) == 9


def test_free_engines_help_where_much_is_left(tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "data", count=20 * WINDOW)
    crew = ScriptedCrew(3)
    drive(tmp_path / "out", crew, [data], models(tmp_path, 2))
    assert len(crew.opened) == 3
    assert len({engine for engine, _ in crew.opened}) == 3


def test_a_checkpoint_that_cannot_be_loaded_is_left_out(tmp_path: Path, data: Path) -> None:
    def refused(_: int, order: Order) -> RadarError | None:
        return ModelError(f"{order.name}: torn") if order.name == "step-2" else None

    jobs, news = drive(tmp_path / "out", ScriptedCrew(2, opening=refused), [data], models(tmp_path, 3))
    assert [job.state for job in jobs] == [State.DONE, State.FAILED, State.DONE]
    assert "step-2: not scored: step-2: torn" in news


def test_a_checkpoint_that_kills_as_it_is_loaded_is_left_out(tmp_path: Path, data: Path) -> None:
    crew = ScriptedCrew(3, opening=lambda _, order: KILLED if order.name == "step-2" else None)
    jobs, _ = drive(tmp_path / "out", crew, [data], models(tmp_path, 3))
    assert [job.state for job in jobs] == [State.DONE, State.FAILED, State.DONE]
    assert "engines have died 2 times while they loaded it" in str(jobs[1].error)


def test_a_machine_that_kills_whatever_is_loaded_fails_no_checkpoint(tmp_path: Path, data: Path) -> None:
    crew = ScriptedCrew(3, opening=lambda engine, _: KILLED if engine == 1 else None)
    jobs, news = drive(tmp_path / "out", crew, [data], models(tmp_path, 7))
    assert [job.state for job in jobs] == [State.DONE] * 7
    assert any("engine 1 on here is given up" in line for line in news)


def test_engines_that_find_another_checkpoint_do_not_mix(tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "data", count=20 * WINDOW)

    def another(engine: int, _: Order) -> Opened | None:
        return Opened({"model": "another"}, (), "ready") if engine == 1 else None

    with pytest.raises(EngineError, match="differ in what decides a score"):
        drive(tmp_path / "out", ScriptedCrew(2, opening=another), [data])


def test_what_cannot_be_written_ends_the_job_and_keeps_the_rest(
    tmp_path: Path, data: Path, alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []

    def full(job: FarmJob, records: list[Any]) -> int:
        if len(taken) == 3:
            raise ResultsError("cannot write: No space left on device")
        taken.append(len(records))
        return append(job, records)

    append = FarmJob.append
    monkeypatch.setattr(FarmJob, "append", full)
    with pytest.raises(ResultsError, match="No space left"):
        drive(tmp_path / "out", ScriptedCrew(2), [data])
    monkeypatch.undo()
    assert len(lines(tmp_path / "out")) == sum(taken)
    drive(tmp_path / "out", ScriptedCrew(2), [data])
    same(tmp_path / "out", alone)


def test_data_that_change_end_the_farm(tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "data", count=COUNT)

    def meddle(*_: object) -> None:
        (data / "colours.jsonl").write_text((data / "colours.jsonl").read_text().replace("is 319", "is X"))

    with pytest.raises(DataError, match="the data have changed"):
        drive(tmp_path / "out", ScriptedCrew(1, opening=meddle), [data])


def test_engines_stay_for_the_next_run_and_one_that_died_meanwhile_is_no_checkpoint_s_fault(
    tmp_path: Path, data: Path, alone: Path
) -> None:
    """As a watch uses it: a run for each checkpoint."""
    died: list[str] = []

    def opening(engine: int, order: Order) -> EngineDied | None:
        if order.name == "step-2" and len(died) < 2 and f"{engine}" not in died:
            died.append(f"{engine}")
            return EngineDied("somebody killed it while it was idle", node_lost=False)
        return None

    folders, out, news = models(tmp_path, 3), tmp_path / "out", News()
    out.mkdir()
    crew = ScriptedCrew(2, opening=opening)
    driver = Driver(crew, out, news)
    for number, folder in enumerate(folders):
        config = RunConfig(engine="fake", protocol="qwen2vl", data=data, out=out / folder.name, model=folder)
        with planned(config, [folder], [data], "{name}", news) as series:
            [one] = series.jobs
            job = FarmJob(number, one, series.config(one), series.benchmark(one), folder.name)
            driver.run([job])
        assert job.state is State.DONE
        assert lines(out / folder.name) == lines(alone)
    assert len(died) in (1, 2)
    assert crew.starts == 2 + len(died), "nobody else was started anew"
