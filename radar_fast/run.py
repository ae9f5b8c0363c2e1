"""The pipeline, read aloud: read -> prompt -> score -> journal -> summary."""

import shutil
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from radar_fast.conditions import Conditions
from radar_fast.config import RunConfig
from radar_fast.engines import WINDOW, Engine, EngineOptions, choose_engine, engine_identity
from radar_fast.engines.session import EngineSession
from radar_fast.errors import UsageError
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import Protocol, open_protocol
from radar_fast.readers import Reader, Selection, open_reader
from radar_fast.results import metrics
from radar_fast.results.folder import ResultFolder
from radar_fast.results.journal import Journal, read_records
from radar_fast.results.official import export_official
from radar_fast.results.record import record_of
from radar_fast.sample import Prompt, Sample, Scored
from radar_fast.survey import Survey, survey
from radar_fast.terminal.progress import Progress, SilentProgress
from radar_fast.util.atomic import write_json_atomic

__all__ = ["aggregate", "score", "score_series", "summarize"]


def score(config: RunConfig, progress: Progress | None = None) -> dict[str, Any]:
    """Score a checkpoint on a benchmark; what is in ``config.out`` already is not scored again.

    Returns:
        What ``summary.json`` holds: ``tasks``, ``directories``, ``abilities``, ``overall`` and ``engine``.

    Raises:
        RadarError: one of its kinds, with a message for the user. What was scored before stays in the journal.
    """
    progress = progress or SilentProgress()
    with EngineSession() as session:
        return _score_checkpoint(config, _open_benchmark(config, progress), session, progress)


def score_series(
    config: RunConfig, models: Sequence[Path], progress: Progress | None = None
) -> dict[str, dict[str, Any]]:
    """Score checkpoints one after the other, in one engine where they differ in their weights alone.

    Preprocessed images are kept for the next checkpoint in ``config.preprocess_cache``, or in a folder under
    ``config.out`` that is removed at the end.

    Args:
        config: for all of them; its ``model`` is left out of account.
        models: checkpoint folders; each gets the result folder of its name under ``config.out``.
        progress: told what goes on.

    Returns:
        Name -> what its ``summary.json`` holds, in the order of ``models``.

    Raises:
        UsageError: two folders of one name.
        RadarError: as :func:`score`. What was scored before stays in the journals, and the same call goes on.
    """
    progress = progress or SilentProgress()
    names = [model.resolve().name for model in models]
    if repeated := [name for name, times in Counter(names).items() if times > 1]:
        raise UsageError(
            f"--model: {repeated[0]} is the name of {names.count(repeated[0])} folders, and of their result folder"
        )
    ours = config.out / "preprocessed"
    if config.preprocess_cache is None and len(models) > 1:
        config = replace(config, preprocess_cache=ours)
    summaries = {}
    with EngineSession() as session:
        benchmark = _open_benchmark(config, progress)
        for name, model in zip(names, models, strict=True):
            progress.say(f"\n{name}")
            one = replace(config, model=model, out=config.out / name)
            summaries[name] = _score_checkpoint(one, benchmark, session, progress)
    if config.preprocess_cache == ours:
        shutil.rmtree(ours, ignore_errors=True)
    return summaries


@dataclass(frozen=True)
class _Benchmark:
    """What is to be scored, the same for every checkpoint."""

    reader: Reader
    selection: Selection
    conditions: Conditions
    found: Survey
    """Of the data as they are: runs under different conditions are of the same data."""
    seconds: float
    """That the survey took."""

    def samples(self) -> Iterator[Sample]:
        """All of them, each time anew."""
        return self.conditions.apply(self.selection.apply(self.reader))


