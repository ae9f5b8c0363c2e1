"""Rounds -> the report: rows of numbers, tables, a picture."""

import datetime
import importlib.util
import math
import os
import platform
import shlex
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from radar_fast.bench.process import Round
from radar_fast.bench.roofline import Work
from radar_fast.errors import ResultsError, UsageError
from radar_fast.results.folder import library_versions
from radar_fast.terminal.tables import new_table
from radar_fast.util.clock import PARTS

__all__ = ["PARITY", "STAGE_ORDER", "Entry", "check_plot", "report_of", "tables_of", "write_plot"]

PARITY = {"float32": 1e-3, "float16": 0.25, "bfloat16": 0.5}
"""How far a contender's logits may be from the first's, in standard deviations of the first's: well above rounding,
well below what another image, prompt or mask gives."""

STAGE_ORDER = (PARTS[0], "read", *PARTS[1:], "write")
"""In which stages are shown; others come after."""


@dataclass(frozen=True)
class Entry:
    """What was found out about one contender."""

    name: str
    """Of the engine or peer."""
    is_peer: bool
    """Whether others are compared with it."""
    rounds: Sequence[Round]
    """The timed ones; none of one that failed, or whose turn has not come."""
    startup_seconds: float
    """From nothing to ready."""
    peak_host_mib: float
    """Most resident memory, its children counted."""
    peak_device_mib: float | None
    """What it came to hold of the GPU; None without one."""
    settings: Mapping[str, Any]
    """What it says of itself."""
    failed: str | None = None
    """Why it could not be measured."""

    @property
    def seconds(self) -> float:
        """Median of the rounds."""
        return statistics.median(each.seconds for each in self.rounds)

    @property
    def measured(self) -> bool:
        """Whether there is a round of it to report."""
        return self.failed is None and bool(self.rounds)


def report_of(
    entries: Sequence[Entry],
    *,
    works: Sequence[Work],
    flops: Sequence[int] | None,
    rate: float,
    model: str,
    source: str,
    device: str,
    dtype: str,
    complete: bool = True,
) -> dict[str, Any]:
    """The whole report, as JSON takes it. The first entry that was measured is the one whose logits the others' are
    compared with.

    Args:
        entries: one a contender; at least one of them was measured.
        works: one a sample.
        flops: that each sample cannot do without; None where that is not known.
        rate: of the machine's matrix product, a second.
        model: what it is called.
        source: of the samples.
        device: ``cpu`` or ``cuda``.
        dtype: of the weights.
        complete: whether there is nothing more to come.
    """
    prefixes = [work.prefix for work in works]
    counts = sorted({len(work.answers) for work in works})
    measured = [entry for entry in entries if entry.measured]
    first = measured[0]
    spread = _spread(first.rounds[0].logits or first.rounds[0].logprobs or [])
    return {
        "bench": "radar-fast",
        "complete": complete,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["radar-fast", *sys.argv[1:]]),
        "model": model,
        "data": source,
        "device": device,
        "dtype": dtype,
        "samples": len(works),
        "rounds": max(len(entry.rounds) for entry in measured),
        "candidates": counts[0] if len(counts) == 1 else counts,
        "prompt_tokens": {"least": min(prefixes), "median": statistics.median(prefixes), "most": max(prefixes)},
        "answer_tokens": statistics.mean(length for work in works for length in work.answers),
        "flops_per_sample": None if flops is None else statistics.mean(flops),
        "matrix_flops_per_second": rate,
        "logit_spread": spread,
        "parity_bound": PARITY[dtype] * spread,
        "machine": _machine(device),
        "versions": library_versions(),
        "rows": [
            _row(entry, measured, flops, rate, PARITY[dtype] * spread)
            if entry.measured
            else {"name": entry.name, "peer": entry.is_peer, "failed": entry.failed or "its turn has not come"}
            for entry in entries
        ],
    }


def _row(
    entry: Entry, measured: Sequence[Entry], flops: Sequence[int] | None, rate: float, bound: float
) -> dict[str, Any]:
    seconds = [each.seconds for each in entry.rounds]
    tokens = entry.rounds[-1].tokens_computed
    samples = entry.rounds[-1].samples
    difference = _difference(measured[0].rounds, entry.rounds)
    stages = _stages(entry)
    memory = entry.peak_host_mib if entry.peak_device_mib is None else entry.peak_device_mib
    return {
        "name": entry.name,
        "peer": entry.is_peer,
        "samples": samples,
        "samples_per_second": samples / entry.seconds,
        "samples_per_second_range": [samples / max(seconds), samples / min(seconds)],
        "seconds": entry.seconds,
        "seconds_of_rounds": seconds,
        "tokens_computed": tokens,
        "tokens_per_second": tokens / entry.seconds,
        "ratios": {peer.name: _ratio(entry, peer) for peer in measured if peer.is_peer and peer is not entry},
        "roofline_share": None if flops is None else sum(flops[:samples]) / rate / entry.seconds,
        "stages": stages,
        "peak_memory_mib": memory,
        "peak_host_memory_mib": entry.peak_host_mib,
        "largest_logit_difference": difference,
        "agrees": difference is not None and difference <= bound,
        "settings": dict(entry.settings),
    }


def _ratio(entry: Entry, peer: Entry) -> dict[str, float]:
    """How many times as many samples a second as the peer: round by round, then the median, and the extremes."""
    ratios = [
        (mine.samples / mine.seconds) / (theirs.samples / theirs.seconds)
        for mine, theirs in zip(entry.rounds, peer.rounds, strict=False)  # of a bench under way, one may be ahead
    ]
    return {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}


