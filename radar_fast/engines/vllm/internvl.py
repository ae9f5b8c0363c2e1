"""InternVLChatModel in vLLM without the code that lies in the checkpoint. Runs in vLLM's own processes.

vLLM has the model and its preprocessing, which is the published one; what it takes from the checkpoint's code is the
configuration class alone. :func:`register` gives it one, and a model class with the candidate pooler whose images stand
where our prompts have ``<IMG_CONTEXT>`` rather than where the text says ``<image>``: so a question cannot forge one.
"""

from dataclasses import replace
from typing import Any

import transformers
from vllm.model_executor.models.registry import ModelRegistry

from radar_fast.engines.vllm.derive import PREFIX, derive
from radar_fast.models import internvl

__all__ = ["InternVLChatConfig", "processor_arguments", "register"]


class InternVLChatConfig(transformers.PretrainedConfig):  # type: ignore[misc] # transformers is untyped here
    """``config.json`` of an InternVLChatModel, as vLLM's model reads it."""

    model_type = internvl.MODEL_TYPE
    has_no_defaults_at_init = True

    def __init__(
        self, vision_config: dict[str, Any] | None = None, llm_config: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        said = {**kwargs, "vision_config": vision_config or {}, "llm_config": llm_config or {"model_type": "qwen2"}}
        language = internvl.language_config(said)
        # Before the base class, which asks for the text configuration.
        self.vision_config = transformers.PretrainedConfig(**internvl.vision_config(said))
        self.text_config = transformers.AutoConfig.for_model(language.pop("model_type"), **language)
        for name, value in _DEFAULTS.items():
            kwargs.setdefault(name, value)
        super().__init__(**kwargs)

    @property
    def llm_config(self) -> Any:
        """The published name of the text configuration."""
        return self.text_config

    def get_text_config(self, *_: Any, **__: Any) -> Any:
        """The language model's configuration."""
        return self.text_config


_DEFAULTS = {
    "select_layer": -1,
    "force_image_size": None,
    "downsample_ratio": 0.5,
    "ps_version": "v1",
    "dynamic_image_size": False,
    "use_thumbnail": False,
    "min_dynamic_patch": 1,
    "max_dynamic_patch": 6,
}
"""The published class's, for what a config.json leaves out."""


def register() -> None:
    """Make the configuration known to transformers, and the model class to vLLM as ``Radar`` and its name."""
    transformers.AutoConfig.register(internvl.MODEL_TYPE, InternVLChatConfig, exist_ok=True)
    name = PREFIX + internvl.ARCHITECTURE
    ModelRegistry.register_model(name, f"{__name__}:{name}")


def processor_arguments(architecture: str, tiles: int) -> dict[str, Any]:
    """vLLM's ``mm_processor_kwargs`` for at most so many tiles per image, a thumbnail not counted."""
    if architecture == internvl.ARCHITECTURE:
        return {"min_dynamic_patch": 1, "max_dynamic_patch": tiles, "dynamic_image_size": True, "use_thumbnail": True}
    return {"min_patches": 1, "max_patches": tiles, "crop_to_patches": True}


def __getattr__(name: str) -> Any:
    """``RadarInternVLChatModel``, derived when it is first asked for."""
    if not name.endswith(internvl.ARCHITECTURE):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from vllm.model_executor.models.internvl import (
        InternVLChatModel,
        InternVLDummyInputsBuilder,
        InternVLMultiModalProcessor,
        InternVLProcessingInfo,
    )
    from vllm.multimodal import MULTIMODAL_REGISTRY

    class Info(InternVLProcessingInfo):  # type: ignore[misc] # vLLM is untyped here
        ctx_video_token = None  # no videos: their processor does not take the tiling arguments of images

    class Processor(InternVLMultiModalProcessor):  # type: ignore[misc] # vLLM is untyped here
        def _get_prompt_repl_image(self, *args: Any, **kwargs: Any) -> Any:
            context = self.info.get_tokenizer().convert_tokens_to_ids(internvl.CONTEXT)
            return replace(super()._get_prompt_repl_image(*args, **kwargs), target=[context])

    class DummyInputs(InternVLDummyInputsBuilder):  # type: ignore[misc] # vLLM is untyped here
        def get_dummy_text(self, mm_counts: Any) -> str:
            return internvl.CONTEXT * int(mm_counts.get("image", 0))

    register = MULTIMODAL_REGISTRY.register_processor(Processor, info=Info, dummy_inputs=DummyInputs)
    derived = register(derive(InternVLChatModel, name, __name__))
    globals()[name] = derived
    return derived
