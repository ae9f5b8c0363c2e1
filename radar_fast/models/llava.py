"""LLaVA checkpoints that were published in parts, put together as one folder that both engines load.

A base language model, a CLIP or SigLIP tower and a projector (``mm_projector.bin``) become one
``LlavaForConditionalGeneration``; so does a checkpoint of LLaVA's own code (``LlavaLlamaForCausalLM``,
``LlavaMistralForCausalLM``), which holds language model and projector, and at times the tower, under its own names.
Weights go from file to file a shard at a time. The folder appears complete, or not at all.
"""

import json
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radar_fast.errors import ModelError, UsageError, one_line
from radar_fast.models.checkpoint import COMPOSED, Checkpoint
from radar_fast.models.weights import tensors_of, weight_files
from radar_fast.util.atomic import sync_folder

if TYPE_CHECKING:
    import torch

__all__ = ["Composed", "compose"]

SHARD_BYTES = 2**30
"""Most bytes of weights in one file of the result, and about what is in memory at a time; a larger weight is alone."""


@dataclass(frozen=True)
class _Kind:
    """A language model as transformers has it, and the prompt that goes with how it was found."""

    model_type: str
    architecture: str
    protocol: str
    own: bool
    """Whether the checkpoint is of LLaVA's own code, and holds its projector."""


_KINDS = {
    "Qwen2ForCausalLM": _Kind("qwen2", "Qwen2ForCausalLM", "plain", False),
    "Qwen3ForCausalLM": _Kind("qwen3", "Qwen3ForCausalLM", "plain", False),
    "LlamaForCausalLM": _Kind("llama", "LlamaForCausalLM", "plain", False),
    "MistralForCausalLM": _Kind("mistral", "MistralForCausalLM", "plain", False),
    "LlavaLlamaForCausalLM": _Kind("llama", "LlamaForCausalLM", "llava", True),
    "LlavaMistralForCausalLM": _Kind("mistral", "MistralForCausalLM", "llava-med", True),
}

_NOT_THE_LANGUAGE_MODELS = re.compile(
    r"_|mm_|image_|tune_|freeze_|unfreeze_|use_mm_|tokenizer_|vision_|transformers_version$|auto_map$|architectures$"
    r"|model_type$|torch_dtype$|dtype$|quantization_config$"
)
"""Keys of LLaVA's config.json, by how they begin, that say nothing of its language model."""

_BUFFERS = re.compile(r".*(rotary_emb\.inv_freq|embeddings\.position_ids)")
"""What older versions saved beside weights; models make these themselves."""

_PROJECTOR = {"0": "linear_1", "2": "linear_2"}


@dataclass(frozen=True)
class Composed:
    """What :func:`compose` made."""

    out: Path
    protocol: str
    """The prompt that goes with it, which ``--protocol auto`` then takes."""
    image_token: str
    """What stands for an image in the text."""
    image_tokens: int
    """Tokens an image."""
    weights: int
    """Tensors written."""


def compose(llm: Path, vision: Path, out: Path, projector: Path | None = None) -> Composed:
    """Write a ``LlavaForConditionalGeneration`` folder.

    Args:
        llm: a base language model, or a checkpoint of LLaVA's own code.
        vision: a CLIP or SigLIP folder; of its weights, what ``llm`` holds of its own is not taken.
        out: the folder to make.
        projector: ``mm_projector.bin`` or the same as safetensors; None where ``llm`` holds it.

    Raises:
        UsageError: ``out`` is there already, or the projector is missing or there twice.
        ModelError: a part cannot be read, or the parts do not fit; nothing is left behind.
    """
    if out.exists():
        raise UsageError(f"--out {out}: is there already; name a folder that is not, it is made whole or not at all")
    language, tower = Checkpoint.open(llm), Checkpoint.open(vision)
    kind = _kind(language)
    if projector is None and not kind.own:
        raise UsageError(f"--llm {llm}: {language.architecture} has no projector; name its file with --projector")
    if projector is not None and kind.own:
        raise UsageError(f"--projector {projector}: {llm} holds a projector of its own; leave the option out")
    if projector is not None and not projector.is_file():
        raise UsageError(f"--projector {projector}: no such file; it is published as mm_projector.bin")
    with language.explained("configuration"):
        config = _config(language, tower, kind)
        tokenizer, image_token = _tokenizer(language, config)
    with tower.explained("image processor"):
        processor = _processor(tower, config, tokenizer, image_token)
    config.image_token_index = tokenizer.convert_tokens_to_ids(image_token)
    parts = list(_parts(language, tower, projector, config))
    _check_fit(parts, config, language, tower, projector)

    temporary = out.parent / f".{out.name}.{secrets.token_hex(8)}.tmp"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        config.save_pretrained(temporary)
        processor.save_pretrained(temporary)
        _write_weights(parts, temporary)
        made_of = {"llm": llm.name, "vision": vision.name, "projector": projector.name if projector else None}
        (temporary / COMPOSED).write_text(json.dumps({"protocol": kind.protocol, **made_of}, indent=2) + "\n")
        sync_folder(temporary)
        temporary.rename(out)
    except OSError as error:
        raise ModelError(f"{out}: cannot be written: {one_line(error)}; check the folder and the disk") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Composed(out, kind.protocol, image_token, config.image_seq_length, len(parts))


