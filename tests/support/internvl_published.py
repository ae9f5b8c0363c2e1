"""InternVLChatModel as published, restated: its modules under their own names, its tiling, its plain loop.

Written from the published modelling code and script, and shares nothing with the package or transformers' InternVL:
what a folder's weights mean is decided here a second time. Its ``state_dict`` is the published checkpoint layout.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it
from transformers import AutoModelForCausalLM, PretrainedConfig

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SYSTEM = "你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模型。"  # noqa: RUF001


class Embeddings(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width, patch = config["hidden_size"], config["patch_size"]
        self.class_embedding = nn.Parameter(torch.randn(1, 1, width))
        self.patch_embedding = nn.Conv2d(3, width, kernel_size=patch, stride=patch)
        self.position_embedding = nn.Parameter(torch.randn(1, (config["image_size"] // patch) ** 2 + 1, width))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        patches = self.patch_embedding(pixels).flatten(2).transpose(1, 2)
        return torch.cat([self.class_embedding.expand(len(pixels), 1, -1), patches], 1) + self.position_embedding


class RmsNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


class Attention(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width = config["hidden_size"]
        self.heads = config["num_attention_heads"]
        self.qkv = nn.Linear(width, 3 * width, bias=config["qkv_bias"])
        if config["qk_normalization"]:
            self.q_norm, self.k_norm = RmsNorm(width), RmsNorm(width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        B, N, C = x.shape
        q, k, v = self.qkv(x).reshape(B, N, 3, C).unbind(2)
        if hasattr(self, "q_norm"):
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = (part.reshape(B, N, self.heads, C // self.heads).transpose(1, 2) for part in (q, k, v))
        weights = (q * (C // self.heads) ** -0.5 @ k.transpose(-2, -1)).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(B, N, C))


class Mlp(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config["hidden_size"], config["intermediate_size"])
        self.fc2 = nn.Linear(config["intermediate_size"], config["hidden_size"])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Layer(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width, kind = config["hidden_size"], config["norm_type"]
        self.attn, self.mlp = Attention(config), Mlp(config)
        self.norm1, self.norm2 = (
            nn.LayerNorm(width, eps=1e-6) if kind == "layer_norm" else RmsNorm(width) for _ in range(2)
        )
        self.ls1, self.ls2 = (nn.Parameter(0.1 * torch.ones(width)) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x)) * self.ls1
        return x + self.mlp(self.norm2(x)) * self.ls2


class Encoder(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Layer(config) for _ in range(config["num_hidden_layers"])])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class Vision(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.embeddings, self.encoder = Embeddings(config), Encoder(config)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.encoder(self.embeddings(pixels))[:, 1:]


class InternVLChat(nn.Module):
    """The whole model; ``vision`` as in config.json's vision_config, ``language`` a transformers config."""

    def __init__(self, vision: dict[str, Any], language: PretrainedConfig) -> None:
        super().__init__()
        self.vision_model = Vision(vision)
        self.language_model = AutoModelForCausalLM.from_config(language)
        wide, narrow = vision["hidden_size"] * 4, language.hidden_size
        self.mlp1 = nn.Sequential(nn.LayerNorm(wide), nn.Linear(wide, narrow), nn.GELU(), nn.Linear(narrow, narrow))

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """[tiles, tokens a tile, D]: each 2 x 2 patches become one token, the rows' order kept."""
        x = self.vision_model(pixels)
        n, count, c = x.shape
        side = int(count**0.5)
        # A token holds (r, c), (r, c + 1), (r + 1, c) and (r + 1, c + 1), each with all its channels.
        grid = x.reshape(n, side // 2, 2, side // 2, 2, c).permute(0, 1, 3, 2, 4, 5)
        return self.mlp1(grid.reshape(n, count // 4, 4 * c))

    def forward(self, ids: torch.Tensor, pixels: torch.Tensor | None, context: int) -> torch.Tensor:
        """[N, vocabulary] logits of one sequence of [N] ids."""
        embeds = self.language_model.get_input_embeddings()(ids).clone()
        if pixels is not None:
            embeds[ids == context] = self.features(pixels).flatten(0, 1)
        return self.language_model(inputs_embeds=embeds[None], use_cache=False).logits[0]


def grid_of(width: int, height: int, side: int, most: int = 3) -> tuple[int, int]:
    """(columns, rows) by the published rule, restated on fractions of the picture."""
    best, least = (1, 1), float("inf")
    for columns, rows in sorted(
        ((c, r) for c in range(1, most + 1) for r in range(1, most + 1) if c * r <= most), key=lambda g: g[0] * g[1]
    ):
        away = abs(width / height - columns / rows)
        if away < least or (away == least and width * height > 0.5 * side * side * columns * rows):
            best, least = (columns, rows), away
    return best


def tiles_of(picture: Image.Image, side: int) -> torch.Tensor:
    """[tiles, 3, side, side]: row by row, and the whole picture last where there is more than one."""
    columns, rows = grid_of(*picture.size, side)
    large = picture.resize((columns * side, rows * side))
    pieces = [
        large.crop((c * side, r * side, (c + 1) * side, (r + 1) * side)) for r in range(rows) for c in range(columns)
    ]
    if len(pieces) > 1:
        pieces.append(picture.resize((side, side)))
    stacked = torch.from_numpy(np.stack([np.asarray(piece) for piece in pieces])).permute(0, 3, 1, 2) / 255
    return (stacked - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


class PlainInternVL:
    """One question at a time, a forward a candidate."""

    def __init__(
        self,
        model: Callable[[torch.Tensor, torch.Tensor | None, int], torch.Tensor],
        tokenizer: Any,
        side: int,
        tokens_a_tile: int,
    ) -> None:
        self.model, self.tokenizer, self.side, self.tokens = model, tokenizer, side, tokens_a_tile
        self.context = tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>")

    @torch.inference_mode()
    def __call__(
        self, question: str, images: list[Path], answers: list[str], system: str = SYSTEM
    ) -> tuple[list[list[float]], list[list[float]]]:
        """``question`` with one ``<image>`` an image, separators included."""
        tiles = [tiles_of(Image.open(path).convert("RGB"), self.side) for path in images]
        for one in tiles:
            run = "<img>" + "<IMG_CONTEXT>" * (self.tokens * len(one)) + "</img>"
            question = question.replace("<image>", run, 1)
        query = (
            f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
        )
        start = len(self.tokenizer(query)["input_ids"])
        logits, logprobs = [], []
        for answer in answers:
            ids = torch.tensor(self.tokenizer(query + answer)["input_ids"])
            rows = self.model(ids, torch.cat(tiles) if tiles else None, self.context)
            places = range(start, len(ids))
            logits.append([rows[at - 1, ids[at]].item() for at in places])
            logprobs.append([rows[at - 1].double().log_softmax(-1)[ids[at]].item() for at in places])
        return logits, logprobs
