"""RADAR's Soft Discrimination Score for multimodal checkpoints.

Importing this package imports next to nothing: a public name is fetched from its module when it is first used, so that
the command line answers at once. torch, transformers and vLLM are imported when an engine is opened.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from radar_fast.conditions import Conditions
    from radar_fast.config import RunConfig
    from radar_fast.engines import ENGINES, Engine, EngineOptions, EngineReport, EngineSpec, open_engine
    from radar_fast.errors import (
        BusyError,
        DataError,
        EngineError,
        IncompleteError,
        ModelError,
        RadarError,
        ResultsError,
        UsageError,
    )
    from radar_fast.farm.options import FarmOptions
    from radar_fast.farm.scoring import score_farm
    from radar_fast.farm.state import EngineState, FarmState
    from radar_fast.models.checkpoint import Checkpoint
    from radar_fast.own_samples import score_samples
    from radar_fast.protocols import Protocol, open_protocol
    from radar_fast.readers import Format, Reader, ReaderOptions, Selection, open_reader
    from radar_fast.report.build import WrittenReport, serve_report, write_report
    from radar_fast.results.comparison import compare
    from radar_fast.results.difference import Change, Comparison, Difference
    from radar_fast.results.facets import Classes, Graded, Groups, Versions
    from radar_fast.results.growth import Curve, Flips, Growth, SampleTable, Step, Trend, growth
    from radar_fast.results.judged import Judged
    from radar_fast.results.measures import Measure
    from radar_fast.results.record import Record
    from radar_fast.results.summary import EngineTotals, Entry, Estimate, Summary
    from radar_fast.run import aggregate, score, summarize
    from radar_fast.sample import (
        Candidate,
        EmbeddedImage,
        ImageFile,
        Markup,
        Placeholder,
        Prompt,
        Reason,
        ReasonKind,
        Sample,
        Scored,
    )
    from radar_fast.scores import Verdict
    from radar_fast.series import FailedRun, ScoredRun, score_series
    from radar_fast.shard import Shard
    from radar_fast.terminal.progress import Progress, SilentProgress

    __version__: str

_HOMES = {
    "results.measures": ("Measure",),
    "terminal.progress": ("Progress", "SilentProgress"),
    "conditions": ("Conditions",),
    "config": ("RunConfig",),
    "engines": ("ENGINES", "Engine", "EngineOptions", "EngineReport", "EngineSpec", "open_engine"),
    "errors": (
        "BusyError",
        "DataError",
        "EngineError",
        "IncompleteError",
        "ModelError",
        "RadarError",
        "ResultsError",
        "UsageError",
    ),
    "farm.options": ("FarmOptions",),
    "farm.scoring": ("score_farm",),
    "farm.state": ("EngineState", "FarmState"),
    "models.checkpoint": ("Checkpoint",),
    "protocols": ("Protocol", "open_protocol"),
    "own_samples": ("score_samples",),
    "readers": ("Format", "Reader", "ReaderOptions", "Selection", "open_reader"),
    "report.build": ("WrittenReport", "serve_report", "write_report"),
    "results.comparison": ("compare",),
    "results.difference": ("Change", "Comparison", "Difference"),
    "results.facets": ("Classes", "Graded", "Groups", "Versions"),
    "results.growth": ("Curve", "Flips", "Growth", "SampleTable", "Step", "Trend", "growth"),
    "results.judged": ("Judged",),
    "results.record": ("Record",),
    "results.summary": ("EngineTotals", "Entry", "Estimate", "Summary"),
    "run": ("aggregate", "score", "summarize"),
    "sample": (
        "Candidate",
        "EmbeddedImage",
        "ImageFile",
        "Markup",
        "Placeholder",
        "Prompt",
        "Reason",
        "ReasonKind",
        "Sample",
        "Scored",
    ),
    "scores": ("Verdict",),
    "series": ("FailedRun", "ScoredRun", "score_series"),
    "shard": ("Shard",),
}
"""Module -> its public names, the very ones that are imported above for those who read types."""

_HOME = {name: module for module, names in _HOMES.items() for name in names}


if "RADAR_FAST_STARTER" in os.environ:  # radar-fast has started this process: it is to end with it, from now on
    importlib.import_module("radar_fast.util.orphans").end_with_starter()


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = importlib.import_module("importlib.metadata").version("radar-fast")
    elif name in _HOME:
        value = getattr(importlib.import_module(f"radar_fast.{_HOME[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


__all__ = [
    "ENGINES",
    "BusyError",
    "Candidate",
    "Change",
    "Checkpoint",
    "Classes",
    "Comparison",
    "Conditions",
    "Curve",
    "DataError",
    "Difference",
    "EmbeddedImage",
    "Engine",
    "EngineError",
    "EngineOptions",
    "EngineReport",
    "EngineSpec",
    "EngineState",
    "EngineTotals",
    "Entry",
    "Estimate",
    "FailedRun",
    "FarmOptions",
    "FarmState",
    "Flips",
    "Format",
    "Graded",
    "Groups",
    "Growth",
    "ImageFile",
    "IncompleteError",
    "Judged",
    "Markup",
    "Measure",
    "ModelError",
    "Placeholder",
    "Progress",
    "Prompt",
    "Protocol",
    "RadarError",
    "Reader",
    "ReaderOptions",
    "Reason",
    "ReasonKind",
    "Record",
    "ResultsError",
    "RunConfig",
    "Sample",
    "SampleTable",
    "Scored",
    "ScoredRun",
    "Selection",
    "Shard",
    "SilentProgress",
    "Step",
    "Summary",
    "Trend",
    "UsageError",
    "Verdict",
    "Versions",
    "WrittenReport",
    "__version__",
    "aggregate",
    "compare",
    "growth",
    "open_engine",
    "open_protocol",
    "open_reader",
    "score",
    "score_farm",
    "score_samples",
    "score_series",
    "serve_report",
    "summarize",
    "write_report",
]
