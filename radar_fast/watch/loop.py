"""``radar-fast watch``, read aloud: look -> hold -> convert -> score, again and again."""

import contextlib
import fcntl
import hashlib
import os
import queue
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from radar_fast.benchmark import Benchmark, benchmark_name, open_benchmark
from radar_fast.config import RunConfig
from radar_fast.errors import (
    BusyError,
    IncompleteError,
    ModelError,
    RadarError,
    ResultsError,
    UsageError,
)
from radar_fast.farm.options import FarmOptions
from radar_fast.farm.state import FarmState
from radar_fast.finished import data_state
from radar_fast.results.folder import ResultFolder
from radar_fast.results.summary import Summary
from radar_fast.series import FailedRun, ScoredRun, by_step
from radar_fast.terminal.progress import Progress
from radar_fast.util.atomic import cannot
from radar_fast.watch.conversion import Conversion
from radar_fast.watch.holding import Holding
from radar_fast.watch.lookout import Due, Lookout
from radar_fast.watch.ready import Ready
from radar_fast.watch.scorers import Scorer, Task, Timed, opened_scorer
from radar_fast.watch.wanted import Wanted

__all__ = ["WatchOptions", "watch"]


@dataclass(frozen=True, kw_only=True)
class WatchOptions:
    """The options of ``radar-fast watch`` beside those of a run."""

    root: Path
    """Into which the training writes a folder for each checkpoint."""
    ready: Ready = field(default_factory=Ready)
    """When one is whole."""
    wanted: Wanted = field(default_factory=Wanted)
    """Which are scored."""
    conversion: Conversion | None = None
    """What makes a checkpoint of a folder; None: it is one."""
    once: bool = False
    """End when what is there is scored."""
    poll: float = 10.0
    """Seconds from one look to the next."""
    farm: FarmOptions | None = None
    """How many engines on Ray, and where: as many checkpoints are scored at a time. None: one in this process."""

    def __post_init__(self) -> None:
        if not self.root.is_dir():
            raise UsageError(
                f"{self.root}: no such folder; name the one into which the training writes checkpoints", path=self.root
            )


def watch(
    options: WatchOptions,
    config: RunConfig,
    data: Sequence[Path],
    progress: Progress,
    tell: Callable[[FarmState], None] = lambda _: None,
) -> list[ScoredRun | FailedRun]:
    """Score each checkpoint under a folder once it is whole, until there is no more to come.

    What is done is known by the result folders, and nothing else is kept: a watch that was killed goes on when it is
    given again.

    Args:
        options: what is watched.
        config: of every run; its ``model`` is passed over. Results go to ``out/<checkpoint>``, of several benchmarks to
            ``out/<benchmark>/<checkpoint>``.
        data: benchmark folders.
        progress: told what goes on, and of each checkpoint that is done, also by a watch before this one.
        tell: told how far the engines on Ray are.

    Returns:
        What came of the checkpoints that this watch has scored, benchmark by benchmark, in the order of their steps.

    Raises:
        BusyError: another watch writes to ``config.out``.
        RadarError: for what is wrong with the options or the data.
    """
    with _alone(config.out):
        watcher = _Watcher(options, config, data, Timed(progress))
        try:
            with opened_scorer(options.farm, config, watcher.progress, tell) as scorer:
                watcher.run(scorer)
        finally:
            watcher.close()
    return watcher.results()


