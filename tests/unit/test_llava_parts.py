"""Composing LLaVA from its parts: every weight where it belongs, whatever does not fit refused, all or nothing."""

import hashlib
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
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
from safetensors.torch import load_file, save_file

from radar_fast.cli import main
from radar_fast.errors import IncompleteError, ModelError, RadarError, UsageError
from radar_fast.models import llava, llava_parts
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.models.llava import compose
from radar_fast.models.soundness import stored_weights
from radar_fast.protocols import open_protocol
from radar_fast.sample import ImageFile, Sample


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    write_base(folder / "llm")
    write_siglip(folder / "siglip", side=28)
    tower = write_clip(folder / "clip", side=28)
    write_original(folder / "med", tower, make_projector())
    write_projector(folder / "mm_projector.bin", make_projector())
    return folder


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    found: dict[str, torch.Tensor] = {}
    for name in sorted(set(index.values())):
        shard = load_file(folder / name)
        assert {index[key] for key in shard} == {name}
        assert not found.keys() & shard.keys()
        found |= shard
    assert found.keys() == index.keys()
    return found


def test_every_weight_is_where_it_belongs_to_the_bit(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llava_parts, "SHARD_BYTES", 40_000)
    made = compose(parts / "llm", parts / "siglip", tmp_path / "out", parts / "mm_projector.bin")
    digests = json.loads((tmp_path / "out" / "composed.json").read_text())["digests"]
    assert digests["llm"] == Checkpoint.open(parts / "llm").fingerprint()
    assert digests["vision"] == Checkpoint.open(parts / "siglip").fingerprint()
    projector = hashlib.sha256((parts / "mm_projector.bin").read_bytes()).hexdigest()
    assert digests["projector"] == {"mm_projector.bin": projector}
    found = weights_of(tmp_path / "out")
    assert made.weights == len(found)
    shards = sorted(tmp_path.glob("out/*.safetensors"))
    assert len(shards) > 5
    large = [shard for shard in shards if shard.stat().st_size > 45_000]
    assert all(len(load_file(shard)) == 1 for shard in large), "only a weight that is larger by itself"
    for name, tensor in write_base(tmp_path / "again").state_dict().items():
        place = name if name == "lm_head.weight" else f"model.language_model.{name.removeprefix('model.')}"
        assert torch.equal(found.pop(place), tensor)
    for name, tensor in make_projector().state_dict().items():
        layer = {"0": "linear_1", "2": "linear_2"}[name[0]]
        assert torch.equal(found.pop(f"model.multi_modal_projector.{layer}.{name[2:]}"), tensor)
    for name, tensor in load_file(parts / "siglip" / "model.safetensors").items():
        inner = name.removeprefix("vision_model.")
        if name.startswith(("text_model", "logit")) or inner.startswith("head."):
            continue
        assert torch.equal(found.pop(f"model.vision_tower.vision_model.{inner}"), tensor)
    assert not found


