"""One checkpoint on one benchmark, read aloud: read -> prompt -> score -> journal -> summary."""

from collections.abc import Collection, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from radar_fast.benchmark import Benchmark, open_benchmark
from radar_fast.config import RunConfig
from radar_fast.engines import WINDOW, Engine, EngineReport, choose_engine
from radar_fast.engines.session import EngineSession
from radar_fast.errors import IncompleteError, UsageError
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.models.vocabulary import tokenizer_notes
from radar_fast.protocols import Protocol, open_protocol, prompt_digest
from radar_fast.results.folder import IDENTITY, ResultFolder
from radar_fast.results.journal import Journal, read_records
from radar_fast.results.metrics import summarize as summarize_records
from radar_fast.results.official import export_official, official_name, writes_prompts
from radar_fast.results.record import Key, record_of
from radar_fast.results.summary import Summary
from radar_fast.sample import ONLY_PUBLISHED, Prompt, Sample, Scored
from radar_fast.terminal.progress import Progress, SilentProgress
from radar_fast.util.clock import Clock

__all__ = ["aggregate", "score", "score_checkpoint", "summarize"]


def score(config: RunConfig, progress: Progress | None = None) -> Summary:
    """Score a checkpoint on a benchmark; what is in ``config.out`` already is not scored again.

    Returns:
        What ``summary.json`` holds.

    Raises:
        RadarError: one of its kinds, with a message for the user. What was scored before stays in the journal.
    """
    progress = progress or SilentProgress()
    with EngineSession() as session:
        return score_checkpoint(config, open_benchmark(config, progress), session, progress)


def score_checkpoint(
    config: RunConfig, benchmark: Benchmark, session: EngineSession, progress: Progress, name: str | None = None
) -> Summary:
    """The same in an engine that may have scored another checkpoint before, on a benchmark that has been surveyed.

    ``name`` is what progress calls it; None: as the checkpoint folder.
    """
    name = name or (config.model.resolve().name if config.model else benchmark.name)
    _refuse_series(config.out)
    folder, found = ResultFolder(config.out), benchmark.survey
    clock = Clock()
    clock.add("survey", benchmark.seconds)
    if not folder.samples.exists():  # else there may be little left to score, or nothing
        session.get_ready(config.engine, config.options, found.samples)
    with clock.measure("libraries"):  # torch and transformers are imported in here, and a tokenizer read
        checkpoint = None
        if config.model is not None:
            checkpoint = Checkpoint.open(config.model, trust_remote_code=config.trust_remote_code)
        spec, why = choose_engine(config.engine, config.options)
        runs_it = checkpoint if spec.needs_checkpoint else None
        notes = _sound(runs_it) if runs_it else []
        least, most = config.min_pixels, config.max_pixels
        protocol = open_protocol(
            config.protocol, checkpoint, min_pixels=least, max_pixels=most, image_backend=config.image_backend
        )
        options = spec.resolve(checkpoint, config.options)
        if runs_it:
            notes += [*tokenizer_notes(runs_it), *protocol.notes]
    with clock.measure("fingerprint"):
        identity: dict[str, Any] = {
            "version": IDENTITY,
            "model": {"files": checkpoint.fingerprint()} if checkpoint else None,
            "data": {"format": benchmark.reader.format, "samples": found.samples, "sha256": found.digest},
            "protocol": dict(protocol.settings),
            "prompt": prompt_digest(protocol),
            "engine": {"name": spec.name, **spec.identity(options)},
        }
    if settings := benchmark.conditions.settings():
        identity["conditions"] = settings
    folder.make()
    with Journal.open(folder.samples) as journal, folder.nothing_left_by_failures():
        if not journal.locked:
            progress.say(f"{folder.samples}: the file system has no locks; see that no other run writes to this folder")
        empty = not journal.done and not journal.passing
        folder.claim(identity, config.to_dict(), empty=empty, images=found.images)
        if journal.repaired_bytes:
            progress.say(
                f"{folder.samples}: cut off a torn end of {journal.repaired_bytes} bytes, left by a killed run"
            )
        # What may pass is tried again, but for images that are still missing.
        done = journal.done | (journal.passing.keys() - benchmark.mended(journal.passing))
        left = found.samples - len(done)
        if done:
            tell = progress.say if left > 0 else progress.detail
            tell(f"{name}: {len(done)} samples are scored already, {left} are left")
        if left > 0:
            for note in notes:
                progress.say(note)
            with clock.measure("engine"):
                log = config.out.with_name(f"{config.out.name}.{spec.name}.log")
                engine = session.open(spec, checkpoint, protocol, options, expected=left, log=log)
                _require_unchanged(runs_it, session)
            before = session.kept
            tell = progress.say if session.anew else progress.detail
            tell(_ready(engine.describe(), clock.seconds()["engine"], f"{config.engine}: {why}" if why else ""))
            with clock.measure("scoring"):
                _score_rest(engine, protocol, benchmark, journal, frozenset(done), progress, clock, name)
            report = engine.describe() if before is None else engine.describe().since(before)
            folder.amend(engine={**report.to_dict(), **_seconds(clock)})
    return summarize(config.out, official_out=config.official_out)