# What it is ----------------------------------------------------------------------------------------------------------


def _kind(language: Checkpoint) -> _Kind:
    where = language.path / "config.json"
    if language.architecture not in _KINDS:
        raise ModelError(
            f"{where}: architecture {language.architecture}; a language model to compose with is one of "
            f"{', '.join(_KINDS)}"
        )
    kind = _KINDS[language.architecture]
    if not kind.own:
        return kind
    for field, wanted in (
        ("mm_projector_type", ("mlp2x_gelu",)),
        ("mm_vision_select_layer", (-2,)),
        ("mm_vision_select_feature", ("patch", None)),
        ("mm_patch_merge_type", ("flat", None)),
        ("image_aspect_ratio", ("pad", None)),
        ("mm_use_im_start_end", (False, None)),
        ("mm_use_im_patch_token", (False, None)),
    ):
        if (found := language.config.get(field)) not in wanted:
            raise ModelError(f"{where}: {field} is {found!r}; only {wanted[0]!r} is known to compose")
    return kind


def _config(language: Checkpoint, tower: Checkpoint, kind: _Kind) -> Any:
    import transformers

    kept = {name: value for name, value in language.config.items() if not _NOT_THE_LANGUAGE_MODELS.match(name)}
    text = transformers.AutoConfig.for_model(kind.model_type, **kept).to_dict()
    text["architectures"] = [kind.architecture]
    with tower.explained("configuration"):
        seen = transformers.AutoConfig.from_pretrained(tower.path, local_files_only=True)
    seen = getattr(seen, "vision_config", seen)
    if seen.model_type not in ("clip_vision_model", "siglip_vision_model"):
        raise ModelError(f"{tower.path / 'config.json'}: model_type {tower.model_type!r} is no CLIP or SigLIP tower")
    siglip = seen.model_type == "siglip_vision_model"
    vision = seen.to_dict()
    if siglip:
        vision["vision_use_head"] = False  # LLaVA takes an earlier layer; its own code cuts the head off
    patches = (seen.image_size // seen.patch_size) ** 2
    return transformers.LlavaConfig(
        architectures=["LlavaForConditionalGeneration"],
        vision_config=vision,
        text_config=text,
        image_seq_length=patches,
        projector_hidden_act="gelu",
        vision_feature_layer=-2,
        vision_feature_select_strategy="full" if siglip else "default",
        tie_word_embeddings=text.get("tie_word_embeddings", False),
        dtype=language.dtype,
    )


def _tokenizer(language: Checkpoint, config: Any) -> tuple[Any, str]:
    """The language model's tokenizer with a token for images, and that token.

    LLaVA's code tokenises the text around images piece by piece. So does a tokenizer here, which cuts its input at
    special tokens; but one that puts a space before its input must put it before every piece.
    """
    import transformers
    from tokenizers import Tokenizer

    source = transformers.AutoTokenizer.from_pretrained(
        language.path, config=config.text_config, local_files_only=True, trust_remote_code=False
    )
    if not source.is_fast:
        raise ModelError(f"{language.path}: its tokenizer cannot be written as tokenizer.json, which both engines read")
    state = json.loads(source.backend_tokenizer.to_str())
    steps = state.get("pre_tokenizer") or {}
    for step in [steps, *steps.get("pretokenizers", [])]:
        if step.get("type") == "Metaspace" and step.get("prepend_scheme") == "first":
            step["prepend_scheme"] = "always"
    named = {role: str(token) for role, token in source.special_tokens_map.items() if isinstance(token, str) and token}
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)),
        clean_up_tokenization_spaces=False,
        model_max_length=source.model_max_length,
        **named,
    )
    probe = "What is in the picture?\nA: dogs"
    if tokenizer(probe)["input_ids"] != source(probe)["input_ids"]:
        raise ModelError(f"{language.path}: its tokenizer does not survive being written as tokenizer.json")
    if len(tokenizer) < config.text_config.vocab_size:
        tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
        return tokenizer, "<image>"
    # No row of the embedding is free. A row more would change every log-probability; where unknown letters are spelled
    # out in bytes, the token for them is never text.
    if state["model"].get("byte_fallback") and tokenizer.unk_token:
        return tokenizer, str(tokenizer.unk_token)
    raise ModelError(
        f"{language.path}: its vocabulary of {config.text_config.vocab_size} has no room for an image token"
    )