class _Watcher:
    """A watch at work."""

    def __init__(self, options: WatchOptions, config: RunConfig, data: Sequence[Path], progress: Progress) -> None:
        self._options, self.progress = options, progress
        self._cache = config.out / "preprocessed"
        if config.options.preprocess_cache is None:
            config = replace(config, options=replace(config.options, preprocess_cache=self._cache))
        self._configs = {benchmark_name(each): replace(config, data=each) for each in data}
        if len(self._configs) < len(data):
            raise UsageError("--data: two benchmarks of one name, which would be that of their result folders")
        states = {name: data_state(each) for name, each in self._configs.items()}
        self._benchmarks: Mapping[str, Benchmark] = {
            name: open_benchmark(each, progress, states[name]) for name, each in self._configs.items()
        }
        self._runs: dict[tuple[str, str], ScoredRun | FailedRun] = {}
        self._done: set[str] = set()
        self._found_done: queue.SimpleQueue[tuple[str, Path]] = queue.SimpleQueue()
        """Name and folder of those that a watch before this one has scored; found by either thread."""
        self._lookout = Lookout(
            options.root,
            options.ready,
            options.wanted,
            Holding(_holding_folder(options.root, config.out)),
            is_done=self._is_done,
            say=progress.say,
            converts=options.conversion is not None,
            step_from=config.step_from,
        )
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_looking, name="lookout", daemon=True)

    def run(self, scorer: Scorer) -> None:
        """Until all is scored that is to come."""
        self.progress.say(f"watching {self._options.root}")
        for torn in self._converting().glob("*.tmp"):  # of a watch that was killed
            shutil.rmtree(torn, ignore_errors=True)
        self._lookout.adopt_held()
        self._lookout.look(time.monotonic())
        self._thread.start()
        while True:
            self._tell_done_before()
            if due := self._lookout.due():
                self._score(due[: scorer.at_once], scorer)
            elif self._is_over():
                return
            else:
                time.sleep(self._options.poll)
            self._lookout.look(time.monotonic())

    def close(self) -> None:
        """Stop looking; what is held stays held for the next watch."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(timeout=self._options.poll + 60)
        if self._cache in {config.options.preprocess_cache for config in self._configs.values()}:
            shutil.rmtree(self._cache, ignore_errors=True)

    def results(self) -> list[ScoredRun | FailedRun]:
        """What came of the checkpoints, benchmark by benchmark."""
        found: list[ScoredRun | FailedRun] = []
        for benchmark in self._configs:
            runs = [run for (of, _), run in self._runs.items() if of == benchmark]
            found += by_step([run for run in runs if isinstance(run, ScoredRun)])
            found += [run for run in runs if isinstance(run, FailedRun)]
        return found

    def _keep_looking(self) -> None:
        """Also while something is scored: what comes and goes meanwhile is held."""
        while not self._ended.wait(self._options.poll):
            try:
                self._lookout.look(time.monotonic())
            except (OSError, RadarError) as error:  # the next look may do better, and the main thread says what stays
                self.progress.detail(f"{self._options.root}: a look failed: {error}")

    def _is_over(self) -> bool:
        """Nothing is due: whether nothing will be."""
        waiting = self._lookout.waiting()
        settling = any("without a change" in lacks for lacks in waiting.values())
        if self._options.once and not settling:
            for name, lacks in waiting.items():
                self.progress.say(f"{name}: not whole, lacks {lacks}")
            return True
        return self._lookout.reached_the_end() and not waiting

    def _score(self, dues: Sequence[Due], scorer: Scorer) -> None:
        """Score some on every benchmark; whatever happens to one, the watch goes on."""
        with contextlib.ExitStack() as held:
            tasks: list[tuple[Due, str, Task]] = []
            for due in dues:
                try:
                    model = held.enter_context(self._checkpoint(due))
                except (ModelError, UsageError) as error:
                    if isinstance(error, UsageError) and not self._runs:  # then it is the options
                        raise
                    self._settle(due, error)
                else:
                    tasks += [(due, benchmark, self._task(due, benchmark, model)) for benchmark in self._configs]
            proven = bool(self._runs)
            results = scorer.score([task for _, _, task in tasks], proven=proven) if tasks else []
        errors: dict[Due, RadarError | None] = {due: None for due, _, _ in tasks}
        for (due, benchmark, task), result in zip(tasks, results, strict=True):
            if isinstance(result, Summary):
                self._runs[benchmark, due.name] = ScoredRun(benchmark, due.name, task.config.folder, result)
            else:
                errors[due] = errors[due] or result
        for due, came in errors.items():
            self._settle(due, came, told=scorer.tells_failures)

    def _settle(self, due: Due, error: RadarError | None, *, told: bool = False) -> None:
        """Say what came of a checkpoint, unless that is ``told`` already, and let go of it."""
        if error is None:
            self._done.add(due.name)
            self._lookout.scored(due.name)
        elif isinstance(error, IncompleteError):
            self.progress.say(f"{due.name}: waited for: {error}")
            self._lookout.incomplete(due.name)
        else:
            if not told:
                self.progress.say(f"{due.name}: not scored: {error}")
            for benchmark, config in self._configs.items():
                folder = self._config(config, due.name, due.original).folder
                self._runs.setdefault((benchmark, due.name), FailedRun(benchmark, due.name, folder, error))
            self._lookout.failed(due.name)

    def _task(self, due: Due, benchmark: str, model: Path) -> Task:
        config = self._config(self._configs[benchmark], due.name, due.original)
        return Task(due.name, self._label(benchmark, due.name), config, self._benchmarks[benchmark], model)

    def _label(self, benchmark: str, name: str) -> str:
        return name if len(self._configs) == 1 else f"{benchmark}/{name}"

    def _tell_done_before(self) -> None:
        """A tracker may not know of what was scored by a watch that was killed then."""
        while not self._found_done.empty():
            name, original = self._found_done.get()
            for benchmark, config in self._configs.items():
                folder = self._config(config, name, original).folder
                try:
                    summary = ResultFolder(folder).read_summary()
                except ResultsError:  # gone since
                    continue
                self.progress.done(self._label(benchmark, name), folder, summary)

    def _converting(self) -> Path:
        return next(iter(self._configs.values())).out / "converting"

    @contextlib.contextmanager
    def _checkpoint(self, due: Due) -> Iterator[Path]:
        """Where the checkpoint is read from: as it is, or converted."""
        if self._options.conversion is None:
            yield due.path
            return
        self.progress.say(f"{due.name}: converting")
        log = self._converting() / f"{due.name}.log"
        # A name of its own: the command of a watch that was killed a moment ago may still be writing.
        scratch = self._converting() / f"{due.name}.{secrets.token_hex(3)}.tmp"
        with self._options.conversion.converted(due.path, scratch, log) as made:
            yield made

    def _config(self, config: RunConfig, name: str, original: Path) -> RunConfig:
        """Of a checkpoint on a benchmark."""
        several = len(self._configs) > 1
        out = config.out / benchmark_name(config.data) / name if several else config.out / name
        return replace(config, model=original, out=out)

    def _is_done(self, name: str, original: Path) -> bool:
        """Whether result folders say so: complete, of this very folder, and not older than what is in it now."""
        if name not in self._done:
            folders = [self._config(config, name, original).folder for config in self._configs.values()]
            if all(_holds_results_of(folder, original) for folder in folders):
                self._done.add(name)
                self._found_done.put((name, original))
        return name in self._done


def _holds_results_of(path: Path, original: Path) -> bool:
    folder = ResultFolder(path)
    if not folder.summary.exists():
        return False
    try:
        if folder.read_summary().missing != 0 or folder.manifest().model != str(original.resolve()):
            return False
        scored = folder.samples.stat().st_mtime_ns
        return not any(file.stat().st_mtime_ns > scored for file in original.glob("*") if file.is_file())
    except (ResultsError, OSError):
        return False


def _holding_folder(root: Path, out: Path) -> Path:
    """On the file system of the checkpoints, so that files can be linked; else beside the results."""
    name = f".radar-fast-{hashlib.sha256(str(out.resolve()).encode()).hexdigest()[:8]}"
    return root / name if os.access(root, os.W_OK) else out / ".held"


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold ``out/watch.lock``. Raises BusyError where another watch does."""
    file = out / "watch.lock"
    try:
        out.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise cannot("write", file, error) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(f"--out {out}: another watch writes to it; wait for it to end, or name another") from None
        except OSError:
            pass  # no locks on this file system: as for a journal
        yield
    finally:
        os.close(descriptor)
