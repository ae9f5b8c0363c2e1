"""``--model`` of a bench -> a checkpoint folder that every contender can load.

A checkpoint folder is taken as it is. A config alone is given random weights at its full size, once, in a temporary
folder: speed and memory do not depend on what the weights say.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radar_fast.demo.series import COMMON, write_checkpoints
from radar_fast.engines.device import resolve_device, resolve_dtype
from radar_fast.errors import ModelError, UsageError
from radar_fast.models.checkpoint import Checkpoint

__all__ = ["DEMO", "Model", "known_names", "prepare_model"]

DEMO = "demo"
"""Name of the demo's last checkpoint."""
_CONFIGS = Path(__file__).parent / "configs"
_WEIGHTS = ("*.safetensors", "*.bin")
_TOKENS = ("bos", "eos", "pad", "vision_start", "vision_end", "vision", "image", "video")
"""Tokens that a Qwen2-VL config names by ``<token>_token_id``."""
_SEED = 0


@dataclass(frozen=True)
class Model:
    """What all contenders load."""

    checkpoint: Checkpoint
    """The folder."""
    label: str
    """What the report calls it."""
    device: str
    """``cpu`` or ``cuda``."""
    dtype: str
    """``float32``, ``bfloat16`` or ``float16``."""


def known_names() -> tuple[str, ...]:
    """What ``--model`` takes beside paths."""
    return DEMO, *_shipped()


def _shipped() -> dict[str, Path]:
    """Configs that come along, by name."""
    return {path.stem: path for path in sorted(_CONFIGS.glob("*.json"))}


def prepare_model(model: str, *, tokenizer: Path | None, device: str, dtype: str, folder: Path) -> Model:
    """Find the checkpoint, or make it.

    Args:
        model: a checkpoint folder, a config.json, a folder with one, or one of :func:`known_names`.
        tokenizer: folder with tokenizer and image processor for a config alone; None: those beside the config, else
            the demo's (for a Qwen2-VL), with the config's own vocabulary size.
        device: as on the command line.
        dtype: as on the command line.
        folder: to be filled, if anything has to be made; temporary, and room for the weights.

    Raises:
        ModelError: no such model, or one that transformers cannot make.
        UsageError: a tokenizer that does not fit, a device or dtype that is not to be had, or no room for the weights.
    """
    placed = resolve_device(device)
    path = Path(model)
    config = _config_alone(path) if path.exists() else _shipped().get(model)
    if model == DEMO and not path.exists():
        path = write_checkpoints(folder)[-1]
    if config is None:
        if not path.exists():
            raise ModelError(
                f"--model {model}: no such folder or config.json, and none of the names {', '.join(known_names())}"
            )
        if tokenizer is not None:
            raise UsageError(f"--tokenizer {tokenizer}: is for a config alone; {path} is a checkpoint with its own")
        checkpoint = Checkpoint.open(path)
        chosen = resolve_dtype(dtype, checkpoint, placed)
        return Model(checkpoint, model, placed.type, str(chosen).removeprefix("torch."))

    made = folder / config.parent.name if config.name == "config.json" else folder / config.stem
    made.mkdir(parents=True)
    _write_config(config, tokenizer, made)
    checkpoint = Checkpoint.open(made)
    chosen = resolve_dtype(dtype, checkpoint, placed)
    _check_tokenizer(checkpoint, tokenizer)
    _write_random_weights(checkpoint, chosen, placed)
    label = f"{model} (random weights, {str(chosen).removeprefix('torch.')})"
    return Model(Checkpoint.open(made), label, placed.type, str(chosen).removeprefix("torch."))


def _config_alone(path: Path) -> Path | None:
    """The config file, if ``path`` is one, or a folder that holds one and no weights."""
    if path.is_file():
        return path
    config = path / "config.json"
    if config.is_file() and not any(found for pattern in _WEIGHTS for found in path.glob(pattern)):
        return config
    return None


def _write_config(config: Path, tokenizer: Path | None, folder: Path) -> None:
    """The config into ``folder``, with the files of a tokenizer and an image processor that go with it."""
    try:
        values = json.loads(config.read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"{config}: cannot be read: {error}", path=config) from None
    if not isinstance(values, dict) or not isinstance(values.get("model_type"), str):
        raise ModelError(f"{config}: no model_type in it; this is no transformers config", path=config)
    source = tokenizer
    if source is None and (config.parent / "tokenizer.json").is_file():
        source = config.parent
    if source is None:
        if values["model_type"] != "qwen2_vl":
            raise UsageError(
                f"--model {config}: model_type {values['model_type']!r} needs --tokenizer DIR, a folder with its "
                "tokenizer and image processor; only a qwen2_vl config can go with the demo's"
            )
        source = COMMON
        _take_token_ids(values, json.loads((COMMON / "config.json").read_text()))
    elif not (source / "tokenizer_config.json").is_file():
        raise UsageError(f"--tokenizer {source}: no tokenizer_config.json in it; give a folder of save_pretrained's")
    for file in sorted(source.iterdir()):
        if file.suffix in (".json", ".jinja", ".txt", ".model") and not file.name.startswith(("config.", "model.")):
            shutil.copyfile(file, folder / file.name)
    (folder / "config.json").write_text(json.dumps(values, indent=1))


def _take_token_ids(values: dict[str, Any], other: dict[str, Any]) -> None:
    """Put the ids of another config's tokens into ``values``, so that a tokenizer of fewer tokens goes with it."""
    for section in (values, values.get("text_config")):
        if isinstance(section, dict):
            section.update(
                {
                    name: other[name]
                    for name in (f"{token}_token_id" for token in _TOKENS)
                    if name in other and (section is values or name in section)
                }
            )


def _check_tokenizer(checkpoint: Checkpoint, tokenizer: Path | None) -> None:
    import transformers

    processor = checkpoint.processor
    with checkpoint.explained("config"):
        config = transformers.AutoConfig.from_pretrained(checkpoint.path, local_files_only=True)
    size, vocabulary = len(processor.tokenizer), int(config.get_text_config().vocab_size)
    named = tokenizer or "the demo's tokenizer"
    if size > vocabulary:
        raise UsageError(f"--tokenizer {named}: has {size} tokens, and the config a vocabulary of {vocabulary}")
    found = processor.tokenizer.convert_tokens_to_ids(processor.image_token)
    wanted = getattr(config, "image_token_id", found)
    if found != wanted:
        raise UsageError(
            f"--tokenizer {named}: its image token {processor.image_token} is {found}, and the config says {wanted}; "
            "give the tokenizer that belongs to the config"
        )


def _write_random_weights(checkpoint: Checkpoint, dtype: Any, device: Any) -> None:
    import torch
    import transformers

    make = transformers.AutoModelForImageTextToText.from_config
    with checkpoint.explained("model"):
        config = transformers.AutoConfig.from_pretrained(checkpoint.path, local_files_only=True)
        with torch.device("meta"):
            needed = sum(parameter.numel() for parameter in make(config, dtype=dtype).parameters()) * dtype.itemsize
    free = shutil.disk_usage(checkpoint.path).free
    if needed > free:
        raise UsageError(
            f"--model: random weights take {needed / 2**30:.1f} GiB, and {checkpoint.path.parent} has "
            f"{free / 2**30:.1f} GiB free; set TMPDIR to a larger disk"
        )
    with checkpoint.explained("model"):
        transformers.utils.logging.disable_progress_bar()
        torch.manual_seed(_SEED)
        with torch.device(device):
            model = make(config, dtype=dtype)
        model.save_pretrained(checkpoint.path)
        del model
    if device.type == "cuda":
        torch.cuda.empty_cache()
