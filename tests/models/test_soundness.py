"""Checkpoints as people have them: what is refused, with the weight or file named, before anything is trusted."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from radar_fast.engines.encode.encoder import Encoder
from radar_fast.errors import IncompleteError, ModelError
from radar_fast.models.bounds import pixel_bounds
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.models.vocabulary import tokenizer_notes
from radar_fast.protocols import open_protocol
from radar_fast.sample import ImageFile, Sample

WRITERS = {
    "qwen2vl": tiny.write_qwen2vl,
    "qwen25vl": tiny.write_qwen25vl,
    "qwen3vl": tiny.write_qwen3vl,
    "llava": tiny.write_llava,
    "internvl_hf": tiny.write_internvl_hf,
    "internvl_chat": tiny.write_internvl_chat,
}


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root = tmp_path_factory.mktemp("families")

    def family(name: str) -> Path:
        if not (root / name).exists():
            WRITERS[name](root / name)
        return root / name

    return family


@pytest.fixture
def folder(qwen2vl: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(qwen2vl, tmp_path / "model"))


def refused(folder: Path, message: str, error: type[ModelError] = ModelError) -> None:
    started = time.monotonic()
    with pytest.raises(ModelError, match=message) as caught:
        Checkpoint.open(folder).require_sound()
    assert type(caught.value) is error, caught.value
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - started < 60


def edit(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    file = folder / "model.safetensors"
    weights = {name: tensor.clone() for name, tensor in load_file(file).items()}
    change(weights)
    save_file(weights, file, {"format": "pt"})


# Weights and configuration -------------------------------------------------------------------------------------------


def layer_counts(config: dict[str, Any]) -> list[tuple[dict[str, Any], str]]:
    """(section, field) of the language model's and the vision tower's number of layers."""
    text = config.get("text_config") or config.get("llm_config") or config
    vision = config["vision_config"]
    return [(text, "num_hidden_layers"), (vision, "depth" if "depth" in vision else "num_hidden_layers")]


@pytest.mark.parametrize("name", WRITERS)
def test_every_family_is_sound_as_it_is_and_refused_with_other_depths(
    families: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    assert Checkpoint.open(families(name)).require_sound() == []
    for which in (0, 1):
        for step, message in ((-1, "weights have no place in .*layers?|weights have no place"), (1, "missing")):
            copy = Path(shutil.copytree(families(name), tmp_path / f"{which}{step}"))
            config = json.loads((copy / "config.json").read_text())
            section, field = layer_counts(config)[which]
            section[field] += step
            if "layer_types" in section:
                section["layer_types"] = ["full_attention"] * section[field]
            if "fullatt_block_indexes" in section:
                section["fullatt_block_indexes"] = [0]
            if "deepstack_visual_indexes" in section:
                section["deepstack_visual_indexes"] = [0] * len(section["deepstack_visual_indexes"])
            (copy / "config.json").write_text(json.dumps(config))
            refused(copy, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c["text_config"].update(num_hidden_layers=1, layer_types=None),
            r"12 weights have no place .*layers\.1\.",
        ),
        (lambda c: c["vision_config"].update(depth=1), r"12 weights have no place .*visual\.blocks\.1\."),
        (
            lambda c: c["text_config"].update(num_hidden_layers=3, layer_types=None),
            r"12 weights are missing .*layers\.2\.",
        ),
        (
            lambda c: c["text_config"].update(intermediate_size=96),
            r"another shape .*down_proj.*\[64, 128\] in place of",
        ),
        (lambda c: c["text_config"].update(num_key_value_heads=2), r"another shape .*k_proj"),
        (lambda c: c["text_config"].update(vocab_size=600), r"another shape .*embed_tokens"),
        (lambda c: c["vision_config"].update(patch_size=16), r"another shape .*patch_embed"),
        (lambda c: c["text_config"].update(num_hidden_layers=1_000_000), "num_hidden_layers is 1000000, and the check"),
        (lambda c: c["vision_config"].update(depth=10**9), "vision_config.depth is 1000000000, and"),
    ],
)
def test_settings_that_the_weights_contradict(
    folder: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    edit(folder / "config.json", change)
    refused(folder, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop(next(n for n in w if "k_proj.weight" in n)), "1 weights are missing .*k_proj"),
        (lambda w: w.update(surplus=torch.ones(2)), "1 weights have no place in .*: surplus;"),
        (lambda w: w.update({next(n for n in w if "norm" in n): torch.ones(7)}), r"\[7\] in place of \[64\]"),
        (
            lambda w: w.update({next(n for n in w if "up_proj" in n): torch.ones(128, 64).to(torch.int8)}),
            "are I8, e.g.",
        ),
        (lambda w: w.update({"lm_head.weight": torch.zeros_like(w["model.embed_tokens.weight"])}), None),
    ],
)
def test_weights_that_are_not_the_models(
    folder: Path, change: Callable[[dict[str, torch.Tensor]], object], message: str | None
) -> None:
    if message is None:
        edit(
            folder / "config.json",
            lambda c: (c.update(tie_word_embeddings=True), c["text_config"].update(tie_word_embeddings=True)),
        )
        edit_weights(folder, lambda w: w.pop("lm_head.weight", None))
        assert Checkpoint.open(folder).require_sound() == []
        embedding = next(name for name in load_file(folder / "model.safetensors") if "embed_tokens" in name)
        edit_weights(folder, lambda w: w.update({"lm_head.weight": w[embedding].clone()}))
        assert Checkpoint.open(folder).require_sound() == []
        edit_weights(folder, lambda w: w["lm_head.weight"].mul_(2))
        refused(folder, "config.json ties lm_head.weight to the embedding, and the files hold another one")
        return
    edit_weights(folder, change)
    refused(folder, message)


@pytest.mark.parametrize(
    "name",
    ["model.layers.0.self_attn.rotary_emb.inv_freq", "visual.rotary_pos_emb.inv_freq", "model.embeddings.position_ids"],
)
def test_what_older_versions_saved_beside_weights_is_harmless(folder: Path, name: str) -> None:
    edit_weights(folder, lambda w: w.update({name: torch.arange(4).float()}))
    if name.startswith("visual."):
        refused(folder, "no place")  # of a name that no version wrote nothing is known
    else:
        assert Checkpoint.open(folder).require_sound() == []


# Files ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 4, 100, 20_000, -1])
def test_a_file_that_ends_early_is_incomplete(folder: Path, size: int) -> None:
    file = folder / "model.safetensors"
    raw = file.read_bytes()
    file.write_bytes(raw[:size])
    refused(folder, r"model\.safetensors: incomplete; still being written", IncompleteError)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "pointer of Git LFS"),
        (b"\xff" * 64, "no safetensors file"),
        (b"\x02" + bytes(7) + b"[]", "header cannot be read"),
        (b"\x02" + bytes(7) + b"{}surplus", "17 bytes, and its header speaks of 10"),
        (
            len(b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}').to_bytes(8, "little")
            + b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}'
            + bytes(4),
            "header cannot be read",
        ),
    ],
)
def test_a_file_that_is_none(folder: Path, raw: bytes, message: str) -> None:
    (folder / "model.safetensors").write_bytes(raw)
    refused(folder, message)


def test_pickles_that_end_early_are_incomplete(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    assert Checkpoint.open(folder).require_sound() == []
    raw = (folder / "pytorch_model.bin").read_bytes()
    for size in (0, 100, len(raw) - 30):
        (folder / "pytorch_model.bin").write_bytes(raw[:size])
        refused(folder, r"pytorch_model\.bin: incomplete; still being written", IncompleteError)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"])
def test_small_files_that_end_early_are_incomplete(folder: Path, name: str) -> None:
    raw = (folder / name).read_bytes()
    for size in (0,) if name == "config.json" else (0, len(raw) // 2):
        (folder / name).write_bytes(raw[:size])
        refused(folder, rf"{name}: incomplete; still being written", IncompleteError)


@pytest.mark.parametrize("name", ["tokenizer_config.json", "x.tiktoken", "composed.json", "radar_fast.json"])
def test_pipes_and_devices_are_refused(folder: Path, name: str) -> None:
    """Before anything waits for them, or reads them for ever."""
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    with pytest.raises(ModelError, match="no regular file"):
        open_all(folder)
    (folder / name).unlink()
    (folder / name).symlink_to("/dev/zero")
    with pytest.raises(ModelError, match="no regular file"):
        open_all(folder)


def open_all(folder: Path) -> None:
    checkpoint = Checkpoint.open(folder)
    pixel_bounds(checkpoint.path)
    checkpoint.composed("image_token")
    checkpoint.require_sound()


def test_an_image_processor_that_fails_is_the_checkpoints_fault(folder: Path, tmp_path: Path) -> None:
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps({**settings, "temporal_patch_size": 10**9}))
    Image.new("RGB", (56, 56)).save(tmp_path / "a.png")
    checkpoint = Checkpoint.open(folder)
    protocol = open_protocol("auto", checkpoint)
    encoder = Encoder(checkpoint, protocol, torch.float32)
    sample = Sample("1", "t", "d", "a", (ImageFile(tmp_path / "a.png"), "What?"), ("a", "b"), 0)
    with pytest.raises(ModelError, match="its image processor fails"):
        encoder.encode(protocol.prompt(sample))


def test_a_weight_that_lies_twice(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    first, *_ = sorted(weights)
    save_file(weights, folder / "a.safetensors")
    save_file({first: weights[first]}, folder / "b.safetensors")
    index = {"weight_map": dict.fromkeys(weights, "a.safetensors") | {"x": "b.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(folder, r"b\.safetensors: holds .*, as another file of the checkpoint does")


def test_pickles_beside_safetensors_are_said_and_not_read(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"anything")
    [said] = Checkpoint.open(folder).require_sound()
    assert "pytorch_model.bin beside safetensors: not read, by either engine" in said


@pytest.mark.parametrize(
    "name", ["adapter_config.json", "adapter_model.safetensors", "adapter_model.bin", "non_lora_trainables.bin"]
)
def test_an_adapter_beside_its_base(folder: Path, name: str) -> None:
    (folder / name).write_text("{}")
    refused(folder, rf"{name}: an adapter lies beside the weights.*merge the adapter into its base")


# Tokenizers ----------------------------------------------------------------------------------------------------------


def test_without_tokenizer_files(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    refused(folder, "no tokenizer files in it; copy tokenizer.json")
    (folder / "vocab.json").write_text("{}")
    refused(folder, r"vocab.json without merges.txt")


@pytest.mark.parametrize("field", ["tokenizer_file", "vocab_file", "merges_file"])
def test_a_tokenizer_that_names_files_elsewhere(folder: Path, field: str) -> None:
    edit(folder / "tokenizer_config.json", lambda c: c.update({field: "../other/tokenizer.json"}))
    refused(folder, rf"tokenizer_config\.json: {field} is '\.\./other/tokenizer\.json', which is no file beside it")


def test_tokens_without_a_row_are_said(folder: Path) -> None:
    assert tokenizer_notes(Checkpoint.open(folder)) == []
    edit(
        folder / "tokenizer.json",
        lambda t: t["added_tokens"].append({**t["added_tokens"][0], "id": 507, "content": "<loc>", "special": False}),
    )
    rows = json.loads((folder / "config.json").read_text())["text_config"]["vocab_size"]
    [said] = tokenizer_notes(Checkpoint.open(folder))
    assert f"<loc>: in its tokenizer, beyond the {rows} rows of its embedding" in said


def test_a_tokenizer_that_appends_a_token_is_said(folder: Path) -> None:
    def appending(tokenizer: dict[str, Any]) -> None:
        end = tokenizer["added_tokens"][0]
        tokenizer["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": end["content"], "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {end["content"]: {"id": end["content"], "ids": [end["id"]], "tokens": [end["content"]]}},
        }

    edit(folder / "tokenizer.json", appending)
    [said] = tokenizer_notes(Checkpoint.open(folder))
    assert "its tokenizer ends every text with <|endoftext|>" in said


def test_an_image_token_of_another_model_is_refused(folder: Path) -> None:
    edit(folder / "config.json", lambda c: c.update(image_token_id=1))
    with pytest.raises(ModelError, match=r"image_token_id is 1, and its tokenizer has <\|image_pad\|> as \d+"):
        tokenizer_notes(Checkpoint.open(folder))
