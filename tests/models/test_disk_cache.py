"""The store on disk under torn files, other writers and a bound; and encoders with it against encoders without."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from tiny import ROLE_TEMPLATE, write_llava

from radar_fast.engines.encode.disk_cache import DiskCache, settings_digest
from radar_fast.engines.encode.encoder import Encoded, Encoder
from radar_fast.engines.encode.image_cache import ImageCache, ImageReuse
from radar_fast.errors import UsageError
from radar_fast.images import read_image
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import Protocol, open_protocol
from radar_fast.sample import EmbeddedImage, ImageFile, Prompt, Reason, ReasonKind, Sample

FEATURES = {
    "pixel_values": torch.arange(12, dtype=torch.float32).reshape(3, 4),
    "image_grid_thw": torch.tensor([[1, 2, 3]]),
}


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return list(one) == list(other) and all(
        torch.equal(one[name], other[name]) if isinstance(one[name], torch.Tensor) else one[name] == other[name]
        for name in one
    )


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("??/*"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_what_is_put_is_found_again(tmp_path: Path, dtype: torch.dtype) -> None:
    features = {
        "a": torch.randn(2, 3, 4).to(dtype),
        "empty": torch.zeros(0, 3),
        "counts": [3, 4],
        "grid": torch.tensor([7]),
    }
    DiskCache(tmp_path, 10**6, "s").put("ab" * 32, features)
    found = DiskCache(tmp_path, 10**6, "s").find("ab" * 32)
    assert found is not None
    assert same(found, features)
    assert found["a"].dtype == dtype
    assert DiskCache(tmp_path, 10**6, "s").find("cd" * 32) is None


def test_what_is_neither_tensor_nor_list_is_not_kept(tmp_path: Path) -> None:
    store = DiskCache(tmp_path, 10**6, "s")
    store.put("ab" * 32, {**FEATURES, "sizes": [(1, 2)]})
    store.put("ab" * 32, {})
    assert files(tmp_path) == []


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_damage_is_ever_taken_for_what_was_put(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Cut anywhere, or with any one byte changed: absent, or bit for bit the same."""
    folder = tmp_path_factory.mktemp("store")
    store = DiskCache(folder, 10**6, "s")
    store.put("ab" * 32, FEATURES)
    [path] = files(folder)
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[place:]
    else:
        content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    found = store.find("ab" * 32)
    assert found is None or same(found, FEATURES)
    if found is None:
        assert files(folder) == [], "what is broken is cleared away"
        store.put("ab" * 32, FEATURES)
        assert store.find("ab" * 32) is not None
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", ["names", "lists"])
@pytest.mark.parametrize(
    "said", ["null", "[" * 100_000, '["image_grid_thw"]', '["image_grid_thw", "pixel_values"]', "{}", "7"]
)
def test_what_a_header_says_is_under_the_checksum_too(tmp_path: Path, name: str, said: str) -> None:
    store = DiskCache(tmp_path, 2**20, "settings")
    store.put("ab12", FEATURES)
    file = tmp_path / "ab" / "ab12.safetensors"
    with safe_open(file, framework="pt") as opened:
        known = opened.metadata()
        tensors = {each: opened.get_tensor(each) for each in FEATURES}
    save_file(tensors, file, {**known, name: said})
    assert store.find("ab12") is None
    assert not file.exists()


def test_a_pipe_in_the_folder_is_not_waited_for(tmp_path: Path) -> None:
    store = DiskCache(tmp_path, 2**20, "settings")
    store.put("ab12", FEATURES)
    (tmp_path / "ab" / "ab12.safetensors").unlink()
    os.mkfifo(tmp_path / "ab" / "ab12.safetensors")
    assert store.find("ab12") is None
    store.put("ab12", FEATURES)
    found = store.find("ab12")
    assert found is not None
    assert same(found, FEATURES)


def test_the_bound_holds_and_the_least_recently_used_go_first(tmp_path: Path) -> None:
    one = {"a": torch.zeros(2500)}  # 10 kB
    store = DiskCache(tmp_path, 200_000, "s")
    now = time.time()
    for n in range(60):
        key = f"{n:02d}" * 32
        store.put(key, one)
        os.utime(tmp_path / key[:2] / f"{key}.safetensors", (now - 1000 + n, now - 1000 + n))
        assert store.find("00" * 32) is not None, "in use all the time"
        total = sum(path.stat().st_size for path in files(tmp_path))
        assert total <= 200_000 + 10_500
    left = {path.stem[:2] for path in files(tmp_path)}
    assert "00" in left
    assert "59" in left
    assert "01" not in left
    assert len(left) >= 15


