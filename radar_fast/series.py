"""Many checkpoints and benchmarks in one engine: the jobs, their order, and their result folders."""

import contextlib
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from radar_fast.benchmark import Benchmark, benchmark_name, open_benchmark
from radar_fast.config import RunConfig
from radar_fast.engines.session import EngineSession
from radar_fast.errors import EngineError, ModelError, RadarError, ResultsError, UsageError
from radar_fast.finished import data_state
from radar_fast.results.summary import Summary
from radar_fast.run import answer, score_checkpoint
from radar_fast.terminal.progress import Progress, SilentProgress
from radar_fast.util.page_cache import reading_ahead

__all__ = [
    "NAME",
    "FailedRun",
    "Job",
    "ScoredRun",
    "Series",
    "by_step",
    "checkpoint_name",
    "plan_jobs",
    "planned",
    "score_series",
    "told",
]

NAME = "{name}"
"""How a result folder is named after its checkpoint, unless the user says otherwise."""


_FIELD = re.compile(r"\{(name|parent|grandparent)\}")


@dataclass(frozen=True)
class Job:
    """A checkpoint on a benchmark."""

    model: Path | None
    """The checkpoint folder."""
    name: str
    """Of the checkpoint, in tables and folders."""
    benchmark: int
    """Which of the benchmarks, counted from 0."""
    number: int
    """Which of the checkpoints, likewise."""
    out: Path
    """Its result folder, or that of its shards' folders."""


@dataclass(frozen=True)
class ScoredRun:
    """A job that is done."""

    benchmark: str
    """The benchmark's name."""
    name: str
    """The checkpoint's."""
    out: Path
    """Its result folder."""
    summary: Summary
    """What its ``summary.json`` holds."""


@dataclass(frozen=True)
class FailedRun:
    """A job that could not be done, and why."""

    benchmark: str
    """The benchmark's name."""
    name: str
    """The checkpoint's."""
    out: Path
    """What would have been its result folder. It is there only if samples were recorded before."""
    error: RadarError
    """An :class:`~radar_fast.errors.IncompleteError` or BusyError where the same command may work later."""


def checkpoint_name(model: Path, template: str = NAME) -> str:
    """What a checkpoint is called: ``template`` with the folder's name and those of the folders above it.

    Args:
        model: the checkpoint folder.
        template: text with any of ``{name}``, ``{parent}`` and ``{grandparent}``; ``{parent}`` is ``iter_100`` for
            ``iter_100/hf``.

    Raises:
        UsageError: another field, or a result that cannot be the name of one folder.
    """
    folder = model.resolve()
    fields = {"name": folder.name, "parent": folder.parent.name, "grandparent": folder.parent.parent.name}
    if re.search(r"[{}]", _FIELD.sub("", template)):
        raise UsageError(f"--name {template}: may hold {{name}}, {{parent}} and {{grandparent}} only")
    name = _FIELD.sub(lambda match: fields[match[1]], template)
    if not name or name in (".", "..") or "/" in name or "\0" in name:
        raise UsageError(f"--name {template}: gives {name!r} for {model}, which cannot be the name of a folder")
    return name


def plan_jobs(
    models: Sequence[Path | None], benchmarks: Sequence[str], out: Path, template: str = NAME
) -> tuple[Job, ...]:
    """Every checkpoint on every benchmark, checkpoint after checkpoint, so that each is loaded once.

    Results go to ``out`` for a single job, to ``out/<checkpoint>`` for one benchmark, else to
    ``out/<benchmark>/<checkpoint>``.

    Raises:
        UsageError: two checkpoints, or two benchmarks, of one name.
    """
    names = ["fake" if model is None else checkpoint_name(model, template) for model in models]
    for option, each in (("--model", names), ("--data", list(benchmarks))):
        if repeated := [name for name, times in Counter(each).items() if times > 1]:
            hint = "; tell them apart with --name '{parent}'" if option == "--model" else ""
            raise UsageError(
                f"{option}: {repeated[0]} is the name of {each.count(repeated[0])} folders, and would be that of their "
                f"result folder{hint}"
            )
    single = len(names) == len(benchmarks) == 1
    several = len(benchmarks) > 1

    def folder(name: str, benchmark: str) -> Path:
        return out if single else out / benchmark / name if several else out / name

    return tuple(
        Job(model, name, benchmark, number, folder(name, called))
        for number, (model, name) in enumerate(zip(models, names, strict=True))
        for benchmark, called in enumerate(benchmarks)
    )