def _processor(tower: Checkpoint, config: Any, tokenizer: Any, image_token: str) -> Any:
    import transformers
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    side = config.vision_config.image_size
    square = {"height": side, "width": side}
    siglip = config.vision_config.model_type == "siglip_vision_model"
    images: Any
    if siglip:
        # As in LLaVA-NeXT's code, which does not ask the tower's folder.
        half = [0.5, 0.5, 0.5]
        images = SiglipImageProcessorPil(size=square, resample=3, image_mean=half, image_std=half, do_convert_rgb=True)
    elif (tower.path / "preprocessor_config.json").is_file():
        images = CLIPImageProcessorPil.from_pretrained(tower.path)
        if dict(images.crop_size) != square:
            raise ModelError(
                f"{tower.path / 'preprocessor_config.json'}: crop_size is {dict(images.crop_size)}; the tower sees "
                f"{side} x {side} pixels"
            )
    else:
        images = CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size=square, resample=3)
    return transformers.LlavaProcessor(
        images,
        tokenizer,
        patch_size=config.vision_config.patch_size,
        vision_feature_select_strategy=config.vision_feature_select_strategy,
        image_token=image_token,
        num_additional_image_tokens=0 if siglip else 1,
    )


# What it holds -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Part:
    """One weight: where it lies, and what it will be called."""

    file: Path
    stored: str
    name: str
    shape: tuple[int, ...]
    bytes: int


def _parts(language: Checkpoint, tower: Checkpoint, projector: Path | None, config: Any) -> Iterator[_Part]:
    """Every weight of the result once, in the order of the files; the tower's own where the language model's folder
    has none."""
    tied = bool(config.tie_word_embeddings)
    found: dict[str, _Part] = {}
    for file in weight_files(tower.path):
        for part in _listed(file, _tower_name):
            _add(found, part)
    mine: dict[str, _Part] = {}
    files = chain(weight_files(language.path), [projector] if projector else [])
    for file in files:
        for part in _listed(file, _projector_name if file == projector else _language_name):
            if not (tied and part.name == "lm_head.weight"):  # transformers ties the head whatever a file holds
                _add(mine, part)
    return iter({**found, **mine}.values())


def _listed(file: Path, rename: Any) -> Iterator[_Part]:
    for stored, tensor in tensors_of(file):
        if _BUFFERS.fullmatch(stored):
            continue
        if (name := rename(stored)) is not None:
            yield _Part(file, stored, name, tuple(tensor.shape), tensor.numel() * tensor.element_size())


def _add(parts: dict[str, _Part], part: _Part) -> None:
    if part.name in parts:
        raise ModelError(f"{part.file}: {part.stored} is also in {parts[part.name].file.name}; each weight lies once")
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


def _check_fit(
    parts: list[_Part], config: Any, language: Checkpoint, tower: Checkpoint, projector: Path | None
) -> None:
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
                f"wanted between {tower.path.name} (width {seen}) and {language.path.name} (width {read})"
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
                f"{part.file}: {part.stored} is {list(part.shape)}, and config.json says {list(expected[name])}"
            )


def _plain(name: str) -> str:
    """Without the part that transformers' versions write or leave out."""
    return name.replace("vision_tower.vision_model.", "vision_tower.")


def _write_weights(parts: list[_Part], folder: Path) -> None:
    """Shards of at most SHARD_BYTES, and their index."""
    from safetensors.torch import save_file

    shards: list[list[_Part]] = []
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


def _tensors(shard: list[_Part]) -> Iterator[tuple[str, "torch.Tensor"]]:
    wanted = {(part.file, part.stored): part.name for part in shard}
    for file in dict.fromkeys(part.file for part in shard):
        for stored, tensor in tensors_of(file):
            if (file, stored) in wanted:
                yield wanted[file, stored], tensor.contiguous().clone()
