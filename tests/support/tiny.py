"""A tiny Qwen2-VL with random weights, in the true architecture and checkpoint format."""

from pathlib import Path

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
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=SPECIAL[1:],
        chat_template=template,
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


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


def _save_random(model: PreTrainedModel, folder: Path, seed: int) -> None:
    """With weights that are large enough for logits to differ."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.25)
    model.save_pretrained(folder)