def _open_benchmark(config: RunConfig, progress: Progress) -> _Benchmark:
    started = time.perf_counter()
    reader = open_reader(
        config.data,
        format=config.format,
        fields=config.fields,
        classes=config.classes,
        follow_symlinks=config.follow_symlinks,
    )
    selection = Selection(tasks=config.tasks, limit=config.limit, abilities=config.abilities)
    conditions = Conditions(candidates=config.candidates, without=config.without)
    found = survey(selection.apply(reader), reader.root)
    progress.say(f"{config.data}: {found.samples} samples in {len(found.tasks)} tasks ({reader.format})")
    return _Benchmark(reader, selection, conditions, found, time.perf_counter() - started)


def _score_checkpoint(
    config: RunConfig, benchmark: _Benchmark, session: EngineSession, progress: Progress
) -> dict[str, Any]:
    folder, found = ResultFolder(config.out), benchmark.found
    clock = {"survey": benchmark.seconds}
    options = _engine_options(config)
    if not folder.samples.exists():  # else there may be little left to score, or nothing
        session.get_ready(config.engine, replace(options, expected=found.samples))
    with _timed(clock, "libraries"):  # torch and transformers are imported in here, and a tokenizer read
        checkpoint = None
        if config.model is not None:
            checkpoint = Checkpoint.open(config.model, trust_remote_code=config.trust_remote_code)
        least, most = config.min_pixels, config.max_pixels
        protocol = open_protocol(config.protocol, checkpoint, min_pixels=least, max_pixels=most)
        chosen, why = choose_engine(config.engine, options)
    if why:
        progress.say(f"engine {config.engine}: {chosen}, because {why}")
    with _timed(clock, "fingerprint"):
        identity = {
            "model": {"files": checkpoint.fingerprint()} if checkpoint else None,
            "data": {"format": benchmark.reader.format, "samples": found.samples, "sha256": found.digest},
            "protocol": dict(protocol.settings),
            "engine": engine_identity(config.engine, checkpoint, options),
        }
    if settings := benchmark.conditions.settings():
        identity["conditions"] = settings
    folder.make()
    with Journal.open(folder.samples) as journal:
        if not journal.locked:
            progress.say(f"{folder.samples}: the file system has no locks; see that no other run writes to this folder")
        folder.claim(identity, _plain(config), empty=not journal.done)
        if journal.repaired_bytes:
            progress.say(
                f"{folder.samples}: cut off a torn end of {journal.repaired_bytes} bytes, left by a killed run"
            )
        if journal.done:
            left = found.samples - len(journal.done)
            progress.say(f"{config.out}: {len(journal.done)} samples are scored already, {left} are left")
        if len(journal.done) < found.samples:
            options = replace(options, expected=found.samples - len(journal.done))
            with _timed(clock, "engine"):
                engine = session.open(config.engine, checkpoint, protocol, options)
            described = ", ".join(f"{name} {value}" for name, value in engine.describe().items() if value is not None)
            progress.say(f"engine {engine.name}: {described}")
            with _timed(clock, "scoring"):
                _score_rest(engine, protocol, benchmark, journal, progress, clock)
            folder.amend(engine={"name": engine.name, **engine.describe(), **_seconds(clock)})
    return summarize(config.out, official_out=config.official_out)


def _engine_options(config: RunConfig) -> EngineOptions:
    return EngineOptions(
        device=config.device,
        dtype=config.dtype,
        batch_tokens=config.batch_tokens,
        workers=config.workers,
        worker_kind=config.worker_kind,
        attention=config.attention,
        preprocess_cache=config.preprocess_cache,
        preprocess_cache_gb=config.preprocess_cache_gb,
        arguments=config.engine_args,
    )


