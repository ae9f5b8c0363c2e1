"""``--image-backend``: the image processor it selects, what it changes, and where it is refused."""

import importlib
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from command_line import run_cli
from PIL import Image
from side_by_side import opened as opened_engine
from side_by_side import scored_by
from tiny import write_internvl_chat

from radar_fast.engines.encode.encoder import Encoded, Encoder
from radar_fast.engines.encode.pool import can_reopen
from radar_fast.errors import ModelError, UsageError
from radar_fast.models import processor
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import Protocol, open_protocol
from radar_fast.sample import ImageFile, Sample

BOUNDS = {"min_pixels": 3136, "max_pixels": 28 * 28 * 9}


def opened(checkpoint: Checkpoint, backend: str) -> Protocol:
    least, most = BOUNDS.values()
    return open_protocol("qwen2vl", checkpoint, min_pixels=least, max_pixels=most, image_backend=backend)


@pytest.fixture
def torchvision() -> None:
    try:
        processor.require_torchvision()
    except UsageError as error:
        pytest.skip(str(error))


@pytest.fixture
def no_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module  # as the package has it

    def refusing(name: str, package: str | None = None) -> ModuleType:
        if name.startswith("torchvision"):
            raise RuntimeError("operator torchvision::nms does not exist")
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", refusing)


def sample(folder: Path) -> Sample:
    Image.effect_noise((226, 222), 90).convert("RGB").save(folder / "a.png")
    return Sample("1", "t", "d", "a", (ImageFile(folder / "a.png"), "What?"), ("red", "blue"), 0)


@pytest.mark.usefixtures("torchvision")
def test_it_selects_transformers_own_other_processor(qwen2vl: Path, tmp_path: Path) -> None:
    checkpoint, made, asked = Checkpoint.open(qwen2vl), {}, sample(tmp_path)
    for backend in ("pil", "torchvision"):
        protocol = opened(checkpoint, backend)
        encoder = Encoder(checkpoint, protocol, torch.float32)
        encoded = encoder.encode(protocol.prompt(asked))
        assert isinstance(encoded, Encoded)
        made[backend] = encoded
        # transformers' own class, with the same bounds, on the same first resize.
        theirs = {
            "pil": "Qwen2VLImageProcessorPil",
            "torchvision": "Qwen2VLImageProcessor",
        }
        assert type(encoder.image_processor).__name__ == theirs[backend]
        picture = protocol.image(Image.open(tmp_path / "a.png").convert("RGB"))
        direct = type(encoder.image_processor).from_pretrained(qwen2vl, **BOUNDS)
        assert torch.equal(direct([picture], return_tensors="pt")["pixel_values"], encoded.inputs["pixel_values"])
    assert made["pil"].prefix == made["torchvision"].prefix
    apart = (made["pil"].inputs["pixel_values"] - made["torchvision"].inputs["pixel_values"]).abs().max()
    assert 0 < apart < 0.05, "a step or two of 256"
    assert type(checkpoint.processor.image_processor).__name__ == "Qwen2VLImageProcessorPil", "as it was"


@pytest.mark.usefixtures("torchvision")
def test_it_is_in_the_identity_and_workers_know_it(qwen2vl: Path) -> None:
    checkpoint = Checkpoint.open(qwen2vl)
    protocols = [opened(checkpoint, backend) for backend in ("pil", "torchvision")]
    assert [protocol.settings["image_backend"] for protocol in protocols] == ["pil", "torchvision"]
    assert all(can_reopen(protocol, checkpoint) for protocol in protocols)
    assert not can_reopen(replace(protocols[1], image_backend="pil"), checkpoint)


def test_a_processor_of_the_wrong_kind_is_not_taken_for_it(qwen2vl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class OnlyPil:
        class FakeImageProcessorPil:
            pass

        image_processor = FakeImageProcessorPil()

        @classmethod
        def from_pretrained(cls, path: Path, **options: Any) -> "OnlyPil":
            asked.append((path, options["backend"]))
            return cls()

    monkeypatch.setattr(processor, "_without_video", lambda _: OnlyPil)
    checkpoint = Checkpoint.open(qwen2vl)
    with pytest.raises(ModelError, match="no image processor of torchvision for it, only FakeImageProcessorPil"):
        checkpoint.processor_with("torchvision")
    checkpoint.processor_with("pil")
    assert asked == [(checkpoint.path, "torchvision"), (checkpoint.path, "pil")]


@pytest.mark.usefixtures("no_torchvision")
def test_it_is_refused_where_torchvision_does_not_work(qwen2vl: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"torchvision::nms does not exist.*build of it that belongs to torch 2"):
        opened(Checkpoint.open(qwen2vl), "torchvision")
    assert opened(Checkpoint.open(qwen2vl), "pil").image_backend == "pil"
    (tmp_path / "data.jsonl").write_text('{"question": "What?", "answer": "a", "distractors": ["b"]}\n')
    common = ["score", "--model", qwen2vl, "--data", tmp_path / "data.jsonl", "--out", tmp_path / "out"]
    result = run_cli(*common, "--image-backend", "torchvision")
    assert result.exit_code == 2
    assert "--image-backend torchvision: torchvision does not work here" in result.stderr
    assert not (tmp_path / "out").exists()
    assert "torchvison: unknown, did you mean torchvision?" in run_cli(*common, "--image-backend", "torchvison").stderr


def test_protocols_that_resize_with_pil_as_published_refuse_it(tmp_path: Path) -> None:
    write_internvl_chat(tmp_path / "model", side=28)
    with pytest.raises(UsageError, match="--protocol internvl resizes with PIL, as its published code does"):
        open_protocol("auto", Checkpoint.open(tmp_path / "model"), image_backend="torchvision")


@pytest.mark.full
@pytest.mark.usefixtures("torchvision")
def test_worker_processes_use_it_too(qwen2vl: Path, tmp_path: Path) -> None:
    found, asked = [], [sample(tmp_path)]
    for kind, backend in (("processes", "torchvision"), ("threads", "torchvision"), ("threads", "pil")):
        bounds = (BOUNDS["min_pixels"], BOUNDS["max_pixels"])
        engine, protocol = opened_engine(
            "transformers", qwen2vl, pixels=bounds, image_backend=backend, worker_kind=kind, workers=1
        )
        with engine:
            [scored] = scored_by(engine, protocol, asked).values()
        found.append([candidate.logits for candidate in scored.candidates])
    assert found[0] == found[1] != found[2]
