"""Every model family on the transformers engine against a plain loop written from the published rules."""

import json
from pathlib import Path

import pytest
from bench_data import write_m3
from command_line import run_cli
from family_loops import (
    QWEN,
    PlainQwen,
    assert_equal,
    compose_original,
    compose_plain,
    internvl_hf_loop,
    qwen_question,
)
from family_samples import cases
from internvl_published import PlainInternVL
from llava_published import make_projector, write_base, write_projector, write_siglip
from PIL import Image
from side_by_side import opened, scored_by
from tiny import write_internvl_chat

from radar_fast.engines import ENGINES
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.models.families import FAMILIES
from radar_fast.models.llava import compose
from radar_fast.protocols import PROTOCOLS

# InternVL ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "vision"),
    [
        ("qwen3", {}),
        ("qwen2", {"qk_normalization": True, "norm_type": "rms_norm", "qkv_bias": False}),  # as the 6B tower
        pytest.param("llama", {}, marks=pytest.mark.full),
        pytest.param("qwen3_moe", {}, marks=pytest.mark.full),
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


@pytest.mark.parametrize("tied", [False, pytest.param(True, marks=pytest.mark.full)])
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


@pytest.mark.parametrize("family", ["mistral", pytest.param("llama", marks=pytest.mark.full)])
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
        result = run_cli(*words, *folders)
        assert result.exit_code == 0, result.stderr
        [file] = (tmp_path / "official").rglob(f"{name}.json")
        assert file.parent.name == task
        assert len(json.loads(file.read_text())) == 2


# The list ------------------------------------------------------------------------------------------------------------


def test_the_list_the_document_and_the_command_say_the_same() -> None:
    """docs/models.md holds a row a family and its plain loop; the command prints name, protocol and engines."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "models.md").read_text()
    result = run_cli("models")
    assert result.exit_code == 0, result.stderr
    rows = [line for line in page.splitlines() if line.startswith("|") and "`" in line.split("|")[3]]
    listed = [line for line in rows if len(line.split("|")) == 7]
    for family, row in zip(FAMILIES, listed, strict=True):
        architectures = ", ".join(f"`{name}`" for name in family.architectures) or "-"
        checked = ", ".join(family.checked) or "none"
        cells = (family.name, architectures, f"`{family.protocol}`", family.source, checked)
        assert row == f"| {' | '.join(cells)} |"
        assert f"- {family.name}: {family.loop}." in page.splitlines()
        [shown] = [line for line in result.stdout.splitlines() if line.startswith(f"{family.name}  ")]
        assert all(word in shown for word in (*family.architectures, family.protocol, checked))


def test_what_is_listed_is_known() -> None:
    for family in FAMILIES:
        assert family.protocol in PROTOCOLS
        assert set(family.checked) <= set(ENGINES)
    assert {family.protocol for family in FAMILIES} == set(PROTOCOLS)
