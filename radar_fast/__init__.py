"""RADAR's Soft Discrimination Score for multimodal checkpoints.

Importing this package imports neither torch nor transformers nor vLLM; engines do, when they are opened.
"""

from importlib.metadata import version

from radar_fast.conditions import Conditions
from radar_fast.config import RunConfig
from radar_fast.engines import ENGINES, Engine, EngineOptions, EngineReport, EngineSpec, open_engine
from radar_fast.errors import BusyError, DataError, EngineError, ModelError, RadarError, ResultsError, UsageError
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import Protocol, open_protocol
from radar_fast.readers import Selection, open_reader
from radar_fast.results.comparison import compare
from radar_fast.results.difference import Comparison, Difference
from radar_fast.results.summary import Entry, Estimate, Summary
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
from radar_fast.series import ScoredRun, score_series

__version__ = version("radar-fast")

__all__ = [
    "ENGINES",
    "BusyError",
    "Candidate",
    "Checkpoint",
    "Comparison",
    "Conditions",
    "DataError",
    "Difference",
    "EmbeddedImage",
    "Engine",
    "EngineError",
    "EngineOptions",
    "EngineReport",
    "EngineSpec",
    "Entry",
    "Estimate",
    "ImageFile",
    "Markup",
    "ModelError",
    "Placeholder",
    "Prompt",
    "Protocol",
    "RadarError",
    "Reason",
    "ReasonKind",
    "ResultsError",
    "RunConfig",
    "Sample",
    "Scored",
    "ScoredRun",
    "Selection",
    "Summary",
    "UsageError",
    "__version__",
    "aggregate",
    "compare",
    "open_engine",
    "open_protocol",
    "open_reader",
    "score",
    "score_series",
    "summarize",
]
