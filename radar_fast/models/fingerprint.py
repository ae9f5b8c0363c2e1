"""Digests of the files in a checkpoint that can change a score, and of no others.

Tokenizer, processor and configuration are digested whole. Of weights every tensor is seen: its name, type and shape,
and bytes of it, all of them up to 48 MiB of weights in all, else an equal share of that each, in blocks from its first
byte to its last. A projector that was trained inside frozen weights differs, and so do two blocks that were swapped; a
copy of a checkpoint does not, wherever it lies. What trainers keep beside it (optimizer, scheduler, random states,
their own arguments) cannot change a score and is left out.
"""

import hashlib
import os
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from radar_fast.errors import ModelError, one_line
from radar_fast.models.headers import read_header
from radar_fast.models.weights import weight_files

__all__ = ["digests", "file_states", "prompt_files", "telling_config", "weight_digests"]

BUDGET = 48 * 2**20
"""Bytes of weights that are read; headers come on top."""
_BLOCK = 4096

_PROMPT_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.json",
    "chat_template.jinja",
    "preprocessor_config.json",
    "processor_config.json",
)
"""What can change a token or a pixel, beside ``*.tiktoken`` and ``additional_chat_templates/``. Generation and videos
are none of ours."""

_SILENT = ("_name_or_path", "transformers_version", "use_cache", "torch_dtype", "dtype")
"""Fields of config.json, at any depth, that can change no score: where it lay, what wrote it, how it generates. The
dtype that a run takes by them is part of its identity as the engine's."""


def prompt_files(folder: Path, *, code: bool) -> list[Path]:
    """The files there that can change a token or a pixel, sorted; ``code``: Python files too."""
    found = [folder / name for name in _PROMPT_FILES]
    found += [*folder.glob("*.tiktoken"), *folder.glob("additional_chat_templates/*.jinja")]
    if code:
        found += folder.glob("*.py")
    return sorted(file for file in found if file.is_file())


def telling_config(value: Any) -> Any:
    """``config.json`` without what can change no score."""
    if isinstance(value, Mapping):
        return {name: telling_config(inner) for name, inner in value.items() if name not in _SILENT}
    return [telling_config(inner) for inner in value] if isinstance(value, list) else value


def digests(folder: Path, config: Mapping[str, Any], *, code: bool) -> dict[str, str]:
    """File name -> SHA-256, for every file, weights apart, that can change a score.

    Args:
        folder: the checkpoint.
        config: its ``config.json``, which is digested by what it says.
        code: whether Python files count, as they do where they may be run.

    Raises:
        ModelError: a file cannot be read.
    """
    config_text = orjson.dumps(telling_config(config), option=orjson.OPT_SORT_KEYS)
    found = {"config.json": hashlib.sha256(config_text).hexdigest()}
    try:
        for file in prompt_files(folder, code=code):
            with file.open("rb") as stream:
                found[file.relative_to(folder).as_posix()] = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{folder}: cannot be read: {one_line(error)}", path=folder) from None
    return found


def weight_digests(folder: Path) -> dict[str, str]:
    """File name -> SHA-256 of what is seen of its tensors.

    Raises:
        IncompleteError, ModelError: a file is missing, cut short, or cannot be read.
    """
    try:
        return _weights(weight_files(folder))
    except OSError as error:
        raise ModelError(f"{folder}: cannot be read: {one_line(error)}", path=folder) from None


def file_states(folder: Path, files: Iterable[Path]) -> dict[str, tuple[int, int, int]]:
    """File name -> (size, nanoseconds of its last change, inode): what tells that it was written to, or replaced."""
    states = {}
    for file in files:
        try:
            state = file.stat()
        except OSError:
            continue
        states[file.relative_to(folder).as_posix()] = (state.st_size, state.st_mtime_ns, state.st_ino)
    return states


def _weights(files: list[Path]) -> dict[str, str]:
    kinds = {file: _pieces(file) for file in files}
    count = sum(map(len, kinds.values()))
    size = sum(end - begin for pieces in kinds.values() for _, begin, end in pieces)
    share = size if size <= BUDGET else max(_BLOCK // 8, BUDGET // max(count, 1))
    found = {}
    for file, pieces in kinds.items():
        digest = hashlib.sha256()
        with file.open("rb", buffering=0) as stream:
            for said, begin, end in pieces:
                digest.update(said.encode("utf-8", "surrogatepass") + b"\0")
                _sample(digest, stream, begin, end, share)
        found[file.name] = digest.hexdigest()
    return found


def _sample(digest: Any, stream: BinaryIO, begin: int, end: int, share: int) -> None:
    """All of the bytes, or ``share`` of them in blocks from the first to the last."""
    size = end - begin
    if size <= share:
        digest.update(_at(stream, begin, size))
        return
    blocks = max(1, share // _BLOCK)
    block = min(_BLOCK, share)
    for number in range(blocks):
        digest.update(_at(stream, begin + (size - block) * number // max(blocks - 1, 1), block))


def _at(stream: BinaryIO, offset: int, size: int) -> bytes:
    pieces = []
    while size > 0 and (piece := os.pread(stream.fileno(), min(size, 2**24), offset)):
        pieces.append(piece)
        offset, size = offset + len(piece), size - len(piece)
    return b"".join(pieces)


def _pieces(file: Path) -> list[tuple[str, int, int]]:
    """(what is said of it, first byte, one past the last) of every tensor in a file, sorted by name."""
    if file.suffix == ".safetensors":
        tensors = read_header(file)
        return [
            (f"{name} {tensor.dtype} {list(tensor.shape)}", tensor.begin, tensor.end)
            for name, tensor in sorted(tensors.items())
        ]
    size = file.stat().st_size
    if not zipfile.is_zipfile(file):
        return [(f"{size}", 0, size)]
    with zipfile.ZipFile(file) as archive:
        # Stored, not compressed: what lies after an entry's own header are the tensor's bytes. The checksum that
        # torch.save writes down beside it sees all of them.
        return [
            (f"{entry.filename.partition('/')[2]} {entry.file_size} {entry.CRC}", entry.header_offset, end)
            for entry, end in _with_ends(archive.infolist(), size)
        ]


def _with_ends(entries: list[zipfile.ZipInfo], size: int) -> list[tuple[zipfile.ZipInfo, int]]:
    ordered = sorted(entries, key=lambda entry: entry.header_offset)
    return [
        (entry, min(following, entry.header_offset + entry.compress_size + 4096))
        for entry, following in zip(ordered, [*(entry.header_offset for entry in ordered[1:]), size], strict=True)
    ]
