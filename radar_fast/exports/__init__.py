"""A series for other programs: tables, trackers' files, and the layouts of other harnesses.

Each export reads result folders alone, and giving it twice adds nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from radar_fast.errors import ResultsError, one_line
from radar_fast.exports.every_eval_ever import write_every_eval_ever
from radar_fast.exports.lm_eval import write_lm_eval
from radar_fast.results.folder import ResultFolder
from radar_fast.results.growth import Growth, growth
from radar_fast.results.growth.frame import write_csv, write_parquet
from radar_fast.results.summary import Entry
from radar_fast.trackers import TRACKERS, Numbers, check_tracker, numbers_of, open_tracker
from radar_fast.trackers.ledger import Ledger
from radar_fast.trackers.progress import run_name
from radar_fast.util.choices import check_one_of

__all__ = ["EXPORTS", "export"]

_TABLES: Mapping[str, Callable[[Sequence[Growth], Path], None]] = {"csv": write_csv, "parquet": write_parquet}
_LAYOUTS: Mapping[str, Callable[[Sequence[Growth], Path], int]] = {
    "lm-eval": write_lm_eval,
    "every-eval-ever": write_every_eval_ever,
}
EXPORTS = (*_TABLES, *_LAYOUTS, *TRACKERS)
"""What ``radar-fast export --to`` takes."""


def export(results: Sequence[str | Path], to: str, out: str | Path) -> Iterator[str]:
    """Write what other programs read, and say in lines what was written.

    Args:
        results: result folders, or folders of them.
        to: one of :data:`EXPORTS`.
        out: the folder that it goes to; made if absent.

    Raises:
        UsageError: an export that is none, or whose library is not installed.
        ResultsError: the folders cannot be read, or ``out`` not be written.
    """
    check_one_of("to", to, EXPORTS)
    if to in TRACKERS:
        check_tracker("to", to)
    out = Path(out)
    series = growth(*results)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResultsError(f"--out {out}: cannot be made a folder: {error.strerror or error}") from None
    if to in _TABLES:
        _TABLES[to](series, out / f"growth.{to}")
        yield f"{out / f'growth.{to}'}: {sum(len(grown.steps) for grown in series)} steps"
    elif to in _LAYOUTS:
        yield f"{out}: {_LAYOUTS[to](series, out)} new files"
    else:
        for grown in series:
            yield from _track(grown, to, out)


def _track(grown: Growth, name: str, out: Path) -> Iterator[str]:
    """Tell a tracker the steps that it does not know."""
    ledger = Ledger(out, name)
    run = run_name(ResultFolder(grown.steps[0].folder).manifest())
    new: list[tuple[int, Numbers]] = []
    for place, step in enumerate(grown.steps):
        if step.number is None:
            yield f"{step.name}: left out: nothing says its training step"
            continue
        numbers = _numbers(grown, place)
        if numbers and not ledger.knows(run, step.number, numbers):
            new.append((step.number, numbers))
    if new:
        try:
            tracker = open_tracker(name, out, run, local=True)
            for number, numbers in new:
                tracker.log(number, numbers)
                ledger.note(run, number, numbers)
            tracker.close()
        except Exception as error:  # whatever its library raises
            raise ResultsError(f"--to {name}: {out}: {one_line(error)}") from error
        ledger.save()
    yield f"{out}: {run}: {len(new)} of {len(grown.steps)} steps are new"


def _numbers(grown: Growth, place: int) -> Numbers:
    def entries(section: str) -> dict[str, Entry]:
        curves = getattr(grown, section)
        return {name: entry for name, curve in curves.items() if (entry := curve.entries[place]) is not None}

    overall = grown.overall.entries[place]
    return {} if overall is None else numbers_of(entries("abilities"), entries("directories"), overall)
