"""One checkpoint on one benchmark, read aloud: read -> prompt -> score -> journal -> summary."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

from radar_fast.benchmark import Benchmark, benchmark_name, open_benchmark
from radar_fast.config import RunConfig
from radar_fast.engines import Engine, EngineReport
from radar_fast.engines.session import EngineSession
from radar_fast.errors import IncompleteError
from radar_fast.finished import data_state, known_as_finished, note_finished
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.prepare import Prepared, prepare
from radar_fast.protocols import Protocol
from radar_fast.recording import Recording, open_recording, refuse_series
from radar_fast.results.folder import ResultFolder
from radar_fast.results.journal import read_records
from radar_fast.results.metrics import summarize as summarize_records
from radar_fast.results.official import export_official, official_name, writes_prompts
from radar_fast.results.record import record_of
from radar_fast.results.summary import Summary
from radar_fast.sample import Prompt, Scored
from radar_fast.terminal.progress import Progress, SilentProgress
from radar_fast.util.clock import Clock

__all__ = ["aggregate", "answer", "conclude", "open_prepared", "ready_line", "score", "score_checkpoint", "summarize"]


def score(config: RunConfig, progress: Progress | None = None) -> Summary:
    """Score a checkpoint on a benchmark; what is in ``config.out`` already is not scored again.

    Returns:
        What ``summary.json`` holds.

    Raises:
        RadarError: one of its kinds, with a message for the user. What was scored before stays in the journal.
    """
    progress = progress or SilentProgress()
    state = data_state(config)
    if (summary := answer(config, state)) is not None:
        progress.done(_name(config), config.folder, summary)
        return summary
    with EngineSession() as session:
        return score_checkpoint(config, open_benchmark(config, progress, state), session, progress)


def _name(config: RunConfig) -> str:
    """What progress calls a job that is alone."""
    return config.model.resolve().name if config.model else benchmark_name(config.data)


def score_checkpoint(
    config: RunConfig,
    benchmark: Benchmark,
    session: EngineSession,
    progress: Progress,
    name: str | None = None,
    *,
    held: Path | None = None,
) -> Summary:
    """The same in an engine that may have scored another checkpoint before, on a benchmark that has been surveyed.

    Args:
        config: of this checkpoint and this benchmark.
        benchmark: that of ``config.data``.
        session: holds the engine.
        progress: told what goes on.
        name: what progress calls it; None: as the checkpoint folder.
        held: where the checkpoint is read from, if not where ``config`` says that it is from.
    """
    name = name or _name(config)
    refuse_series(config.folder)
    clock = Clock()
    clock.add("survey", benchmark.seconds)
    if not ResultFolder(config.folder).samples.exists():  # else there may be little left to score, or nothing
        session.get_ready(config.engine, config.options, benchmark.survey.samples)
    prepared = prepare(replace(config, model=held or config.model), benchmark.identity(), clock, name)
    with open_recording(config, benchmark, prepared.identity, progress, name) as recording:
        if recording.left > 0:
            _score_rest(prepared, recording, session, progress, clock)
    summary = conclude(config, benchmark, prepared.checkpoint)
    progress.done(name, config.folder, summary)
    return summary


def conclude(config: RunConfig, benchmark: Benchmark, checkpoint: Checkpoint | None) -> Summary:
    """Sum up what a job has recorded, and note that it is done if it is; ``checkpoint`` as it was before it was loaded.

    Raises:
        ResultsError: as :func:`summarize`.
    """
    summary = summarize(config.folder, official_out=config.official_out)
    note_finished(config, benchmark.state, checkpoint, summary)
    return summary


def answer(config: RunConfig, state: str | None) -> Summary | None:
    """The summary of a job that is known to be done, which takes no model and no data; None for any other.

    Args:
        config: of the job.
        state: of its data now: :func:`radar_fast.finished.data_state`.

    Raises:
        ResultsError: the published scripts' files are asked for, and cannot be written.
    """
    summary = known_as_finished(config, state)
    if summary is not None and config.official_out is not None:
        return summarize(config.folder, official_out=config.official_out)
    return summary


def _score_rest(
    prepared: Prepared, recording: Recording, session: EngineSession, progress: Progress, clock: Clock
) -> None:
    """Load what is to be scored, and score all that is left; the manifest says at the end what the engine has done."""
    for note in prepared.notes:
        progress.say(note)
    with clock.measure("engine"):
        engine = open_prepared(prepared, session, expected=recording.left)
    before = session.kept
    tell = progress.say if session.anew else progress.detail
    tell(ready_line(prepared, engine.describe(), clock.seconds()["engine"]))
    with clock.measure("scoring"):
        _score_windows(engine, prepared.protocol, recording, progress, clock)
    report = engine.describe() if before is None else engine.describe().since(before)
    recording.folder.amend(engine={**report.to_dict(), **_seconds(clock)})


def open_prepared(prepared: Prepared, session: EngineSession, *, expected: int) -> Engine:
    """The engine, with the very checkpoint in it that was fingerprinted.

    Args:
        prepared: what it is to score.
        session: may hold an engine of another checkpoint.
        expected: how many prompts are to come.

    Raises:
        UsageError, ModelError: as :meth:`radar_fast.engines.session.EngineSession.open`.
        IncompleteError: somebody has written to it since; no engine is open then.
    """
    out, checkpoint = prepared.config.folder, prepared.checkpoint
    log = out.with_name(f"{out.name}.{prepared.spec.name}.log")
    engine = session.open(prepared.spec, checkpoint, prepared.protocol, prepared.options, expected=expected, log=log)
    if prepared.runs_it is not None:
        try:
            prepared.runs_it.require_unchanged()
        except IncompleteError:
            session.close()
            raise
    return engine


def ready_line(prepared: Prepared, report: EngineReport, seconds: float) -> str:
    """The engine in a line, e.g. ``vLLM 0.32, cpu, float32, ready in 61 s``, and why it is that one."""
    why = f"{prepared.config.engine}: {prepared.why}" if prepared.why else ""
    device = report.device_name if report.device == "cuda" else report.device
    parts = [report.title, *(part for part in (device, report.dtype) if part != "none"), f"ready in {seconds:.0f} s"]
    return ", ".join(parts) + (f" ({why})" if why else "")


def _score_windows(engine: Engine, protocol: Protocol, recording: Recording, progress: Progress, clock: Clock) -> None:
    """Window after window in one stream, so that the engine can read ahead; each result is recorded as it comes."""
    unfit: list[Scored] = []

    def prompts() -> Iterator[Prompt]:
        for window in recording.windows():
            unfit.extend(window.refused())
            yield from map(protocol.prompt, window.samples)

    def record(results: Iterable[Scored]) -> None:
        records = [record_of(result, recording.benchmark.reader.root) for result in results]
        with clock.measure("write"):
            fresh = recording.append(records)
        for _ in range(fresh):
            progress.advance()
        for one in records:
            if one.status == "unscored" and one.key not in recording.done:
                progress.unscored(one)

    try:
        progress.start(recording.name, recording.samples, len(recording.done))
        with clock.measure("first sample"):
            stream = engine.score(prompts())
            first = next(stream, None)
        passed = ", ".join(f"{part} {seconds:.1f} s" for part, seconds in clock.seconds().items())
        progress.detail(f"{recording.name}: until the first sample: {passed}")
        for scored in chain(() if first is None else (first,), stream):
            record((*unfit, scored))
            unfit.clear()
        record(unfit)
    finally:
        progress.stop()


def _seconds(clock: Clock) -> dict[str, float]:
    """As the manifest has them: where the time went that was not the engine's."""
    return {f"{part.replace(' ', '_')}_seconds": round(seconds, 6) for part, seconds in clock.seconds().items()}


def summarize(out: str | Path, *, official_out: str | Path | None = None) -> Summary:
    """Compute ``summary.json`` from the journal alone, and write it; with ``official_out`` the published files too.

    Returns:
        What ``summary.json`` holds.

    Raises:
        ResultsError: ``out`` is not a result folder, or a file cannot be read or written.
    """
    folder = ResultFolder(out)
    manifest = folder.manifest()
    numbers = summarize_records(read_records(folder.samples), samples=manifest.expected, engine=manifest.engine)
    summary = replace(numbers, step=manifest.step, shard=manifest.shard_name)
    folder.write_summary(summary)
    if official_out is not None:
        name, prompts = official_name(manifest), writes_prompts(manifest)
        export_official(read_records(folder.samples), official_out, name, prompts=prompts)
    return summary


def aggregate(scored: Iterable[Scored], *, confidence: float | None = 0.95) -> Summary:
    """The numbers of scored samples that go through no journal: for library use.

    Args:
        scored: from an engine; read once.
        confidence: of the intervals, in 0..1; None for none.

    Raises:
        ResultsError: a sample comes twice.
    """
    return summarize_records(map(record_of, scored), confidence=confidence)
