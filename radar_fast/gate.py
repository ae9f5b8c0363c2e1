"""Go, no-go or undecided: two result folders under a policy, for a training run's alarm.

A policy is a TOML file of rules. Each names what it is about and what must have become of it, ``at_least``: a change in
a measure, the second run's less the first's, over the samples that both have scored. Above 0 it is a gain that is asked
for, below 0 a loss that is put up with.

A rule is met where the interval of the change lies at or above ``at_least``, broken where it lies below, and else
undecided. The intervals are those of :func:`~radar_fast.results.comparison.compare` at a level corrected for their
number (C. E. Bonferroni, 1936): all of them hold at once with the policy's ``confidence``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from radar_fast.errors import UsageError
from radar_fast.readers.toml_file import load_toml
from radar_fast.results import measures
from radar_fast.results.comparison import compare
from radar_fast.results.difference import Change, Comparison
from radar_fast.util.choices import did_you_mean
from radar_fast.util.printable import printable

__all__ = ["Decision", "Gate", "Policy", "Rule", "Verdict", "gate", "read_policy"]

SECTIONS = ("tasks", "directories", "abilities", "overall")


class Verdict(StrEnum):
    """What comes of a rule, and of all of them."""

    GO = "go"
    NO_GO = "no-go"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Rule:
    """What must hold."""

    section: Literal["tasks", "directories", "abilities", "overall"]
    """Of the comparison."""
    name: str
    """A glob: which of the section's entries, each for itself."""
    measure: str
    """One that two runs are compared by."""
    at_least: float
    """What the measure must have changed by."""


@dataclass(frozen=True, slots=True)
class Policy:
    """All rules of a file."""

    rules: tuple[Rule, ...]
    confidence: float
    """With which all intervals hold at once, in 0..1."""
    partial: bool
    """Whether to decide on runs that are not complete; else they are undecided."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What came of a rule for one entry."""

    rule: Rule
    name: str
    """The task, directory or ability."""
    verdict: Verdict
    change: Change
    """With its corrected interval."""
    reason: str
    """One line."""


@dataclass(frozen=True, slots=True)
class Gate:
    """What came of a policy."""

    verdict: Verdict
    """No-go if any rule is broken, else undecided if any is, else go; undecided in any case with :attr:`notes`."""
    decisions: tuple[Decision, ...]
    """In the order of the rules."""
    notes: tuple[str, ...]
    """What keeps the whole from being decided, one line each."""

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "verdict": self.verdict.value,
            "notes": list(self.notes),
            "decisions": [
                {
                    "section": each.rule.section,
                    "name": each.name,
                    "measure": each.rule.measure,
                    "at_least": each.rule.at_least,
                    "verdict": each.verdict.value,
                    "change": each.change.value,
                    "low": each.change.low,
                    "high": each.change.high,
                    "reason": each.reason,
                }
                for each in self.decisions
            ],
        }


def gate(first: str | Path, second: str | Path, policy: Policy) -> Gate:
    """Decide whether the second run may follow the first.

    Raises:
        UsageError: a rule is about nothing that the runs have.
        ResultsError: as :func:`~radar_fast.results.comparison.compare`.
    """
    plain = compare(first, second)
    about = [(rule, name) for rule in policy.rules for name in _named(rule, plain)]
    comparison = compare(first, second, confidence=1 - (1 - policy.confidence) / len(about))
    decisions = tuple(_decided(rule, name, comparison) for rule, name in about)
    notes = []
    if not policy.partial:
        missing = (("A", comparison.first_missing), ("B", comparison.second_missing))
        notes = [f"{letter} lacks {count} samples as yet" for letter, count in missing if count]
    verdicts = {decision.verdict for decision in decisions} | ({Verdict.UNDECIDED} if notes else set())
    worst = next(each for each in (Verdict.NO_GO, Verdict.UNDECIDED, Verdict.GO) if each in verdicts)
    return Gate(Verdict.UNDECIDED if notes else worst, decisions, tuple(notes))


def _named(rule: Rule, comparison: Comparison) -> list[str]:
    known = ["overall"] if rule.section == "overall" else list(getattr(comparison, rule.section))
    found = [name for name in known if fnmatchcase(name, rule.name)]
    if not found:
        raise UsageError(
            f"--policy: {rule.name!r} is none of the {rule.section}{did_you_mean(rule.name, known)}; "
            f"they are {', '.join(known)}"
        )
    return found


def _decided(rule: Rule, name: str, comparison: Comparison) -> Decision:
    entry = comparison.overall if rule.section == "overall" else getattr(comparison, rule.section)[name]
    change = entry.change(rule.measure)
    what = f"{name}: {rule.measure}"
    if change.low is None or change.high is None:
        reason = f"{what} has no interval: {entry.paired} pairs in {entry.clusters} clusters are too few"
        return Decision(rule, name, Verdict.UNDECIDED, change, reason)
    interval = f"{change.value:+.4f} ({change.low:+.4f} to {change.high:+.4f})"
    if change.low >= rule.at_least:
        return Decision(rule, name, Verdict.GO, change, f"{what} {interval}: at least {rule.at_least:+g}")
    if change.high < rule.at_least:
        return Decision(rule, name, Verdict.NO_GO, change, f"{what} {interval}: below {rule.at_least:+g}")
    reason = f"{what} {interval}: may be on either side of {rule.at_least:+g}"
    return Decision(rule, name, Verdict.UNDECIDED, change, reason)


def read_policy(file: Path) -> Policy:
    """The policy in a TOML file.

    Raises:
        DataError: it is no TOML.
        UsageError: a key is unknown or missing, or has a value that it cannot have.
    """
    document = load_toml(file)
    where = f"--policy {file}"
    _require_known(where, document, ("confidence", "partial", "rules"))
    confidence, partial = document.get("confidence", 0.95), document.get("partial", False)
    if not isinstance(confidence, float) or not 0 < confidence < 1:
        raise UsageError(f"{where}: confidence is {confidence!r}; it must be a number between 0 and 1")
    if not isinstance(partial, bool):
        raise UsageError(f"{where}: partial is {partial!r}; it must be true or false")
    rules = document.get("rules")
    if not isinstance(rules, list) or not rules or not all(isinstance(rule, dict) for rule in rules):
        raise UsageError(f"{where}: has no rules; write at least one [[rules]] with at_least")
    return Policy(tuple(_rules(where, rules)), confidence, partial)


def _rules(where: str, rules: list[dict[str, Any]]) -> Iterator[Rule]:
    for number, rule in enumerate(rules, 1):
        here = f"{where}: rule {number}"
        _require_known(here, rule, ("section", "name", "measure", "at_least"))
        section, name = rule.get("section", "overall"), rule.get("name", "*")
        measure, at_least = rule.get("measure", "sds"), rule.get("at_least")
        for key, value, known in (("section", section, SECTIONS), ("measure", measure, measures.compared())):
            if value not in known:
                raise UsageError(f"{here}: {key} is {value!r}; it is one of {', '.join(known)}")
        if not isinstance(name, str):
            raise UsageError(f"{here}: name is {name!r}; it must be a text, and may be a glob")
        if isinstance(at_least, bool) or not isinstance(at_least, int | float) or not -1 <= at_least <= 1:
            raise UsageError(f"{here}: at_least is {at_least!r}; it must be a change between -1 and 1, such as -0.01")
        yield Rule(section, name, measure, float(at_least))


def _require_known(where: str, table: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in table:
        if key not in known:
            shown = printable(key)
            raise UsageError(f"{where}: {shown}: unknown{did_you_mean(key, known)}; it is one of {', '.join(known)}")