def test_a_killed_writers_file_is_swept_in_time(tmp_path: Path) -> None:
    store = DiskCache(tmp_path, 10**6, "s")
    (tmp_path / "ab").mkdir()
    for name, age in (("old", 7200), ("new", 10)):
        path = tmp_path / "ab" / f".{name}.tmp"
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age, time.time() - age))
    store.put("ab" * 32, FEATURES)
    assert [path.name for path in files(tmp_path) if path.suffix == ".tmp"] == [".new.tmp"]


def test_no_room_and_no_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match=r"--preprocess-cache .*cannot be made"):
        DiskCache(tmp_path / "file" / "store", 10**6, "s")
    with pytest.raises(UsageError, match="--preprocess-cache-gb"):
        DiskCache(tmp_path, 0, "s")
    store = DiskCache(tmp_path / "store", 10**6, "s")
    (tmp_path / "store" / "ab").write_text("in the way")  # as good as a disk that refuses
    store.put("ab" * 32, FEATURES)
    assert "going on without it" in caplog.text
    assert store.find("ab" * 32) is None
    DiskCache(tmp_path / "small", 100, "s").put("ab" * 32, FEATURES)
    assert files(tmp_path / "small") == [], "larger than the whole bound"


WRITER = """
import sys, torch
from pathlib import Path
from radar_fast.engines.encode.disk_cache import DiskCache
store = DiskCache(Path(sys.argv[1]), 300_000, "s")
for _ in range(12):
    for n in range(20):
        key = f"{n:02d}" * 32
        found = store.find(key)
        assert found is None or torch.equal(found["a"], torch.full((2500,), float(n))), n
        store.put(key, {"a": torch.full((2500,), float(n))})
"""


def test_several_processes_write_and_evict_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for process in running:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
        assert "going on without" not in said
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 300_000 + 3 * 300_000 // 32 + 3 * 10_500
    assert not [path for path in files(tmp_path) if path.suffix == ".tmp"]


def test_keys_tell_content_order_and_settings_apart(tmp_path: Path) -> None:
    Image.new("RGB", (9, 9), (1, 2, 3)).save(tmp_path / "a.png")
    Image.new("RGB", (9, 9), (3, 2, 1)).save(tmp_path / "b.png")
    shutil.copy(tmp_path / "a.png", tmp_path / "c.png")
    a, b, c = (ImageFile(tmp_path / f"{name}.png") for name in "abc")
    inside = EmbeddedImage("x.tsv:1", (tmp_path / "a.png").read_bytes())
    store = DiskCache(tmp_path / "store", 10**6, "s")
    assert store.key([a]) == store.key([c]) == store.key([inside])
    assert len({store.key(some) for some in ([a], [b], [a, b], [b, a], [a, a])}) == 5
    assert DiskCache(tmp_path / "store", 10**6, "t").key([a]) != store.key([a])
    assert store.key([ImageFile(tmp_path / "none.png")]) is None
    assert settings_digest({"size": 1}) != settings_digest({"size": 2})


# Through an encoder --------------------------------------------------------------------------------------------------


def picture_prompts(folder: Path, protocol: Protocol) -> list[Prompt]:
    """Two pictures that several questions share, alone and together, and one with special tokens in its text."""
    rng = np.random.default_rng(0)
    for index, size in enumerate([(222, 226), (131, 300)]):
        Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(folder / f"{index}.png")
    a, b = (ImageFile(folder / f"{index}.png") for index in range(2))
    asked = [(a, "What?"), (a, "And <|im_end|> this?"), (b, "Which?"), (a, b, "Both?"), (b, a, "Both?"), (a, b, "Or?")]
    return [protocol.prompt(Sample(str(n), "t", "d", "a", some, ("red", "blue"), 0)) for n, some in enumerate(asked)]


def encodings_equal(one: Encoded | Reason, other: Encoded | Reason) -> bool:
    assert isinstance(one, Encoded)
    assert isinstance(other, Encoded)
    return (
        (one.prefix, one.suffixes, one.scored_from) == (other.prefix, other.suffixes, other.scored_from)
        and same(one.inputs, other.inputs)
        and same(one.token_inputs, other.token_inputs)
    )


