"""What a run comes to: :class:`Summary`, and ``summary.json`` <-> it.

:func:`radar_fast.results.metrics.summarize` makes one of records.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

from radar_fast.errors import ResultsError, UsageError
from radar_fast.results import measures
from radar_fast.results.facets import Facet, facet_from

__all__ = ["FORMAT", "Aggregation", "EngineTotals", "Entry", "Estimate", "Summary"]

FORMAT = 1
"""Of ``summary.json``; raised when an older reader could misread it. A file without ``format`` is of this one."""

Aggregation = Literal["macro", "micro"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """The mean of a measure over samples, with its confidence interval."""

    value: float | None
    """The mean; None without scored samples."""
    low: float | None = None
    """Lower end of the interval; None where there is none."""
    high: float | None = None
    """Upper end."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The numbers of one task, directory or ability, or of everything."""

    estimates: Mapping[str, Estimate]
    """The mean of each of :data:`~radar_fast.results.measures.MEASURES`, and each of ``POOLED`` there, by name."""
    scored: int
    """Samples that the means are over."""
    unscored: int
    """Samples left out."""
    aggregation: Aggregation
    """``micro``: mean over samples; ``macro``: unweighted mean over the tasks' means."""
    reasons: Mapping[str, int]
    """How many samples are unscored for which kind of reason, in alphabetical order."""
    facets: Mapping[str, Facet] = field(default_factory=dict)
    """Numbers that only this benchmark has, by name; see :mod:`radar_fast.results.facets`."""
    clusters: int | None = None
    """How many clusters the scored samples are in (:mod:`radar_fast.results.clusters`): what the intervals count by;
    None in a summary of an earlier version."""
    chance: float | None = None
    """What guessing among the candidates would have for SDS and accuracy: the mean of 1 over their number."""

    def estimate(self, name: str) -> Estimate:
        """The mean of a measure, such as ``sds``.

        Raises:
            UsageError: no measure has that name.
        """
        try:
            return self.estimates[name]
        except KeyError:
            raise UsageError(f"measure {name!r}: unknown; it is one of {', '.join(self.estimates)}") from None

    @property
    def sds(self) -> float | None:
        """Mean probability of the answer, from mean raw logits: the published score, in [0, 1]."""
        return self.estimate("sds").value

    @property
    def sds_low(self) -> float | None:
        """Lower end of the interval of ``sds``; None without intervals, or over too few clusters."""
        return self.estimate("sds").low

    @property
    def sds_high(self) -> float | None:
        """Upper end."""
        return self.estimate("sds").high

    @property
    def accuracy(self) -> float | None:
        """Share of the scored samples whose answer has the highest mean raw logit."""
        return self.estimate("accuracy").value

    @property
    def accuracy_low(self) -> float | None:
        """Lower end of the interval of ``accuracy``, which is Wilson's; None likewise."""
        return self.estimate("accuracy").low

    @property
    def accuracy_high(self) -> float | None:
        """Upper end."""
        return self.estimate("accuracy").high

    @property
    def sds_logprob(self) -> float | None:
        """As ``sds``, from mean log-probabilities."""
        return self.estimate("sds_logprob").value

    @property
    def accuracy_logprob(self) -> float | None:
        """As ``accuracy``, from mean log-probabilities."""
        return self.estimate("accuracy_logprob").value

    def to_dict(self) -> dict[str, object]:
        """For JSON: every measure, then the ends of the intervals, then counts, and each facet under its name."""
        document: dict[str, object] = {name: estimate.value for name, estimate in self.estimates.items()}
        for measure in measures.MEASURES:
            if measure.interval and (estimate := self.estimates.get(measure.name)):
                document |= {f"{measure.name}_low": estimate.low, f"{measure.name}_high": estimate.high}
        document |= {
            "scored": self.scored,
            "unscored": self.unscored,
            "clusters": self.clusters,
            "chance": self.chance,
            "aggregation": self.aggregation,
            "reasons": dict(self.reasons),
        }
        return document | {name: asdict(facet) for name, facet in self.facets.items()}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """The entry that :meth:`to_dict` wrote. A measure that it lacks is None; what is unknown is passed over.

        Raises KeyError, TypeError or ValueError for anything else.
        """
        return cls(
            estimates={
                name: Estimate(
                    _number(document.get(name)),
                    _number(document.get(f"{name}_low")),
                    _number(document.get(f"{name}_high")),
                )
                for name in measures.names()
            },
            scored=int(document["scored"]),
            unscored=int(document["unscored"]),
            aggregation="macro" if document["aggregation"] == "macro" else "micro",
            reasons={str(kind): int(count) for kind, count in document["reasons"].items()},
            clusters=None if document.get("clusters") is None else int(document["clusters"]),
            chance=_number(document.get("chance")),
            facets={name: facet for name, block in document.items() if (facet := facet_from(name, block)) is not None},
        )


