"""Samples -> the layout of M3-Bench, which RADAR's published scripts read.

The task's name says which rule of the published scripts finds its images (see :mod:`radar_fast.readers.m3`), so
samples of most tasks have exactly one image, before the text. Where M3-Bench has no word for something, the field
``radar_fast`` has it: the published scripts do not look at it, and score the same candidates with the answer first.
"""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from radar_fast.readers.extras import FIELD, Extras
from radar_fast.readers.m3 import SUFFIX, M3Task, content
from radar_fast.readers.paths import DataFolder
from radar_fast.readers.records import Unfit
from radar_fast.sample import AnyImage
from radar_fast.writers.base import Item, Misfit, check_name, compare, digest_of, metadata_of, plain, tagged

__all__ = ["M3Writer"]

# A folder that cannot be there, so that no file in it is: only names are asked of it.
_NOWHERE = Path("/dev/null/m3")


class M3Writer:
    """``<directory>/<task>_pretrained_mllm_eval.json`` and ``<directory>/images/``."""

    def __init__(self) -> None:
        self._folder = DataFolder(_NOWHERE, follow_symlinks=True)
        self._directories: dict[str, str] = {}
        self._images: dict[Path, str] = {}  # what each image file will hold

    def check(self, item: Item) -> None:
        """Raises Misfit for a question whose images the task's rule would not find, or whose files are taken."""
        sample = item.sample
        for what, name in (("directory", sample.directory), ("task", sample.task), ("id", sample.id)):
            check_name(what, name)
        if self._directories.setdefault(sample.task, sample.directory) != sample.directory:
            raise Misfit(f"its task {sample.task!a} stands in another directory already")
        paths = self._paths(item)
        for path, place in paths.items():
            digest = digest_of(item.data[place])
            if self._images.get(path, digest) != digest:
                raise Misfit(f"its image would be {path}, which another sample has for another image")
        self._images |= {path: digest_of(item.data[place]) for path, place in paths.items()}

    def write(self, folder: Path, items: Iterable[Item]) -> None:
        """One file for each task, its records in the order of the samples. Raises OSError."""
        files: set[Path] = set()
        for item in items:
            for path, place in self._paths(item).items():
                if not (folder / path).exists():
                    (folder / path).parent.mkdir(parents=True, exist_ok=True)
                    (folder / path).write_bytes(item.data[place])
            file = folder / _file(item)
            file.parent.mkdir(exist_ok=True)
            record = f"{json.dumps(item.sample.id)}: {json.dumps(_record(item, _task(item)), ensure_ascii=False)}"
            with file.open("ab") as stream:
                stream.write((",\n" if file in files else "{\n").encode() + record.encode())
            files.add(file)
        for file in files:
            with file.open("ab") as stream:
                stream.write(b"\n}\n")

    def _paths(self, item: Item) -> dict[Path, int]:
        """Where the images go, relative to the folder, and which they are. Raises Misfit unless all is as it was."""
        sample, task = item.sample, _task(item)
        record = _record(item, task)
        try:
            parts, candidates = content(task, sample.id, record, self._folder)
            candidates, answer = Extras(answer_index=sample.answer).placed(candidates[0], candidates[1:])
        except Unfit as unfit:
            raise Misfit(unfit.found) from None
        back = replace(sample, task=task.name, parts=parts, candidates=candidates, answer=answer)
        if len(back.images) != len(item.order):
            wanted = f"{len(back.images)} image{'s' * (len(back.images) != 1)}"
            raise Misfit(f"it has {len(item.order)} images; in a task of this name a sample has {wanted}")
        places: dict[str, int] = {}
        for image, place in zip(back.images, item.order, strict=True):
            places.setdefault(image.key, place)

        def number(image: AnyImage) -> int:
            return places[image.key]

        compare(item, back, number)
        return {Path(key).relative_to(_NOWHERE): place for key, place in places.items()}


def _file(item: Item) -> Path:
    return Path(item.sample.directory, f"{item.sample.task}{SUFFIX}")


def _task(item: Item) -> M3Task:
    return M3Task.of(_NOWHERE / _file(item), _NOWHERE)


def _record(item: Item, task: M3Task) -> dict[str, object]:
    """Raises Misfit for a question that is not laid out as those of its task, or a blank ability."""
    sample, text = item.sample, plain(item)
    if task.rule == "MMMU_Pro":
        text = tagged(item)
    if text is None:
        raise Misfit("images stand within its text, which here they do only in tasks with MMMU_Pro in their name")
    record: dict[str, object] = {
        "question": text,
        "answer": sample.candidates[sample.answer],
        "distraction": [*sample.candidates[: sample.answer], *sample.candidates[sample.answer + 1 :]],
    }
    if task.rule == "SeePhys":
        record["img_num"] = len(item.order)
    said: dict[str, object] = {}
    if sample.ability != task.ability:
        if not sample.ability.strip():
            raise Misfit("its ability is blank, which the reader takes for damage")
        said["ability"] = sample.ability
    if sample.answer:
        said["answer_index"] = sample.answer
    if sample.ordered:
        said["ordered"] = True
    if metadata := metadata_of(sample):
        said["metadata"] = metadata
    return {**record, FIELD: said} if said else record
