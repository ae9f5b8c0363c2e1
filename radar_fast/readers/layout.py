"""How a dataset's records are laid out: which of their fields say what. Given by ``--field``, a TOML file, or a preset.

A file given by ``--fields``, and each preset in ``presets/``, says all of it or a part:

    records = "questions"              # JSON: the list of records stands under this key of the file's object
    fixed_options = ["No", "Yes"]      # every question has these options
    options_in_question = true         # lines "A. ..." in the question are the options, and are taken out of it
    image_folders = ["", "images"]     # image paths are relative to the first of these that has the file

    [fields]                           # our name = theirs; false: the record's field of that name is not meant
    question = "question"
    options = ["choice_a", "choice_b"] # a column for each option, or each image
    id = ["set", "number"]             # joined by "_"
    task = false

    [only]                             # other records come out unscored
    question_type = ["multiple-choice"]

    [metadata]                         # what results count by: their name = fields, joined by "_"
    category = "topic"

What is said later overrules what is said before: the preset or file, then ``--field``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from radar_fast.errors import DataError, UsageError
from radar_fast.readers.paths import shown_path
from radar_fast.readers.records import shown
from radar_fast.readers.toml_file import load_toml
from radar_fast.util.choices import check_one_of

__all__ = ["CONTENT", "FIELDS", "PRESETS", "Layout", "check_fields", "layout_of"]

CONTENT = ("question", "image", "options", "answer", "answer_index", "answer_letter", "distractors", "hint")
"""Our names for what a question says."""
FIELDS = (*CONTENT, "id", "task", "ability")
"""Our names, the keys of a field mapping."""
METADATA = ("category", "l2-category", "split", "group", "group_figure", "group_question", "version")
"""What a layout may take into a sample's metadata."""

_PRESETS = Path(__file__).with_name("presets")
PRESETS = tuple(sorted(file.stem for file in _PRESETS.glob("*.toml")))
"""Layouts that come with the package."""

_SEVERAL = ("options", "image", "id", "task", "ability")
"""Fields that may stand in several of the record's."""
_EXCLUSIVE = (
    ("answer", "answer_index", "answer is given either as text or as a position"),
    ("answer", "answer_letter", "answer is given either as text or as a letter"),
    ("answer_index", "answer_letter", "answer is given either as a position or as a letter"),
    ("options", "distractors", "wrong answers stand in either of them"),
    ("answer_index", "distractors", "position needs the options it counts"),
    ("answer_letter", "distractors", "letter needs the options it names"),
)
_ANSWERS = {"answer", "answer_index", "answer_letter"}
_KNOWN = ("records", "fixed_options", "options_in_question", "image_folders", "fields", "only", "metadata")


