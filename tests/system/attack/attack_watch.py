"""Folders into which a training writes: what a watch sees there, holds, and hands on to be scored."""

import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import attack_mutations as mutations
from attack_frame import Attack, MismatchError
from attack_places import twist, twisted_tree
from checkpoint_writers import WRITERS

from radar_fast.demo.series import COMMON
from radar_fast.errors import RadarError
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.watch.holding import Holding
from radar_fast.watch.lookout import Lookout
from radar_fast.watch.ready import SETTLED, Ready
from radar_fast.watch.wanted import Wanted

__all__ = ["ATTACKS"]


def _trained(rng: random.Random, root: Path) -> list[Path]:
    """Checkpoints as a trainer leaves them, the last of them perhaps half written."""
    write = WRITERS[rng.choice(sorted(WRITERS))]
    folders = [root / f"checkpoint-{step}" for step in (100, 200)]
    for folder in folders:
        pieces = write(folder)
        for number, _ in enumerate(pieces):
            if folder == folders[-1] and rng.random() < 0.02 * number:
                break
    return folders


def _watch(rng: random.Random, path: Path) -> None:
    """Look, hold, open what is due, and let go of it; what the trainer has is as it was."""
    root = path / "root"
    before = _names(root)
    said: list[str] = []
    holding = Holding(rng.choice([root / ".radar-fast-1", path / "held"]))
    converts = rng.random() < 0.3
    ready = rng.choice([Ready(), Ready(mark="STABLE"), Ready(seconds=1.0, by_time=True)])

    def lookout() -> Lookout:
        return Lookout(root, ready, Wanted(), holding, is_done=lambda *_: False, say=said.append, converts=converts)

    looks = lookout()
    refused: RadarError | None = None
    for round_ in range(4):
        looks.look(100.0 + round_ * (SETTLED + 1))
        looks.waiting()
        for due in looks.due():
            if not due.path.is_relative_to(path):
                raise MismatchError(f"{due.path} is not below what is watched")
            try:
                if not converts:
                    Checkpoint.open(due.path).require_sound()
            except RadarError as error:
                refused = error
                looks.failed(due.name)
            else:
                looks.scored(due.name)
        if round_ == 1:  # as after a kill
            looks = lookout()
            looks.adopt_held()
    if _names(root) != before:
        raise MismatchError("the trainer's files are not those that were there")
    if refused is not None:
        raise refused


def _names(root: Path) -> list[str]:
    return sorted(
        os.path.join(folder, name)  # noqa: PTH118 - names that are no UTF-8
        for folder, folders, names in os.walk(root)
        if ".radar-fast" not in folder
        for name in [*folders, *names]
        if ".radar-fast" not in name
    )


def watched_folders(rng: random.Random, path: Path) -> None:
    """Pipes, devices, links, folders and strangers where a training writes."""
    _trained(rng, path / "root")
    twisted_tree(rng, path / "root")
    _watch(rng, path)


def watched_marks(rng: random.Random, path: Path) -> None:
    """The files by which trainers say that they are done, and others that are looked at, with what nobody means."""
    folders = _trained(rng, path / "root")
    folder = rng.choice(folders)
    beside = [path / "root" / name for name in ("latest", "latest.txt", "latest_checkpointed_iteration.txt")]
    inside = [folder / name for name in ("trainer_state.json", "config.json", "model.safetensors.index.json", "STABLE")]
    inside += [folder / name for name in (".metadata", "metadata.json", "adapter_config.json", "x.distcp")]
    folder.mkdir(exist_ok=True)  # some are renamed when they are whole, which the last may not be
    for place in rng.sample([*beside, *inside], rng.choice([1, 1, 2])):
        how = rng.random()
        if how < 0.2:
            twist(rng, place)
        elif place in beside:
            texts = ["9" * 5000, "9" * 15, "-1", "checkpoint-200", "\0", "../..", "é", "²", f"checkpoint-{'9' * 15}"]
            place.write_text(rng.choice(texts))
        else:
            value = {"global_step": 100, "log_history": [], "weight_map": {"a": "model.safetensors"}, "model_type": "x"}
            place.write_text(json.dumps(mutations.mutated_json(rng, value)))
    _watch(rng, path)


def _prepare() -> None:
    """What looking at weights imports is not the first attempt's."""
    with tempfile.TemporaryDirectory(prefix="attack-") as folder:
        for place in (COMMON, COMMON.parent / "step-800"):
            shutil.copytree(place, folder, dirs_exist_ok=True)
        Checkpoint.open(folder).require_sound()


def _attack(name: str, attempt: Callable[[random.Random, Path], None]) -> Attack:
    return Attack(name, attempt, (RadarError,), _prepare)


ATTACKS: tuple[Attack, ...] = (
    _attack("watched folders", watched_folders),
    _attack("watched marks", watched_marks),
)
