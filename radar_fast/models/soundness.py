"""What must hold of a checkpoint before one of its weights is trusted: one list, for all families and both engines.

Only headers are read, so that 15 GB are looked at in a second. What is wrong is a ModelError, an IncompleteError where
waiting may mend it, and ends the checkpoint's run before anything is written; what is worth saying and no error is a
line. docs/checkpoints.md says the same to users.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from radar_fast.errors import IncompleteError, ModelError, one_line
from radar_fast.models import internvl
from radar_fast.models.architecture import require_fit
from radar_fast.models.explained import explained
from radar_fast.models.fingerprint import prompt_files
from radar_fast.models.headers import Stored, read_header
from radar_fast.models.small_files import LARGEST, read_whole
from radar_fast.models.training_folders import MERGE
from radar_fast.models.weights import require_plain_archive, spare_weights, weight_files

__all__ = ["quantisation", "require_files", "require_sound", "require_tokenizer", "stored_weights"]

_TOKENIZERS = (
    ("tokenizer.json",),
    ("tokenizer.model",),
    ("spiece.model",),
    ("sentencepiece.bpe.model",),
    ("vocab.json", "merges.txt"),
    ("vocab.txt",),
    ("tekken.json",),
)
"""Files that a tokenizer is made of, each set enough for one."""

_FLOATS = ("F64", "F32", "F16", "BF16")
_NAMED_FILES = ("tokenizer_file", "vocab_file", "merges_file", "spm_file", "chat_template_file")
"""Fields of tokenizer_config.json that name files."""


def require_sound(path: Path, config: Mapping[str, Any], *, trust_remote_code: bool = False) -> list[str]:
    """Look at everything that must hold of the checkpoint at ``path``.

    Args:
        path: its folder.
        config: its ``config.json``.
        trust_remote_code: whether code that lies in the folder may be run.

    Returns:
        What a person should know all the same, a line each.

    Raises:
        IncompleteError: files are missing or cut short; it may still be being written.
        ModelError: anything else that does not hold: names the file or weight, what was found, what to do.
    """
    require_files(path)
    _require_no_adapter(path)
    require_tokenizer(path, trust_remote_code=trust_remote_code)
    files = weight_files(path)
    stored = stored_weights(files)
    said = []
    if spare := spare_weights(path):
        more = f" and {len(spare) - 1} more" if len(spare) > 1 else ""
        said.append(f"{path}: {spare[0]}{more} beside safetensors: not read, by either engine")
    if stored is None:
        return said  # PyTorch's own format has no header; the engines report what does not fit as they load it
    if quantisation(config) is None:
        _require_floats(path, stored)
        _require_one_head(path, config, files)
        with explained(path, str(config["model_type"]), _architecture(config), "model"):
            if not require_fit(path, config, stored, trust_remote_code=trust_remote_code):
                said.append(f"{path}: transformers has no model of {_architecture(config)} to compare its weights with")
    return said


def quantisation(config: Mapping[str, Any]) -> str | None:
    """The method by which the weights are quantised, as config.json names it; None where they are not."""
    for section in (config, config.get("text_config"), config.get("llm_config")):
        settings = section.get("quantization_config") if isinstance(section, Mapping) else None
        if isinstance(settings, Mapping):
            return str(settings.get("quant_method", "unknown"))
    return None


def stored_weights(files: list[Path]) -> dict[str, Stored] | None:
    """Name -> what and where, over all files; None where they are PyTorch's own, which are only seen to be whole.

    Raises:
        IncompleteError: a file is cut short.
        ModelError: a file is none, or two hold the same weight.
    """
    stored: dict[str, Stored] = {}
    for file in files:
        if file.suffix != ".safetensors":
            _require_whole_archive(file)
            continue
        found = read_header(file)
        if twice := sorted(found.keys() & stored.keys()):
            raise ModelError(
                f"{file}: holds {twice[0]}, as another file of the checkpoint does ({len(twice)} weights lie twice); "
                "remove the files that are not meant",
                path=file,
            )
        stored |= found
    return stored or None


# One by one ----------------------------------------------------------------------------------------------------------


def require_files(path: Path) -> None:
    """Raise ModelError for a pipe or a device that a library would wait for, or read for ever, and for a file that is
    read whole and has no end to speak of."""
    for entry in path.iterdir():
        if entry.exists() and not entry.is_file() and not entry.is_dir():
            raise ModelError(
                f"{entry}: is no regular file; take it away, or put the checkpoint's own there", path=entry
            )
    for file in prompt_files(path, code=False):
        if (size := file.stat().st_size) > LARGEST:
            raise ModelError(
                f"{file}: has {size} bytes, and no such file more than {LARGEST}; fetch it again", path=file
            )


def _require_no_adapter(path: Path) -> None:
    for name in ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin", "non_lora_trainables.bin"):
        if (path / name).exists():
            raise ModelError(
                f"{path / name}: an adapter lies beside the weights, and would be applied or not as libraries happen "
                f"to be installed; {MERGE}, or remove its files to score the base alone"
            )


def require_tokenizer(path: Path, *, trust_remote_code: bool) -> None:
    """Raise IncompleteError or ModelError for a tokenizer that is not all there, or names files elsewhere."""
    there = {entry.name for entry in path.iterdir()}
    whole = any(there.issuperset(files) for files in _TOKENIZERS) or any(name.endswith(".tiktoken") for name in there)
    if not whole and not trust_remote_code:
        found = "vocab.json without merges.txt" if "vocab.json" in there else "no tokenizer files in it"
        raise ModelError(
            f"{path}: {found}; copy tokenizer.json and tokenizer_config.json of the model it was trained from beside "
            "the weights",
            path=path,
        )
    for name in ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json", "processor_config.json"):
        document = _read_json(path / name)
        if name == "tokenizer_config.json" and isinstance(document, dict):
            for field in _NAMED_FILES:
                named = document.get(field)
                if isinstance(named, str) and Path(named).name != named:
                    raise ModelError(
                        f"{path / name}: {field} is {named!r}, which is no file beside it; remove the field"
                    )


def _read_json(file: Path) -> Any:
    """What a file holds; None where there is none. Raises IncompleteError, ModelError."""
    try:
        raw = read_whole(file)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ModelError(f"{file}: cannot be read: {one_line(error)}", path=file) from None
    try:
        return orjson.loads(raw)
    except ValueError as error:
        if not raw or "unexpected end" in str(error) or not raw.rstrip().endswith((b"}", b"]")):
            raise IncompleteError(
                f"{file}: incomplete; still being written? It ends after {len(raw)} bytes", path=file
            ) from None
        raise ModelError(f"{file}: cannot be read: {one_line(error)}; fetch it again", path=file) from None


def _require_whole_archive(file: Path) -> None:
    """Of PyTorch's own format, an archive since 1.6, whose list of contents stands at its end."""
    try:
        with file.open("rb") as stream:
            begins = stream.read(32)
    except OSError as error:
        raise ModelError(f"{file}: cannot be read: {one_line(error)}", path=file) from None
    if begins.startswith(b"version https://git-lfs"):
        raise ModelError(
            f"{file}: a pointer of Git LFS in place of the weights; run `git lfs pull` in its folder", path=file
        )
    if not begins or (begins.startswith(b"PK") and not zipfile.is_zipfile(file)):
        raise IncompleteError(
            f"{file}: incomplete; still being written? The end of the archive is not there. Wait until it is, or fetch "
            "it again",
            path=file,
        )
    require_plain_archive(file)


