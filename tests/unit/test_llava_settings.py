"""What the config.json beside a LLaVA projector says: obeyed by the composed model, or refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from llava_published import (
    SIZES,
    TOWER,
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

from radar_fast.errors import ModelError
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.models.llava import compose
from radar_fast.protocols import open_protocol
from radar_fast.sample import ReasonKind, Sample


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    write_base(folder / "llm")
    write_siglip(folder / "siglip", side=28)
    return folder


def projector(folder: Path, **said: Any) -> Path:
    """A projector with the config.json of its training beside it, as published."""
    folder.mkdir()
    config = {
        **SIZES,
        "architectures": ["LlavaQwenForCausalLM"],
        "model_type": "llava_qwen",
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_scaling": None,
        "rope_theta": 1000000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "use_sliding_window": False,
        "image_aspect_ratio": "square",
        "mm_hidden_size": TOWER["hidden_size"],
        "mm_patch_merge_type": "flat",
        "mm_projector_type": "mlp2x_gelu",
        "mm_use_im_patch_token": False,
        "mm_use_im_start_end": False,
        "mm_vision_select_feature": "patch",
        "mm_vision_select_layer": -2,
        "tokenizer_model_max_length": 32768,
        "tokenizer_padding_side": "right",
        **said,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return write_projector(folder / "mm_projector.bin", make_projector())


def composed(parts: Path, file: Path) -> Checkpoint:
    out = file.parent.parent / "out"
    compose(parts / "llm", parts / "siglip", out, file)
    return Checkpoint.open(out)


def test_what_agrees_changes_nothing(parts: Path, tmp_path: Path) -> None:
    with_config = composed(parts, projector(tmp_path / "projector"))
    alone = write_projector(tmp_path / "mm_projector.bin", make_projector())
    compose(parts / "llm", parts / "siglip", tmp_path / "alone", alone)
    without = Checkpoint.open(tmp_path / "alone")
    assert with_config.fingerprint() == without.fingerprint()
    assert open_protocol("auto", with_config).settings == open_protocol("auto", without).settings


def test_pictures_are_padded_where_the_projector_was_trained_so(parts: Path, tmp_path: Path) -> None:
    checkpoint = composed(parts, projector(tmp_path / "projector", image_aspect_ratio="pad"))
    protocol = open_protocol("auto", checkpoint)
    picture = Image.effect_noise((40, 90), 90).convert("RGB")
    square = Image.new("RGB", (90, 90), (127, 127, 127))
    square.paste(picture, (25, 0))
    pixels = checkpoint.processor.image_processor([protocol.image(picture)], return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(pixels[0], siglip_view(square, 28), atol=1e-5, rtol=0)
    assert protocol.settings["image_aspect_ratio"] == "pad"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"image_aspect_ratio": "anyres"}, "image_aspect_ratio is 'anyres'; only 'square' or 'pad' is known"),
        ({"image_aspect_ratio": "anyres_max_9"}, "image_aspect_ratio is 'anyres_max_9'"),
        ({"mm_projector_type": "linear"}, "mm_projector_type is 'linear'; only 'mlp2x_gelu'"),
        ({"mm_vision_select_layer": -1}, "mm_vision_select_layer is -1"),
        ({"mm_use_im_start_end": True}, "mm_use_im_start_end is True"),
        ({"tie_word_embeddings": True}, r"tie_word_embeddings is True, and False in .*llm/config\.json"),
        ({"rope_theta": 10000.0}, r"rope_theta is 10000\.0, and 1000000\.0 in"),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, "rope_scaling is 'yarn', and 'default' in"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu', and 'silu' in"),
        ({"rms_norm_eps": 1e-5}, "rms_norm_eps is 1e-05, and 1e-06 in"),
        ({"num_hidden_layers": 3}, "num_hidden_layers is 3, and 2 in"),
        ({"model_type": "llava_llama"}, "model_type is 'llava_llama', and .*llm is a qwen2"),
        ({"tokenizer_model_max_length": "long"}, "tokenizer_model_max_length is 'long'; it is a number of tokens"),
        ({"tokenizer_model_max_length": 0}, "tokenizer_model_max_length is 0"),
    ],
)
def test_what_cannot_be_obeyed_is_refused(parts: Path, tmp_path: Path, said: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        composed(parts, projector(tmp_path / "projector", **said))
    assert str(tmp_path / "projector" / "config.json") in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_length_that_positions_depend_on_is_refused(parts: Path, tmp_path: Path) -> None:
    scaling = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2048}
    llm = tmp_path / "llm"
    llm.mkdir()
    for file in (parts / "llm").iterdir():
        (llm / file.name).write_bytes(file.read_bytes())
    config = json.loads((llm / "config.json").read_text())
    (llm / "config.json").write_text(json.dumps({**config, "rope_scaling": scaling}))
    file = projector(tmp_path / "projector", rope_scaling=scaling, tokenizer_model_max_length=100)
    with pytest.raises(ModelError, match=r"tokenizer_model_max_length is 100, which cannot be kept .* 'yarn'"):
        compose(llm, parts / "siglip", tmp_path / "out", file)


def test_longer_prompts_than_the_script_takes_are_unscored(parts: Path, tmp_path: Path) -> None:
    checkpoint = composed(parts, projector(tmp_path / "projector", tokenizer_model_max_length=50))
    samples = [
        Sample(name, "t", "d", "a", (text,), ("red", "blue"), 0)
        for name, text in (("short", "What is it?"), ("long", "What is it? " * 20))
    ]
    engine, protocol = opened("transformers", checkpoint.path)
    with engine:
        found = scored_by(engine, protocol, samples)
    reason = found["t", "long"].reason
    assert reason is not None
    assert reason.kind is ReasonKind.TOO_LONG
    assert "positions for 50" in reason.detail
    assert found["t", "short"].reason is None


def test_a_checkpoint_of_llavas_own_has_the_same_bound(tmp_path: Path) -> None:
    tower = write_clip(tmp_path / "clip", side=28)
    write_original(tmp_path / "med", tower, make_projector())
    config = json.loads((tmp_path / "med" / "config.json").read_text())
    (tmp_path / "med" / "config.json").write_text(json.dumps({**config, "tokenizer_model_max_length": 2048}))
    compose(tmp_path / "med", tmp_path / "clip", tmp_path / "out")
    assert Checkpoint.open(tmp_path / "out").config["text_config"]["max_position_embeddings"] == 2048


def test_the_config_of_another_model_beside_it_says_nothing(parts: Path, tmp_path: Path) -> None:
    file = write_projector(parts / "llm" / "mm_projector.bin", make_projector())
    compose(parts / "llm", parts / "siglip", tmp_path / "out", file)
    file.unlink()
    assert Checkpoint.open(tmp_path / "out").config["text_config"]["max_position_embeddings"] == 8192


def test_one_that_cannot_be_read_is_named(parts: Path, tmp_path: Path) -> None:
    file = projector(tmp_path / "projector")
    (file.parent / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config\.json: cannot be read: .*how the projector beside it is used"):
        composed(parts, file)
