"""A checkpoint's weight files: which of a folder's count, and their tensors one at a time.

safetensors and, where there is nothing else, PyTorch's own format, of which only tensors are read. Either way a file is
mapped into memory: what is not looked at is not read, and nothing is held twice. torch is imported only when asked for.

Which files count is where the libraries part ways: of a single file beside shards with an index transformers takes the
first and vLLM the second, and without an index vLLM takes whatever ends in ``.safetensors``. Where they would read
different weights nothing is read.
"""

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from radar_fast.errors import IncompleteError, ModelError, one_line
from radar_fast.models.small_files import read_whole
from radar_fast.models.training_folders import advice
from radar_fast.util.printable import printable

if TYPE_CHECKING:
    import torch

__all__ = ["require_plain_archive", "require_shards", "spare_weights", "tensors_of", "weight_files"]

_KINDS = (
    ("model.safetensors.index.json", "model.safetensors"),
    ("pytorch_model.bin.index.json", "pytorch_model.bin"),
)
"""(index of shards, single file), in the order of preference."""

_NO_WEIGHTS = ("training_args.bin", "optimizer.bin", "scheduler.bin", "scaler.bin", "mm_projector.bin")
"""What lies beside weights under a name that weights could have: a trainer's own, and LLaVA's projector once more."""


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a checkpoint's weights, all there, sorted by name.

    Raises:
        IncompleteError: the index, or a file that it names, is not there.
        ModelError: there are none, or more than one set of them, or the folder is no checkpoint.
    """
    names = sorted(entry.name for entry in folder.iterdir())
    for index, single in _KINDS:
        suffix = Path(single).suffix
        there = [name for name in names if name.endswith(suffix) and not name.endswith(_NO_WEIGHTS)]
        if (folder / index).is_file():
            files = _shards(folder / index)
            if (folder / single).exists() and folder / single not in files:
                raise _two_sets(folder, single, index)
            if suffix == ".safetensors":
                _refuse_consolidated(folder, there, index)
                return files  # both engines read what the index names, and nothing else
            _refuse_others(folder, there, [file.name for file in files])
            return files
        if (folder / single).is_file():
            _refuse_others(folder, there, [single])
            return [folder / single]
        if parts := [name for name in there if re.search(r"-\d+-of-\d+\.", name)]:
            raise IncompleteError(
                f"{folder}: incomplete; still being written? It holds {parts[0]} and no {index}, which is written last",
                path=folder,
            )
    if told := advice(folder):
        raise ModelError(f"{folder}: {told}", path=folder)
    raise ModelError(
        f"{folder}: no weights in it, so that the model cannot be loaded; expected model.safetensors or "
        "pytorch_model.bin, whole or in shards",
        path=folder,
    )


def spare_weights(folder: Path) -> list[str]:
    """Names of weight files beside those that count: PyTorch's where safetensors are there."""
    if any((folder / name).is_file() for name in _KINDS[0]):
        return sorted(
            entry.name
            for entry in folder.iterdir()
            if re.fullmatch(r"pytorch_model.*\.bin", entry.name) or entry.name == _KINDS[1][0]
        )
    return []


def require_shards(folder: Path) -> None:
    """See that every file is there that an index of shards in the folder names, if it has one.

    Raises:
        IncompleteError: one is not.
        ModelError: the index cannot be read.
    """
    for index, _ in _KINDS:
        if (folder / index).is_file():
            _shards(folder / index)


def _two_sets(folder: Path, one: str, other: str) -> ModelError:
    return ModelError(
        f"{folder}: two sets of weights, {one} and {other}; transformers and vLLM disagree on which counts. Remove the "
        "one that is not meant",
        path=folder,
    )


def _refuse_others(folder: Path, there: list[str], counted: list[str]) -> None:
    """Raise ModelError for weights that vLLM would read as well, and transformers would not."""
    if others := [name for name in there if name not in counted]:
        raise _two_sets(folder, counted[0], others[0])


def _refuse_consolidated(folder: Path, there: list[str], index: str) -> None:
    """Raise ModelError for Mistral's own format, which vLLM prefers to what an index names."""
    if others := [name for name in there if name.startswith("consolidated")]:
        raise _two_sets(folder, others[0], index)


def _shards(index: Path) -> list[Path]:
    try:
        names = sorted(set(orjson.loads(read_whole(index))["weight_map"].values()))
        files = [index.parent / name for name in names]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, ValueError) and index.stat().st_size == 0:
            raise IncompleteError(f"{index}: incomplete; still being written? It is empty", path=index) from None
        raise ModelError(f"{index}: cannot be read: {one_line(error)}", path=index) from None
    for name, file in zip(names, files, strict=True):
        if Path(name).name != name or name == "..":
            raise ModelError(
                f"{index}: names {name[:80]!a}, which is no file beside it; weights lie in the folder itself",
                path=index,
            )
        try:
            there = file.is_file()
        except (OSError, ValueError) as error:  # a name that no file can have
            raise ModelError(
                f"{index}: names {name[:80]!a}, which no file can be called: {one_line(error)}", path=index
            ) from None
        if not there:
            shown = printable(name)
            raise IncompleteError(
                f"{index}: names {shown}, which is not in the folder; wait until it is written, or fetch it", path=index
            )
    if not files:
        raise ModelError(f"{index}: names no files; fetch the checkpoint again", path=index)
    return files


def require_plain_archive(file: Path) -> None:
    """See that an archive holds what it holds as it is, as torch.save writes it; any other file passes.

    Raises:
        ModelError: an entry is compressed, and may unpack to any size; or it cannot be read.
    """
    try:
        if not zipfile.is_zipfile(file):
            return
        with zipfile.ZipFile(file) as archive:
            packed = [entry.filename for entry in archive.infolist() if entry.compress_type != zipfile.ZIP_STORED]
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        raise ModelError(f"{file}: cannot be read: {one_line(error)}; fetch it again", path=file) from None
    if packed:
        raise ModelError(
            f"{file}: its entry {packed[0][:80]!a} is compressed, as torch.save never writes it; save the weights anew",
            path=file,
        )


def tensors_of(file: Path) -> Iterator[tuple[str, "torch.Tensor"]]:
    """(name, tensor) of everything in one file, in the file's order.

    Raises:
        ModelError: the file is cut short, or holds anything but tensors.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    if file.suffix == ".safetensors":
        try:
            with safe_open(file, framework="pt", device="cpu") as opened:
                for name in opened.keys():  # noqa: SIM118 - no mapping
                    yield name, opened.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{file}: cannot be read: {one_line(error)}; fetch it again", path=file) from None
        return
    require_plain_archive(file)
    try:
        # Files of before PyTorch 1.6 are no archives, and cannot be mapped into memory.
        held = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except Exception as error:  # whatever a reader of a foreign file raises
        raise ModelError(
            f"{file}: cannot be read: {one_line(error)}; only files of plain tensors are read", path=file
        ) from None
    if not isinstance(held, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in held.values()):
        raise ModelError(
            f"{file}: holds more than named tensors; expected a state dict as torch.save writes it", path=file
        )
    yield from ((str(name), tensor) for name, tensor in held.items())
