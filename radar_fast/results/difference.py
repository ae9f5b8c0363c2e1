"""What two runs differ by: :class:`Comparison`, made by :func:`radar_fast.results.comparison.compare`."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from radar_fast.errors import UsageError
from radar_fast.results.summary import Aggregation

__all__ = ["Change", "Comparison", "Difference"]


@dataclass(frozen=True, slots=True)
class Change:
    """A measure in both runs, over the pairs. None without pairs."""

    first: float | None
    """The first run's mean."""
    second: float | None
    """The second run's."""
    value: float | None
    """The second less the first."""
    low: float | None
    """Lower end of the difference's confidence interval; None without intervals, or with too few clusters."""
    high: float | None
    """Upper end."""
    p: float | None = None
    """Two-sided p-value of no difference, by the same t as the interval; None likewise."""
    p_holm: float | None = None
    """The same, corrected for the number of tasks, directories or abilities compared (Holm)."""
    detectable: float | None = None
    """The minimum detectable effect: the smallest true difference that samples of this number and spread would show as
    significant, uncorrected, in 80% of cases."""
    level: float = 0.05
    """What a corrected p-value must be below for the difference to be significant."""

    @property
    def significant(self) -> bool | None:
        """Whether chance among samples does not explain it, by the corrected p-value; None without an interval."""
        return None if self.p_holm is None else self.p_holm < self.level

    def needed(self, effect: float, pairs: int) -> int | None:
        """How many samples a true difference of ``effect``, above 0, would need to show as significant in 80% of cases,
        where ``pairs`` samples can detect :attr:`detectable`: the error falls with the root of their number, clusters
        being of the same size. None where there is no interval."""
        return None if self.detectable is None else math.ceil(pairs * (self.detectable / effect) ** 2)


@dataclass(frozen=True, slots=True)
class Difference:
    """The numbers of one task, directory or ability, or of everything."""

    changes: Mapping[str, Change]
    """What became of each measure that has an interval (:mod:`radar_fast.results.measures`), by name."""
    paired: int
    """Samples that both runs have scored: what all of this is over."""
    only_first: int
    """Samples that the first run alone has scored; the second has them unscored, or not at all."""
    only_second: int
    """The reverse."""
    aggregation: Aggregation
    """``micro``: mean over pairs; ``macro``: unweighted mean over the tasks' means."""
    clusters: int = 0
    """How many clusters the pairs are in (:mod:`radar_fast.results.clusters`)."""

    def change(self, name: str) -> Change:
        """What became of a measure, such as ``sds``.

        Raises:
            UsageError: no measure has that name, or none with an interval.
        """
        try:
            return self.changes[name]
        except KeyError:
            raise UsageError(f"measure {name!r}: not compared; it is one of {', '.join(self.changes)}") from None

    @property
    def sds(self) -> float | None:
        """The second run's SDS less the first's."""
        return self.change("sds").value

    @property
    def sds_low(self) -> float | None:
        """Lower end of its interval."""
        return self.change("sds").low

    @property
    def sds_high(self) -> float | None:
        """Upper end."""
        return self.change("sds").high

    @property
    def first_sds(self) -> float | None:
        """The first run's, over the pairs."""
        return self.change("sds").first

    @property
    def second_sds(self) -> float | None:
        """The second run's, over the same."""
        return self.change("sds").second

    @property
    def accuracy(self) -> float | None:
        """The second run's accuracy less the first's."""
        return self.change("accuracy").value

    @property
    def accuracy_low(self) -> float | None:
        """Lower end of its interval."""
        return self.change("accuracy").low

    @property
    def accuracy_high(self) -> float | None:
        """Upper end."""
        return self.change("accuracy").high

    @property
    def first_accuracy(self) -> float | None:
        """The first run's, over the pairs."""
        return self.change("accuracy").first

    @property
    def second_accuracy(self) -> float | None:
        """The second run's, over the same."""
        return self.change("accuracy").second

    def to_dict(self) -> dict[str, object]:
        """For JSON: each measure on both sides with its difference and interval, then the counts."""
        document: dict[str, object] = {}
        for name, change in self.changes.items():
            document |= {
                f"first_{name}": change.first,
                f"second_{name}": change.second,
                name: change.value,
                f"{name}_low": change.low,
                f"{name}_high": change.high,
                f"{name}_p": change.p,
                f"{name}_p_holm": change.p_holm,
                f"{name}_detectable": change.detectable,
            }
        return document | {
            "paired": self.paired,
            "clusters": self.clusters,
            "only_first": self.only_first,
            "only_second": self.only_second,
            "aggregation": self.aggregation,
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """All differences between two runs, each mapping in alphabetical order."""

    tasks: Mapping[str, Difference]
    directories: Mapping[str, Difference]
    abilities: Mapping[str, Difference]
    overall: Difference
    first: str = ""
    """The first run's folder."""
    second: str = ""
    """The second run's folder."""
    differing: tuple[str, ...] = ()
    """In what the two runs differ, one line each."""
    first_missing: int | None = None
    """How many samples of its benchmark the first run lacks as yet; None where nothing says how many it has."""
    second_missing: int | None = None
    """Likewise."""

    def to_dict(self) -> dict[str, object]:
        """For JSON; the keys are the fields."""
        groups = {"tasks": self.tasks, "directories": self.directories, "abilities": self.abilities}
        return {
            **{kind: {name: entry.to_dict() for name, entry in entries.items()} for kind, entries in groups.items()},
            "overall": self.overall.to_dict(),
            "first": self.first,
            "second": self.second,
            "differing": list(self.differing),
            "first_missing": self.first_missing,
            "second_missing": self.second_missing,
        }
