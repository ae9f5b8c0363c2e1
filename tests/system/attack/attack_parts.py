"""LLaVA in parts: language models, towers and projectors, of which ``compose`` makes one checkpoint or nothing.

What is made is opened, looked at and fingerprinted, and holds what its parts do.
"""

import hashlib
import io
import json
import pickle
import random
import struct
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import attack_mutations as mutations
from attack_checkpoints import _header, _numbers
from attack_frame import Attack, MismatchError
from attack_places import twist

from radar_fast.errors import RadarError

__all__ = ["ATTACKS"]

_MARK = Path("/tmp/attacked-projector")


@cache
def _parts() -> dict[str, dict[str, bytes]]:
    """Name of a folder -> its files, each a tiny part."""
    from llava_published import make_projector, write_base, write_clip, write_original, write_projector, write_siglip

    with tempfile.TemporaryDirectory(prefix="attack-") as folder:
        root = Path(folder)
        write_base(root / "llm")
        write_siglip(root / "siglip", side=28)
        write_original(root / "med", write_clip(root / "clip", side=28), make_projector())
        (root / "projector").mkdir()
        write_projector(root / "projector" / "mm_projector.bin", make_projector())
        said = json.loads((root / "llm" / "config.json").read_bytes())
        beside = {
            **{name: said[name] for name in ("hidden_size", "num_hidden_layers", "vocab_size", "rope_theta")},
            "model_type": "llava_qwen",
            "mm_projector_type": "mlp2x_gelu",
            "mm_vision_select_layer": -2,
            "image_aspect_ratio": "pad",
            "tokenizer_model_max_length": 4096,
        }
        (root / "projector" / "config.json").write_text(json.dumps(beside))
        return {
            place.name: {file.name: file.read_bytes() for file in place.iterdir() if file.is_file()}
            for place in root.iterdir()
        }


def _written(path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (path / name).mkdir()
        for file, data in _parts()[name].items():
            (path / name / file).write_bytes(data)


_SETS = (("llm", "siglip", "projector"), ("llm", "clip", "projector"), ("med", "clip"))


def _use(path: Path, names: tuple[str, ...]) -> None:
    """Compose, and look at what is made; nothing else is left."""
    from safetensors import safe_open

    from radar_fast.models.checkpoint import Checkpoint
    from radar_fast.models.llava import compose

    language, vision = path / names[0], path / names[1]
    projector = path / names[2] / "mm_projector.bin" if len(names) > 2 else None
    before = sorted(path.iterdir())
    try:
        made = compose(language, vision, path / "out", projector)
    except RadarError:
        if sorted(path.iterdir()) != before:
            raise MismatchError("a refused composition leaves something behind") from None
        raise
    finally:
        if _MARK.exists():
            raise MismatchError("a file of weights ran a command")
    composed = Checkpoint.open(path / "out")
    composed.require_sound()
    composed.fingerprint()
    digests = json.loads((path / "out" / "composed.json").read_bytes())["digests"]
    if digests["llm"] != Checkpoint.open(language).fingerprint():
        raise MismatchError("composed.json names another language model than was given")
    if projector is not None and digests["projector"] != {
        projector.name: hashlib.sha256(projector.read_bytes()).hexdigest()
    }:
        raise MismatchError("composed.json names another projector than was given")
    names_written = []
    for file in (path / "out").glob("*.safetensors"):
        with safe_open(file, framework="pt") as opened:
            names_written += list(opened.keys())
    if len(names_written) != made.weights or len(set(names_written)) != made.weights:
        raise MismatchError(f"{made.weights} weights told, {len(names_written)} written")


def _chosen(rng: random.Random, path: Path, suffix: str) -> tuple[tuple[str, ...], Path]:
    """A set of parts, written, and one of their files."""
    names = rng.choice(_SETS)
    _written(path, names)
    files = [path / name / file for name in names for file in sorted(_parts()[name]) if file.endswith(suffix)]
    return names, rng.choice(files)


def part_values(rng: random.Random, path: Path) -> None:
    """Configurations and tokenizers with values that nobody means."""
    names, file = _chosen(rng, path, ".json")
    file.write_text(json.dumps(mutations.mutated_json(rng, json.loads(file.read_bytes()))))
    _use(path, names)


def part_sizes(rng: random.Random, path: Path) -> None:
    """A number in a configuration is absurd."""
    names, file = _chosen(rng, path, "config.json")
    value = json.loads(file.read_bytes())
    places = _numbers(value)
    for _ in range(rng.choice([1, 1, 2])):
        holder, key = rng.choice(places)
        holder[key] = rng.choice([0, -1, 1, 3, 7, 10**6, 10**9, 2**31, 2**63, 10**30, 0.5, 1e300])
    file.write_text(json.dumps(value))
    _use(path, names)


def part_bytes(rng: random.Random, path: Path) -> None:
    """Any small file, with damaged bytes."""
    names, file = _chosen(rng, path, ".json")
    file.write_bytes(mutations.mutated_bytes(rng, file.read_bytes()))
    _use(path, names)


class _Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, (f"touch {_MARK}",)


def _odd_projector(rng: random.Random) -> bytes:
    """What torch.save writes of tensors that nobody means, or what is none of its files."""
    import torch

    state = {
        f"model.mm_projector.{name}": torch.ones(shape) for name, shape in (("0.weight", (64, 48)), ("0.bias", 64))
    }
    odd: tuple[Any, ...] = (
        _Runs(),
        {**state, "x": _Runs()},
        {**state, 7: torch.ones(2)},
        {**state, "a\nb": torch.ones(2)},
        {"model.mm_projector.0.weight": torch.ones(1).expand(10**9, 10**6)},
        {"model.mm_projector.0.weight": torch.ones(64, 48).to_sparse()},
        {"model.mm_projector.0.weight": torch.ones(64, 48, dtype=torch.complex64)},
        {"model.mm_projector.0.weight": torch.ones(64, 48, device="meta")},
        {"model.mm_projector.0.weight": "x"},
        [state],
        {},
        torch.ones(3),
        state,
    )
    value = rng.choice(odd)
    if rng.random() < 0.2:
        return pickle.dumps(value if not isinstance(value, _Runs) else [value])
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=rng.random() < 0.7)
    return stream.getvalue()


