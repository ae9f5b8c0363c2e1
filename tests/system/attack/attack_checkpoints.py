"""Checkpoints: every file of several families damaged, with values that nobody means, or replaced by something else.

Each is opened, looked at, fingerprinted, and scored on a question with a picture by the transformers engine.
"""

import json
import os
import random
import struct
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import attack_mutations as mutations
from attack_frame import Attack, MismatchError
from attack_images import picture

from radar_fast.errors import RadarError
from radar_fast.sample import EmbeddedImage, Sample

__all__ = ["ATTACKS"]

_SETTINGS = ("config.json", "preprocessor_config.json", "tokenizer_config.json", "processor_config.json")


@cache
def _families() -> dict[str, dict[str, bytes]]:
    """Family -> the files of a tiny checkpoint."""
    import tiny
    import torch  # noqa: F401 - takes seconds, once
    from safetensors.torch import load, save

    from radar_fast.demo.series import COMMON

    found = {}
    writers = {
        "internvl": tiny.write_internvl_chat,
        "qwen2.5-vl": tiny.write_qwen25vl,
        "qwen3-vl": tiny.write_qwen3vl,
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, write in writers.items():
            write(Path(folder) / name)
            found[name] = {file.name: file.read_bytes() for file in (Path(folder) / name).iterdir() if file.is_file()}
        tiny.write_llava(Path(folder) / "llava")
        llava = {file.name: file.read_bytes() for file in (Path(folder) / "llava").iterdir() if file.is_file()}
    step = COMMON.parent / "step-800"
    demo = {file.name: file.read_bytes() for place in (COMMON, step) for file in place.iterdir()}
    tensors = load(demo["model.safetensors"])
    names = sorted(tensors)
    halves = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    shards = {file: save({name: tensors[name] for name in some}, {"format": "pt"}) for file, some in halves.items()}
    index = {"metadata": {}, "weight_map": {name: file for file, some in halves.items() for name in some}}
    rest = {name: data for name, data in demo.items() if name != "model.safetensors"}
    sharded = {**rest, **shards, "model.safetensors.index.json": json.dumps(index).encode()}
    composed = {**llava, "composed.json": b'{"protocol": "plain", "image_aspect_ratio": "pad"}'}
    return {"demo": demo, "sharded": sharded, "composed": composed, **found}


def _use(path: Path, files: dict[str, bytes], change: Callable[[Path], None] | None = None) -> None:
    """All that reads a checkpoint, down to a score."""
    from radar_fast.engines import EngineOptions, open_engine
    from radar_fast.models.checkpoint import Checkpoint
    from radar_fast.models.vocabulary import tokenizer_notes
    from radar_fast.protocols import open_protocol, prompt_digest

    model = path / "model"
    model.mkdir()
    for name, data in files.items():
        (model / name).write_bytes(data)
    if change is not None:
        change(model)
    checkpoint = Checkpoint.open(model)
    checkpoint.require_sound()
    checkpoint.fingerprint()
    protocol = open_protocol("auto", checkpoint)
    prompt_digest(protocol)
    tokenizer_notes(checkpoint)
    parts = (EmbeddedImage("a", picture(random.Random(1), "PNG")), "What is it?")
    sample = Sample("1", "t", "d", "other", parts, ("cat", "a dog"), 0)
    with open_engine("transformers", checkpoint, protocol, EngineOptions(device="cpu", dtype="float32")) as engine:
        results = list(engine.score(map(protocol.prompt, [sample])))
    if [each.sample.key for each in results] != [sample.key]:
        raise MismatchError(f"{len(results)} samples of one")
    if results[0].reason is not None:
        raise RadarError(results[0].reason.detail)


def _chosen(rng: random.Random, *names: str) -> tuple[dict[str, bytes], str]:
    """The files of some family, and one of them that is among ``names``."""
    files = dict(_families()[rng.choice(sorted(_families()))])
    there = sorted(files.keys() & set(names))
    return files, rng.choice(there) if there else "config.json"


def settings_values(rng: random.Random, path: Path) -> None:
    """Configurations with values that nobody means."""
    files, name = _chosen(rng, *_SETTINGS, "config.json", "generation_config.json", "radar_fast.json", "composed.json")
    files[name] = json.dumps(mutations.mutated_json(rng, json.loads(files[name]))).encode()
    _use(path, files)


def settings_sizes(rng: random.Random, path: Path) -> None:
    """A number in a configuration is absurd."""
    files, name = _chosen(rng, *_SETTINGS)
    value = json.loads(files[name])
    places = _numbers(value)
    for _ in range(rng.choice([1, 1, 2])):
        holder, key = rng.choice(places)
        holder[key] = rng.choice([0, -1, 1, 3, 7, 10**6, 10**9, 2**31, 2**63, 10**30, 0.5, 1e300])
    files[name] = json.dumps(value).encode()
    _use(path, files)


def _numbers(value: Any) -> list[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found: list[tuple[Any, Any]] = []
    for key, inner in items:
        found += [(value, key)] if isinstance(inner, int | float) and not isinstance(inner, bool) else _numbers(inner)
    return found or [({}, 0)]


def settings_bytes(rng: random.Random, path: Path) -> None:
    """Any file but weights, with damaged bytes, or nested without end."""
    files, _ = _chosen(rng)
    name = rng.choice(sorted(name for name in files if not name.endswith(".safetensors")))
    if rng.random() < 0.1:
        files[name] = rng.choice([b"[", b'{"a":']) * rng.choice([200, 900, 100_000])
    elif rng.random() < 0.2:
        depth = rng.choice([100, 200, 900])
        files[name] = files[name].rstrip()[:-1] + b', "x": ' + b"[" * depth + b"]" * depth + b"}"
    else:
        files[name] = mutations.mutated_bytes(rng, files[name])
    _use(path, files)


def tokenizers(rng: random.Random, path: Path) -> None:
    """tokenizer.json with values that nobody means."""
    files, name = _chosen(rng, "tokenizer.json")
    files[name] = json.dumps(mutations.mutated_json(rng, json.loads(files[name]))).encode()
    _use(path, files)


# Templates -----------------------------------------------------------------------------------------------------------

_ITEMS = "{% for message in messages %}{{ message.role }}{% for item in message.content %}{{ item.text }}{% endfor %}"
_TEMPLATES: tuple[str, ...] = (
    "{% for a in range(99999999) %}{% for b in range(99999999) %}x{% endfor %}{% endfor %}",
    "{{ 'x' * 10**10 }}",
    "{{ 'x' * 400000000 }}",
    "{{ 9 ** 9 ** 9 }}",
    "{% set ns = namespace(a='x') %}{% for i in range(40) %}{% set ns.a = ns.a + ns.a %}{% endfor %}{{ ns.a }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{{ messages.__class__.__mro__ }}",
    "{{ ''.__class__.__base__.__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.system('touch /tmp/attacked') }}",
    "{% include '/etc/passwd' %}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '{:>1000000000}'.format(1) }}",
    "{{ messages | tojson(indent=100000000) }}",
    "{{ 'x'.center(1000000000) }}",
    "{{ range(10**9) | list }}",
    "{{ (" + "[" * 500 + "]" * 500 + ") }}",
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "{{ 1" + " + 1" * 20_000 + " }}",
    "{% if true %}" * 1000 + "{% endif %}" * 1000,
    "{% for a in messages %}",
    "{{ undefined.a.b }}",
    "{{ raise_exception('a\nb') }}",
    "\0\ud800",
    "",
    _ITEMS + "{% endfor %}",
    _ITEMS + "{{ 'x' * 100000 }}{% endfor %}",
    _ITEMS + "<|image_pad|>" * 30 + "{% endfor %}",
    "{% for message in messages %}" + "<|vision_start|><|image_pad|><|vision_end|>{{ messages }}" + "{% endfor %}",
    "{{ strftime_now('%' ~ 'Y' * 1000000) }}",
    "{% set x = messages.append(1) %}{{ messages }}",
)


def templates(rng: random.Random, path: Path) -> None:
    """Chat templates that loop, multiply, reach out, or are none."""
    files, _ = _chosen(rng)
    template = rng.choice(_TEMPLATES)
    files.pop("chat_template.jinja", None)
    if rng.random() < 0.5:
        files["chat_template.jinja"] = template.encode("utf-8", "surrogatepass")
    else:
        value = json.loads(files["tokenizer_config.json"])
        value["chat_template"] = rng.choice([template, [{"name": "default", "template": template}]])
        files["tokenizer_config.json"] = json.dumps(value).encode()
    try:
        _use(path, files)
    finally:
        if Path("/tmp/attacked").exists():
            raise MismatchError("a template ran a command")


# Weights -------------------------------------------------------------------------------------------------------------


def _header(data: bytes) -> tuple[Any, bytes]:
    (size,) = struct.unpack_from("<Q", data)
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def weights(rng: random.Random, path: Path) -> None:
    """safetensors whose header lies, or with damaged bytes."""
    files, _ = _chosen(rng)
    name = rng.choice(sorted(name for name in files if name.endswith(".safetensors")))
    header, rest = _header(files[name])
    how = rng.randrange(4)
    if how == 0:
        text = json.dumps(mutations.mutated_json(rng, header)).encode()
    elif how == 1:
        holder, key = rng.choice(_numbers(header))
        holder[key] = rng.choice([0, -1, 1, 2**31, 2**62, 2**63, 2**64, 10**30])
        text = json.dumps(header).encode()
    elif how == 2:
        entry = header[rng.choice(sorted(header.keys() - {"__metadata__"}))]
        entry["dtype"] = rng.choice(["F64", "F16", "I8", "BOOL", "F8_E4M3", "F4", "", "X", 3, None])
        text = json.dumps(header).encode()
    else:
        text = mutations.mutated_bytes(rng, json.dumps(header).encode())
    size = rng.choice([len(text)] * 6 + [0, 2**40, 2**63, len(text) - 1])
    files[name] = struct.pack("<Q", size) + text + (rest if rng.random() < 0.8 else rest[: rng.randrange(len(rest))])
    _use(path, files)


def indices(rng: random.Random, path: Path) -> None:
    """An index of shards with values that nobody means, or that names what is no shard."""
    files = dict(_families()["sharded"])
    index = json.loads(files["model.safetensors.index.json"])
    if rng.random() < 0.5:
        index = mutations.mutated_json(rng, index)
    else:
        key = rng.choice(sorted(index["weight_map"]))
        index["weight_map"][key] = rng.choice(
            ["../outside.safetensors", "/etc/passwd", "..", ".", "", "a\0b", "x" * 300, "config.json", "a/b", 7, None]
        )
    files["model.safetensors.index.json"] = json.dumps(index).encode()
    (path / "outside.safetensors").write_bytes(_families()["demo"]["model.safetensors"])
    _use(path, files)


def odd_folders(rng: random.Random, path: Path) -> None:
    """Pipes, devices, links, folders and strangers where files should be."""
    files, _ = _chosen(rng)
    name = rng.choice(
        [*sorted(files), "special_tokens_map.json", "added_tokens.json", "vocab.json", "chat_template.json"]
    )
    how = rng.randrange(8)

    def change(model: Path) -> None:
        file = model / name
        file.unlink(missing_ok=True)
        if how == 0:
            os.mkfifo(file)
        elif how == 1:
            file.mkdir()
        elif how == 2:
            file.symlink_to(rng.choice([Path("/dev/zero"), Path("/dev/stdin"), file, model]))
        elif how == 3:
            file.write_bytes(b"")
        elif how == 4:
            (model / "pytorch_model.bin").write_bytes(
                rng.choice([b"", b"PK\x03\x04", b"\x80\x02}q\0.", rng.randbytes(99)])
            )
        elif how == 5:
            (model / rng.choice(["adapter_config.json", "model.py", "consolidated.safetensors"])).write_bytes(b"{}")
        elif how == 6:
            pipe = model / rng.choice(["x.tiktoken", "a.safetensors", "radar_fast.json", "generation_config.json"])
            pipe.unlink(missing_ok=True)
            os.mkfifo(pipe)

    _use(path, files, change)


def _prepare() -> None:
    import torch

    torch.set_num_threads(1)
    for files in _families().values():  # what each family imports is not the first attempt's
        with tempfile.TemporaryDirectory(prefix="attack-") as folder:
            _use(Path(folder), files)


def _attack(name: str, attempt: Callable[[random.Random, Path], None]) -> Attack:
    return Attack(name, attempt, (RadarError,), _prepare, few=1)


ATTACKS: tuple[Attack, ...] = (
    _attack("settings, values", settings_values),
    _attack("settings, sizes", settings_sizes),
    _attack("settings, bytes", settings_bytes),
    _attack("tokenizer.json", tokenizers),
    _attack("chat templates", templates),
    _attack("safetensors", weights),
    _attack("index of shards", indices),
    _attack("checkpoint folders", odd_folders),
)
