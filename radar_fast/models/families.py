"""The model families that are known, and what of each has been checked: ``radar-fast models``, docs/models.md.

This module imports nothing of ours.
"""

from dataclasses import dataclass

__all__ = ["FAMILIES", "Family", "checked_by"]


@dataclass(frozen=True)
class Family:
    """Checkpoints that are asked in the same way."""

    name: str
    """As people call it."""
    architectures: tuple[str, ...]
    """As config.json names them; empty: any other that both can load."""
    protocol: str
    """The prompt that ``--protocol auto`` takes."""
    source: str
    """Where the prompt is from."""
    checked: tuple[str, ...]
    """Engines on which a tiny model with random weights gave the numbers of a plain loop, 1e-4 in float32."""
    loop: str
    """What the plain loop was."""
    how: str = ""
    """What has to be done first, if anything."""


_BOTH = ("transformers", "vllm")

FAMILIES: tuple[Family, ...] = (
    Family(
        "Qwen2-VL, base",
        ("Qwen2VLForConditionalGeneration",),
        "qwen2vl",
        "published script",
        _BOTH,
        "the published algorithm restated, transformers' model; on vLLM: the transformers engine",
    ),
    Family(
        "InternVL 2.5, 3, 3.5",
        ("InternVLChatModel",),
        "internvl",
        "published script",
        _BOTH,
        "the published model restated, with Qwen3; on transformers also Qwen2, Qwen3-MoE, Llama",
    ),
    Family(
        "InternVL 2.5, 3, 3.5 (-HF)",
        ("InternVLForConditionalGeneration",),
        "internvl",
        "published script",
        _BOTH,
        "the published script restated, transformers' model",
    ),
    Family(
        "LLaVA-OneVision projectors",
        ("LlavaForConditionalGeneration",),
        "plain",
        "published script",
        _BOTH,
        "tower, projector and Qwen2 called in turn",
        "radar-fast compose --llm DIR --vision DIR --projector FILE --out DIR",
    ),
    Family(
        "LLaVA-Med v1.5",
        ("LlavaMistralForCausalLM",),
        "llava-med",
        "LLaVA-Med's own code",
        _BOTH,
        "tower, projector and Mistral called in turn",
        "radar-fast compose --llm DIR --vision DIR --out DIR",
    ),
    Family(
        "LLaVA 1.5",
        ("LlavaLlamaForCausalLM",),
        "llava",
        "LLaVA's prompt, without its system message",
        _BOTH,
        "tower, projector and Llama called in turn",
        "radar-fast compose --llm DIR --vision DIR --out DIR",
    ),
    Family(
        "Qwen2.5-VL",
        ("Qwen2_5_VLForConditionalGeneration",),
        "chat",
        "its chat template",
        _BOTH,
        "transformers' model, the turn written out",
    ),
    Family(
        "Qwen3-VL",
        ("Qwen3VLForConditionalGeneration",),
        "chat",
        "its chat template",
        _BOTH,
        "transformers' model, the turn written out",
    ),
    Family(
        "any other image-text-to-text model",
        (),
        "chat",
        "its chat template",
        (),
        "each run scores its first sample both ways (transformers engine)",
    ),
)


def checked_by(family: Family) -> str:
    """The engines, in words."""
    return ", ".join(family.checked) or "none"
