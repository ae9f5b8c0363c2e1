"""LLaVA checkpoints that were published in parts, put together as one folder that both engines load.

A base language model, a CLIP or SigLIP tower and a projector (``mm_projector.bin``) become one
``LlavaForConditionalGeneration``; so does a checkpoint of LLaVA's own code (``LlavaLlamaForCausalLM``,
``LlavaMistralForCausalLM``), which holds language model and projector, and at times the tower, under its own names.
Weights go from file to file a shard at a time. The folder appears complete, or not at all.
"""

import hashlib
import json
import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radar_fast.errors import ModelError, UsageError, one_line
from radar_fast.models.architecture import require_possible
from radar_fast.models.checkpoint import COMPOSED, Checkpoint
from radar_fast.models.llava_parts import check_fit, list_parts, weights_in, write_weights
from radar_fast.models.llava_settings import check_language, check_vision, limit_length, settings_beside
from radar_fast.models.soundness import require_files, require_tokenizer
from radar_fast.util.atomic import sync_folder

__all__ = ["Composed", "compose"]


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


def compose(llm: str | Path, vision: str | Path, out: str | Path, projector: str | Path | None = None) -> Composed:
    """Write a ``LlavaForConditionalGeneration`` folder.

    Args:
        llm: a base language model, or a checkpoint of LLaVA's own code.
        vision: a CLIP or SigLIP folder; of its weights, what ``llm`` holds of its own is not taken.
        out: the folder to make.
        projector: ``mm_projector.bin`` or the same as safetensors; None where ``llm`` holds it. What a config.json
            beside it says is obeyed, see :mod:`radar_fast.models.llava_settings`.

    Raises:
        UsageError: ``out`` is there already, or the projector is missing or there twice.
        ModelError: a part cannot be read, or the parts do not fit; nothing is left behind.
    """
    llm, vision, out = Path(llm), Path(vision), Path(out)
    projector = None if projector is None else Path(projector)
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
    # Before libraries read files of theirs: what is no regular file is refused, and settings that no weights go with.
    digests: dict[str, Any] = {}
    for name, part in (("llm", language), ("vision", tower)):
        require_files(part.path)
        part.state  # noqa: B018 - as it is now
        digests[name] = part.fingerprint()
        require_possible(part.path, part.config, weights_in(part.path))
    require_tokenizer(language.path, trust_remote_code=False)
    said_in, said = (language.path / "config.json", language.config)
    aspect = None
    if projector is not None:
        said_in, said = settings_beside(projector)
        aspect = check_vision(said_in, said, ("square", "pad", None)) if said else None
    with language.explained("configuration"):
        config = _config(language, tower, kind)
        if projector is not None:
            check_language(said_in, said, language.path, config.text_config)
        limit_length(said_in, said, config.text_config)
        tokenizer, image_token = _tokenizer(language, config)
    with tower.explained("image processor"):
        processor = _processor(tower, config, tokenizer, image_token)
    config.image_token_index = tokenizer.convert_tokens_to_ids(image_token)
    parts = list(list_parts(language, tower, projector, config))
    with language.explained("model"):
        check_fit(parts, config, language, tower, projector)

    temporary = out.parent / f".{out.name}.{secrets.token_hex(8)}.tmp"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        config.save_pretrained(temporary)
        processor.save_pretrained(temporary)
        write_weights(parts, temporary)
        made_of = {
            "llm": llm.name,
            "vision": vision.name,
            "projector": projector.name if projector else None,
            "digests": {**digests, **({"projector": _digest(projector)} if projector is not None else {})},
        }
        for part in (language, tower):
            part.require_unchanged()
        shape = {"image_aspect_ratio": aspect} if aspect == "pad" else {}
        (temporary / COMPOSED).write_text(json.dumps({"protocol": kind.protocol, **shape, **made_of}, indent=2) + "\n")
        sync_folder(temporary)
        temporary.rename(out)
    except OSError as error:
        raise ModelError(
            f"{out}: cannot be written: {one_line(error)}; check the folder and the disk", path=out
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Composed(out, kind.protocol, image_token, config.image_seq_length, len(parts))


def _digest(projector: Path) -> dict[str, str]:
    with projector.open("rb") as stream:
        return {projector.name: hashlib.file_digest(stream, "sha256").hexdigest()}


# What it is ----------------------------------------------------------------------------------------------------------


def _kind(language: Checkpoint) -> _Kind:
    where = language.path / "config.json"
    if language.architecture not in _KINDS:
        raise ModelError(
            f"{where}: architecture {language.architecture}; a language model to compose with is one of "
            f"{', '.join(_KINDS)}",
            path=where,
        )
    kind = _KINDS[language.architecture]
    if not kind.own:
        return kind
    check_vision(where, language.config, ("pad", None))
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
        raise ModelError(
            f"{language.path}: its tokenizer cannot be written as tokenizer.json, which both engines read",
            path=language.path,
        )
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
        raise ModelError(
            f"{language.path}: its tokenizer does not survive being written as tokenizer.json", path=language.path
        )
    if len(tokenizer) < config.text_config.vocab_size:
        tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
        return tokenizer, "<image>"
    # No row of the embedding is free. A row more would change every log-probability; where unknown letters are spelled
    # out in bytes, the token for them is never text.
    if state["model"].get("byte_fallback") and tokenizer.unk_token:
        return tokenizer, str(tokenizer.unk_token)
    raise ModelError(
        f"{language.path}: its vocabulary of {config.text_config.vocab_size} has no room for an image token",
        path=language.path,
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