def _stages(entry: Entry) -> dict[str, float]:
    """Seconds a round: medians. A stage that was not always seen counts as 0 where it was not."""
    names = {name for each in entry.rounds for name in each.stages}
    known = [name for name in STAGE_ORDER if name in names] + sorted(names - set(STAGE_ORDER))
    medians = {name: statistics.median(each.stages.get(name, 0.0) for each in entry.rounds) for name in known}
    return {"startup": entry.startup_seconds, **medians}


def _difference(first: Sequence[Round], other: Sequence[Round]) -> float | None:
    """Largest over all rounds, and all samples that both scored, of raw logits, or of log-probabilities where one of
    the two has those alone; None where they do not even have the same answer tokens."""
    worst = 0.0
    for mine, theirs in zip(first, other, strict=False):
        both = (mine.logits, theirs.logits)
        if not all(both):
            both = (mine.logprobs or [], theirs.logprobs or [])
        if not all(both):
            return None
        for a, b in zip(*both, strict=False):
            if [len(candidate) for candidate in a] != [len(candidate) for candidate in b]:
                return None
            pairs = (pair for x, y in zip(a, b, strict=True) for pair in zip(x, y, strict=True))
            worst = max([worst, *(abs(x - y) for x, y in pairs)])
    return worst if math.isfinite(worst) else None


def _spread(logits: Sequence[Sequence[Sequence[float]]]) -> float:
    """Standard deviation over all answer tokens."""
    return float(np.std([value for sample in logits for candidate in sample for value in candidate]))


def _machine(device: str) -> dict[str, Any]:
    machine: dict[str, Any] = {
        "platform": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
    }
    if device == "cuda":
        import torch

        machine["gpu"] = torch.cuda.get_device_name()
    return machine


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


# For readers ---------------------------------------------------------------------------------------------------------


def tables_of(report: Mapping[str, Any]) -> list[Table]:
    """Speed and parity in one table, time by stage in another; what could not be measured, with the reason, in a
    third."""
    rows = [row for row in report["rows"] if "failed" not in row]
    failed = [row for row in report["rows"] if "failed" in row]
    peers = [row["name"] for row in rows if row["peer"]]
    speed = new_table(
        "contender",
        ("samples/s", "range", "seconds", "tokens/s", *(f"x {peer}" for peer in peers), "roofline", "MiB", "logits +-"),
    )
    for row in rows:
        low, high = row["samples_per_second_range"]
        share, difference = row["roofline_share"], row["largest_logit_difference"]
        speed.add_row(
            Text(row["name"]),
            f"{row['samples_per_second']:.2f}",
            f"{low:.2f}-{high:.2f}",
            f"{row['seconds']:.2f}",
            f"{row['tokens_per_second']:.0f}",
            *(f"{row['ratios'][peer]['median']:.2f}" if peer in row["ratios"] else "1" for peer in peers),
            "-" if share is None else f"{100 * share:.1f}%",
            f"{row['peak_memory_mib']:.0f}",
            ("-" if difference is None else f"{difference:.1e}") + ("" if row["agrees"] else " DISAGREES"),
        )
    seen = list(dict.fromkeys(stage for row in rows for stage in row["stages"]))
    order = [stage for stage in STAGE_ORDER if stage in seen] + [stage for stage in seen if stage not in STAGE_ORDER]
    stages = new_table("seconds a round", order)
    for row in rows:
        cells = (row["stages"].get(stage) for stage in order)
        stages.add_row(Text(row["name"]), *("-" if cell is None else f"{cell:.3f}" for cell in cells))
    if not failed:
        return [speed, stages]
    reasons = new_table("not measured", ())
    reasons.add_column("why", overflow="fold")
    for row in failed:
        reasons.add_row(Text(row["name"]), Text(row["failed"]))
    return [speed, stages, reasons]


def check_plot(plot: Path | None) -> None:
    """See that a picture can be written, before anything is measured.

    Raises:
        UsageError: matplotlib is not installed, or there is no such folder.
    """
    if plot is None:
        return
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError("--plot: matplotlib is not installed; pip install '.[plot]', or leave it out")
    if not plot.resolve().parent.is_dir():
        raise UsageError(f"--plot {plot}: there is no folder {plot.resolve().parent}")


def write_plot(report: Mapping[str, Any], plot: Path) -> None:
    """Samples a second of each contender as bars, with the spread of the rounds, into a PNG.

    Raises:
        ResultsError: it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [row for row in report["rows"] if "failed" not in row]
    figure = Figure(figsize=(8, 1.2 + 0.6 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    speeds = [row["samples_per_second"] for row in rows]
    below = [row["samples_per_second"] - row["samples_per_second_range"][0] for row in rows]
    above = [row["samples_per_second_range"][1] - row["samples_per_second"] for row in rows]
    colours = ["0.7" if row["peer"] else "tab:blue" for row in rows]
    bars = axes.barh([row["name"] for row in rows], speeds, xerr=[below, above], color=colours, capsize=3)
    axes.bar_label(bars, [f"{speed:.2f}" for speed in speeds], padding=6)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("samples a second")
    axes.set_title(f"{report['model']}, {report['candidates']} candidates, {report['dtype']} on {report['device']}")
    try:
        figure.savefig(plot, dpi=150)
    except OSError as error:
        raise ResultsError(f"--plot {plot}: cannot be written: {error.strerror or error}") from None
