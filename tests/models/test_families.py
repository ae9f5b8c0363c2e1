"""Every model family on the transformers engine against a plain loop written from the published rules."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from bench_data import write_m3
from click.testing import CliRunner
from family_samples import Case, cases
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
from side_by_side import opened, scored_by
from tiny import write_internvl_chat, write_internvl_hf, write_qwen3vl, write_qwen25vl
from transformers import AutoModelForImageTextToText, AutoTokenizer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from radar_fast.cli import main
from radar_fast.engines import ENGINES
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.models.families import FAMILIES
from radar_fast.models.llava import compose
from radar_fast.protocols import PROTOCOLS
from radar_fast.sample import Scored
from radar_fast.scores import judge

BOUND = 1e-4
"""On every raw logit and log-probability, fp32."""


def assert_equal(scored: Scored, logits: list[list[float]], logprobs: list[list[float]]) -> None:
    assert scored.reason is None, scored.reason
    for mine, raw, normalised in zip(scored.candidates, logits, logprobs, strict=True):
        assert mine.logits == pytest.approx(raw, abs=BOUND)
        assert mine.logprobs == pytest.approx(normalised, abs=BOUND)
    mine = judge([candidate.logits for candidate in scored.candidates], 0)
    assert mine.probability == pytest.approx(judge(logits, 0).probability, abs=1e-5)


# InternVL ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "vision"),
    [
        ("qwen3", {}),
        ("qwen2", {"qk_normalization": True, "norm_type": "rms_norm", "qkv_bias": False}),  # as the 6B tower
        ("llama", {}),
        ("qwen3_moe", {}),
    ],
)
def test_internvl_chat_equals_the_published_model(tmp_path: Path, language: str, vision: dict[str, object]) -> None:
    model = write_internvl_chat(tmp_path / "model", language=language, vision=vision)
    engine, protocol = opened("transformers", tmp_path / "model")
    assert protocol.name == "internvl"
    wanted = cases(tmp_path / "images", only=None if language == "qwen3" else ("mmbench", "wiki"))
    found = scored_by(engine, protocol, [case.sample for case in wanted])
    assert engine.describe().to_dict()["packed"] is True
    engine.close()
    loop = PlainInternVL(model, Checkpoint.open(tmp_path / "model").processor.tokenizer, 448, 256)
    for case in wanted:
        expected = loop(case.internvl, case.images, list(case.sample.candidates))
        assert_equal(found[case.sample.key], *expected)


def internvl_hf_loop(folder: Path) -> PlainInternVL:
    """The checkpoint in transformers' layout, in ``folder``, and its plain loop: our tiles, our text, its forward."""
    model = write_internvl_hf(folder)

    def forward(ids: torch.Tensor, tiles: torch.Tensor | None, _: int) -> torch.Tensor:
        images = {} if tiles is None else {"pixel_values": tiles}
        return model(input_ids=ids[None], attention_mask=torch.ones_like(ids[None]), **images).logits[0]

    return PlainInternVL(forward, AutoTokenizer.from_pretrained(folder), 448, 256)


def test_internvl_of_transformers_equals_the_published_rules(tmp_path: Path) -> None:
    loop = internvl_hf_loop(tmp_path / "model")
    engine, protocol = opened("transformers", tmp_path / "model")
    assert protocol.name == "internvl"
    wanted = cases(tmp_path / "images")
    found = scored_by(engine, protocol, [case.sample for case in wanted])
    assert engine.describe().to_dict()["packed"] is True
    engine.close()
    for case in wanted:
        assert_equal(found[case.sample.key], *loop(case.internvl, case.images, list(case.sample.candidates)))


# LLaVA ---------------------------------------------------------------------------------------------------------------


def compose_plain(folder: Path, **base: bool) -> PlainLlava:
    """Parts of a LLaVA-OneVision, ``folder/model`` composed of them, and their plain loop."""
    llm = write_base(folder / "llm", **base)
    tower, projector = write_siglip(folder / "vision"), make_projector()
    file = write_projector(folder / "mm_projector.bin", projector)
    made = compose(folder / "llm", folder / "vision", folder / "model", file)
    assert (made.protocol, made.image_tokens) == ("plain", 729)
    return PlainLlava(llm, folder / "llm", tower, projector, siglip_view, drop_first=False)


@pytest.mark.parametrize("tied", [False, True])
def test_composed_projector_equals_its_parts(tmp_path: Path, tied: bool) -> None:
    loop = compose_plain(tmp_path, tied=tied)
    engine, protocol = opened("transformers", tmp_path / "model")
    assert protocol.name == "plain"
    wanted = cases(tmp_path / "images", only=("seephys", "mmbench") if tied else None)
    found = scored_by(engine, protocol, [case.sample for case in wanted])
    assert engine.describe().to_dict()["packed"] is True
    engine.close()
    for case in wanted:
        assert_equal(found[case.sample.key], *loop(case.plain + "\n", case.images, list(case.sample.candidates)))