def _score_rest(
    engine: Engine,
    protocol: Protocol,
    benchmark: _Benchmark,
    journal: Journal,
    progress: Progress,
    clock: dict[str, float],
) -> None:
    done = frozenset(journal.done)  # as it was: windows must not depend on how far this run has come
    progress.start(benchmark.found.samples, len(done))
    try:
        unfit: list[Scored] = []
        with _timed(clock, "first sample"):
            stream = engine.score(_prompts(benchmark.samples(), protocol, done, unfit))
            first = next(stream, None)
        passed = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in clock.items() if stage != "scoring")
        progress.say(f"until the first sample: {passed}")
        for scored in chain(() if first is None else (first,), stream):
            fresh = [record_of(result) for result in (*unfit, scored) if result.sample.key not in done]
            unfit.clear()
            with _timed(clock, "write"):
                journal.append(fresh)
            for _ in fresh:
                progress.advance()
        journal.append(list(map(record_of, unfit)))
        for _ in unfit:
            progress.advance()
    finally:
        progress.stop()


@contextmanager
def _timed(clock: dict[str, float], stage: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        clock[stage] = clock.get(stage, 0.0) + time.perf_counter() - started


def _seconds(clock: Mapping[str, float]) -> dict[str, float]:
    """As the record has them: where the time went that was not the engine's."""
    return {f"{stage.replace(' ', '_')}_seconds": round(seconds, 6) for stage, seconds in clock.items()}


def _prompts(
    samples: Iterable[Sample], protocol: Protocol, done: Collection[tuple[str, str]], unfit: list[Scored]
) -> Iterator[Prompt]:
    """Prompts of the samples still to be scored, whole windows at a time.

    A window of which anything is missing is scored again as a whole, so that every batch is what it would have been in
    an uninterrupted run, and the numbers are the same to the last bit. Samples that the reader found unfit go to
    ``unfit`` and to no engine.
    """

    def fit() -> Iterator[Sample]:
        for sample in samples:
            if sample.reason is None:
                yield sample
            elif sample.key not in done:
                unfit.append(Scored(sample, reason=sample.reason))

    stream = fit()
    while window := list(islice(stream, WINDOW)):
        if any(sample.key not in done for sample in window):
            yield from map(protocol.prompt, window)


def summarize(out: Path, *, official_out: Path | None = None) -> dict[str, Any]:
    """Compute ``summary.json`` from the journal alone, and write it; with ``official_out`` the published files too.

    Returns:
        What ``summary.json`` holds.

    Raises:
        ResultsError: ``out`` is no result folder, or a file cannot be read or written.
    """
    folder = ResultFolder(out)
    run = folder.record()
    table = metrics.collect(read_records(folder.samples))
    engine = {**run.get("engine", {}), **metrics.engine_totals(table).to_dict()}
    summary = {**metrics.summarize(table).to_dict(), "engine": engine}
    write_json_atomic(folder.summary, summary)
    if official_out is not None:
        export_official(read_records(folder.samples), official_out, _official_name(run))
    return summary


def _official_name(run: dict[str, Any]) -> str:
    """The published scripts' file name: the model folder's, and what bounds the tokens of an image."""
    model = run["configuration"].get("model")
    name = Path(model).name if model else "fake"
    protocol = run["identity"]["protocol"]
    if protocol["name"] == "internvl":
        return f"{name}_{256 * protocol['tiles']}"
    if model and protocol["name"] == "plain":
        return f"{'_'.join(Path(model).parts[-2:])}_729"
    if protocol["name"] == "qwen2vl":
        return f"{name}_{protocol['min_pixels']}~{protocol['max_pixels']}"
    return name


def aggregate(scored: Iterable[Scored], *, bootstrap: int = 1000) -> metrics.Summary:
    """The numbers of scored samples that go through no journal: for library use.

    Args:
        scored: from an engine; read once.
        bootstrap: resamples for the 95% intervals; 0 for none.

    Raises:
        ResultsError: a sample comes twice.
    """
    return metrics.summarize(map(record_of, scored), bootstrap=bootstrap)


def _plain(config: RunConfig) -> dict[str, Any]:
    """The configuration as JSON takes it."""
    return {
        name: str(value.resolve()) if isinstance(value, Path) else dict(value) if isinstance(value, Mapping) else value
        for name, value in asdict(config).items()
    }
