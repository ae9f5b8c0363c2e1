"""The cache of preprocessed images on disk: whatever lies there, what is found is what was put, or nothing."""

import json
import random
import struct
from pathlib import Path
from typing import Any

import attack_mutations as mutations
from attack_frame import Attack, MismatchError
from attack_places import twist

from radar_fast.errors import RadarError

__all__ = ["ATTACKS"]

_KEY = "ab" + "0" * 62


def _features() -> dict[str, Any]:
    import torch

    return {"pixel_values": torch.arange(96, dtype=torch.float32).reshape(8, 12), "grid": [1, 2, 4]}


def _cache(path: Path) -> Any:
    from radar_fast.engines.encode.disk_cache import DiskCache

    return DiskCache(path / "cache", 2**20, "settings")


def _same(found: Any) -> bool:
    import torch

    wanted = _features()
    if not isinstance(found, dict) or found.keys() != wanted.keys():
        return False
    pixels = found["pixel_values"]
    return torch.equal(pixels, wanted["pixel_values"]) and found["grid"] == wanted["grid"]


def _use(path: Path) -> None:
    """Looked for, put anew, found."""
    cache = _cache(path)
    found = cache.find(_KEY)
    if found is not None and not _same(found):
        raise MismatchError("something else than was put")
    cache.put(_KEY, _features())
    found = cache.find(_KEY)
    if found is not None and not _same(found):
        raise MismatchError("something else than was put again")


def _kept(path: Path) -> Path:
    cache = _cache(path)
    cache.put(_KEY, _features())
    return path / "cache" / _KEY[:2] / f"{_KEY}.safetensors"


def cache_bytes(rng: random.Random, path: Path) -> None:
    """A file of the cache with damaged bytes."""
    file = _kept(path)
    file.write_bytes(mutations.mutated_bytes(rng, file.read_bytes()))
    _use(path)


def cache_headers(rng: random.Random, path: Path) -> None:
    """A header with values that nobody means; its checksum is that of other bytes, or none."""
    file = _kept(path)
    data = file.read_bytes()
    (size,) = struct.unpack_from("<Q", data)
    header, rest = json.loads(data[8 : 8 + size]), data[8 + size :]
    if rng.random() < 0.7:
        said = header["__metadata__"]
        name = rng.choice(["names", "lists", "lists", "crc32"])
        said[name] = rng.choice(
            [
                json.dumps(mutations.mutated_json(rng, json.loads(said[name]))),
                "[" * 100_000,
                "7" * 5000,
                "null",
                '[["grid"]]',
                '["pixel_values", "grid", "pixel_values"]',
                "{}",
            ]
        )
    else:
        header = mutations.mutated_json(rng, header)
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + rest)
    _use(path)


def cache_folders(rng: random.Random, path: Path) -> None:
    """Pipes, devices, links and folders in the cache's folder."""
    file = _kept(path)
    twist(rng, rng.choice([file, file, file.parent, file.parent / "x.safetensors", file.parent / ".y.tmp"]))
    _use(path)


def _prepare() -> None:
    import radar_fast.engines.encode.disk_cache  # noqa: F401


def _attack(name: str, attempt: Any) -> Attack:
    return Attack(name, attempt, (RadarError,), _prepare)


ATTACKS: tuple[Attack, ...] = (
    _attack("disk cache, bytes", cache_bytes),
    _attack("disk cache, headers", cache_headers),
    _attack("disk cache, folders", cache_folders),
)
