"""What an exported record says beside the fields of its format, so that it reads back as the sample it was.

It stands in one field of its own, ``radar_fast``, an object (as JSON text in tables); the readers of m3, JSON lines,
VLMEvalKit's tables and parquet take it where it is there:

    ability        the sample's, where the format has no place for it
    answer_index   the place of the answer among the candidates, from 0, where the format puts it first
    ordered        whether the candidates stand in the dataset's own order
    metadata       what prompts and metrics need: ``hint``, ``group`` and the like
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from radar_fast.readers.records import Unfit, kind_of, shown
from radar_fast.sample import ReasonKind

__all__ = ["FIELD", "NO_EXTRAS", "PLACE", "Extras", "extras_of"]

FIELD = "radar_fast"
"""The field's name."""
PLACE = frozenset(("question", "index", "file", "stem", "line"))
"""Metadata that say where a record stands: each reader knows its own."""


@dataclass(frozen=True, slots=True)
class Extras:
    """Each is None, or empty, where the record does not say."""

    ability: str | None = None
    answer_index: int | None = None
    ordered: bool | None = None
    metadata: Mapping[str, str | int] = field(default_factory=dict)

    def placed(self, answer: str, distractors: tuple[str, ...]) -> tuple[tuple[str, ...], int]:
        """The candidates, and which is right. Raises Unfit (``bad-record``) for a place that is not there."""
        at = self.answer_index or 0
        if not 0 <= at <= len(distractors):
            raise _wrong(f"'answer_index' {at} with {len(distractors) + 1} candidates")
        return (*distractors[:at], answer, *distractors[at:]), at


NO_EXTRAS = Extras()


def extras_of(value: object) -> Extras:
    """The field's value, as it is in the record. Raises Unfit (``bad-record``) for what cannot be one."""
    if value is None or value == "":
        return NO_EXTRAS
    if isinstance(value, str | bytes):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            raise _wrong(shown(value)) from None
    if not isinstance(value, dict):
        raise _wrong(kind_of(value))
    ability, at, ordered = value.get("ability"), value.get("answer_index"), value.get("ordered")
    metadata = value.get("metadata", {})
    if ability is not None and not (isinstance(ability, str) and ability.strip()):
        raise _wrong(f"'ability' {shown(ability)}")
    if at is not None and (isinstance(at, bool) or not isinstance(at, int)):
        raise _wrong(f"'answer_index' {shown(at)}")
    if ordered is not None and not isinstance(ordered, bool):
        raise _wrong(f"'ordered' {shown(ordered)}")
    if not isinstance(metadata, dict) or not all(isinstance(item, str | int) for item in metadata.values()):
        raise _wrong(f"'metadata' {shown(metadata)}")
    if taken := PLACE & metadata.keys():
        raise _wrong(f"{min(taken)!r} in 'metadata', which says where a record stands")
    return Extras(ability, at, ordered, metadata)


def _wrong(found: str) -> Unfit:
    return Unfit(ReasonKind.BAD_RECORD, f"field {FIELD!r} holds {found}: it is written by radar-fast; take it out")
