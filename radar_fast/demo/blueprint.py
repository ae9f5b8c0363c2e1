"""What the demo's checkpoints share: tokenizer, configuration and preprocessor in Qwen2-VL's published form."""

import json
from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import Qwen2Tokenizer

__all__ = ["CHAT_TEMPLATE", "PREPROCESSOR", "SPECIAL_TOKENS", "make_config", "make_tokenizer"]

BASE_VOCABULARY = 504
SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
PREPROCESSOR = {
    # Both bounds the same: every square picture becomes 56 x 56 pixels, and so 2 x 2 tokens.
    "min_pixels": 56 * 56,
    "max_pixels": 56 * 56,
    "patch_size": 14,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "image_processor_type": "Qwen2VLImageProcessor",
    "processor_class": "Qwen2VLProcessor",
}
"""preprocessor_config.json in the published form."""
CHAT_TEMPLATE = (
    "{%- for item in messages -%}"
    "{%- if item['type'] == 'image' or 'image' in item -%}<|vision_start|><|image_pad|><|vision_end|>"
    "{%- elif 'text' in item -%}{{- item['text'] -}}{%- endif -%}"
    "{%- endfor -%}"
)
"""Like the base checkpoint's: over the items themselves, so that a message with a role renders to nothing."""


def make_tokenizer(texts: Sequence[str]) -> Any:
    """A Qwen2Tokenizer with BASE_VOCABULARY byte-level tokens learned from ``texts``, and SPECIAL_TOKENS after them."""
    plain: Any = Qwen2Tokenizer()
    learner = Tokenizer(models.BPE())
    learner.normalizer = plain.backend_tokenizer.normalizer
    learner.pre_tokenizer = plain.backend_tokenizer.pre_tokenizer
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    learner.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=BASE_VOCABULARY, initial_alphabet=alphabet, show_progress=False)
    )
    learned = json.loads(learner.to_str())["model"]
    merges = [tuple(pair) for pair in learned["merges"]]
    tokenizer: Any = Qwen2Tokenizer(
        vocab=learned["vocab"], merges=merges, extra_special_tokens=list(SPECIAL_TOKENS[1:]), model_max_length=4096
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def make_config(tokenizer: Any) -> dict[str, Any]:
    """config.json as the published checkpoints have it, at the demo's size."""
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    return {
        "architectures": ["Qwen2VLForConditionalGeneration"],
        "model_type": "qwen2_vl",
        "attention_dropout": 0.0,
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|endoftext|>"],
        "pad_token_id": ids["<|endoftext|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
        "vision_token_id": ids["<|vision_pad|>"],
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "hidden_act": "silu",
        "hidden_size": 128,
        "initializer_range": 0.02,
        "intermediate_size": 160,
        "max_position_embeddings": 4096,
        "max_window_layers": 3,
        "num_attention_heads": 4,
        "num_hidden_layers": 3,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-06,
        # Small: rows and columns of a picture take the slow frequencies, which at the published 1e6 cannot tell
        # neighbours apart in a head of 32.
        "rope_theta": 10.0,
        "rope_scaling": {"type": "mrope", "mrope_section": [4, 4, 8]},
        "sliding_window": None,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "use_sliding_window": False,
        "vision_config": {
            "depth": 3,
            "embed_dim": 64,
            "mlp_ratio": 4,
            "num_heads": 2,
            "in_chans": 3,
            "hidden_size": 128,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "spatial_patch_size": 14,
            "temporal_patch_size": 2,
        },
        "vocab_size": len(tokenizer),
    }
