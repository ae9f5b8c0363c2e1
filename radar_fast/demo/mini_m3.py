"""mini-M3: a small generated benchmark on disk, in the layout that the published scripts read.

It has every directory, file name and image path of M3, and a question for each rule that a reader has to know:
several pictures, pictures in the options, answers that are no strings, questions that share a picture, and one
record with more pictures than the protocol scores.
"""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from random import Random

from PIL import Image

from radar_fast.demo.tasks import TASKS, Item, Task, many_pictures
from radar_fast.errors import UsageError

__all__ = ["draw_item", "encoded", "write_mini_m3"]

_MANY_PICTURES_AT = 3
"""Which record of the last MMMU_Pro file has 13 pictures."""


def write_mini_m3(folder: Path, *, samples_per_task: int = 32, seed: int = 0) -> None:
    """Write the benchmark into ``folder``: 16 task files of ``samples_per_task`` records each, and their images.

    The same arguments give the same bytes, and a smaller benchmark holds the first records of a larger one. One
    record is in memory at a time. Raises UsageError below 4 samples per task, or where ``folder`` holds anything.
    """
    if samples_per_task <= _MANY_PICTURES_AT:
        raise UsageError(f"samples_per_task is {samples_per_task}: mini-M3 needs at least {_MANY_PICTURES_AT + 1}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not an empty folder: mini-M3 would mix with what is there; name another")
    for task in TASKS:
        directory = folder / task.directory
        directory.mkdir(parents=True, exist_ok=True)
        name = f"{task.name}_{samples_per_task}_pretrained_mllm_eval.json"
        with (directory / name).open("w", encoding="utf-8") as file:
            file.write("{\n")
            for index in range(samples_per_task):
                q_id, item = _q_id(task, index), draw_item(task, index, seed)
                for path, image in _image_files(task, q_id, item):
                    _write_image(directory / "images" / path, image)
                comma = "," if index + 1 < samples_per_task else ""
                file.write(f"{json.dumps(q_id)}: {json.dumps(_record(task, item), ensure_ascii=False)}{comma}\n")
            file.write("}\n")


def draw_item(task: Task, index: int, seed: int | str) -> Item:
    """The item at ``index`` of a task. Depends on the task's name, the index and the seed alone."""
    group, question = divmod(index, task.questions_per_picture)
    rng = Random(f"{seed}/{task.name}/{group}")
    if task.bench == "MMMU_Pro" and task.category == "Math" and index == _MANY_PICTURES_AT:
        return many_pictures(rng)
    return task.make(rng, question)


def encoded(image: Image.Image, suffix: str) -> bytes:
    """The image file's bytes: ``.jpg`` at high quality, or ``.png``."""
    buffer = io.BytesIO()
    if suffix == ".jpg":
        image.save(buffer, "JPEG", quality=92, subsampling=0)
    else:
        image.save(buffer, "PNG")
    return buffer.getvalue()


def _q_id(task: Task, index: int) -> str:
    # Unique over the whole benchmark, as the task's name is part of it.
    group, question = divmod(index, task.questions_per_picture)
    stem = f"{task.name}-{group:05d}"
    return f"{stem}--{question}" if task.questions_per_picture > 1 else stem


def _record(task: Task, item: Item) -> dict[str, str | int | list[str]]:
    record: dict[str, str | int | list[str]] = {
        "question": item.question,
        "answer": item.answer,
        "distraction": list(item.distraction),
    }
    if task.bench == "SeePhys":
        record["img_num"] = len(item.images)
    if item.options is not None:
        record["ori_options"] = item.options
    return record


def _image_files(task: Task, q_id: str, item: Item) -> Iterator[tuple[Path, Image.Image]]:
    """Where each image goes, relative to the directory's ``images``."""
    shared = q_id.split("--")[0]
    for index, image in enumerate(item.images):
        if task.bench == "MMMU_Pro":
            yield Path(task.category, f"{q_id}_image_{index + 1}.png"), image
        elif task.bench == "MMBench":
            yield Path(task.category, f"{q_id}.jpg"), image
        elif task.bench == "SeePhys":
            yield Path(f"{shared}_{index}.png"), image
        else:
            yield Path(f"{shared}.jpg"), image


def _write_image(path: Path, image: Image.Image) -> None:
    if not path.exists():  # a second question about the same picture
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(image, path.suffix))
