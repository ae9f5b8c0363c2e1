"""What a checkpoint is known by: every tensor, every file that can change a score, and nothing else."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from radar_fast.errors import IncompleteError
from radar_fast.models import fingerprint
from radar_fast.models.checkpoint import Checkpoint


@pytest.fixture
def folder(qwen2vl: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(qwen2vl, tmp_path / "model"))


def known(folder: Path) -> dict[str, str]:
    return Checkpoint.open(folder).fingerprint()


def test_what_a_trainer_keeps_beside_weights_is_no_part_of_it(folder: Path, tmp_path: Path) -> None:
    before = known(folder)
    for name in (
        "optimizer.pt",
        "scheduler.pt",
        "rng_state.pth",
        "training_args.bin",
        "trainer_state.json",
        "README.md",
    ):
        (folder / name).write_text("anything")
    (folder / "generation_config.json").write_text('{"temperature": 0.5}')
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "_name_or_path": "/x", "transformers_version": "0"}))
    assert known(folder) == before
    assert known(Path(shutil.move(folder, tmp_path / "moved"))) == before


@pytest.mark.parametrize(
    "name",
    [
        "tokenizer.json",
        "tokenizer_config.json",
        "preprocessor_config.json",
        "merges.txt",
        "vocab.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "tokenizer.model",
        "chat_template.jinja",
        "chat_template.json",
        "processor_config.json",
        "qwen.tiktoken",
        "additional_chat_templates/rag.jinja",
    ],
)
def test_every_file_that_can_change_a_token_or_a_pixel_counts(folder: Path, tmp_path: Path, name: str) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    (other / name).parent.mkdir(exist_ok=True)
    with (other / name).open("ab") as file:
        file.write(b" ")
    before, after = known(folder), known(other)
    assert {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)} == {name}
    assert Checkpoint.open(folder).differing_files(Checkpoint.open(other)) == [name]


def test_of_the_configuration_counts_what_it_says(folder: Path) -> None:
    before = known(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(dict(reversed(config.items())), indent=7))
    assert known(folder) == before
    config["text_config"]["rms_norm_eps"] = 0.5
    (folder / "config.json").write_text(json.dumps(config))
    assert known(folder)["config.json"] != before["config.json"]


def changes(weights: dict[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    first = next(name for name in weights if "layers.0.mlp.up_proj" in name)
    second = first.replace("layers.0", "layers.1")
    projector = next(name for name in weights if "merger" in name and name.endswith("weight"))
    return {
        "trained projector": {**weights, projector: weights[projector] + 1},
        "swapped blocks": {**weights, first: weights[second], second: weights[first]},
        "renamed": {f"{name}x" if name == first else name: tensor for name, tensor in weights.items()},
        "another type": {**weights, first: weights[first].half()},
    }


@pytest.mark.parametrize("budget", [fingerprint.BUDGET, 40_000])
@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_every_tensor_is_seen(folder: Path, budget: int, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where only a part of each is read."""
    monkeypatch.setattr(fingerprint, "BUDGET", budget)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    name = "model.safetensors" if suffix == "safetensors" else "pytorch_model.bin"

    def written(state: dict[str, torch.Tensor]) -> str:
        if suffix == "safetensors":
            save_file(state, folder / name, {"saved": str(len(weights))})
        else:
            torch.save(state, folder / name)
        return known(folder)[name]

    original = written(weights)
    assert written(dict(weights)) == original
    for what, changed in changes(weights).items():
        assert written(changed) != original, what


def test_little_is_read_of_fifteen_gigabytes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sparse file of 500 tensors; a byte that changes at the start or the end of any of them is seen."""
    count, size = 500, 30_000_000
    entries = {
        f"layers.{number}.weight": {
            "dtype": "BF16",
            "shape": [size // 2],
            "data_offsets": [number * size, (number + 1) * size],
        }
        for number in range(count)
    }
    head = json.dumps(entries).encode()
    file = folder / "model.safetensors"
    with file.open("wb") as stream:
        stream.write(len(head).to_bytes(8, "little") + head)
        stream.truncate(8 + len(head) + count * size)
    read = 0
    pread = os.pread

    def counted(descriptor: int, length: int, offset: int) -> bytes:
        nonlocal read
        found = pread(descriptor, length, offset)
        read += len(found)
        return found

    monkeypatch.setattr(os, "pread", counted)
    before = known(folder)["model.safetensors"]
    assert 32 * 2**20 < read < 60 * 2**20
    for number, place in ((250, 0), (499, size - 1)):
        with file.open("r+b") as edited:
            edited.seek(8 + len(head) + number * size + place)
            edited.write(b"\1")
        after = known(folder)["model.safetensors"]
        assert after != before
        before = after


def test_weights_that_change_while_they_are_read_are_noticed(folder: Path) -> None:
    checkpoint = Checkpoint.open(folder)
    assert "model.safetensors" in checkpoint.state
    checkpoint.require_unchanged()
    (folder / "optimizer.pt").touch()
    checkpoint.require_unchanged()
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "new").write_bytes(whole)
    (folder / "new").rename(folder / "model.safetensors")
    with pytest.raises(IncompleteError, match=r"model\.safetensors changed while it was being read"):
        checkpoint.require_unchanged()
    another = Checkpoint.open(folder)
    assert another.state
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(IncompleteError, match=r"tokenizer\.json changed"):
        another.require_unchanged()
