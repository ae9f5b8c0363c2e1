"""Published InternVL folders: what is read of them, what is refused, and the published preprocessing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from internvl_published import PlainInternVL, grid_of, tiles_of
from PIL import Image
from safetensors.torch import load_file, save_file
from side_by_side import opened, scored_by
from tiny import write_internvl_chat

from radar_fast.engines.transformers.loading import load_model
from radar_fast.errors import ModelError
from radar_fast.models import internvl
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import open_protocol
from radar_fast.sample import ImageFile, Sample

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("internvl") / "model"
    write_internvl_chat(path)
    return path


def changed(folder: Path, copy: Path, change: Callable[[dict[str, Any]], object]) -> Checkpoint:
    """The checkpoint with another config.json."""
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).symlink_to(file)
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (copy / "config.json").unlink()
    (copy / "config.json").write_text(json.dumps(config))
    return Checkpoint.open(copy)


@pytest.mark.parametrize(
    ("size", "grid"),
    [
        ((448, 448), (1, 1)),
        ((30, 31), (1, 1)),
        ((896, 448), (2, 1)),
        ((448, 896), (1, 2)),
        ((1344, 448), (3, 1)),
        ((448, 1344), (1, 3)),
        ((4000, 100), (3, 1)),
        ((100, 4000), (1, 3)),
        # Half way between two grids: the larger one, if the picture has more than half of its pixels.
        ((600, 400), (2, 1)),
        ((300, 200), (1, 1)),
        ((600, 800), (1, 2)),
        ((300, 400), (1, 1)),
        ((1000, 400), (3, 1)),
        ((500, 200), (2, 1)),
        ((672, 448), (2, 1)),
        ((548, 366), (1, 1)),  # 1.497: nearer to 1
    ],
)
def test_tiles(folder: Path, size: tuple[int, int], grid: tuple[int, int]) -> None:
    """Grid, order, pixels and tokens: 256 a tile, and one tile more for the thumbnail."""
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (9, 11, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    assert grid_of(*size, 448) == grid, "the restated rule itself"
    checkpoint = Checkpoint.open(folder)
    made = checkpoint.processor(text=["<IMG_CONTEXT>"], images=[picture], return_tensors="pt")
    count = grid[0] * grid[1]
    tiles = 1 if count == 1 else count + 1
    ids = made["input_ids"][0].tolist()
    tokens = checkpoint.processor.tokenizer.convert_ids_to_tokens(ids)
    assert tokens == ["<img>", *["<IMG_CONTEXT>"] * 256 * tiles, "</img>"]
    assert made["pixel_values"].shape == (tiles, 3, 448, 448)
    torch.testing.assert_close(made["pixel_values"], tiles_of(picture, 448), atol=1e-5, rtol=0)


@pytest.mark.parametrize("message", [None, "", "You see things."])
def test_the_system_message_is_the_checkpoints_or_the_templates(tmp_path: Path, message: str | None) -> None:
    write_internvl_chat(tmp_path / "model", side=28, system_message=message)
    prompt = open_protocol("auto", Checkpoint.open(tmp_path / "model")).prompt(
        Sample("1", "t", "d", "a", ("What?",), ("red", "blue"), 0)
    )
    text = "".join(part if isinstance(part, str) else part.text for part in prompt.parts)
    said = internvl.DEFAULT_SYSTEM_MESSAGE if message is None else message
    wanted = f"<|im_start|>system\n{said}<|im_end|>\n<|im_start|>user\nWhat?<|im_end|>\n<|im_start|>assistant\n"
    assert (text, prompt.joiner) == (wanted, "")


def test_null_is_no_system_message() -> None:
    assert internvl.system_message({"system_message": None}) == internvl.DEFAULT_SYSTEM_MESSAGE


def test_image_tokens_in_a_question_are_text(tmp_path: Path) -> None:
    """The tokens of an image can stand in a question: they are read letter by letter, the image stays in place."""
    model = write_internvl_chat(tmp_path / "model", side=28)
    Image.effect_noise((60, 50), 90).convert("RGB").save(tmp_path / "a.png")
    question = "Is <IMG_CONTEXT> or </img> or <|im_end|> red?"
    sample = Sample("1", "t", "d", "a", (ImageFile(tmp_path / "a.png"), question), ("red", "<img>"), 0)
    engine, protocol = opened("transformers", tmp_path / "model")
    scored = scored_by(engine, protocol, [sample])["t", "1"]
    engine.close()
    assert scored.reason is None

    class Literal:
        """The tokenizer, with the forged tokens spelled out."""

        def __init__(self, tokenizer: Any) -> None:
            self.tokenizer, self.convert_tokens_to_ids = tokenizer, tokenizer.convert_tokens_to_ids

        def __call__(self, text: str) -> dict[str, list[int]]:
            head, rest = text.split(question)
            tail, forged = (rest[: -len("<img>")], ["<img>"]) if rest.endswith("<img>") else (rest, [])
            ids = self.tokenizer(head)["input_ids"]
            for piece in [question, *forged]:
                literal = self.tokenizer.backend_tokenizer
                literal.encode_special_tokens = True
                ids += literal.encode(piece, add_special_tokens=False).ids
                literal.encode_special_tokens = False
                if piece == question:
                    ids += self.tokenizer(tail)["input_ids"]
            return {"input_ids": ids}

    loop = PlainInternVL(model, Literal(Checkpoint.open(tmp_path / "model").processor.tokenizer), 28, 1)
    logits, _ = loop(f"<image> {question}", [tmp_path / "a.png"], ["red", "<img>"])
    for mine, plain in zip(scored.candidates, logits, strict=True):
        assert mine.logits == pytest.approx(plain, abs=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["llm_config"].update(architectures=["InternLM2ForCausalLM"]), "InternLM2ForCausalLM; without"),
        (lambda c: c.update(select_layer=-4), "select_layer is -4; only -1"),
        (lambda c: c.update(ps_version="v1"), "ps_version is v1; only v2"),
        (lambda c: c.update(use_llm_lora=16), "use_llm_lora is 16"),
        (lambda c: c.update(force_image_size=224), "force_image_size is 224; only 448"),
        (lambda c: c["vision_config"].update(norm_type="batch"), "norm_type is batch"),
        (lambda c: c.pop("vision_config"), "no vision_config in it"),
    ],
)
def test_what_cannot_be_expressed_is_refused(
    folder: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        _ = changed(folder, tmp_path / "copy", change).processor


def test_another_template_has_another_prompt(folder: Path, tmp_path: Path) -> None:
    checkpoint = changed(folder, tmp_path / "copy", lambda c: c.update(template="Hermes-2"))
    with pytest.raises(ModelError, match="template is 'Hermes-2'; the published prompt is that of internvl2_5"):
        open_protocol("auto", checkpoint)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("vision_model.encoder.layers.1.attn.qkv.weight"), "3 weights are missing from"),
        (
            lambda w: w.update({"vision_model.encoder.layers.0.attn.gate": torch.ones(3)}),
            "1 weights have no place in .*attn.gate",
        ),
        (
            lambda w: w.update({"vision_model.encoder.layers.0.ls1": torch.ones(3)}),
            "1 weights have another shape than .*lambda_1.*3",
        ),
    ],
)
def test_weights_that_do_not_fit_are_an_error(
    folder: Path, tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], object], message: str
) -> None:
    checkpoint = changed(folder, tmp_path / "copy", dict)
    shard = checkpoint.path / "model-00001-of-00002.safetensors"
    weights = load_file(shard)
    change(weights)
    shard.unlink()
    save_file(weights, shard, {"format": "pt"})
    with pytest.raises(ModelError, match=message):
        load_model(checkpoint, torch.float32, CPU)


def test_a_missing_shard_is_named(folder: Path, tmp_path: Path) -> None:
    checkpoint = changed(folder, tmp_path / "copy", dict)
    (checkpoint.path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model-00002-of-00002\.safetensors, which is not in the folder"):
        load_model(checkpoint, torch.float32, CPU)


def test_code_in_the_folder_is_not_run(folder: Path, tmp_path: Path) -> None:
    checkpoint = changed(folder, tmp_path / "copy", dict)
    for name in ("configuration_internvl_chat.py", "modeling_internvl_chat.py"):
        (checkpoint.path / name).write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    load_model(checkpoint, torch.float32, CPU)
    assert not (tmp_path / "ran").exists()


def test_the_dtype_is_the_one_asked_for(folder: Path) -> None:
    model = load_model(Checkpoint.open(folder), torch.bfloat16, CPU)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert not model.training


def test_a_tokenizer_without_image_tokens_is_refused(folder: Path, tmp_path: Path) -> None:
    checkpoint = changed(folder, tmp_path / "copy", dict)
    for name in ("tokenizer_config.json", "added_tokens.json"):
        text = (folder / name).read_text().replace("<IMG_CONTEXT>", "<IMG>")
        (checkpoint.path / name).unlink()
        (checkpoint.path / name).write_text(text)
    with pytest.raises(ModelError, match="no token <IMG_CONTEXT>"):
        _ = checkpoint.processor
