"""LLaVA's parts as published, tiny and random, and its plain loop: tower, projector and language model called in turn.

Restated from LLaVA's published code; shares nothing with ``radar_fast.models.llava`` or with transformers' own LLaVA.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tiny import make_tokenizer, randomise, write_qwen2_files
from tokenizers import Tokenizer, models, normalizers, processors, trainers
from torch import nn
from transformers import (
    AutoTokenizer,
    CLIPConfig,
    CLIPModel,
    CLIPVisionModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    SiglipConfig,
    SiglipModel,
    SiglipVisionModel,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 8192,
}
"""Heads of 32, which vLLM's CPU attention takes."""

TOWER = {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 3, "patch_size": 14}


def write_base(folder: Path, *, seed: int = 1, tied: bool = False) -> Any:
    """A Qwen2 base language model, its weights in several shards, its vocabulary larger than its tokenizer's."""
    folder.mkdir(parents=True)
    tokenizer = write_qwen2_files(folder, [])
    config = Qwen2Config(**SIZES, vocab_size=len(tokenizer) + 9, tie_word_embeddings=tied, rope_theta=1000000.0)
    model = Qwen2ForCausalLM(config)
    randomise(model, seed)
    model.eval().save_pretrained(folder, max_shard_size="100KB")
    said = json.loads((folder / "config.json").read_text())
    del said["rope_parameters"], said["layer_types"], said["dtype"]
    # As the published base models of that time have it.
    old = {"rope_theta": 1000000.0, "torch_dtype": "float32", "sliding_window": 131072, "use_sliding_window": False}
    (folder / "config.json").write_text(json.dumps({**said, **old}))
    return model


def write_siglip(folder: Path, *, seed: int = 2, side: int = 384) -> Any:
    """A whole SigLIP with its text half, of which only the tower is wanted; returns the tower."""
    text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = SiglipModel(SiglipConfig(vision_config={**TOWER, "image_size": side}, text_config=text))
    randomise(model, seed, 0.1)
    model.eval().save_pretrained(folder)
    return SiglipVisionModel.from_pretrained(folder).eval()


def write_clip(folder: Path, *, seed: int = 3, side: int = 336) -> Any:
    """A whole CLIP, and its image processor; returns the tower."""
    text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = CLIPModel(CLIPConfig(vision_config={**TOWER, "image_size": side}, text_config=text))
    randomise(model, seed, 0.1)
    model.eval().save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side}).save_pretrained(
        folder
    )
    return CLIPVisionModel.from_pretrained(folder).eval()


def make_projector(seen: int = TOWER["hidden_size"], read: int = SIZES["hidden_size"], seed: int = 4) -> nn.Sequential:
    """``mlp2x_gelu``."""
    torch.manual_seed(seed)  # for the biases
    made = nn.Sequential(nn.Linear(seen, read), nn.GELU(), nn.Linear(read, read))
    randomise(made, seed)
    return made.eval()


def write_projector(file: Path, projector: nn.Sequential) -> Path:
    """As LLaVA's training saves it alone."""
    state = projector.state_dict()
    torch.save({f"model.mm_projector.{name}": tensor for name, tensor in state.items()}, file)
    return file


def write_original(
    folder: Path, tower: Any, projector: nn.Sequential, *, family: str = "mistral", seed: int = 5
) -> Any:
    """A checkpoint of LLaVA's own code, tower included, as LLaVA-Med v1.5 (mistral) or LLaVA 1.5 (llama) has it."""
    folder.mkdir(parents=True)
    tokenizer = write_sentencepiece(folder)
    name = {"mistral": "LlavaMistralForCausalLM", "llama": "LlavaLlamaForCausalLM"}[family]
    if family == "mistral":
        rope = {"rope_type": "default", "rope_theta": 1000000.0}
        config: Any = MistralConfig(**SIZES, vocab_size=len(tokenizer), sliding_window=None, rope_parameters=rope)
        model: Any = MistralForCausalLM(config)
    else:
        config = LlamaConfig(**SIZES, vocab_size=len(tokenizer))
        model = LlamaForCausalLM(config)
    randomise(model, seed)
    state = dict(model.state_dict())
    state |= {f"model.mm_projector.{key}": value for key, value in projector.state_dict().items()}
    for key, value in tower.state_dict().items():
        inner = key.removeprefix("vision_model.")
        state[f"model.vision_tower.vision_tower.vision_model.{inner}"] = value
    torch.save(state, folder / "pytorch_model.bin")
    said = {
        **SIZES,
        "architectures": [name],
        "model_type": {"mistral": "llava_mistral", "llama": "llava_llama"}[family],
        "vocab_size": len(tokenizer),
        "rms_norm_eps": config.rms_norm_eps,
        "hidden_act": "silu",
        "rope_theta": 1000000.0 if family == "mistral" else 10000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "bos_token_id": 1,
        "eos_token_id": 2,
        "freeze_mm_mlp_adapter": False,
        "image_aspect_ratio": "pad",
        "mm_hidden_size": TOWER["hidden_size"],
        "mm_projector_type": "mlp2x_gelu",
        "mm_use_im_patch_token": False,
        "mm_use_im_start_end": False,
        "mm_vision_select_feature": "patch",
        "mm_vision_select_layer": -2,
        "mm_vision_tower": "openai/clip-vit-large-patch14-336",
        "tokenizer_padding_side": "right",
        "tune_mm_mlp_adapter": False,
        "use_mm_proj": True,
        **({"sliding_window": None} if family == "mistral" else {}),
    }
    (folder / "config.json").write_text(json.dumps(said))
    return model.eval()