def test_a_projector_may_be_safetensors_or_of_an_old_torch(parts: Path, tmp_path: Path) -> None:
    state = {f"model.mm_projector.{name}": tensor for name, tensor in make_projector().state_dict().items()}
    save_file(state, tmp_path / "p.safetensors")
    torch.save(state, tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    results = []
    for number, file in enumerate((parts / "mm_projector.bin", tmp_path / "p.safetensors", tmp_path / "old.bin")):
        compose(parts / "llm", parts / "siglip", tmp_path / f"out{number}", file)
        results.append(weights_of(tmp_path / f"out{number}"))
    for other in results[1:]:
        assert other.keys() == results[0].keys()
        assert all(torch.equal(other[name], tensor) for name, tensor in results[0].items())


def test_auto_takes_the_protocol_that_goes_with_it(parts: Path, tmp_path: Path) -> None:
    compose(parts / "llm", parts / "siglip", tmp_path / "plain", parts / "mm_projector.bin")
    compose(parts / "med", parts / "clip", tmp_path / "med")
    image = ImageFile(tmp_path / "a.png")
    for name, expected in (("plain", "<image> What?\n"), ("med", "[INST] <unk>\nWhat? [/INST]")):
        protocol = open_protocol("auto", Checkpoint.open(tmp_path / name))
        prompt = protocol.prompt(Sample("1", "t", "d", "a", (image, "What?"), ("red", "blue"), 0))
        assert "".join(part if isinstance(part, str) else part.text for part in prompt.parts) == expected
        assert (protocol.name, prompt.joiner) == (("plain", "") if name == "plain" else ("llava-med", " "))


@pytest.mark.parametrize("size", [(40, 90), (90, 40), (41, 90), (50, 50), (1, 300)])
def test_preprocessing_is_the_published_one(parts: Path, tmp_path: Path, size: tuple[int, int]) -> None:
    picture = Image.effect_noise(size, 90).convert("RGB")
    compose(parts / "llm", parts / "siglip", tmp_path / "plain", parts / "mm_projector.bin")
    compose(parts / "med", parts / "clip", tmp_path / "med")
    for name, view in (("plain", siglip_view), ("med", clip_view)):
        checkpoint = Checkpoint.open(tmp_path / name)
        seen = open_protocol("auto", checkpoint).image(picture)
        pixels = checkpoint.processor.image_processor([seen], return_tensors="pt")["pixel_values"]
        torch.testing.assert_close(pixels[0], view(picture, 28), atol=1e-5, rtol=0)


@pytest.mark.parametrize("legacy", [True, False])
def test_text_around_images_is_tokenised_piece_by_piece(parts: Path, tmp_path: Path, legacy: bool) -> None:
    """A tokenizer that puts a space before its input puts it before each piece, as if each were all there is."""
    llm = tmp_path / "llm"
    llm.mkdir()
    for file in (parts / "med").iterdir():
        (llm / file.name).write_bytes(file.read_bytes())
    settings = json.loads((llm / "tokenizer_config.json").read_text())
    (llm / "tokenizer_config.json").write_text(json.dumps({**settings, "legacy": legacy}))
    compose(llm, parts / "clip", tmp_path / "out")
    tokenizer = Checkpoint.open(tmp_path / "out").processor.tokenizer
    image = tokenizer.convert_tokens_to_ids("<unk>")
    text = "[INST] <image>\nWhat is<image>red, é? [/INST]"
    config = Checkpoint.open(tmp_path / "out").processor and make_config(tmp_path / "out")
    loop = PlainLlava(config, llm, None, make_projector(), clip_view, drop_first=True)
    wanted = [image if each is None else each for each in loop.ids(text)]
    assert tokenizer(text.replace("<image>", "<unk>"))["input_ids"] == wanted
    assert wanted[0] == tokenizer.bos_token_id


def make_config(folder: Path) -> Any:
    from transformers import AutoConfig

    class Holder:
        config = AutoConfig.from_pretrained(folder).text_config

    return Holder()


# What is refused -----------------------------------------------------------------------------------------------------


def copied(folder: Path, to: Path) -> Path:
    to.mkdir()
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    return to


def refused(tmp_path: Path, kind: type[RadarError], message: str, **arguments: Any) -> None:
    out = tmp_path / "result" / "out"
    with pytest.raises(kind, match=message) as caught:
        compose(**{"out": out, **arguments})
    assert "\n" not in str(caught.value)
    assert not out.exists()
    assert not list(tmp_path.glob("result/.out*")), "nothing half done is left"


def state(**changes: Any) -> dict[str, torch.Tensor]:
    found = {f"model.mm_projector.{name}": tensor for name, tensor in make_projector(**changes).state_dict().items()}
    return dict(found)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: state(seen=32), r"linear_1 is 32 -> 64, and 48 -> 64 is wanted between siglip \(width 48\)"),
        (lambda: state(read=96), r"linear_1 is 48 -> 96, and 48 -> 64 is wanted"),
        (lambda: {k: v for k, v in state().items() if "2.bias" not in k}, "lack 1 weights, e.g. .*linear_2.bias"),
        (lambda: {**state(), "model.mm_projector.4.weight": torch.ones(2)}, "no place for: 1 weights.*projector.4"),
        (lambda: {**state(), "model.image_newline": torch.ones(64)}, "no place for: 1 weights.*image_newline"),
        (lambda: {**state(), "epoch": 3}, "holds more than named tensors"),
        (lambda: [torch.ones(2)], "holds more than named tensors"),
    ],
)
def test_projectors_that_do_not_fit(parts: Path, tmp_path: Path, make: Callable[[], Any], message: str) -> None:
    torch.save(make(), tmp_path / "p.bin")
    refused(tmp_path, ModelError, message, llm=parts / "llm", vision=parts / "siglip", projector=tmp_path / "p.bin")


class Attack:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


def test_code_in_a_projector_is_not_run(parts: Path, tmp_path: Path) -> None:
    (tmp_path / "pickled.bin").write_bytes(pickle.dumps({"a": Attack(tmp_path / "ran")}))
    torch.save({"a": Attack(tmp_path / "ran")}, tmp_path / "saved.bin")
    (tmp_path / "cut.bin").write_bytes((parts / "mm_projector.bin").read_bytes()[:700])
    for name in ("pickled.bin", "saved.bin", "cut.bin"):
        refused(
            tmp_path,
            ModelError,
            rf"{name}: cannot be read: .*only files of plain tensors",
            llm=parts / "llm",
            vision=parts / "siglip",
            projector=tmp_path / name,
        )
    assert not (tmp_path / "ran").exists()


