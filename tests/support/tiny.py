"""Tiny models with random weights, one a family, in the true architectures and checkpoint formats."""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedModel, PreTrainedTokenizerFast, Qwen2VLConfig, Qwen2VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

SPECIAL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
]

BASE_TEMPLATE = (
    "{% for message in messages %}{% if message.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif message.type == 'text' %}{{ message.text }}{% endif %}{% endfor %}"
)
"""As the Qwen2-VL base checkpoints': it iterates message items, and knows no roles."""

ROLE_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{% for item in message.content %}"
    "{% if item.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ item.text }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""As the Instruct checkpoints'."""

_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_TEXT = [
    "What is the colour of the shape in the picture? Which is larger, the left or the right one?",
    "What is the missing number of the part denoted with a question mark?",
    "red green blue yellow purple orange light dark circle square triangle hexagon pentagon small medium large",
    "user assistant system Please select the correct option: A. B. C. D. the the missing missing color color",
]


def write_tokenizer(folder: Path, template: str | None) -> PreTrainedTokenizerFast:
    """:func:`make_tokenizer`'s, saved."""
    tokenizer = make_tokenizer(template)
    tokenizer.save_pretrained(folder)
    return tokenizer


def make_tokenizer(template: str | None) -> PreTrainedTokenizerFast:
    """Qwen2's kind: byte-level BPE, NFC, its split pattern; a small vocabulary."""
    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        _TEXT * 4, trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False)
    )
    bpe.add_special_tokens(SPECIAL)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=SPECIAL[1:],
        chat_template=template,
    )


