"""A tiny checkpoint of every model family and its plain loop, for whichever engine is to give the same numbers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from family_samples import Case
from internvl_published import PlainInternVL
from llava_published import (
    PlainLlava,
    clip_view,
    make_projector,
    siglip_view,
    write_base,
    write_clip,
    write_original,
    write_projector,
    write_siglip,
)
from PIL import Image
from tiny import write_internvl_hf, write_qwen3vl, write_qwen25vl
from transformers import AutoModelForImageTextToText, AutoTokenizer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from radar_fast.models.llava import compose
from radar_fast.sample import Scored
from radar_fast.scores import judge

BOUND = 1e-4
"""On every raw logit and log-probability, fp32."""


def assert_equal(scored: Scored, logits: list[list[float]], logprobs: list[list[float]]) -> None:
    assert scored.reason is None, scored.reason
    for mine, raw, normalised in zip(scored.candidates, logits, logprobs, strict=True):
        assert mine.logits == pytest.approx(raw, abs=BOUND)
        assert mine.logprobs == pytest.approx(normalised, abs=BOUND)
    verdict = judge([candidate.logits for candidate in scored.candidates], 0)
    assert verdict.probability == pytest.approx(judge(logits, 0).probability, abs=1e-5)


def internvl_hf_loop(folder: Path) -> PlainInternVL:
    """The checkpoint in transformers' layout, in ``folder``, and its plain loop: our tiles, our text, its forward."""
    model = write_internvl_hf(folder)

    def forward(ids: torch.Tensor, tiles: torch.Tensor | None, _: int) -> torch.Tensor:
        images = {} if tiles is None else {"pixel_values": tiles}
        logits: torch.Tensor = model(input_ids=ids[None], attention_mask=torch.ones_like(ids[None]), **images).logits
        return logits[0]

    return PlainInternVL(forward, AutoTokenizer.from_pretrained(folder), 448, 256)


def compose_plain(folder: Path, **base: bool) -> PlainLlava:
    """Parts of a LLaVA-OneVision, ``folder/model`` composed of them, and their plain loop."""
    llm = write_base(folder / "llm", **base)
    tower, projector = write_siglip(folder / "vision"), make_projector()
    file = write_projector(folder / "mm_projector.bin", projector)
    made = compose(folder / "llm", folder / "vision", folder / "model", file)
    assert (made.protocol, made.image_tokens) == ("plain", 729)
    return PlainLlava(llm, folder / "llm", tower, projector, siglip_view, drop_first=False)


def compose_original(folder: Path, family: str) -> tuple[PlainLlava, str]:
    """As :func:`compose_plain`, of a checkpoint of LLaVA's own code; also the published turn around a question."""
    write_clip(folder / "vision", seed=9)  # not the weights that count: the checkpoint has its own
    tower, projector = write_clip(folder / "other"), make_projector()
    model = write_original(folder / "llm", tower, projector, family=family)
    made = compose(folder / "llm", folder / "vision", folder / "model")
    assert (made.image_token, made.image_tokens) == ("<unk>", 576)
    turn = {"mistral": "[INST] {} [/INST]", "llama": "USER: {} ASSISTANT:"}[family]
    return PlainLlava(model, folder / "llm", tower, projector, clip_view, drop_first=True), turn


QWEN = {"qwen2.5-vl": write_qwen25vl, "qwen3-vl": write_qwen3vl}
SYSTEM = {"qwen2.5-vl": "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n", "qwen3-vl": ""}


class PlainQwen:
    """A forward a candidate through the checkpoint's own model, the turn written out."""

    def __init__(self, folder: Path, family: str) -> None:
        self.model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.images = Qwen2VLImageProcessorPil.from_pretrained(folder)
        self.head = SYSTEM[family] + "<|im_start|>user\n"
        self.tail = "<|im_end|>\n<|im_start|>assistant\n"

    @torch.inference_mode()
    def __call__(self, question: str, images: list[Path], answers: list[str]) -> tuple[Any, Any]:
        inputs = {}
        if images:
            inputs = dict(self.images([Image.open(path).convert("RGB") for path in images], return_tensors="pt"))
            for grid in inputs["image_grid_thw"]:
                run = "<|vision_start|>" + "<|image_pad|>" * (int(grid.prod()) // 4) + "<|vision_end|>"
                question = question.replace("<image>", run, 1)
        start = len(self.tokenizer(self.head + question + self.tail)["input_ids"])
        logits, logprobs = [], []
        for answer in answers:
            ids = self.tokenizer(self.head + question + self.tail + answer, return_tensors="pt")["input_ids"]
            kinds = (ids == self.tokenizer.convert_tokens_to_ids("<|image_pad|>")).int()
            rows = self.model(
                input_ids=ids, attention_mask=torch.ones_like(ids), mm_token_type_ids=kinds, use_cache=False, **inputs
            ).logits[0]
            places = range(start, ids.shape[1])
            logits.append([rows[at - 1, ids[0, at]].item() for at in places])
            logprobs.append([rows[at - 1].double().log_softmax(-1)[ids[0, at]].item() for at in places])
        return logits, logprobs


def qwen_question(case: Case) -> str:
    """Images where the sample has them, and nothing between them and the text."""
    return "".join(part if isinstance(part, str) else "<image>" for part in case.sample.parts)
