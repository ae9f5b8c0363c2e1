"""How trainers write a checkpoint: the same files in the same order, piece by piece, so that a test looks in between.

Each writer is a generator that yields before every piece, and is whole when it ends.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save

__all__ = ["WRITERS", "dcp", "in_order", "rotated", "save_pretrained", "small_files", "trainer"]

CONFIG = b'{"model_type": "qwen2_vl", "architectures": ["Qwen2VLForConditionalGeneration"]}'
Writer = Callable[[Path], Iterator[None]]


def small_files(shards: int = 1) -> dict[str, bytes]:
    """A checkpoint's files as transformers orders them: the index last."""
    names = ["model.safetensors"]
    if shards > 1:
        names = [f"model-{number + 1:05}-of-{shards:05}.safetensors" for number in range(shards)]
    files = {"config.json": CONFIG}
    files |= {name: save({f"weight.{name}": np.arange(500, dtype=np.float32)}) for name in names}
    if shards > 1:
        weight_map = {f"weight.{name}": name for name in names}
        files["model.safetensors.index.json"] = json.dumps({"weight_map": weight_map}).encode()
    return files


def pieces(file: Path, data: bytes, count: int = 3) -> Iterator[None]:
    """A file that grows."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as stream:
        size = -(-len(data) // count)
        for start in range(0, len(data), size):
            yield
            stream.write(data[start : start + size])
            stream.flush()


def written(folder: Path, files: Mapping[str, bytes]) -> Iterator[None]:
    for name, data in files.items():
        yield from pieces(folder / name, data)


def save_pretrained(folder: Path, files: Mapping[str, bytes] | None = None) -> Iterator[None]:
    """Model, then processor; nothing says that it is done."""
    processor = {"tokenizer.json": b'{"model": {}}', "preprocessor_config.json": b"{}"}
    yield from written(folder, files or {**small_files(shards=3), **processor})


def trainer(folder: Path, files: Mapping[str, bytes] | None = None) -> Iterator[None]:
    """The Trainer of transformers."""
    yield from save_pretrained(folder, files or small_files())
    yield from written(folder, {"training_args.bin": b"PK", "optimizer.pt": b"PK" * 500, "scheduler.pt": b"PK"})
    state = {"global_step": int(folder.name.rpartition("-")[2]), "log_history": list(range(50))}
    yield from written(folder, {"trainer_state.json": json.dumps(state).encode()})


def dcp(folder: Path) -> Iterator[None]:
    """torch.distributed.checkpoint, torchtitan."""
    yield from written(folder, {"__0_0.distcp": b"x" * 999, "__1_0.distcp": b"y" * 999, ".metadata.tmp": b"z" * 99})
    yield
    (folder / ".metadata.tmp").rename(folder / ".metadata")


def olmo(folder: Path) -> Iterator[None]:
    """OLMo-core: in a folder of another name."""
    temporary = folder.with_name(f"{folder.name}-tmp")
    yield from written(temporary, {"model_and_optim/__0_0.distcp": b"x" * 999, "model_and_optim/.metadata": b"z"})
    yield from written(temporary, {".metadata.json": b"{}"})
    yield
    temporary.rename(folder)


def deepspeed(folder: Path) -> Iterator[None]:
    """DeepSpeed: a file beside the folders names the last whole one."""
    names = ("zero_pp_rank_0_mp_rank_00_model_states.pt", "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt")
    yield from written(folder, dict.fromkeys(names, b"PK" * 999))
    yield
    (folder.parent / "latest").write_text(folder.name)


def megatron(folder: Path) -> Iterator[None]:
    """Megatron: likewise, by its number."""
    yield from written(folder, {"mp_rank_00/model_optim_rng.pt": b"PK" * 999, "common.pt": b"PK"})
    yield
    (folder.parent / "latest_checkpointed_iteration.txt").write_text(folder.name.rpartition("-")[2])


def marked(folder: Path, mark: str = "STABLE") -> Iterator[None]:
    """prime-rl and others: weights, then an empty file."""
    yield from written(folder, small_files())
    yield
    (folder / mark).touch()


WRITERS: dict[str, Writer] = {
    "save_pretrained": save_pretrained,
    "trainer": trainer,
    "dcp": dcp,
    "olmo": olmo,
    "deepspeed": deepspeed,
    "megatron": megatron,
    "marked": marked,
}


def in_order(checkpoint: Path) -> dict[str, bytes]:
    """The files of a real checkpoint as transformers orders them."""
    late = ("config.json", "model.safetensors")
    names = [*late, *sorted(file.name for file in checkpoint.iterdir() if file.name not in late)]
    return {name: (checkpoint / name).read_bytes() for name in names}


def rotated(root: Path, keep: int) -> None:
    """What ``save_total_limit`` leaves."""
    folders = sorted(root.glob("checkpoint-*"), key=lambda folder: int(folder.name.rpartition("-")[2]))
    for folder in folders[:-keep]:
        shutil.rmtree(folder)