def write_qwen2vl(
    folder: Path, *, seed: int = 0, template: str | None = BASE_TEMPLATE, layers: int = 2, vocabulary: int | None = None
) -> Path:
    """A tiny Qwen2-VL with the published image tokens; ``template`` None leaves it without a chat template."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = write_tokenizer(folder, template)
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in SPECIAL}
    config = Qwen2VLConfig(
        text_config={
            "vocab_size": vocabulary or len(tokenizer),
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": layers,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "max_position_embeddings": 32768,
            "rope_parameters": {"rope_type": "default", "mrope_section": [4, 6, 6], "rope_theta": 10000.0},
            "bos_token_id": None,
            "eos_token_id": ids["<|endoftext|>"],
            "pad_token_id": ids["<|endoftext|>"],
        },
        vision_config={"depth": 2, "embed_dim": 64, "hidden_size": 64, "num_heads": 2, "mlp_ratio": 2},
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    _save_random(Qwen2VLForConditionalGeneration(config), folder, seed)
    Qwen2VLImageProcessorPil().save_pretrained(folder)
    return folder


def write_llava(folder: Path, *, seed: int = 0, template: str = ROLE_TEMPLATE) -> Path:
    """A tiny LLaVA: CLIP tower, Qwen2 language model, ``<image>`` as its image token."""
    from transformers import LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = write_tokenizer(folder, template)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    tokenizer.save_pretrained(folder)
    image = tokenizer.convert_tokens_to_ids("<image>")
    config = LlavaConfig(
        vision_config={
            "model_type": "clip_vision_model",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "image_size": 56,
            "patch_size": 14,
        },
        text_config={
            "model_type": "qwen2",
            "vocab_size": len(tokenizer),
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "max_position_embeddings": 4096,
        },
        image_token_id=image,
        image_seq_length=16,
    )
    _save_random(LlavaForConditionalGeneration(config), folder, seed)
    images = CLIPImageProcessorPil(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56})
    LlavaProcessor(
        images,
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        chat_template=template,
        image_token="<image>",
        num_additional_image_tokens=1,
    ).save_pretrained(folder)
    return folder


def write_internvl_chat(
    folder: Path,
    *,
    seed: int = 0,
    language: str = "qwen3",
    side: int = 448,
    vision: dict[str, Any] | None = None,
    system_message: str | None = None,
) -> Any:
    """A tiny InternVLChatModel folder as published; returns the model, of which the folder holds the weights.

    config.json, sharded safetensors with the published names, a Qwen2 tokenizer of vocab.json and merges.txt, and
    ``auto_map`` entries for code that is not there.
    """
    from internvl_published import InternVLChat
    from safetensors.torch import load_file, save_file
    from transformers import AutoConfig

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = write_qwen2_files(folder, INTERNVL_TOKENS)
    llm = {
        "architectures": [f"{language.title().replace('_', '')}ForCausalLM"],
        "model_type": language,
        "vocab_size": len(tokenizer) + 24,  # padded, as published
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "max_position_embeddings": 8192,
        "rope_theta": 1000000.0,
        "rms_norm_eps": 1e-06,
        "tie_word_embeddings": True,  # what the published class overrules
        "sliding_window": None,
        "use_sliding_window": False,
        **(EXPERTS if language == "qwen3_moe" else {}),
    }
    sight = {
        "architectures": ["InternVisionModel"],
        "model_type": "intern_vit_6b",
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "num_channels": 3,
        "image_size": side,
        "patch_size": 14,
        "qkv_bias": True,
        "qk_normalization": False,
        "norm_type": "layer_norm",
        "layer_norm_eps": 1e-06,
        "hidden_act": "gelu",
        "initializer_factor": 1.0,
        "use_flash_attn": True,
        **(vision or {}),
    }
    text = AutoConfig.for_model(**{**llm, "tie_word_embeddings": False})
    torch.manual_seed(seed)  # for the biases
    model = InternVLChat(sight, text)
    randomise(model, seed)
    config = {
        "architectures": ["InternVLChatModel"],
        "auto_map": {
            "AutoConfig": "configuration_internvl_chat.InternVLChatConfig",
            "AutoModel": "modeling_internvl_chat.InternVLChatModel",
            "AutoModelForCausalLM": "modeling_internvl_chat.InternVLChatModel",
        },
        "model_type": "internvl_chat",
        "downsample_ratio": 0.5,
        "dynamic_image_size": True,
        "force_image_size": side,
        "max_dynamic_patch": 12,
        "min_dynamic_patch": 1,
        "pad2square": False,
        "ps_version": "v2",
        "select_layer": -1,
        "template": "internvl2_5",
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "use_backbone_lora": 0,
        "use_llm_lora": 0,
        "use_thumbnail": True,
        "hidden_size": 64,
        "llm_config": {**llm, "attn_implementation": "flash_attention_2", "torch_dtype": "bfloat16"},
        "vision_config": {**sight, "torch_dtype": "bfloat16"},
    }
    if system_message is not None:
        config["system_message"] = system_message
    (folder / "config.json").write_text(json.dumps(config))
    weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
    if language == "qwen3_moe":  # whose experts lie one by one on disk, and fused in memory
        weights = {name: value for name, value in weights.items() if not name.startswith("language_model.")}
        model.language_model.save_pretrained(folder / "language")
        published = load_file(folder / "language" / "model.safetensors")
        weights |= {f"language_model.{name}": value for name, value in published.items()}
    shards: dict[str, dict[str, torch.Tensor]] = {
        "model-00001-of-00002.safetensors": {},
        "model-00002-of-00002.safetensors": {},
    }
    for name, value in weights.items():
        shards[f"model-0000{1 if name.startswith('vision') else 2}-of-00002.safetensors"][name] = value
    for name, part in shards.items():
        save_file(part, folder / name, {"format": "pt"})
    index = {"metadata": {}, "weight_map": {key: name for name, part in shards.items() for key in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return model.eval()


def write_internvl_hf(folder: Path, *, seed: int = 0) -> Any:
    """A tiny InternVL in transformers' own layout, twelve tiles an image by its own setting; returns the model."""
    from transformers import InternVLConfig, InternVLForConditionalGeneration
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer(ROLE_TEMPLATE.replace("<|vision_start|><|image_pad|><|vision_end|>", "<IMG_CONTEXT>\n"))
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL[1:] + INTERNVL_TOKENS + ["<video>"]})
    tokenizer.save_pretrained(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    named = {"start_image": "<img>", "end_image": "</img>", "context_image": "<IMG_CONTEXT>", "video": "<video>"}
    settings["extra_special_tokens"] = {f"{name}_token": token for name, token in named.items()}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    config = InternVLConfig(
        vision_config={
            "hidden_size": 48,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "attention_bias": True,
        },
        text_config={
            "model_type": "qwen3",
            "architectures": ["Qwen3ForCausalLM"],
            "vocab_size": len(tokenizer),
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 32,
            "max_position_embeddings": 8192,
            "tie_word_embeddings": False,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        tie_word_embeddings=False,
    )
    model = InternVLForConditionalGeneration(config)
    _save_random(model, folder, seed, all_of_it=True)
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    images = GotOcr2ImageProcessorPil(
        size={"height": 448, "width": 448}, crop_to_patches=True, image_mean=mean, image_std=std
    )
    images.save_pretrained(folder)
    (folder / "processor_config.json").write_text(
        json.dumps({"image_seq_length": 256, "processor_class": "InternVLProcessor"})
    )
    return model.eval()


SYSTEM_TEMPLATE = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    + ROLE_TEMPLATE
)
"""As Qwen2.5-VL's Instruct checkpoints': a system message of their own."""


def write_qwen25vl(folder: Path, *, seed: int = 0) -> Path:
    """A tiny Qwen2.5-VL: a tower with window attention in one of its layers."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = write_tokenizer(folder, SYSTEM_TEMPLATE)
    text = {**_qwen_text(tokenizer), "num_key_value_heads": 1}
    text["rope_parameters"] = {"rope_type": "default", "mrope_section": [4, 6, 6], "rope_theta": 10000.0}
    vision = {"depth": 2, "hidden_size": 64, "intermediate_size": 96, "num_heads": 2, "out_hidden_size": 64}
    config = Qwen2_5_VLConfig(
        text_config=text, vision_config={**vision, "fullatt_block_indexes": [1]}, **_qwen_ids(tokenizer)
    )
    _save_random(Qwen2_5_VLForConditionalGeneration(config), folder, seed, all_of_it=True)
    Qwen2VLImageProcessorPil(min_pixels=3136, max_pixels=50176).save_pretrained(folder)
    return folder


def write_qwen3vl(folder: Path, *, seed: int = 0) -> Path:
    """A tiny Qwen3-VL: deepstack into the first two layers, interleaved M-RoPE, patches of 16."""
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = write_tokenizer(folder, ROLE_TEMPLATE)
    text = {**_qwen_text(tokenizer), "head_dim": 32, "num_hidden_layers": 3}
    text["rope_parameters"] = {
        "rope_type": "default",
        "mrope_section": [6, 5, 5],
        "mrope_interleaved": True,
        "rope_theta": 5000000.0,
    }
    config = Qwen3VLConfig(
        text_config=text,
        vision_config={
            "depth": 3,
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_heads": 2,
            "out_hidden_size": 64,
            "num_position_embeddings": 144,
            "deepstack_visual_indexes": [0, 1],
        },
        **_qwen_ids(tokenizer),
    )
    _save_random(Qwen3VLForConditionalGeneration(config), folder, seed, all_of_it=True)
    half = [0.5, 0.5, 0.5]
    Qwen2VLImageProcessorPil(
        patch_size=16, min_pixels=4096, max_pixels=65536, image_mean=half, image_std=half
    ).save_pretrained(folder)
    return folder


def _qwen_text(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 8192,
        "bos_token_id": None,
        "eos_token_id": tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        "pad_token_id": tokenizer.convert_tokens_to_ids("<|endoftext|>"),
    }


def _qwen_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    tokens = {
        "image_token_id": "<|image_pad|>",
        "video_token_id": "<|video_pad|>",
        "vision_start_token_id": "<|vision_start|>",
        "vision_end_token_id": "<|vision_end|>",
    }
    return {name: tokenizer.convert_tokens_to_ids(token) for name, token in tokens.items()}


EXPERTS = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "norm_topk_prob": True,
}

INTERNVL_TOKENS = ["<img>", "</img>", "<IMG_CONTEXT>", "<quad>", "</quad>", "<ref>", "</ref>", "<box>", "</box>"]


def write_qwen2_files(folder: Path, more: list[str]) -> PreTrainedTokenizerFast:
    """A tokenizer as older checkpoints keep it: vocab.json, merges.txt, added_tokens.json, tokenizer_config.json."""
    tokenizer = make_tokenizer(None)
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL[1:] + more})
    added = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL + more}
    tokenizer.backend_tokenizer.model.save(str(folder))
    (folder / "added_tokens.json").write_text(json.dumps(added))
    decoder = {
        str(number): {
            "content": token,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": True,
        }
        for token, number in added.items()
    }
    settings = {
        "tokenizer_class": "Qwen2Tokenizer",
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": decoder,
        "additional_special_tokens": SPECIAL[1:] + more,
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "unk_token": None,
        "model_max_length": 8192,
        "split_special_tokens": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return tokenizer


def _save_random(model: PreTrainedModel, folder: Path, seed: int, *, all_of_it: bool = False) -> None:
    randomise(model, seed, all_of_it=all_of_it)
    model.save_pretrained(folder)


def randomise(model: torch.nn.Module, seed: int, spread: float = 0.25, *, all_of_it: bool = True) -> None:
    """With weights that are large enough for logits to differ.

    ``all_of_it``: norms, biases and scales too, so that one in another's place shows.
    """
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=spread)
            elif all_of_it:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