def test_towers_that_do_not_fit(parts: Path, tmp_path: Path) -> None:
    rest = {"llm": parts / "llm", "projector": parts / "mm_projector.bin"}
    tower = copied(parts / "siglip", tmp_path / "tower")
    weights = load_file(tower / "model.safetensors")
    [name] = [name for name in weights if name.endswith("vision_model.post_layernorm.bias")]
    save_file({k: v for k, v in weights.items() if k != name}, tower / "model.safetensors", {"format": "pt"})
    refused(tmp_path, ModelError, "lack 1 weights, e.g. .*post_layernorm.bias", vision=tower, **rest)
    (tower / "model.safetensors").write_bytes(b"\0" * 100)
    refused(tmp_path, ModelError, r"model\.safetensors: its header cannot be read", vision=tower, **rest)
    (tower / "model.safetensors").unlink()
    refused(tmp_path, ModelError, "no weights in it", vision=tower, **rest)
    save_file({"x": torch.ones(2)}, tower / "model.safetensors")
    (tower / "config.json").write_text(json.dumps({"model_type": "vit"}))
    refused(tmp_path, ModelError, "'vit' is no CLIP or SigLIP tower", vision=tower, **rest)
    clip = copied(parts / "clip", tmp_path / "other")
    images = json.loads((clip / "preprocessor_config.json").read_text())
    (clip / "preprocessor_config.json").write_text(json.dumps({**images, "crop_size": {"height": 56, "width": 56}}))
    refused(tmp_path, ModelError, "crop_size is .*56.*the tower sees 28 x 28", vision=clip, **rest)


def test_language_models_that_do_not_fit(parts: Path, tmp_path: Path) -> None:
    rest = {"vision": parts / "siglip", "projector": parts / "mm_projector.bin"}
    llm = copied(parts / "llm", tmp_path / "llm")
    config = json.loads((llm / "config.json").read_text())
    index = json.loads((llm / "model.safetensors.index.json").read_text())
    (llm / "config.json").write_text(json.dumps({**config, "intermediate_size": 128}))
    refused(tmp_path, ModelError, r"mlp.* is \[.*96.*\], and config\.json says \[.*128", llm=llm, **rest)
    (llm / "config.json").write_text(json.dumps({**config, "architectures": ["BertModel"]}))
    refused(tmp_path, ModelError, "architecture BertModel; a language model to compose with is one of", llm=llm, **rest)
    (llm / "config.json").write_text(json.dumps({**config, "vocab_size": 100}))
    refused(tmp_path, ModelError, "vocabulary of 100 has no room for an image token", llm=llm, **rest)
    (llm / "config.json").write_text(json.dumps(config))
    (llm / "model.safetensors.index.json").write_text(
        json.dumps({**index, "weight_map": {**index["weight_map"], "x": "../evil.safetensors"}})
    )
    refused(tmp_path, ModelError, r"names '\.\./evil\.safetensors', which is no file beside it", llm=llm, **rest)
    (llm / "model.safetensors.index.json").write_text("{}")
    refused(tmp_path, ModelError, r"index\.json: cannot be read", llm=llm, **rest)


def test_settings_of_llavas_own_that_are_not_known(parts: Path, tmp_path: Path) -> None:
    llm = copied(parts / "med", tmp_path / "llm")
    config = json.loads((llm / "config.json").read_text())
    for field, value in (
        ("mm_projector_type", "linear"),
        ("mm_vision_select_layer", -1),
        ("image_aspect_ratio", "anyres"),
    ):
        (llm / "config.json").write_text(json.dumps({**config, field: value}))
        refused(tmp_path, ModelError, f"{field} is {value!r}; only", llm=llm, vision=parts / "clip")


