"""The pipeline, read aloud: read -> prompt -> score -> journal -> summary."""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from radar_fast import metrics
from radar_fast.atomic import write_json_atomic
from radar_fast.checkpoint import Checkpoint
from radar_fast.config import RunConfig
from radar_fast.engines import WINDOW, EngineOptions, choose_engine, engine_identity, open_engine
from radar_fast.journal import Journal, read_records
from radar_fast.official import export_official
from radar_fast.progress import SilentWatch, Watch
from radar_fast.protocols import Protocol, open_protocol
from radar_fast.readers import Selection, open_reader
from radar_fast.record import record_of
from radar_fast.results import ResultFolder
from radar_fast.sample import Prompt, ReasonKind, Sample, Scored

__all__ = ["Survey", "aggregate", "score", "summarize", "survey"]


def score(config: RunConfig, watch: Watch | None = None) -> dict[str, Any]:
    """Score a checkpoint on a benchmark; what is in ``config.out`` already is not scored again.

    Returns:
        What ``summary.json`` holds: ``tasks``, ``directories``, ``abilities``, ``overall`` and ``engine``.

    Raises:
        RadarError: one of its kinds, with a message for the user. What was scored before stays in the journal.
    """
    watch = watch or SilentWatch()
    folder = ResultFolder(config.out)
    reader = open_reader(
        config.data, format=config.format, fields=config.fields, follow_symlinks=config.follow_symlinks
    )
    selection = Selection(tasks=config.tasks, limit=config.limit, abilities=config.abilities)
    found = survey(selection.apply(reader), reader.root)
    watch.say(f"{config.data}: {found.samples} samples in {len(found.tasks)} tasks ({reader.format})")

    checkpoint = None
    if config.model is not None:
        checkpoint = Checkpoint.open(config.model, trust_remote_code=config.trust_remote_code)
    protocol = open_protocol(config.protocol, checkpoint, min_pixels=config.min_pixels, max_pixels=config.max_pixels)
    options = EngineOptions(
        device=config.device,
        dtype=config.dtype,
        batch_tokens=config.batch_tokens,
        workers=config.workers,
        arguments=config.engine_args,
    )
    chosen, why = choose_engine(config.engine, options)
    if why:
        watch.say(f"engine {config.engine}: {chosen}, because {why}")
    identity = {
        "model": {"files": checkpoint.fingerprint()} if checkpoint else None,
        "data": {"format": reader.format, "samples": found.samples, "sha256": found.digest},
        "protocol": dict(protocol.settings),
        "engine": engine_identity(config.engine, checkpoint, options),
    }
    folder.make()
    with Journal.open(folder.samples) as journal:
        if not journal.locked:
            watch.say(f"{folder.samples}: the file system has no locks; see that no other run writes to this folder")
        folder.claim(identity, _plain(config), empty=not journal.done)
        if journal.repaired_bytes:
            watch.say(f"{folder.samples}: cut off a torn end of {journal.repaired_bytes} bytes, left by a killed run")
        if journal.done:
            left = found.samples - len(journal.done)
            watch.say(f"{config.out}: {len(journal.done)} samples are scored already, {left} are left")
        if len(journal.done) < found.samples:
            _score_rest(config, checkpoint, protocol, options, selection.apply(reader), found, journal, folder, watch)
    return summarize(config.out, official_out=config.official_out)


def _score_rest(
    config: RunConfig,
    checkpoint: Checkpoint | None,
    protocol: Protocol,
    options: EngineOptions,
    samples: Iterable[Sample],
    found: "Survey",
    journal: Journal,
    folder: ResultFolder,
    watch: Watch,
) -> None:
    done = frozenset(journal.done)  # as it was: windows must not depend on how far this run has come
    engine = open_engine(config.engine, checkpoint, protocol, options)
    described = ", ".join(f"{name} {value}" for name, value in engine.describe().items() if value is not None)
    watch.say(f"engine {engine.name}: {described}")
    watch.start(found.samples, len(done))
    try:
        unfit: list[Scored] = []
        for scored in engine.score(_prompts(samples, protocol, done, unfit)):
            for result in (*unfit, scored):
                if result.sample.key not in done:
                    journal.append([record_of(result)])
                    watch.advance()
            unfit.clear()
        for result in unfit:
            journal.append([record_of(result)])
            watch.advance()
        folder.amend(engine={"name": engine.name, **engine.describe()})
    finally:
        watch.stop()
        engine.close()


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
    """The published scripts' file name: the model folder's, and for Qwen2-VL the pixel bounds."""
    model = run["configuration"].get("model")
    name = Path(model).name if model else "fake"
    protocol = run["identity"]["protocol"]
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


@dataclass(frozen=True)
class Survey:
    """What one pass over a benchmark finds, before anything is scored."""

    samples: int
    """All of them, unfit ones included."""
    tasks: Counter[str]
    """Samples a task."""
    unfit: Counter[ReasonKind]
    """Samples that the reader already knows cannot be scored."""
    digest: str
    """SHA-256 over all that the samples say, and the names and sizes of their images."""


def survey(samples: Iterable[Sample], root: Path) -> Survey:
    """Read everything once: counts, and a digest that tells one benchmark from another.

    Raises:
        DataError: a file cannot be read, or there are no samples.
    """
    from radar_fast.errors import DataError

    tasks: Counter[str] = Counter()
    unfit: Counter[ReasonKind] = Counter()
    digest = hashlib.sha256()
    for sample in samples:
        tasks[sample.task] += 1
        if sample.reason is not None:
            unfit[sample.reason.kind] += 1
        texts = [part if isinstance(part, str) else _image_line(part.path, root) for part in sample.parts]
        said = (*sample.key, sample.directory, sample.ability, *texts, *sample.candidates, str(sample.answer))
        digest.update("\0".join(said).encode("utf-8", "surrogatepass") + b"\n")
    if not tasks:
        raise DataError(f"{root}: no samples to score; check --tasks and --format")
    return Survey(tasks.total(), tasks, unfit, digest.hexdigest())


def _image_line(path: Path, root: Path) -> str:
    try:
        size = path.stat().st_size
    except OSError:
        size = -1
    return f"{path.relative_to(root)} {size}" if path.is_relative_to(root) else f"{path} {size}"


def _plain(config: RunConfig) -> dict[str, Any]:
    """The configuration as JSON takes it."""
    return {
        name: str(value.resolve()) if isinstance(value, Path) else dict(value) if isinstance(value, Mapping) else value
        for name, value in asdict(config).items()
    }
