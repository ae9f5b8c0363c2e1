"""M3-Bench, the benchmark of RADAR, as its published scripts read it.

``DATA/<directory>/<file>.json`` holds one object, question id -> record; images lie in ``DATA/<directory>/images``.
In the nine published directories every ``*.json`` is a task, elsewhere only ``*_pretrained_mllm_eval.json`` is. Which
image a record has follows from the file's name. The published scripts look for ``MMBench`` and the like in the whole
path, so a folder of that name misroutes them; here only the file's own name counts.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from radar_fast.errors import DataError
from radar_fast.readers.extras import FIELD, NO_EXTRAS, extras_of
from radar_fast.readers.json_stream import members
from radar_fast.readers.paths import DataFolder, annotations, shown_path, task_of
from radar_fast.readers.records import (
    Unfit,
    UniqueIds,
    check_candidates,
    kind_of,
    question_of,
    shown,
    text_of,
)
from radar_fast.sample import ONLY_PUBLISHED, Part, Reason, ReasonKind, Sample
from radar_fast.util.printable import printable

__all__ = ["DIRECTORIES", "MAX_IMAGES", "SUFFIX", "M3Reader", "M3Task", "content", "find_files"]

_BY_CATEGORY = "by category"
DIRECTORIES = {
    "general_visual_question_answering": _BY_CATEGORY,
    "multiple_discipline_reasoning": "reasoning",
    "mathematical_reasoning": "reasoning",
    "physical_reasoning": "reasoning",
    "spatial_reasoning": "reasoning",
    "Wiki_animal_identification": "perception",
    "Wiki_plant_identification": "perception",
    "Wiki_attraction_identification": "perception",
    "Wiki_celebrity_identification": "perception",
}
"""The published directories, and what their tasks measure."""

_MMBENCH = dict.fromkeys(
    (
        "action_recognition",
        "attribute_comparison",
        "attribute_recognition",
        "celebrity_recognition",
        "image_emotion",
        "image_quality",
        "image_scene",
        "image_style",
        "image_topic",
        "object_localization",
        "ocr",
        "spatial_relationship",
    ),
    "perception",
) | dict.fromkeys(
    (
        "function_reasoning",
        "future_prediction",
        "identity_reasoning",
        "nature_relation",
        "physical_property_reasoning",
        "physical_relation",
        "social_relation",
        "structuralized_imagetext_understanding",
    ),
    "reasoning",
)

MAX_IMAGES = 12
"""The published scripts skip a record with more images."""

SUFFIX = "_pretrained_mllm_eval.json"
_TAG = re.compile(r"<image \d+>")
_LITERAL_TAG = re.compile(r"<image(?: \d+)?>")


def find_files(data: Path) -> list[Path]:
    """The annotation files below a folder, in no order; empty if the folder is laid out otherwise.

    Raises OSError if a folder cannot be listed.
    """
    found: list[Path] = []
    for directory in data.iterdir():
        if directory.name.startswith(".") or not directory.is_dir():
            continue
        ending = ".json" if directory.name in DIRECTORIES else SUFFIX
        # As in the published scripts' glob, hidden files do not count.
        found += [
            file
            for file in directory.iterdir()
            if file.name.endswith(ending) and not file.name.startswith(".") and not file.is_dir()
        ]
    return found


@dataclass(frozen=True)
class M3Task:
    """What the name of an annotation file says about all its records."""

    name: str
    stem: str
    directory: str
    ability: str
    file: str
    """Relative to the data folder."""
    images: str
    """Folder of the images, relative to the data folder, with a slash at the end."""
    rule: str
    """Which published rule finds the images: ``MMMU_Pro``, ``MMBench``, ``SeePhys`` or ``""``."""

    @classmethod
    def of(cls, file: Path, root: Path) -> "M3Task":
        stem, directory = file.stem, file.parent.name
        rule = next((rule for rule in ("MMMU_Pro", "MMBench", "SeePhys") if rule in stem), "")
        images, ability = f"{directory}/images/", DIRECTORIES.get(directory, "other")
        # <Bench>_<category>_<count>_pretrained_mllm_eval; the name of the one benchmark is two words long.
        category = "_".join(stem.split("_")[2 if rule == "MMMU_Pro" else 1 : -4])
        if rule in ("MMMU_Pro", "MMBench"):
            images += f"{category}/"
        if ability == _BY_CATEGORY:
            ability = _MMBENCH.get(category, "other") if rule == "MMBench" else "other"
        return cls(task_of(file), stem, directory, ability, file.relative_to(root).as_posix(), images, rule)


@dataclass(frozen=True)
class M3Reader:
    """Reads M3-Bench lazily, one record at a time, and as often as asked.

    Iterating raises DataError where a file is not JSON, not one object, or empty. What is wrong with one record
    becomes the ``reason`` of its sample.
    """

    root: Path
    """The data folder."""
    files: tuple[Path, ...]
    """The annotation files in the order in which they are read."""
    follow_symlinks: bool = False
    """Whether symlinks may lead outside the data folder."""
    format: ClassVar[str] = "m3"

    @classmethod
    def open(cls, data: Path, *, follow_symlinks: bool = False) -> "M3Reader":
        """Raises DataError if there is no annotation file, or one of them cannot be used."""
        files = annotations(find_files(data), data, follow_symlinks=follow_symlinks)
        if not files:
            raise DataError(
                f"{shown_path(data)}: no M3-Bench annotations: expected <directory>/*.json in one of the published "
                f"directories ({', '.join(DIRECTORIES)}), or <directory>/*{SUFFIX}",
                path=data,
            )
        return cls(data, files, follow_symlinks)

    def __iter__(self) -> Iterator[Sample]:
        folder = DataFolder(self.root, follow_symlinks=self.follow_symlinks)
        for file in self.files:
            task = M3Task.of(file, self.root)
            ids = UniqueIds()
            for index, (q_id, record) in enumerate(members(file)):
                yield _sample(task, index, q_id, record, folder, ids)


def _sample(task: M3Task, index: int, q_id: str, record: object, folder: DataFolder, ids: UniqueIds) -> Sample:
    unique, repeated = ids.claim(task.name, q_id)
    parts: tuple[Part, ...] = ()
    candidates: tuple[str, ...] = ()
    answer, reason, extras = 0, None, NO_EXTRAS
    try:
        if repeated:
            raise Unfit(ReasonKind.BAD_RECORD, "q_id stands in the file more than once: rename or remove one of them")
        if not isinstance(record, dict):
            raise Unfit(ReasonKind.BAD_RECORD, f"the record is {kind_of(record)}: give an object with its fields")
        extras = extras_of(record.get(FIELD))
        parts, candidates = content(task, q_id, record, folder)
        candidates, answer = extras.placed(candidates[0], candidates[1:])
        if not str(record["question"]).strip():
            raise Unfit(ReasonKind.BLANK_QUESTION, "field 'question' is blank: give the question as a string")
    except Unfit as unfit:
        reason = unfit.reason(f"{_one_line(task.file)}, q_id {shown(q_id)}")
    question = record.get("question") if isinstance(record, dict) else None
    metadata: dict[str, str | int] = {
        "question": question if isinstance(question, str) else "",
        "index": index,
        "file": task.file,
        "stem": task.stem,
        **extras.metadata,
    }
    metadata |= _for_published_files(task, record, parts, reason)
    ability, ordered = extras.ability or task.ability, reason is None and extras.ordered is True
    if reason is not None and reason.kind not in ONLY_PUBLISHED:
        parts, candidates, answer = (), (), 0
    return Sample(
        unique, task.name, task.directory, ability, parts, candidates, answer, metadata, reason, ordered=ordered
    )


_COUNTED = (*ONLY_PUBLISHED, ReasonKind.NO_DISTRACTOR)
"""Unfit here, and in the published files."""


def _for_published_files(
    task: M3Task, record: object, parts: tuple[Part, ...], reason: Reason | None
) -> dict[str, str | int]:
    """What RADAR's own result files hold of a record, and a sample does not say.

    ``answers``: answer and distraction as JSON, where one is no string, or the answer is alone, which the scripts count
    as right. ``images``: how many stand before a SeePhys question. ``asked``: a MMMU_Pro question with its options.
    """
    found: dict[str, str | int] = {}
    if not isinstance(record, dict) or (reason is not None and reason.kind not in _COUNTED):
        return found
    listed = _TAG.search(str(record.get("ori_options", ""))) if task.rule == "MMMU_Pro" else None
    wrong = record.get("distraction")
    values = [record.get("answer"), *(wrong if isinstance(wrong, list) else ())]
    known = all(isinstance(value, str | int | float) for value in values)
    if isinstance(wrong, list) and known and not listed and (not wrong or not all(isinstance(v, str) for v in values)):
        found["answers"] = json.dumps(values)
    if task.rule == "SeePhys":
        found["images"] = sum(not isinstance(part, str) for part in parts)
    if listed and reason is None:
        found["asked"] = "".join(part if isinstance(part, str) else "<image>" for part in parts)
    return found


def content(
    task: M3Task, q_id: str, record: dict[str, object], folder: DataFolder
) -> tuple[tuple[Part, ...], tuple[str, ...]]:
    """The parts of the question, and the candidates with the answer first. Raises Unfit."""
    asked = record.get("question")
    blank = isinstance(asked, str) and not asked.strip()  # with pictures, the published scripts score it
    question = str(asked) if blank else question_of(asked, "field 'question'")
    if "answer" not in record:
        raise Unfit(ReasonKind.BAD_RECORD, "field 'answer' is missing: give the answer as a string")
    answer = text_of(record["answer"], "field 'answer'")
    distractors = _distractors(record)
    check_candidates(answer, distractors, "field 'answer'", "distraction")
    if task.rule == "MMMU_Pro":
        return _mmmu_pro(task, q_id, record, question, answer, distractors, folder)
    images = tuple(folder.image(task.images + name) for name in _image_names(task, q_id, record))
    if not images and (tag := _LITERAL_TAG.search(question)):
        found = f"field 'question' holds {tag[0]} but img_num is 0: correct one of them"
        raise Unfit(ReasonKind.IMAGE_TAG_MISMATCH, found)
    if blank and not images:
        question_of(asked, "field 'question'")
    # A tag in these questions is text, as published: the images come first whether or not there is one.
    return (*images, question), (answer, *distractors)


def _distractors(record: dict[str, object]) -> tuple[str, ...]:
    value = record.get("distraction")
    if value is None or value == []:
        found = "missing" if value is None else "empty"
        raise Unfit(ReasonKind.NO_DISTRACTOR, f"field 'distraction' is {found}: give at least one wrong answer")
    if not isinstance(value, list):
        raise Unfit(ReasonKind.BAD_RECORD, f"field 'distraction' is {kind_of(value)}: give a list of wrong answers")
    return tuple(text_of(entry, f"distraction[{number}]") for number, entry in enumerate(value))


def _image_names(task: M3Task, q_id: str, record: dict[str, object]) -> list[str]:
    """Files of the images, except MMMU_Pro's."""
    if task.rule == "MMBench":
        return [f"{q_id}.jpg"]
    shared = q_id.split("--")[0]
    if task.rule != "SeePhys":
        return [f"{shared}.jpg"]
    count = record.get("img_num")
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        found = "missing" if count is None else shown(count)
        raise Unfit(ReasonKind.BAD_RECORD, f"field 'img_num' is {found}: give the number of images, 0 or more")
    _check_count(count)
    return [f"{shared}_{number}.png" for number in range(count)]


