"""When a checkpoint folder is whole, by what its writer leaves last.

| writer | sign |
|---|---|
| transformers ``save_pretrained`` | every file that the index names is there, each as long as its header says |
| HF Trainer | ``trainer_state.json``, after the weights |
| torch DCP, torchtitan | ``.metadata``, renamed into place |
| OLMo-core | ``.metadata.json`` |
| levanter | ``metadata.json`` |
| prime-rl, SpecForge | ``STABLE``, ``_SUCCESS`` |
| Megatron, nanotron, DeepSpeed | ``latest_checkpointed_iteration.txt``, ``latest.txt``, ``latest`` beside the folders |

A checkpoint of transformers has to hold all its weights whatever sign there is. What no mark says must also have stayed
as it is for a while: a processor is saved after the weights.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

import orjson

from radar_fast.errors import IncompleteError, ModelError, UsageError
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.models.small_files import read_whole
from radar_fast.models.soundness import stored_weights
from radar_fast.models.weights import weight_files
from radar_fast.steps import named_step

__all__ = ["Ready", "folder_state", "sign_of"]

SETTLED = 10.0
"""Seconds that a folder without a mark must have stayed as it is."""
_MOST = 100_000
"""Files of a checkpoint that are looked at."""
_MARKS = ("STABLE", "_SUCCESS", ".metadata", ".metadata.json", "metadata.json")
_MARKED_BELOW = ("*/.metadata",)
_POINTERS = ("latest_checkpointed_iteration.txt", "latest.txt", "latest")
"""Files beside the checkpoints that name the last one that is whole."""
_TRAINERS = ("optimizer.pt", "optimizer.bin", "scheduler.pt", "rng_state.pth", "rng_state_0.pth")
"""What the Trainer writes between the weights and ``trainer_state.json``."""


@dataclass(frozen=True)
class Ready:
    """What ``--ready`` asks for.

    Raises:
        UsageError: at birth, where it cannot be.
    """

    mark: str | None = None
    """A file in the folder that says that it is whole; None: what its writer leaves."""
    seconds: float = SETTLED
    """That a folder without a mark must have stayed as it is."""
    by_time: bool = False
    """Whether the time alone counts."""

    @classmethod
    def parse(cls, text: str) -> "Ready":
        """``auto``, ``stable:SECONDS``, or a file's name. Raises UsageError."""
        if text == "auto":
            return cls()
        if text.startswith("stable:"):
            if not re.fullmatch(r"stable:[0-9]{1,6}(\.[0-9]+)?", text):
                raise UsageError(f"--ready {text}: is not stable:SECONDS, such as stable:60")
            return cls(seconds=float(text.partition(":")[2]), by_time=True)
        if Path(text).is_absolute() or ".." in Path(text).parts or "\0" in text:
            raise UsageError(
                f"--ready {text}: names no file within a checkpoint folder; take auto, stable:60 or a name"
            )
        return cls(mark=text)


def folder_state(folder: Path) -> str | None:
    """A digest of names, sizes and times of all files in a folder; None where it goes as it is looked at."""
    total = count = 0
    waiting = [str(folder)]
    try:
        while waiting:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir():
                        waiting += [entry.path] if not entry.is_symlink() else []
                        continue
                    state, count = entry.stat(), count + 1
                    said = f"{entry.path[len(str(folder)) :]}\0{state.st_size}\0{state.st_mtime_ns}"
                    digest = hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=16).digest()
                    total = (total + int.from_bytes(digest, "big")) % 2**128
                    if count > _MOST:
                        return None
    except OSError:
        return None
    return f"{count}-{total:032x}"


def sign_of(folder: Path, step_folder: Path, ready: Ready, stayed: float) -> tuple[str | None, str]:
    """What says that a checkpoint is whole, and what is still waited for.

    Args:
        folder: what is to be scored or converted.
        step_folder: what carries the step in its name: the same folder, or one above it.
        ready: what counts.
        stayed: seconds for which it is known to have been as it is.

    Returns:
        (the sign, empty), or (None, what it lacks in a few words).
    """
    is_checkpoint = (folder / "config.json").is_file()
    if is_checkpoint and (lacking := _lacking(folder, settled=stayed >= ready.seconds)):
        return None, lacking
    if ready.mark is not None:
        there = any((one / ready.mark).exists() for one in {folder, step_folder})
        return (ready.mark, "") if there else (None, ready.mark)
    if not ready.by_time:
        if mark := _mark(folder, step_folder):
            return mark, ""
        if unmarked := _unmarked(folder, step_folder):
            return None, unmarked
        if not is_checkpoint:
            return None, "config.json, or a mark that its writer leaves last"
    if stayed < ready.seconds:
        return None, f"{ready.seconds:g} s without a change"
    return f"nothing has changed in it for {ready.seconds:g} s", ""


def _lacking(folder: Path, *, settled: bool) -> str:
    """Which part of a transformers checkpoint is not there yet; empty where all weights are, and where ``settled``
    files are wrong in a way that waiting does not mend: whoever scores it will say so."""
    try:
        checkpoint = Checkpoint.open(folder)
        stored_weights(weight_files(checkpoint.path))
    except IncompleteError as error:
        return _inside(folder, error)
    except ModelError as error:
        return "" if settled else _inside(folder, error)
    except OSError as error:
        return f"what can be read: {error.strerror}"
    return ""


def _inside(folder: Path, error: ModelError) -> str:
    """What an error says, without the folder that it names."""
    path = str(folder.resolve())
    return str(error).replace(f"{path}/", "").replace(f"{path}: ", "")


def _mark(folder: Path, step_folder: Path) -> str | None:
    """The mark by which a writer says that it is done with a folder."""
    for one in dict.fromkeys((folder, step_folder)):
        state = one / "trainer_state.json"
        if state.is_file() and _is_json(state):
            return state.name
        for name in _MARKS:
            if (one / name).is_file():
                return name
        for pattern in _MARKED_BELOW:
            if found := next(one.glob(pattern), None):
                return str(found.relative_to(one))
    return _pointer(step_folder)


def _pointer(step_folder: Path) -> str | None:
    """The file beside checkpoints that names this one, or a later one."""
    step = named_step(Path(step_folder.name))
    for name in _POINTERS:
        said = _read(step_folder.parent / name)
        if said is None or step is None:
            continue
        last = int(said) if said.isdecimal() and len(said) < 16 else named_step(Path(said))
        if said == step_folder.name or (last is not None and last >= step):
            return f"{name} beside it"
    return None


def _unmarked(folder: Path, step_folder: Path) -> str:
    """The mark that is to come, as other files or folders tell; empty where none is."""
    if any((folder / name).exists() for name in _TRAINERS):
        return "trainer_state.json"
    if any((step_folder.parent / name).is_file() for name in _POINTERS):
        return "its name in the file beside it that names the last whole one"
    if (folder / ".metadata.tmp").exists() or next(folder.glob("*.distcp"), None):
        return ".metadata"
    return ""


def _is_json(file: Path) -> bool:
    try:
        return isinstance(orjson.loads(read_whole(file)), dict)
    except (OSError, ValueError, ModelError):
        return False


def _read(file: Path) -> str | None:
    try:
        if not file.is_file():
            return None
        with file.open("rb") as stream:
            return stream.read(200).decode().strip()
    except (OSError, ValueError):
        return None