def _sound(checkpoint: Checkpoint) -> list[str]:
    """See that its weights can be trusted, and how its files are before anything else of them is read; what to say."""
    _ = checkpoint.state
    return checkpoint.require_sound()


def _require_unchanged(checkpoint: Checkpoint | None, session: EngineSession) -> None:
    """See that what was fingerprinted is what the engine has loaded. Raises IncompleteError, and closes the engine."""
    if checkpoint is None:
        return
    try:
        checkpoint.require_unchanged()
    except IncompleteError:
        session.close()
        raise


def _refuse_series(out: Path) -> None:
    """Raise UsageError where ``out`` holds other runs' result folders: one amid them would be taken for theirs."""
    if (out / "run.json").exists():
        return
    if found := next(chain(out.glob("*/run.json"), out.glob("*/*/run.json")), None):
        raise UsageError(
            f"--out {out}: holds the results of a series ({found.parent.relative_to(out)} is one of them), and is not "
            "made a run's own; name a new folder in it"
        )


def _ready(report: EngineReport, seconds: float, why: str) -> str:
    """The engine in a line, e.g. ``vLLM 0.32, cpu, float32, ready in 61 s``."""
    device = report.device_name if report.device == "cuda" else report.device
    parts = [report.title, *(part for part in (device, report.dtype) if part != "none"), f"ready in {seconds:.0f} s"]
    return ", ".join(parts) + (f" ({why})" if why else "")


def _score_rest(
    engine: Engine,
    protocol: Protocol,
    benchmark: Benchmark,
    journal: Journal,
    done: frozenset[Key],
    progress: Progress,
    clock: Clock,
    name: str,
) -> None:
    """``done``: as it was at the start; windows must not depend on how far this run has come."""
    try:
        progress.start(name, benchmark.survey.samples, len(done))
        unfit: list[Scored] = []
        with clock.measure("first sample"):
            stream = engine.score(_prompts(benchmark.samples(), protocol, done, unfit))
            first = next(stream, None)
        passed = ", ".join(f"{part} {seconds:.1f} s" for part, seconds in clock.seconds().items())
        progress.detail(f"{name}: until the first sample: {passed}")
        for scored in chain(() if first is None else (first,), stream):
            fresh = [record_of(result) for result in (*unfit, scored) if result.sample.key not in done]
            unfit.clear()
            with clock.measure("write"):
                journal.append(fresh)
            for _ in fresh:
                progress.advance()
        journal.append(list(map(record_of, unfit)))
        for _ in unfit:
            progress.advance()
    finally:
        progress.stop()


def _seconds(clock: Clock) -> dict[str, float]:
    """As the manifest has them: where the time went that was not the engine's."""
    return {f"{part.replace(' ', '_')}_seconds": round(seconds, 6) for part, seconds in clock.seconds().items()}


def _prompts(
    samples: Iterable[Sample], protocol: Protocol, done: Collection[tuple[str, str]], unfit: list[Scored]
) -> Iterator[Prompt]:
    """Prompts of the samples still to be scored, whole windows at a time.

    A window of which anything is missing is scored again as a whole, so that every batch is what it would have been in
    an uninterrupted run, and the numbers are the same to the last bit. Samples that the reader found unfit go to
    ``unfit`` and to no engine, but for those that the published files count.
    """

    def fit() -> Iterator[Sample]:
        for sample in samples:
            if sample.reason is None or (sample.reason.kind in ONLY_PUBLISHED and sample.candidates):
                yield sample
            elif sample.key not in done:
                unfit.append(Scored(sample, reason=sample.reason))

    stream = fit()
    while window := list(islice(stream, WINDOW)):
        if any(sample.key not in done for sample in window):
            yield from map(protocol.prompt, window)


def summarize(out: str | Path, *, official_out: str | Path | None = None) -> Summary:
    """Compute ``summary.json`` from the journal alone, and write it; with ``official_out`` the published files too.

    Returns:
        What ``summary.json`` holds.

    Raises:
        ResultsError: ``out`` is not a result folder, or a file cannot be read or written.
    """
    folder = ResultFolder(out)
    manifest = folder.manifest()
    summary = summarize_records(read_records(folder.samples), samples=manifest.samples, engine=manifest.engine)
    folder.write_summary(summary)
    if official_out is not None:
        name, prompts = official_name(manifest), writes_prompts(manifest)
        export_official(read_records(folder.samples), official_out, name, prompts=prompts)
    return summary


def aggregate(scored: Iterable[Scored], *, bootstrap: int = 1000) -> Summary:
    """The numbers of scored samples that go through no journal: for library use.

    Args:
        scored: from an engine; read once.
        bootstrap: resamples for the 95% intervals; 0 for none.

    Raises:
        ResultsError: a sample comes twice.
    """
    return summarize_records(map(record_of, scored), bootstrap=bootstrap)
