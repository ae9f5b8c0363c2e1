"""The weights of a LLaVA that was published in parts: what each is called in the whole, and files of all of them.

Weights go from file to file a shard at a time.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radar_fast.errors import ModelError
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.models.soundness import stored_weights
from radar_fast.models.weights import tensors_of, weight_files

if TYPE_CHECKING:
    import torch

__all__ = ["Part", "check_fit", "list_parts", "weights_in", "write_weights"]

SHARD_BYTES = 2**30
"""Most bytes of weights in one file of the result, and about what is in memory at a time; a larger weight is alone."""

_BUFFERS = re.compile(r".*(rotary_emb\.inv_freq|embeddings\.position_ids)")
"""What older versions saved beside weights; models make these themselves."""

_PROJECTOR = {"0": "linear_1", "2": "linear_2"}


@dataclass(frozen=True)
class Part:
    """One weight: where it lies, and what it will be called."""

    file: Path
    stored: str
    name: str
    shape: tuple[int, ...]
    bytes: int


def list_parts(language: Checkpoint, tower: Checkpoint, projector: Path | None, config: Any) -> Iterator[Part]:
    """Every weight of the result once, in the order of the files; the tower's own where the language model's folder
    has none."""
    tied = bool(config.tie_word_embeddings)
    found: dict[str, Part] = {}
    for file in weight_files(tower.path):
        for part in _listed(file, _tower_name):
            _add(found, part)
    mine: dict[str, Part] = {}
    files = chain(weight_files(language.path), [projector] if projector else [])
    for file in files:
        for part in _listed(file, _projector_name if file == projector else _language_name):
            if not (tied and part.name == "lm_head.weight"):  # transformers ties the head whatever a file holds
                _add(mine, part)
    return iter({**found, **mine}.values())


def weights_in(folder: Path) -> int:
    """How many weights a checkpoint's files hold, all of them whole. Raises IncompleteError, ModelError."""
    files = weight_files(folder)
    stored = stored_weights(files)
    return len(stored) if stored is not None else sum(1 for file in files for _ in tensors_of(file))


def _listed(file: Path, rename: Any) -> Iterator[Part]:
    for stored, tensor in tensors_of(file):
        if _BUFFERS.fullmatch(stored):
            continue
        if (name := rename(stored)) is not None:
            yield Part(file, stored, name, tuple(tensor.shape), tensor.numel() * tensor.element_size())


def _add(parts: dict[str, Part], part: Part) -> None:
    if part.name in parts:
        raise ModelError(
            f"{part.file}: {part.stored} is also in {parts[part.name].file.name}; each weight lies once", path=part.file
        )
    parts[part.name] = part


def _language_name(stored: str) -> str | None:
    """Of a base language model, or of LLaVA's own code. A name that is known to neither stays, and is refused later."""
    if "mm_projector." in stored:
        return _projector_name(stored)
    if "vision_tower." in stored:
        return _tower_name(stored.rsplit("vision_tower.", 1)[1])
    if stored.startswith("model."):
        return f"model.language_model.{stored.removeprefix('model.')}"
    return stored


def _projector_name(stored: str) -> str | None:
    match = re.fullmatch(r"(?:.*\.)?(?:mm_projector\.)?(\d+)\.(weight|bias)", stored)
    if match is None or match[1] not in _PROJECTOR:
        return stored
    return f"model.multi_modal_projector.{_PROJECTOR[match[1]]}.{match[2]}"


def _tower_name(stored: str) -> str | None:
    """None for what is not the tower's: a text model, projections, and SigLIP's pooling head.

    With ``vision_model.`` in the name, as published: transformers takes both, vLLM 0.32 only this one.
    """
    if stored.startswith(("text_model.", "text_projection.", "visual_projection.", "logit_scale", "logit_bias")):
        return None
    inner = stored.removeprefix("vision_model.")
    return None if inner.startswith("head.") else f"model.vision_tower.vision_model.{inner}"


def check_fit(parts: list[Part], config: Any, language: Checkpoint, tower: Checkpoint, projector: Path | None) -> None:
    """That the parts are the weights of the model that the configuration says, no more and no fewer."""
    import torch
    import transformers

    source = projector or language.path
    shapes = {part.name: part.shape for part in parts}
    seen, read = config.vision_config.hidden_size, config.text_config.hidden_size
    for name, wanted in (("linear_1", (read, seen)), ("linear_2", (read, read))):
        shape = shapes.get(f"model.multi_modal_projector.{name}.weight")
        if shape is not None and shape != wanted:
            raise ModelError(
                f"{source}: the projector's {name} is {shape[1]} -> {shape[0]}, and {wanted[1]} -> {wanted[0]} is "
                f"wanted between {tower.path.name} (width {seen}) and {language.path.name} (width {read})",
                path=source,
            )
    with torch.device("meta"):
        model = transformers.LlavaForConditionalGeneration(config)
    expected = {_plain(name): tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if config.tie_word_embeddings:
        expected.pop("lm_head.weight")
    held = {_plain(part.name): part for part in parts}
    for problem, names in (
        ("lack", sorted(expected.keys() - held.keys())),
        ("hold what the model has no place for:", sorted(held.keys() - expected.keys())),
    ):
        if names:
            raise ModelError(
                f"{source}, {tower.path.name}: the parts {problem} {len(names)} weights, e.g. {', '.join(names[:3])}"
            )
    for name, part in held.items():
        if part.shape != expected[name]:
            raise ModelError(
                f"{part.file}: {part.stored} is {list(part.shape)}, and config.json says {list(expected[name])}",
                path=part.file,
            )


def _plain(name: str) -> str:
    """Without the part that transformers' versions write or leave out."""
    return name.replace("vision_tower.vision_model.", "vision_tower.")


def write_weights(parts: list[Part], folder: Path) -> None:
    """Shards of at most SHARD_BYTES, and their index."""
    from safetensors.torch import save_file

    shards: list[list[Part]] = []
    size = 0
    for part in parts:
        if not shards or size + part.bytes > SHARD_BYTES:
            shards.append([])
            size = 0
        shards[-1].append(part)
        size += part.bytes
    index: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        save_file(dict(_tensors(shard)), folder / name, {"format": "pt"})
        index |= {part.name: name for part in shard}
    total: Mapping[str, int] = {"total_size": sum(part.bytes for part in parts)}
    text = json.dumps({"metadata": total, "weight_map": index}, indent=2, sort_keys=True)
    (folder / "model.safetensors.index.json").write_text(text + "\n")


def _tensors(shard: list[Part]) -> Iterator[tuple[str, "torch.Tensor"]]:
    wanted = {(part.file, part.stored): part.name for part in shard}
    for file in dict.fromkeys(part.file for part in shard):
        for stored, tensor in tensors_of(file):
            if (file, stored) in wanted:
                yield wanted[file, stored], tensor.contiguous().clone()