@dataclass(frozen=True)
class Layout:
    """Where the fields of a record are."""

    fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Our names -> the record's, several where each holds one option, image or part; none: not in the record. What is
    not in the mapping is called as we call it."""
    records: str | None = None
    """The key of a JSON object under which its records are; None: the file is the records."""
    fixed_options: tuple[str, ...] = ()
    """The options of every question; empty: each record has its own."""
    options_in_question: bool = False
    """Whether the question lists its options, by letter and line."""
    image_folders: tuple[str, ...] = ()
    """Below the data folder, where images are looked for; empty: the data folder itself."""
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Field -> what it must say, if it is there, for the record to be scored."""
    metadata: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Metadata -> the fields that they are joined of."""

    def __contains__(self, ours: str) -> bool:
        """Whether the user, or the preset, said where a field is."""
        return bool(self.fields.get(ours))

    def names(self, ours: str) -> tuple[str, ...]:
        """What the record calls a field; none where it is not to be read."""
        return self.fields.get(ours, (ours,))

    @cached_property
    def called(self) -> dict[str, str]:
        """Our names -> what messages call the fields, as far as somebody has worked it out."""
        return {}

    @property
    def says_content(self) -> bool:
        """Whether any field that says what a question is has been mapped."""
        return bool(self.fields.keys() & set(CONTENT)) or bool(self.fixed_options) or self.options_in_question

    @property
    def columns(self) -> frozenset[str]:
        """All fields of a record that are looked at, but for options and images by their usual names."""
        read = {name for ours in FIELDS for name in self.names(ours)}
        return frozenset(read.union(self.only, *self.metadata.values()))

    def over(self, fields: Mapping[str, str]) -> "Layout":
        """This layout with a mapping of the command line laid over it. Raises UsageError for one that cannot be."""
        check_fields(fields)
        kept = {
            ours: theirs
            for ours, theirs in self.fields.items()
            if not (ours in _ANSWERS and fields.keys() & _ANSWERS)
            and not (ours in ("options", "distractors") and fields.keys() & {"options", "distractors"})
        }
        own_options = bool(fields.keys() & {"options", "distractors"})
        return replace(
            self,
            fields={**kept, **{ours: _split(ours, theirs) for ours, theirs in fields.items()}},
            fixed_options=() if own_options else self.fixed_options,
            options_in_question=self.options_in_question and not own_options,
        )


def layout_of(
    fields: Mapping[str, str] | None = None, *, preset: str | None = None, file: str | Path | None = None
) -> Layout:
    """The layout that the options say.

    Raises:
        UsageError: a preset or field that there is not, or options that contradict each other.
        DataError: the file does not say what a layout must.
    """
    if preset is not None and file is not None:
        raise UsageError(f"--preset {preset}: --fields {shown_path(Path(file))} is given too: name one of them")
    layout = Layout()
    if preset is not None:
        check_one_of("preset", preset, PRESETS)
        layout = _read(_PRESETS / f"{preset}.toml")
    elif file is not None:
        try:
            there = Path(file).exists()
        except OSError:
            there = False
        if not there:
            raise UsageError(f"--fields {shown_path(Path(file))}: no such file; presets are given by --preset")
        layout = _read(Path(file))
    return layout.over(fields or {})


def check_fields(fields: Mapping[str, str]) -> None:
    """Raises UsageError for a mapping that names what there is not, or contradicts itself."""
    for ours, theirs in fields.items():
        if ours not in FIELDS:
            raise UsageError(f"--field: {shown(ours)} is no field here: use {', '.join(FIELDS)}")
        if not all(_split(ours, theirs)):
            raise UsageError(f"--field: {ours} is mapped to {shown(theirs)}: name a field of the file")
    if wrong := _contradiction(fields):
        raise UsageError(f"--field: {wrong}")


def _split(ours: str, theirs: str) -> tuple[str, ...]:
    """Several names where commas are between them, for fields that may be several."""
    return tuple(name.strip() for name in theirs.split(",")) if ours in _SEVERAL and "," in theirs else (theirs,)


def _contradiction(fields: Mapping[str, object]) -> str | None:
    for one, other, why in _EXCLUSIVE:
        if one in fields and other in fields:
            return f"{one} and {other} are both mapped, but the {why}: name one of them"
    return None


def _read(file: Path) -> Layout:
    """The layout that a TOML file says. Raises DataError, with the file and the field, for what is no such file."""
    name, said = shown_path(file), load_toml(file)
    for key in said:
        if key not in _KNOWN:
            raise DataError(f"{name}: {shown(key)} is unknown: use {', '.join(_KNOWN)}")
    records, inline = said.get("records"), said.get("options_in_question", False)
    if records is not None and (not isinstance(records, str) or not records):
        raise DataError(f"{name}: 'records' is {shown(records)}: give the key that the records are under")
    if not isinstance(inline, bool):
        raise DataError(f"{name}: 'options_in_question' is {shown(inline)}: it is true or false")
    fixed = _texts(said.get("fixed_options", []), "'fixed_options'", name)
    if fixed and (len(set(fixed)) < max(2, len(fixed)) or not all(option.strip() for option in fixed)):
        raise DataError(f"{name}: 'fixed_options' is {shown(list(fixed))}: give two or more, each another")
    fields = {ours: _names(theirs, ours, name) for ours, theirs in _table(said, "fields", name).items()}
    for ours, theirs in fields.items():
        if ours not in FIELDS:
            raise DataError(f"{name}: {shown(ours)} in [fields] is no field here: use {', '.join(FIELDS)}")
        if len(theirs) > 1 and ours not in _SEVERAL:
            raise DataError(f"{name}: {ours} in [fields] is {shown(list(theirs))}: name one field")
    given = {ours: theirs for ours, theirs in fields.items() if theirs}
    if wrong := _contradiction(given):
        raise DataError(f"{name}: {wrong}")
    if (fixed or inline) and ("options" in given or "distractors" in given or (fixed and inline)):
        raise DataError(f"{name}: the options are said twice: keep one of fixed_options, options_in_question, [fields]")
    only = {key: _texts(value, f"{key!r} in [only]", name) for key, value in _table(said, "only", name).items()}
    metadata = {key: _names(value, key, name) for key, value in _table(said, "metadata", name).items()}
    for key in metadata:
        if key not in METADATA:
            raise DataError(f"{name}: {shown(key)} in [metadata] is unknown: use {', '.join(METADATA)}")
    folders = _texts(said.get("image_folders", []), "'image_folders'", name)
    return Layout(fields, records, fixed, inline, folders, only, metadata)


def _table(said: dict[str, Any], key: str, name: str) -> dict[str, Any]:
    table = said.get(key, {})
    if not isinstance(table, dict):
        raise DataError(f"{name}: [{key}] is {shown(table)}: give a table")
    return table


def _names(value: object, ours: str, name: str) -> tuple[str, ...]:
    """Fields of the record; none for ``false``."""
    if value is False:
        return ()
    names = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else ()
    texts = tuple(text for text in names if isinstance(text, str) and text)
    if not texts or len(texts) < len(names) or len(set(texts)) < len(texts):
        raise DataError(f"{name}: {shown(ours)} is {shown(value)}: name a field, a list of them, or say false")
    return texts


def _texts(value: object, what: str, name: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise DataError(f"{name}: {what} is {shown(value)}: give a list of strings")
    return tuple(value)
