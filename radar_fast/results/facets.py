"""Numbers that only some benchmarks have: what a sample's metadata say it belongs to -> a block of a summary's entry.

    metadata key         benchmark                block            of each
    group                circular MMBench         circular         task
    group_figure         HallusionBench           figures          task
    group_question       HallusionBench           questions        task
    class                folder of classes        classes          task
    graded, split_at     graded classes           graded           task
    version              MathVerse, PGPS9K        versions         directory

All are over scored samples and from mean raw logits, as ``sds`` and ``accuracy`` are. This module imports nothing of
ours.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Protocol

__all__ = [
    "KEYS",
    "Classes",
    "Facet",
    "Graded",
    "Groups",
    "Outcome",
    "Versions",
    "directory_facets",
    "facet_from",
    "task_facets",
]

_GROUPS = {"group": "circular", "group_figure": "figures", "group_question": "questions"}
KEYS = (*_GROUPS, "class", "graded", "split_at", "version")
"""The metadata that is read here."""


class Outcome(Protocol):
    """What is read of an outcome; :class:`radar_fast.results.outcomes.Outcome` has it."""

    @property
    def id(self) -> str: ...
    @property
    def sds(self) -> float | None:
        """None when unscored, and so are ``answer`` and ``chosen``."""
        ...

    @property
    def answer(self) -> int | None: ...
    @property
    def chosen(self) -> int | None:
        """Index of the candidate that the model prefers."""
        ...

    @property
    def facts(self) -> Mapping[str, str | int]:
        """Its metadata, as far as they are in :data:`KEYS`."""
        ...


@dataclass(frozen=True, slots=True)
class Groups:
    """Samples that count only together: a group is right if all of its samples are."""

    accuracy: float | None
    """Share of the groups that are right; None without groups."""
    groups: int
    """How many that is over."""
    incomplete: int
    """Groups left out because a sample of theirs is unscored."""


@dataclass(frozen=True, slots=True)
class Classes:
    """The accuracy of every class's samples."""

    accuracy: Mapping[str, float]
    """Class -> share of its samples that were put into it."""
    scored: Mapping[str, int]
    """Class -> how many that is over."""
    mean_accuracy: float
    """Unweighted mean over the classes that have samples."""


@dataclass(frozen=True, slots=True)
class Graded:
    """How far off the preferred class is where classes are grades, their candidates in the order of the grades."""

    mean_absolute_error: float
    """Mean distance between the preferred and the right grade, in grades."""
    split_at: int | None
    """The first grade above the split into two; None where the benchmark has none."""
    split_accuracy: float | None
    """Share of the samples whose preferred grade lies on the right side of the split."""


@dataclass(frozen=True, slots=True)
class Versions:
    """The same questions in several versions, over those that are scored in every one."""

    questions: int
    """How many those are."""
    sds: Mapping[str, float]
    """Version -> mean probability of the answer; empty without questions."""
    accuracy: Mapping[str, float]
    """Version -> accuracy."""
    sds_spread: float | None
    """Highest less lowest ``sds``: the modality gap."""
    accuracy_spread: float | None
    """Highest less lowest ``accuracy``."""


Facet = Groups | Classes | Graded | Versions

_KINDS: dict[str, type[Groups] | type[Classes] | type[Graded] | type[Versions]] = {
    **dict.fromkeys(_GROUPS.values(), Groups),
    "classes": Classes,
    "graded": Graded,
    "versions": Versions,
}


def facet_from(name: str, block: object) -> Facet | None:
    """The block of that name, back from JSON; None for what is not one. Raises KeyError where a field is missing."""
    kind = _KINDS.get(name)
    if kind is None or not isinstance(block, Mapping):
        return None
    return kind(**{field.name: block[field.name] for field in fields(kind)})


def task_facets(samples: Sequence[Outcome]) -> dict[str, Facet]:
    """The blocks of one task, by name; empty for most benchmarks."""
    facets: dict[str, Facet] = {}
    for key, name in _GROUPS.items():
        if members := [sample for sample in samples if key in sample.facts]:
            facets[name] = _groups(members, key)
    if members := [sample for sample in samples if "class" in sample.facts and sample.chosen is not None]:
        facets["classes"] = _classes(members)
    if members := [sample for sample in samples if "graded" in sample.facts and sample.chosen is not None]:
        facets["graded"] = _graded(members)
    return facets


def directory_facets(samples: Sequence[Outcome]) -> dict[str, Facet]:
    """The blocks of one directory, by name; empty for most benchmarks."""
    members = [sample for sample in samples if "version" in sample.facts]
    several = len({sample.facts["version"] for sample in members}) > 1
    return {"versions": _versions(members)} if several else {}


def _groups(samples: Iterable[Outcome], key: str) -> Groups:
    right: dict[str | int, bool] = {}
    incomplete: set[str | int] = set()
    for sample in samples:
        group = sample.facts[key]
        if sample.chosen is None:
            incomplete.add(group)
        right[group] = right.get(group, True) and sample.chosen == sample.answer
    whole = [is_right for group, is_right in right.items() if group not in incomplete]
    return Groups(_mean(whole), len(whole), len(incomplete))


def _classes(samples: Iterable[Outcome]) -> Classes:
    hits: dict[str, list[bool]] = {}
    for sample in samples:
        hits.setdefault(str(sample.facts["class"]), []).append(sample.chosen == sample.answer)
    accuracy = {name: math.fsum(members) / len(members) for name, members in sorted(hits.items())}
    scored = {name: len(members) for name, members in sorted(hits.items())}
    return Classes(accuracy, scored, math.fsum(accuracy.values()) / len(accuracy))


def _graded(samples: Sequence[Outcome]) -> Graded:
    pairs = [(sample.chosen or 0, sample.answer or 0) for sample in samples]
    split = samples[0].facts.get("split_at")
    sides = [(chosen >= split) == (answer >= split) for chosen, answer in pairs] if isinstance(split, int) else []
    return Graded(
        mean_absolute_error=math.fsum(abs(chosen - answer) for chosen, answer in pairs) / len(pairs),
        split_at=split if isinstance(split, int) else None,
        split_accuracy=_mean(sides),
    )


def _versions(samples: Iterable[Outcome]) -> Versions:
    by_version: dict[str, dict[str, Outcome]] = {}
    for sample in samples:
        scored = by_version.setdefault(str(sample.facts["version"]), {})
        if sample.sds is not None:
            scored[sample.id] = sample
    in_all = sorted(set.intersection(*(set(scored) for scored in by_version.values())))
    if not in_all:
        return Versions(0, {}, {}, None, None)
    sds, accuracy = {}, {}
    for version, scored in sorted(by_version.items()):
        members = [scored[name] for name in in_all]
        sds[version] = math.fsum(sample.sds or 0.0 for sample in members) / len(members)
        accuracy[version] = math.fsum(sample.chosen == sample.answer for sample in members) / len(members)
    return Versions(len(in_all), sds, accuracy, _spread(sds), _spread(accuracy))


def _spread(values: Mapping[str, float]) -> float:
    return max(values.values()) - min(values.values())


def _mean(values: Sequence[bool]) -> float | None:
    return math.fsum(values) / len(values) if values else None