def decodes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list that grows by the name of every image that is decoded from now on."""
    seen: list[str] = []

    def noted(image: Any, *rgb: Any) -> Any:
        seen.append(image.name)
        return read_image(image, *rgb)

    monkeypatch.setattr("radar_fast.engines.encode.encoder.read_image", noted)
    return seen


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["qwen2vl", "llava"])
def test_an_encoder_with_a_store_says_the_same_and_decodes_nothing_twice(
    qwen2vl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, dtype: torch.dtype
) -> None:
    folder = qwen2vl
    if family == "llava":
        template = ROLE_TEMPLATE.replace("<|vision_start|><|image_pad|><|vision_end|>", "<image>\n")
        folder = write_llava(tmp_path / "llava", template=template)
    checkpoint = Checkpoint.open(folder)
    protocol = open_protocol("auto", checkpoint)
    prompts = picture_prompts(tmp_path, protocol)
    plain = [Encoder(checkpoint, protocol, dtype).encode(prompt) for prompt in prompts]
    reuse = ImageReuse(tmp_path / "store", 10**9)
    seen = decodes(monkeypatch)

    first = Encoder(checkpoint, protocol, dtype, reuse=reuse)
    assert all(encodings_equal(first.encode(prompt), expected) for prompt, expected in zip(prompts, plain, strict=True))
    # a, once more to check that it may be used again, b, (a, b), (b, a)
    assert len(seen) == 1 + 1 + 1 + 2 + 2
    assert len(files(tmp_path / "store")) == 4

    seen.clear()
    second = Encoder(checkpoint, protocol, dtype, reuse=reuse)
    assert all(
        encodings_equal(second.encode(prompt), expected) for prompt, expected in zip(prompts, plain, strict=True)
    )
    assert len(seen) == 1, "the first one, to check"

    seen.clear()
    other = Encoder(checkpoint, protocol, torch.float16, reuse=reuse)
    other.encode(prompts[0])
    assert len(seen) == 1, "another dtype is something else"


def test_memory_alone_serves_neighbours(qwen2vl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = Checkpoint.open(qwen2vl)
    protocol = open_protocol("qwen2vl", checkpoint, min_pixels=3136, max_pixels=12544)
    prompts = picture_prompts(tmp_path, protocol)
    plain = [Encoder(checkpoint, protocol, torch.float32).encode(prompt) for prompt in prompts]
    seen = decodes(monkeypatch)
    encoder = Encoder(checkpoint, protocol, torch.float32, reuse=ImageReuse())
    for _ in range(3):
        for prompt, expected in zip(prompts, plain, strict=True):
            assert encodings_equal(encoder.encode(prompt), expected)
    assert len(seen) == 7
    missing = protocol.prompt(Sample("m", "t", "d", "a", (ImageFile(tmp_path / "no.png"), "?"), ("a", "b"), 0))
    reason = encoder.encode(missing)
    assert isinstance(reason, Reason)
    assert reason.kind is ReasonKind.MISSING_IMAGE


def test_memory_is_bounded() -> None:
    kept = ImageCache(None, torch.float32, most_bytes=100_000)
    for n in range(100):
        kept.put((str(n),), [], {"a": torch.zeros(2500)})
    kept.put(("large",), [], {"a": torch.zeros(10**6)})
    there = [n for n in range(100) if kept.find((str(n),), []) is not None]
    assert there == list(range(90, 100))
    assert kept.find(("large",), []) is None


def test_a_processor_that_goes_another_way_is_left_alone(
    qwen2vl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One whose outcome depends on more than its images: found out at the first use, and never used again."""
    checkpoint = Checkpoint.open(qwen2vl)
    protocol = open_protocol("qwen2vl", checkpoint, min_pixels=3136, max_pixels=12544)
    prompts = picture_prompts(tmp_path, protocol)
    plain = [Encoder(checkpoint, protocol, torch.float32).encode(prompt) for prompt in prompts]
    encoder = Encoder(checkpoint, protocol, torch.float32, reuse=ImageReuse())
    inner, tap = encoder._tap.inner, encoder._tap
    monkeypatch.setattr(
        type(tap), "__call__", lambda self, *a, **k: self._local.__dict__.update(made={}) or inner(*a, **k)
    )
    for prompt, expected in zip(prompts, plain, strict=True):
        assert encodings_equal(encoder.encode(prompt), expected)
    assert "preprocessed anew" in caplog.text
