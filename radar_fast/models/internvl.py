"""InternVLChatModel folders as published, read as transformers' InternVL, without the code that lies in them.

The published checkpoints (``model_type: internvl_chat``) hold the same model as transformers'
``InternVLForConditionalGeneration`` under other names, beside Python code that is not needed. Here is what maps one to
the other: the configuration, each weight's name, and a processor made of the folder's tokenizer. What transformers'
model cannot express is refused, never approximated. torch and transformers are imported only when asked for.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radar_fast.errors import ModelError

if TYPE_CHECKING:
    import torch

__all__ = [
    "ARCHITECTURE",
    "CONTEXT",
    "MAX_TILES",
    "MODEL_TYPE",
    "image_settings",
    "language_config",
    "make_config",
    "make_tokens_known",
    "mapped",
    "system_message",
    "vision_config",
]

MODEL_TYPE, ARCHITECTURE = "internvl_chat", "InternVLChatModel"

MAX_TILES = 3
"""Tiles an image is cut into at most, by the published script's ``max_num``; a thumbnail comes on top."""

START, CONTEXT, END = "<img>", "<IMG_CONTEXT>", "</img>"
"""The tokens around an image's tokens, and the one that stands for each of those."""

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, as in the published script."""

DEFAULT_SYSTEM_MESSAGE = (
    "你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模型。"  # noqa: RUF001
)
"""Of the published template ``internvl2_5``."""

LANGUAGE_MODELS = ("Qwen2ForCausalLM", "Qwen3ForCausalLM", "Qwen3MoeForCausalLM", "LlamaForCausalLM")
"""Language models of published checkpoints that transformers has too, under the same weight names."""

_VISION_DEFAULTS: Mapping[str, Any] = {
    "hidden_size": 3200,
    "intermediate_size": 12800,
    "num_hidden_layers": 48,
    "num_attention_heads": 25,
    "qkv_bias": False,
    "qk_normalization": True,
    "norm_type": "rms_norm",
    "layer_norm_eps": 1e-6,
    "hidden_act": "gelu",
    "image_size": 224,
    "patch_size": 14,
    "num_channels": 3,
}
"""The published ``InternVisionConfig``'s, for what a config.json leaves out."""


def system_message(config: Mapping[str, Any]) -> str:
    """What the published script puts before the question: config.json's ``system_message``, else the template's."""
    said = config.get("system_message")
    return said if isinstance(said, str) else DEFAULT_SYSTEM_MESSAGE


def vision_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """``vision_config``, with the published class's defaults for what it leaves out."""
    machine = ("torch_dtype", "dtype", "transformers_version", "auto_map")
    return {**_VISION_DEFAULTS, **{k: v for k, v in config["vision_config"].items() if k not in machine}}


def language_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """``llm_config`` without what belongs to the machine that wrote it, with the published code's own rule on ties."""
    machine = ("attn_implementation", "torch_dtype", "dtype", "transformers_version", "use_cache", "auto_map")
    kept = {
        name: value for name, value in config["llm_config"].items() if not name.startswith("_") and name not in machine
    }
    # The published class sets this whatever llm_config says.
    return {**kept, "tie_word_embeddings": bool(config.get("tie_word_embeddings", False))}


def make_config(config: Mapping[str, Any], path: Path, context_id: int | None = None) -> Any:
    """transformers' ``InternVLConfig`` of the same model.

    Args:
        config: the folder's ``config.json``.
        path: the folder, for messages.
        context_id: the id of ``<IMG_CONTEXT>``; None where no model is to be made of it.

    Raises:
        ModelError: config.json says what transformers' model cannot do; names the field, and what was found.
    """
    _check(config, path)
    import transformers

    vision = vision_config(config)
    language = language_config(config)
    kind = language.pop("model_type")
    side, ratio = int(vision["image_size"]), float(config.get("downsample_ratio", 0.5))
    made = transformers.InternVLConfig(
        vision_config={
            "hidden_size": vision["hidden_size"],
            "intermediate_size": vision["intermediate_size"],
            "num_hidden_layers": vision["num_hidden_layers"],
            "num_attention_heads": vision["num_attention_heads"],
            "attention_bias": vision["qkv_bias"],
            "use_qk_norm": vision["qk_normalization"],
            "norm_type": vision["norm_type"],
            "layer_norm_eps": vision["layer_norm_eps"],
            "hidden_act": vision["hidden_act"],
            "image_size": [side, side],
            "patch_size": [vision["patch_size"], vision["patch_size"]],
            "num_channels": vision["num_channels"],
            "use_absolute_position_embeddings": True,
            "use_mean_pooling": True,  # no norm after the last layer
        },
        text_config=transformers.AutoConfig.for_model(kind, **language).to_dict(),
        image_seq_length=_tokens_a_tile(side, int(vision["patch_size"]), ratio),
        downsample_ratio=ratio,
        projector_hidden_act="gelu",
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=language["tie_word_embeddings"],
    )
    if context_id is not None:
        made.image_token_id = context_id
    return made


