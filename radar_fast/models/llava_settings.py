"""What LLaVA's own config.json says beside the weights: obeyed where a composed model can, else refused.

Beside a projector lies the config.json of the model that it was trained in, and the published script runs that model:
it decides how pictures are made square, how long a prompt may be, and by which settings the language model runs,
whatever the language model's own folder says.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from radar_fast.errors import ModelError, one_line
from radar_fast.models.small_files import read_whole

__all__ = ["check_language", "check_vision", "limit_length", "settings_beside"]

_FAMILIES = {"llava_qwen": ("qwen2", "qwen3"), "llava_llama": ("llama",), "llava_mistral": ("mistral",)}
"""model_type of LLaVA's own -> those of language models in it."""

_LANGUAGE = (
    "tie_word_embeddings",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "hidden_act",
    "rms_norm_eps",
    "vocab_size",
    "attention_bias",
    "mlp_bias",
    "use_sliding_window",
)
"""Settings that change what a language model computes."""


def settings_beside(projector: Path) -> tuple[Path, Mapping[str, Any]]:
    """The config.json in a projector's folder, and what it says; nothing where there is none, or one of another model.

    Raises:
        ModelError: it cannot be read.
    """
    file = projector.parent / "config.json"
    try:
        said = orjson.loads(read_whole(file))
    except FileNotFoundError:
        return file, {}
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{file}: cannot be read: {one_line(error)}; it says how the projector beside it is used", path=file
        ) from None
    if not isinstance(said, dict) or not any(name.startswith("mm_") for name in said):
        return file, {}
    return file, said


def check_vision(file: Path, said: Mapping[str, Any], aspects: tuple[str | None, ...]) -> str | None:
    """See that pictures become tokens in the one way that is known.

    Args:
        file: the config.json.
        said: its content.
        aspects: the values of ``image_aspect_ratio`` that can be obeyed; None: it is not there.

    Returns:
        ``image_aspect_ratio``.

    Raises:
        ModelError: a setting that cannot be obeyed.
    """
    wanted: tuple[tuple[str, tuple[object, ...]], ...] = (
        ("mm_projector_type", ("mlp2x_gelu",)),
        ("mm_vision_select_layer", (-2,)),
        ("mm_vision_select_feature", ("patch", None)),
        ("mm_patch_merge_type", ("flat", None)),
        ("image_aspect_ratio", aspects),
        ("mm_use_im_start_end", (False, None)),
        ("mm_use_im_patch_token", (False, None)),
    )
    for name, values in wanted:
        if (found := said.get(name)) not in values:
            known = " or ".join(repr(value) for value in values if value is not None)
            raise ModelError(f"{file}: {name} is {found!r}; only {known} is known to compose", path=file)
    aspect = said.get("image_aspect_ratio")
    return aspect if isinstance(aspect, str) else None


def check_language(file: Path, said: Mapping[str, Any], language: Path, text: Any) -> None:
    """See that the config.json beside a projector and the language model's own are of one model.

    Args:
        file: the config.json beside the projector.
        said: its content.
        language: the language model's folder.
        text: the language model's configuration, of transformers.

    Raises:
        ModelError: they say different things, of which the published script obeys the first.
    """
    family = _FAMILIES.get(str(said.get("model_type")))
    if family is not None and text.model_type not in family:
        raise ModelError(
            f"{file}: model_type is {said['model_type']!r}, and {language} is a {text.model_type}; name the language "
            "model that the projector was trained on",
            path=file,
        )
    rope = getattr(text, "rope_parameters", None) or {}
    ours = {name: getattr(text, name) for name in _LANGUAGE if hasattr(text, name)}
    theirs = {name: said[name] for name in _LANGUAGE if said.get(name) is not None}
    ours["rope_theta"] = rope.get("rope_theta")
    theirs["rope_theta"] = said.get("rope_theta") or (said.get("rope_parameters") or {}).get("rope_theta")
    scaling = said.get("rope_scaling") or {}
    theirs["rope_scaling"] = scaling.get("rope_type") or scaling.get("type") or "default"
    ours["rope_scaling"] = rope.get("rope_type", "default")
    for name, found in theirs.items():
        own = ours.get(name)
        if found is not None and own is not None and found != own:
            raise ModelError(
                f"{file}: {name} is {found!r}, and {own!r} in {language / 'config.json'}; the published script runs "
                "the language model by the projector's: name the one that it was trained on, or correct the file that "
                "is wrong",
                path=file,
            )


def limit_length(file: Path, said: Mapping[str, Any], text: Any) -> None:
    """Take over ``tokenizer_model_max_length``, after which LLaVA's code cuts a prompt: the engines then leave longer
    ones unscored.

    Args:
        file: the config.json that may have it.
        said: its content.
        text: the language model's configuration, which is changed.

    Raises:
        ModelError: it is no length, or the positions of this language model depend on how many it has.
    """
    length = said.get("tokenizer_model_max_length")
    if length is None:
        return
    if isinstance(length, bool) or not isinstance(length, int) or length < 1:
        raise ModelError(
            f"{file}: tokenizer_model_max_length is {length!r}; it is a number of tokens, 1 or more", path=file
        )
    if length >= text.max_position_embeddings:
        return
    kind = (getattr(text, "rope_parameters", None) or {}).get("rope_type", "default")
    if kind != "default":
        raise ModelError(
            f"{file}: tokenizer_model_max_length is {length}, which cannot be kept with positions of type {kind!r}; "
            "remove it to score longer prompts as well",
            path=file,
        )
    text.max_position_embeddings = length