@cache
def _bomb() -> bytes:
    """An archive of half a megabyte, one of whose entries unpacks to half a gigabyte."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("archive/data.pkl", "w", force_zip64=True) as entry:
            entry.write(b"\x80\x02}q\x00.")
            for _ in range(512):
                entry.write(bytes(2**20))
        archive.writestr("archive/version", b"3\n")
    return stream.getvalue()


def part_weights(rng: random.Random, path: Path) -> None:
    """Weights whose header lies, pickles of anything, archives that unpack to more, and damaged bytes."""
    names, file = _chosen(rng, path, rng.choice([".bin", ".safetensors"]) if rng.random() < 0.99 else ".bin")
    if file.suffix == ".safetensors":
        header, rest = _header(file.read_bytes())
        if rng.random() < 0.5:
            holder, key = rng.choice(_numbers(header))
            holder[key] = rng.choice([0, -1, 1, 2**31, 2**62, 2**63, 2**64, 10**30])
            text = json.dumps(header).encode()
        else:
            text = json.dumps(mutations.mutated_json(rng, header)).encode()
        file.write_bytes(struct.pack("<Q", len(text)) + text + rest)
    elif rng.random() < 0.1:
        file.write_bytes(_bomb())
    elif rng.random() < 0.6:
        file.write_bytes(_odd_projector(rng))
    else:
        file.write_bytes(mutations.mutated_bytes(rng, file.read_bytes()))
    _use(path, names)


def part_folders(rng: random.Random, path: Path) -> None:
    """Pipes, devices, links and folders where files of a part should be."""
    names, file = _chosen(rng, path, "")
    twist(rng, file)
    _use(path, names)


def _prepare() -> None:
    import torch

    torch.set_num_threads(1)
    _bomb()
    for number, names in enumerate(_SETS):  # what each imports is not the first attempt's
        with tempfile.TemporaryDirectory(prefix=f"attack-{number}-") as folder:
            _written(Path(folder), names)
            _use(Path(folder), names)


def _attack(name: str, attempt: Callable[[random.Random, Path], None]) -> Attack:
    return Attack(name, attempt, (RadarError,), _prepare, few=2)


ATTACKS: tuple[Attack, ...] = (
    _attack("parts, values", part_values),
    _attack("parts, sizes", part_sizes),
    _attack("parts, bytes", part_bytes),
    _attack("parts, weights", part_weights),
    _attack("parts, folders", part_folders),
)