def image_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of transformers' ``GotOcr2ImageProcessorPil`` that make it the published preprocessing.

    ``dynamic_preprocess`` with ``max_num`` 3 and a thumbnail after the tiles, PIL's bicubic filter, ImageNet's mean.
    """
    side = int(vision_config(config)["image_size"])
    return {
        "size": {"height": side, "width": side},
        "crop_to_patches": True,
        "min_patches": 1,
        "max_patches": MAX_TILES,
        "image_mean": list(MEAN),
        "image_std": list(STD),
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "do_convert_rgb": True,
    }


def make_tokens_known(tokenizer: Any, path: Path) -> None:
    """Give the tokenizer the attributes by which transformers' InternVL processor asks for the image tokens.

    Raises:
        ModelError: one of the image tokens is none of its own.
    """
    for name, token in (("start_image", START), ("end_image", END), ("context_image", CONTEXT)):
        if token not in tokenizer.get_vocab():
            raise ModelError(
                f"{path}: its tokenizer has no token {token}; an InternVL checkpoint's own tokenizer does", path=path
            )
        setattr(tokenizer, f"{name}_token", token)
        setattr(tokenizer, f"{name}_token_id", tokenizer.convert_tokens_to_ids(token))
    tokenizer.video_token = "<video>"  # noqa: S105 - a tag, and never used: no videos are read


_VISION_NAMES = (
    (r"embeddings\.class_embedding", "embeddings.cls_token"),
    (r"embeddings\.position_embedding", "embeddings.position_embeddings"),
    (r"embeddings\.patch_embedding\.(weight|bias)", r"embeddings.patch_embeddings.projection.\1"),
    (r"encoder\.layers\.(\d+)\.ls([12])", r"encoder.layer.\1.lambda_\2"),
    (r"encoder\.layers\.(\d+)\.norm1\.(weight|bias)", r"encoder.layer.\1.layernorm_before.\2"),
    (r"encoder\.layers\.(\d+)\.norm2\.(weight|bias)", r"encoder.layer.\1.layernorm_after.\2"),
    (r"encoder\.layers\.(\d+)\.attn\.([qk])_norm\.weight", r"encoder.layer.\1.attention.\2_norm.weight"),
    (r"encoder\.layers\.(\d+)\.attn\.proj\.(weight|bias)", r"encoder.layer.\1.attention.projection_layer.\2"),
    (r"encoder\.layers\.(\d+)\.mlp\.(fc[12])\.(weight|bias)", r"encoder.layer.\1.mlp.\2.\3"),
)
_FUSED = re.compile(r"encoder\.layers\.(\d+)\.attn\.qkv\.(weight|bias)")
_PROJECTOR = {"mlp1.0.": "layer_norm.", "mlp1.1.": "linear_1.", "mlp1.3.": "linear_2."}


def mapped(name: str, tensor: "torch.Tensor") -> Iterator[tuple[str, "torch.Tensor"]]:
    """A published weight under transformers' name; the fused query, key and value as three.

    A name that no rule knows comes out as it is, and is then reported as one that the model does not have.
    """
    if name.startswith("vision_model."):
        inner, outer = name.removeprefix("vision_model."), "model.vision_tower."
        if match := _FUSED.fullmatch(inner):
            for letter, part in zip("qkv", tensor.chunk(3), strict=True):
                yield f"{outer}encoder.layer.{match[1]}.attention.{letter}_proj.{match[2]}", part
            return
        for pattern, replacement in _VISION_NAMES:
            if match := re.fullmatch(pattern, inner):
                yield outer + match.expand(replacement), tensor
                return
    for theirs, ours in _PROJECTOR.items():
        if name.startswith(theirs):
            yield f"model.multi_modal_projector.{ours}{name.removeprefix(theirs)}", tensor
            return
    for theirs, ours in (("language_model.model.", "model.language_model."), ("language_model.lm_head.", "lm_head.")):
        if name.startswith(theirs):
            yield ours + name.removeprefix(theirs), tensor
            return
    yield name, tensor


def _tokens_a_tile(side: int, patch: int, ratio: float) -> int:
    return int((side // patch) ** 2 * ratio**2)


def _check(config: Mapping[str, Any], path: Path) -> None:
    where = path / "config.json"
    for section in ("vision_config", "llm_config"):
        if not isinstance(config.get(section), dict):
            raise ModelError(f"{where}: no {section} in it, which an InternVLChatModel has", path=where)
    vision, language = vision_config(config), config["llm_config"]
    named = language.get("architectures")
    architecture = named[0] if isinstance(named, list) and named else None
    if architecture not in LANGUAGE_MODELS or not isinstance(language.get("model_type"), str):
        raise ModelError(
            f"{where}: llm_config.architectures is {architecture}; without the checkpoint's own code InternVL is read "
            f"with {', '.join(LANGUAGE_MODELS)}",
            path=where,
        )
    side = vision["image_size"]
    for field, found, wanted in (
        ("select_layer", config.get("select_layer", -1), (-1,)),
        ("ps_version", config.get("ps_version", "v1"), ("v2",)),
        ("pad2square", config.get("pad2square", False), (False,)),
        ("use_backbone_lora", config.get("use_backbone_lora", 0), (0,)),
        ("use_llm_lora", config.get("use_llm_lora", 0), (0,)),
        ("force_image_size", config.get("force_image_size") or side, (side,)),
        ("vision_config.norm_type", vision["norm_type"], ("layer_norm", "rms_norm")),
    ):
        if found not in wanted:
            expected = " or ".join(map(str, wanted))
            raise ModelError(
                f"{where}: {field} is {found}; only {expected} is supported for {ARCHITECTURE}", path=where
            )
    if vision["qk_normalization"] and vision["layer_norm_eps"] != 1e-6:
        found = vision["layer_norm_eps"]
        raise ModelError(
            f"{where}: vision_config.layer_norm_eps is {found}; with qk_normalization only 1e-06 is known", path=where
        )