def compose_original(folder: Path, family: str) -> tuple[PlainLlava, str]:
    """As :func:`compose_plain`, of a checkpoint of LLaVA's own code; also the published turn around a question."""
    write_clip(folder / "vision", seed=9)  # not the weights that count: the checkpoint has its own
    tower, projector = write_clip(folder / "other"), make_projector()
    model = write_original(folder / "llm", tower, projector, family=family)
    made = compose(folder / "llm", folder / "vision", folder / "model")
    assert (made.image_token, made.image_tokens) == ("<unk>", 576)
    turn = {"mistral": "[INST] {} [/INST]", "llama": "USER: {} ASSISTANT:"}[family]
    return PlainLlava(model, folder / "llm", tower, projector, clip_view, drop_first=True), turn


@pytest.mark.parametrize("family", ["mistral", "llama"])
def test_composed_original_equals_its_parts(tmp_path: Path, family: str) -> None:
    loop, turn = compose_original(tmp_path, family)
    engine, protocol = opened("transformers", tmp_path / "model")
    assert protocol.name == {"mistral": "llava-med", "llama": "llava"}[family]
    wanted = cases(tmp_path / "images", only=("seephys", "mmbench", "none") if family == "llama" else None)
    found = scored_by(engine, protocol, [case.sample for case in wanted])
    assert engine.describe().to_dict()["packed"] is True
    engine.close()
    for case in wanted:
        answers = [f" {candidate}" for candidate in case.sample.candidates]
        assert_equal(found[case.sample.key], *loop(turn.format(case.turn), case.images, answers))


# Qwen2.5-VL, Qwen3-VL ------------------------------------------------------------------------------------------------

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


@pytest.mark.parametrize("family", list(QWEN))
def test_qwen_chat_equals_the_models_own_forward(tmp_path: Path, family: str) -> None:
    folder = QWEN[family](tmp_path / "model")
    engine, protocol = opened("transformers", folder)
    assert protocol.name == "chat"
    wanted = cases(tmp_path / "images")
    found = scored_by(engine, protocol, [case.sample for case in wanted])
    assert engine.describe().to_dict()["packed"] is True
    engine.close()
    loop = PlainQwen(folder, family)
    for case in wanted:
        assert_equal(found[case.sample.key], *loop(qwen_question(case), case.images, list(case.sample.candidates)))


# As a command --------------------------------------------------------------------------------------------------------


def test_official_files_have_the_published_names(tmp_path: Path) -> None:
    """InternVL's end in its tokens an image; a projector's begin with the last two parts of its path."""
    write_internvl_chat(tmp_path / "internvl", side=28)
    write_base(tmp_path / "llm")
    write_siglip(tmp_path / "vision", side=28)
    projector = write_projector(tmp_path / "mm_projector.bin", make_projector())
    compose(tmp_path / "llm", tmp_path / "vision", tmp_path / "runs" / "step-1", projector)
    task = "MathVista_2_pretrained_mllm_eval"
    records = {f"{n}--0": {"question": "What?", "answer": "red", "distraction": ["blue"]} for n in range(2)}
    data = write_m3(tmp_path / "data", records, "mathematical_reasoning", f"{task}.json")
    for number in range(2):
        Image.effect_noise((40, 30 + number), 90).save(data / "mathematical_reasoning" / "images" / f"{number}.jpg")
    for model, name in (("internvl", "internvl_768"), ("runs/step-1", "runs_step-1_729")):
        words = ["score", "--model", tmp_path / model, "--data", data, "--device", "cpu", "--engine", "transformers"]
        folders = ["--out", tmp_path / f"out-{name}", "--official-out", tmp_path / "official"]
        result = CliRunner().invoke(main, list(map(str, words + folders)))
        assert result.exit_code == 0, result.output
        [file] = (tmp_path / "official").rglob(f"{name}.json")
        assert file.parent.name == task
        assert len(json.loads(file.read_text())) == 2


# The list ------------------------------------------------------------------------------------------------------------


def test_the_list_the_document_and_the_command_say_the_same() -> None:
    """docs/models.md holds a row a family and its plain loop; the command prints name, protocol and engines."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "models.md").read_text()
    result = CliRunner().invoke(main, ["models"])
    assert result.exit_code == 0, result.output
    rows = [line for line in page.splitlines() if line.startswith("|") and "`" in line.split("|")[3]]
    listed = [line for line in rows if len(line.split("|")) == 7]
    for family, row in zip(FAMILIES, listed, strict=True):
        architectures = ", ".join(f"`{name}`" for name in family.architectures) or "-"
        checked = ", ".join(family.checked) or "none"
        cells = (family.name, architectures, f"`{family.protocol}`", family.source, checked)
        assert row == f"| {' | '.join(cells)} |"
        assert f"- {family.name}: {family.loop}." in page.splitlines()
        [shown] = [line for line in result.output.splitlines() if line.startswith(f"{family.name}  ")]
        assert all(word in shown for word in (*family.architectures, family.protocol, checked))


def test_what_is_listed_is_known() -> None:
    for family in FAMILIES:
        assert family.protocol in PROTOCOLS
        assert set(family.checked) <= set(ENGINES)
    assert {family.protocol for family in FAMILIES} == set(PROTOCOLS)