@dataclass(frozen=True, slots=True)
class EngineTotals:
    """What the scoring cost, over all records, scored or not, and which engine did it."""

    tokens_computed: int
    """Token positions that the language model computed, padding counted."""
    tokens_minimal: int
    """The least positions that any method must compute for each sample alone; fewer are computed where samples share
    a prefix, such as an image, and the engine keeps it from one to the next."""
    seconds: float
    """The time spent computing, from the records; a run that was resumed has the seconds of all its parts."""
    scored: int
    """Samples with a score."""
    samples_per_second: float | None
    """``scored / seconds``; None where no time is on record."""
    described: Mapping[str, object] = field(default_factory=dict)
    """What ``run.json`` says of the engine as it was last open: its settings, counts and seconds. Empty for samples
    that have no result folder."""

    @property
    def name(self) -> str | None:
        """The engine's, as on the command line; None where ``run.json`` does not say, and so for all below."""
        return self._text("name")

    @property
    def version(self) -> str | None:
        """Of the library that runs the model."""
        return self._text("version")

    @property
    def device(self) -> str | None:
        """``cpu`` or ``cuda``."""
        return self._text("device")

    @property
    def device_name(self) -> str | None:
        """What the device calls itself."""
        return self._text("device_name")

    @property
    def dtype(self) -> str | None:
        """``float32``, ``bfloat16`` or ``float16``."""
        return self._text("dtype")

    def to_dict(self) -> dict[str, object]:
        """For JSON: what ``run.json`` says, then the totals."""
        return {
            **self.described,
            "tokens_computed": self.tokens_computed,
            "tokens_minimal": self.tokens_minimal,
            "seconds": self.seconds,
            "scored": self.scored,
            "samples_per_second": self.samples_per_second,
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """The totals that :meth:`to_dict` wrote. Raises KeyError, TypeError or ValueError for anything else."""
        return cls(
            tokens_computed=int(document["tokens_computed"]),
            tokens_minimal=int(document["tokens_minimal"]),
            seconds=float(document["seconds"]),
            scored=int(document["scored"]),
            samples_per_second=_number(document["samples_per_second"]),
            described={name: value for name, value in document.items() if name not in cls.__dataclass_fields__},
        )

    def _text(self, name: str) -> str | None:
        value = self.described.get(name)
        return value if isinstance(value, str) else None


@dataclass(frozen=True, slots=True)
class Summary:
    """All entries of a run, each mapping in alphabetical order."""

    tasks: Mapping[str, Entry]
    directories: Mapping[str, Entry]
    abilities: Mapping[str, Entry]
    overall: Entry
    engine: EngineTotals
    missing: int | None = None
    """How many samples of the benchmark, or of the shard, are neither scored nor unscored yet; None where nothing says
    how many it has, as in a file of an earlier version."""
    step: int | None = None
    """The checkpoint's training step; None where nothing says it."""
    shard: str | None = None
    """``I/N`` where these are the numbers of a shard; None: of the benchmark."""

    @property
    def complete(self) -> bool:
        """Whether every sample of the benchmark is in; False where that is not known, and for a shard."""
        return self.missing == 0 and self.shard is None

    def to_dict(self) -> dict[str, object]:
        """What ``summary.json`` holds."""
        groups = {"tasks": self.tasks, "directories": self.directories, "abilities": self.abilities}
        return {
            "format": FORMAT,
            "complete": self.complete,
            "missing": self.missing,
            "step": self.step,
            "shard": self.shard,
            **{kind: {name: entry.to_dict() for name, entry in entries.items()} for kind, entries in groups.items()},
            "overall": self.overall.to_dict(),
            "engine": self.engine.to_dict(),
        }

    @classmethod
    def from_dict(cls, document: object) -> Self:
        """The summary that a ``summary.json`` holds, also one of an earlier version.

        Raises:
            ResultsError: it is none, or of a later version.
        """
        if not isinstance(document, Mapping):
            raise ResultsError("not a summary: it is not an object")
        if document.get("format", FORMAT) != FORMAT:
            raise ResultsError(
                f"a summary of format {document['format']!a:.40}, and this version of radar-fast reads format "
                f"{FORMAT}: run `radar-fast summarize` on its result folder"
            )
        try:
            missing, step, shard = (document.get(name) for name in ("missing", "step", "shard"))
            return cls(
                tasks=_entries(document["tasks"]),
                directories=_entries(document["directories"]),
                abilities=_entries(document["abilities"]),
                overall=Entry.from_dict(document["overall"]),
                engine=EngineTotals.from_dict(document["engine"]),
                missing=None if missing is None else int(missing),
                step=None if step is None else int(step),
                shard=None if shard is None else str(shard),
            )
        except KeyError as error:
            raise ResultsError(f"not a summary: it has no {error}; run `radar-fast summarize` again") from None
        except (AttributeError, TypeError, ValueError) as error:
            raise ResultsError(f"not a summary: {error}; run `radar-fast summarize` again") from None


def _entries(document: Mapping[str, Any]) -> dict[str, Entry]:
    return {name: Entry.from_dict(entry) for name, entry in document.items()}


def _number(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is not a number")
    return float(value)
