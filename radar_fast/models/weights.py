"""A checkpoint's weight files: which there are, and their tensors one at a time.

safetensors and, where there is nothing else, PyTorch's own format, of which only tensors are read. Either way a file is
mapped into memory: what is not looked at is not read, and nothing is held twice. torch is imported only when asked for.
"""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from radar_fast.errors import IncompleteError, ModelError, one_line

if TYPE_CHECKING:
    import torch

__all__ = ["require_shards", "tensors_of", "weight_files"]

_KINDS = (
    ("model.safetensors.index.json", "model.safetensors"),
    ("pytorch_model.bin.index.json", "pytorch_model.bin"),
)
"""(index of shards, single file), in the order of preference."""


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a checkpoint's weights, all there, sorted by name.

    Raises:
        IncompleteError: one that the index names is not there.
        ModelError: there are none.
    """
    for index, single in _KINDS:
        if (folder / index).is_file():
            return _shards(folder / index)
        if (folder / single).is_file():
            return [folder / single]
    raise ModelError(f"{folder}: no weights in it; expected model.safetensors or pytorch_model.bin, whole or in shards")


def require_shards(folder: Path) -> None:
    """See that every file is there that an index of shards in the folder names, if it has one.

    Raises:
        IncompleteError: one is not.
        ModelError: the index cannot be read.
    """
    for index, _ in _KINDS:
        if (folder / index).is_file():
            _shards(folder / index)


def _shards(index: Path) -> list[Path]:
    try:
        names = sorted(set(orjson.loads(index.read_bytes())["weight_map"].values()))
        files = [index.parent / name for name in names]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{index}: cannot be read: {one_line(error)}") from None
    for name, file in zip(names, files, strict=True):
        if Path(name).name != name:
            raise ModelError(f"{index}: names {name!r}, which is no file beside it")
        if not file.is_file():
            raise IncompleteError(
                f"{index}: names {name}, which is not in the folder; wait until it is written, or fetch it"
            )
    if not files:
        raise ModelError(f"{index}: names no files; fetch the checkpoint again")
    return files


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
            raise ModelError(f"{file}: cannot be read: {one_line(error)}; fetch it again") from None
        return
    try:
        # Files of before PyTorch 1.6 are no archives, and cannot be mapped into memory.
        held = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except Exception as error:  # whatever a reader of a foreign file raises
        raise ModelError(f"{file}: cannot be read: {one_line(error)}; only files of plain tensors are read") from None
    if not isinstance(held, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in held.values()):
        raise ModelError(f"{file}: holds more than named tensors; expected a state dict as torch.save writes it")
    yield from ((str(name), tensor) for name, tensor in held.items())