def _mmmu_pro(
    task: M3Task,
    q_id: str,
    record: dict[str, object],
    question: str,
    answer: str,
    distractors: tuple[str, ...],
    folder: DataFolder,
) -> tuple[tuple[Part, ...], tuple[str, ...]]:
    listed = record.get("ori_options", "")
    if not isinstance(listed, str):
        raise Unfit(ReasonKind.BAD_RECORD, f"field 'ori_options' is {kind_of(listed)}: give a string, or leave it out")
    text, candidates = question, (answer, *distractors)
    if _TAG.search(listed):
        if len(distractors) != 1:
            # The published scripts would list all options but score the letters A and B only.
            found = f"field 'ori_options' holds images: one entry of 'distraction' is expected, not {len(distractors)}"
            raise Unfit(ReasonKind.BAD_RECORD, found)
        if _answer_comes_first(q_id):
            options, candidates = (answer, distractors[0]), ("A", "B")
        else:
            options, candidates = (distractors[0], answer), ("B", "A")
        text = f"{question} A. {options[0]} B. {options[1]} Please select the correct option: "

    tags = list(_TAG.finditer(text))
    _check_count(len(tags))
    if not tags:
        question_of(question, "field 'question'")
    parts: list[Part] = []
    end = 0
    for tag in tags:
        parts += [text[end : tag.start()], folder.image(f"{task.images}{q_id}_{tag[0][1:-1].replace(' ', '_')}.png")]
        end = tag.end()
    parts.append(text[end:])
    if not tags:
        _check_no_image(folder, f"{task.images}{q_id}_image_1.png")
    return tuple(part for part in parts if part != ""), candidates


def _answer_comes_first(q_id: str) -> bool:
    """An even coin a question: the first byte of the SHA-256 of the q_id in UTF-8, heads below 128.

    The published scripts draw from one stream, so their draw depends on the order of files and questions. This one
    does not, so a shard or a resumed run lists the options in the same order.
    """
    return hashlib.sha256(q_id.encode("utf-8", "surrogatepass")).digest()[0] < 128


def _check_count(images: int) -> None:
    if images > MAX_IMAGES:
        found = f"{images} images, and the published protocol skips records with more than {MAX_IMAGES}"
        raise Unfit(ReasonKind.TOO_MANY_IMAGES, found)


def _check_no_image(folder: DataFolder, name: str) -> None:
    """A question without a tag is text only. That its first image is there anyway tells of a tag that got lost."""
    try:
        exists = folder.image(name).path.is_file()
    except (Unfit, OSError):  # a q_id that makes no path: no image of it can have been meant
        return
    if exists:
        found = f"there is no <image n> in the question, but {_one_line(name)} exists: put the tag in"
        raise Unfit(ReasonKind.IMAGE_TAG_MISMATCH, found)


def _one_line(text: str) -> str:
    return printable(text)