def told(label: str, summary: Summary, seconds: float) -> str:
    """A job that is done, in a line."""
    overall = summary.overall
    sds = "no SDS" if overall.sds is None else f"SDS {overall.sds:.4f}"
    unscored = f", {overall.unscored} unscored" if overall.unscored else ""
    return f"{label}: {sds}, {overall.scored} samples{unscored}, {seconds:.0f} s"


def score_series(
    config: RunConfig,
    models: Sequence[str | Path] = (),
    data: Sequence[str | Path] = (),
    *,
    name: str = NAME,
    progress: Progress | None = None,
) -> list[ScoredRun | FailedRun]:
    """Score checkpoints on benchmarks, in one engine where checkpoints differ in their weights alone.

    A checkpoint that cannot be scored (refused, gone, half-written, or the engine dies of it) is left out, and the
    others are scored.

    Preprocessed images are kept for the next checkpoint in the options' ``preprocess_cache``, or in a folder under
    ``config.out`` that is removed at the end.

    Args:
        config: for all of them.
        models: checkpoint folders; empty: ``config.model``.
        data: benchmark folders; empty: ``config.data``.
        name: how result folders are named, see :func:`checkpoint_name` and :func:`plan_jobs`.
        progress: told what goes on.

    Returns:
        What was scored and what could not be, benchmark by benchmark, in the order of ``models``.

    Raises:
        UsageError: two folders of one name.
        RadarError: as :func:`radar_fast.run.score`, where there is only one job; of several, for what is wrong with
            the options or the data. What was scored before stays in the journals, and the same call goes on.
    """
    progress = progress or SilentProgress()
    done: dict[Job, ScoredRun | FailedRun] = {}
    with planned(config, models, data, name, progress) as series, EngineSession() as session:
        for job in series.jobs:
            one, benchmark, label = series.config(job), series.benchmark(job), series.label(job)
            started = time.perf_counter()
            try:
                with reading_ahead(_weights_after(job, series.jobs)):
                    summary = score_checkpoint(one, benchmark, session, progress, label)
            except (ModelError, EngineError, ResultsError, UsageError) as error:
                if series.single or (isinstance(error, UsageError) and not done):  # then it is the options
                    raise
                if isinstance(error, EngineError):
                    session.close()  # whatever state it is in
                done[job] = FailedRun(benchmark.name, job.name, one.folder, error)
                progress.say(f"{label}: not scored: {error}")
                progress.failed(label, one.folder, error)
                continue
            done[job] = ScoredRun(benchmark.name, job.name, one.folder, summary)
            if not series.single:
                progress.say(told(label, summary, time.perf_counter() - started))
    return series.results(done)


def _weights_after(job: Job, jobs: Sequence[Job]) -> list[Path]:
    """Weight files of the next checkpoint, which is loaded when this one is done."""
    following = next((each.model for each in jobs[jobs.index(job) :] if each.model != job.model), None)
    return [] if following is None else sorted(following.glob("*.safetensors"))