def write_sentencepiece(folder: Path) -> PreTrainedTokenizerFast:
    """Llama's kind: a space before every piece of text, unknown letters in bytes, a BOS."""
    words = [make_tokenizer(None).decode([number]) for number in range(300, 400)]
    special = ["<unk>", "<s>", "</s>"]
    bpe = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    bpe.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trainer = trainers.BpeTrainer(
        vocab_size=560, special_tokens=special + [f"<0x{byte:02X}>" for byte in range(256)], show_progress=False
    )
    text = [" ".join(words), "What is the colour of the shape? red dark blue small light"]
    bpe.train_from_iterator(text * 4, trainer)
    state = json.loads(bpe.to_str())
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] in special]
    bpe = Tokenizer.from_str(json.dumps(state))
    bpe.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<s>", eos_token="</s>", unk_token="<unk>", model_max_length=2048
    )
    tokenizer.save_pretrained(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings |= {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": False, "legacy": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return tokenizer


def normalised(picture: Image.Image, mean: Any, std: Any) -> torch.Tensor:
    """[3, H, W]."""
    pixels = torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1) / 255
    return (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


def siglip_view(picture: Image.Image, side: int = 384) -> torch.Tensor:
    """One view, the aspect ratio not kept."""
    return normalised(picture.resize((side, side), Image.Resampling.BICUBIC), [0.5] * 3, [0.5] * 3)


CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def clip_view(picture: Image.Image, side: int = 336) -> torch.Tensor:
    """Padded to a square with the mean colour, the picture in the middle, then resized."""
    longest = max(picture.size)
    square = Image.new("RGB", (longest, longest), tuple(int(part * 255) for part in CLIP_MEAN))
    square.paste(picture, ((longest - picture.width) // 2, (longest - picture.height) // 2))
    return normalised(square.resize((side, side), Image.Resampling.BICUBIC), CLIP_MEAN, CLIP_STD)


class PlainLlava:
    """One question at a time, a forward a candidate, text around images tokenised piece by piece."""

    def __init__(
        self,
        model: Any,
        tokenizer_folder: Path,
        tower: Any,
        projector: nn.Sequential,
        view: Callable[[Image.Image], torch.Tensor],
        *,
        drop_first: bool,
    ) -> None:
        self.model, self.tower, self.projector, self.view, self.drop = model, tower, projector, view, drop_first
        self.tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder, config=model.config)

    def ids(self, text: str) -> list[int | None]:
        """Token ids, None for an image: LLaVA's ``tokenizer_image_token``."""
        pieces = [self.tokenizer(piece)["input_ids"] for piece in text.split("<image>")]
        bos = self.tokenizer.bos_token_id
        starts = bool(pieces[0]) and bos is not None and pieces[0][0] == bos
        found: list[int | None] = list(pieces[0])
        for piece in pieces[1:]:
            found += [None, *(piece[1:] if starts else piece)]
        return found

    @torch.inference_mode()
    def __call__(self, prompt: str, images: list[Path], answers: list[str]) -> tuple[Any, Any]:
        """``prompt`` with ``<image>`` an image; ``answers`` as they follow it."""
        features = []
        for path in images:
            states = self.tower(self.view(Image.open(path).convert("RGB"))[None], output_hidden_states=True)
            patches = states.hidden_states[-2][0]
            features.append(self.projector(patches[1:] if self.drop else patches))
        start = len(self.ids(prompt))
        logits, logprobs = [], []
        for answer in answers:
            ids = self.ids(prompt + answer)
            left = iter(features)
            table = self.model.get_input_embeddings()
            embeds = torch.cat([next(left) if each is None else table(torch.tensor([each])) for each in ids])
            rows = self.model(inputs_embeds=embeds[None], use_cache=False).logits[0]
            wanted = ids[start:]
            tail = rows[-len(wanted) - 1 : -1]
            logits.append([row[token].item() for row, token in zip(tail, wanted, strict=True)])
            logprobs.append([row.double().log_softmax(-1)[t].item() for row, t in zip(tail, wanted, strict=True)])
        return logits, logprobs