def _require_floats(path: Path, stored: Mapping[str, Stored]) -> None:
    """Raise ModelError for weights of a type that means nothing without the scales of a quantisation."""
    odd = [
        (name, tensor.dtype)
        for name, tensor in stored.items()
        if tensor.dtype not in _FLOATS and not name.endswith(("position_ids", "num_batches_tracked"))
    ]
    if odd:
        raise ModelError(
            f"{path}: {len(odd)} weights are {odd[0][1]}, e.g. {odd[0][0]}, and config.json has no "
            "quantization_config that says how to read them; take the config.json that belongs to them",
            path=path,
        )


def _require_one_head(path: Path, config: Mapping[str, Any], files: list[Path]) -> None:
    """Raise ModelError where config.json ties the head to the embedding and the files hold two different ones."""
    sections = [section for section in (config, config.get("text_config")) if isinstance(section, Mapping)]
    said = [section["tie_word_embeddings"] for section in sections if "tie_word_embeddings" in section]
    if config["model_type"] == internvl.MODEL_TYPE or not said or not said[0]:
        return
    found: dict[str, tuple[Path, Stored]] = {}
    for file in files:
        for name, tensor in read_header(file).items():
            for end in ("lm_head.weight", "embed_tokens.weight"):
                if name.endswith(end) and "visual" not in name:
                    found.setdefault(end, (file, tensor))
    if len(found) == 2 and _differ(*found.values()):
        raise ModelError(
            f"{path}: config.json ties lm_head.weight to the embedding, and the files hold another one; engines "
            "disagree on which counts: set tie_word_embeddings to what the model was trained with",
            path=path,
        )


def _differ(one: tuple[Path, Stored], other: tuple[Path, Stored]) -> bool:
    """Whether two tensors differ, by 256 blocks of them."""
    (first, mine), (second, theirs) = one, other
    size = mine.end - mine.begin
    if (mine.dtype, mine.shape) != (theirs.dtype, theirs.shape):
        return True
    block = 4096
    with first.open("rb") as left, second.open("rb") as right:
        for number in range(256):
            at = max(0, size - block) * number // 255
            left.seek(mine.begin + at)
            right.seek(theirs.begin + at)
            if left.read(min(block, size)) != right.read(min(block, size)):
                return True
    return False


def _architecture(config: Mapping[str, Any]) -> str:
    named = config.get("architectures")
    return str(named[0]) if isinstance(named, list) and named else "unknown"