@dataclass(frozen=True)
class Series:
    """All jobs of a command, and what they share."""

    jobs: tuple[Job, ...]
    """Those that are to be scored, in that order."""
    finished: Mapping[Job, ScoredRun]
    """Those that are known to be done."""
    configs: tuple[RunConfig, ...]
    """For each benchmark; a job's has its own checkpoint and result folder: :meth:`config`."""
    names: tuple[str, ...]
    """The benchmarks'."""
    benchmarks: Mapping[int, Benchmark]
    """Surveyed: by its number each one that a job is to be scored on."""

    @property
    def single(self) -> bool:
        """Whether there is one job in all."""
        return len(self.jobs) + len(self.finished) == 1

    def benchmark(self, job: Job) -> Benchmark:
        """That a job is scored on."""
        return self.benchmarks[job.benchmark]

    def config(self, job: Job) -> RunConfig:
        """The options of a job alone."""
        return _config_of(job, self.configs)

    def label(self, job: Job) -> str:
        """What progress calls a job."""
        return job.name if len(self.names) == 1 else f"{self.names[job.benchmark]}/{job.name}"

    def results(self, scored: Mapping[Job, ScoredRun | FailedRun]) -> list[ScoredRun | FailedRun]:
        """What came of all jobs, in the order in which it is shown: benchmark by benchmark, as they were named."""
        runs = {**self.finished, **scored}
        return [runs[job] for job in sorted(runs, key=lambda job: (job.benchmark, job.number))]


@contextlib.contextmanager
def planned(
    config: RunConfig, models: Sequence[str | Path], data: Sequence[str | Path], name: str, progress: Progress
) -> Iterator[Series]:
    """Plan the jobs, and survey the benchmarks of those that are left; the arguments are those of :func:`score_series`.
    At the end, whatever it is, the folder of preprocessed images goes, and so do folders with nothing in them.

    Raises:
        UsageError: two folders of one name, or a wrong option.
        DataError: a benchmark cannot be read.
    """
    chosen: list[Path | None] = [Path(model) for model in models] or [config.model]
    configs = [replace(config, data=Path(folder)) for folder in data] or [config]
    ours = config.out / "preprocessed"
    keeps_images = config.options.preprocess_cache is None and len(chosen) > 1
    if keeps_images:
        configs = [replace(each, options=replace(each.options, preprocess_cache=ours)) for each in configs]
    names = tuple(benchmark_name(each.data) for each in configs)
    jobs = plan_jobs(chosen, names, config.out, name)
    states = [data_state(each) for each in configs]
    finished = {}
    for job in jobs:
        one = _config_of(job, configs)
        if (summary := answer(one, states[job.benchmark])) is not None:
            finished[job] = ScoredRun(names[job.benchmark], job.name, one.folder, summary)
            progress.done(job.name, one.folder, summary)
    left = tuple(job for job in jobs if job not in finished)
    if finished and left:
        progress.say(f"{len(finished)} of {len(jobs)} are done already")
    if left and config.engine != "fake":
        progress.say("loading torch and transformers...")
    needed = dict.fromkeys(job.benchmark for job in left)
    benchmarks = {number: open_benchmark(configs[number], progress, states[number]) for number in needed}
    try:
        yield Series(left, finished, tuple(configs), names, benchmarks)
    finally:
        if keeps_images:
            shutil.rmtree(ours, ignore_errors=True)
        if len(jobs) > 1:
            _remove_empty(config.out)


def _config_of(job: Job, configs: Sequence[RunConfig]) -> RunConfig:
    return replace(configs[job.benchmark], model=job.model, out=job.out)


def by_step(runs: Sequence[ScoredRun]) -> list[ScoredRun]:
    """In the order of their training steps, where each has one; else as they are."""
    steps = {run.out: run.summary.step for run in runs}
    if None in steps.values():
        return list(runs)
    return sorted(runs, key=lambda run: steps[run.out] or 0)


def _remove_empty(out: Path) -> None:
    """Remove ``out``, and folders of benchmarks in it, that hold nothing."""
    with contextlib.suppress(OSError):
        for inner in out.iterdir():
            if inner.is_dir():
                with contextlib.suppress(OSError):
                    inner.rmdir()
        out.rmdir()