def test_what_libraries_would_wait_for_or_read_without_end(parts: Path, tmp_path: Path) -> None:
    for number, (name, file) in enumerate([("llm", "vocab.json"), ("llm", "x.json"), ("clip", "x.bin")]):
        shutil.copytree(parts / name, tmp_path / f"{number}")
        (tmp_path / f"{number}" / file).unlink(missing_ok=True)
        os.mkfifo(tmp_path / f"{number}" / file)
        llm, clip = (tmp_path / f"{number}" if each == name else parts / each for each in ("llm", "clip"))
        with pytest.raises(ModelError, match=f"{file}: is no regular file"):
            compose(llm, clip, tmp_path / "out", parts / "mm_projector.bin")
    shutil.copytree(parts / "llm", tmp_path / "large")
    with (tmp_path / "large" / "vocab.json").open("r+b") as stream:
        stream.truncate(2**36)  # takes no room
    with pytest.raises(ModelError, match=r"vocab\.json: has 68719476736 bytes"):
        compose(tmp_path / "large", parts / "clip", tmp_path / "out", parts / "mm_projector.bin")
    settings = json.loads((parts / "llm" / "tokenizer_config.json").read_text())
    shutil.copytree(parts / "llm", tmp_path / "elsewhere")
    said = json.dumps({**settings, "vocab_file": "/etc/passwd"})
    (tmp_path / "elsewhere" / "tokenizer_config.json").write_text(said)
    with pytest.raises(ModelError, match="vocab_file is '/etc/passwd', which is no file beside it"):
        compose(tmp_path / "elsewhere", parts / "clip", tmp_path / "out", parts / "mm_projector.bin")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("llm", {"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000, and the checkpoint holds"),
        ("med", {"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000, and the checkpoint holds"),
        ("siglip", {"vision_config": {"num_hidden_layers": 10**9}}, "vision_config.num_hidden_layers is 1000000000"),
        ("med", {"num_attention_heads": 2**63}, "the model cannot be loaded"),
    ],
)
def test_settings_that_no_weights_go_with(
    parts: Path, tmp_path: Path, name: str, change: dict[str, Any], message: str
) -> None:
    """No model of a billion layers is begun, and no error of a library gets out."""
    shutil.copytree(parts / name, tmp_path / name)
    said = json.loads((tmp_path / name / "config.json").read_text())
    nested = {key: {**said[key], **value} if isinstance(value, dict) else value for key, value in change.items()}
    (tmp_path / name / "config.json").write_text(json.dumps({**said, **nested}))
    llm = tmp_path / name if name in ("llm", "med") else parts / "llm"
    tower = tmp_path / name if name == "siglip" else parts / "clip"
    with pytest.raises(ModelError, match=message):
        compose(llm, tower, tmp_path / "out", None if name == "med" else parts / "mm_projector.bin")


def test_weights_that_are_replaced_meanwhile(parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written down as the parts' digests is of the weights that were taken."""
    shutil.copytree(parts / "siglip", tmp_path / "siglip")
    write = llava_parts.write_weights

    def replaced(found: list[llava_parts.Part], folder: Path) -> None:
        write(found, folder)
        (tmp_path / "siglip" / "model.safetensors").touch()

    monkeypatch.setattr(llava, "write_weights", replaced)
    with pytest.raises(IncompleteError, match=r"model\.safetensors changed while it was being read"):
        compose(parts / "llm", tmp_path / "siglip", tmp_path / "out", parts / "mm_projector.bin")
    assert not (tmp_path / "out").exists()


def test_an_archive_that_unpacks_to_far_more_is_not_unpacked(parts: Path, tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(parts / "mm_projector.bin") as archive,
        zipfile.ZipFile(tmp_path / "mm_projector.bin", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for entry in archive.infolist():
            packed.writestr(entry.filename, archive.read(entry))
    with pytest.raises(ModelError, match=r"mm_projector\.bin: its entry .* is compressed"):
        compose(parts / "llm", parts / "clip", tmp_path / "out", tmp_path / "mm_projector.bin")
    (tmp_path / "pytorch_model.bin").write_bytes((tmp_path / "mm_projector.bin").read_bytes())
    with pytest.raises(ModelError, match="is compressed"):
        stored_weights([tmp_path / "pytorch_model.bin"])


def test_usage(parts: Path, tmp_path: Path) -> None:
    base = {"llm": parts / "llm", "vision": parts / "siglip"}
    refused(tmp_path, UsageError, "has no projector; name its file with --projector", **base)
    refused(tmp_path, UsageError, "no such file", **base, projector=tmp_path / "none.bin")
    own = {"llm": parts / "med", "vision": parts / "clip", "projector": parts / "mm_projector.bin"}
    refused(tmp_path, UsageError, "holds a projector of its own", **own)
    with pytest.raises(UsageError, match="is there already"):
        compose(**base, out=tmp_path, projector=parts / "mm_projector.bin")


def test_a_full_disk_leaves_nothing(parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(llava, "write_weights", fail)
    arguments = {"llm": parts / "llm", "vision": parts / "siglip", "projector": parts / "mm_projector.bin"}
    refused(tmp_path, ModelError, "cannot be written: .*No space left on device", **arguments)


def test_on_the_command_line(parts: Path, tmp_path: Path) -> None:
    words = ["compose", "--llm", str(parts / "med"), "--vision", str(parts / "clip"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    assert "4 tokens for each image (<unk>), protocol llava-med" in result.output
    again = CliRunner().invoke(main, words)
    assert again.exit_code == 2
    assert again.output.startswith("radar-fast: --out ")
    assert "is there already" in again.output
