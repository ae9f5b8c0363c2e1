"""Folders that trainers write and that are no checkpoint yet: which trainer's, and what makes a checkpoint of them."""

import re
from pathlib import Path

__all__ = ["advice"]

_MOST = 10_000
"""Entries of a folder that are looked at."""

_THEN = "then copy config, tokenizer and image processor of the base checkpoint into OUT"


def advice(folder: Path) -> str | None:
    """What the folder at hand is, and what to do; None for one that looks like nothing that is known.

    Names alone are looked at, two levels deep.
    """
    names = _names(folder)
    above = _names(folder.parent)
    for told in (
        _verl(folder, names, above),
        _checkpoints(folder, names),
        _adapter(names),
        _deepspeed(folder, names),
        _megatron(folder, names),
        _sharded(folder, names),
    ):
        if told is not None:
            return told
    if any(name.endswith(".gguf") for name in names):
        return "holds a GGUF file, which is read by neither engine; --model takes the safetensors it was made from"
    if any(re.fullmatch(r"consolidated\.\d+\.pth", name) for name in names):
        return "holds weights as Meta first publishes them; convert them with transformers' convert_*_weights_to_hf.py"
    return None


def _names(folder: Path) -> list[str]:
    try:
        found = [entry.name for _, entry in zip(range(_MOST), folder.iterdir(), strict=False)]
    except OSError:
        return []
    return sorted(found, key=lambda name: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)])


def _verl(folder: Path, names: list[str], above: list[str]) -> str | None:
    shard = re.compile(r"model_world_size_\d+_rank_\d+\.pt")
    actor = None
    if any(map(shard.fullmatch, names)):
        actor = folder
    elif any(map(shard.fullmatch, above)):
        actor = folder.parent
    else:
        steps = [name for name in names if re.fullmatch(r"global_step_\d+", name)]
        for inner in ("actor", *(f"{step}/actor" for step in reversed(steps))):
            if (folder / inner).is_dir():
                actor = folder / inner
                break
    if actor is None:
        return None
    ready = actor / "huggingface"
    if folder != ready and any(name.endswith((".safetensors", ".bin")) for name in _names(ready)):
        return f"is a training folder of verl; give the checkpoint in it: --model {ready}"
    return (
        f"is a training folder of verl, whose weights lie in shards; run `python -m verl.model_merger merge --backend "
        f"fsdp --local_dir {actor} --target_dir OUT` and give OUT"
    )


def _checkpoints(folder: Path, names: list[str]) -> str | None:
    inner = [name for name in names if (folder / name / "config.json").is_file()]
    if inner:
        others = f" (or one of {len(inner) - 1} others)" if len(inner) > 1 else ""
        return f"holds checkpoints, and is none itself; give one of them: --model {folder / inner[-1]}{others}"
    return None


def _adapter(names: list[str]) -> str | None:
    if any(name.startswith(("adapter_config.json", "adapter_model.")) for name in names):
        return f"is an adapter without its base; {MERGE}"
    return None


MERGE = (
    "merge the adapter into its base first: PeftModel.from_pretrained(base, ADAPTER).merge_and_unload()."
    "save_pretrained(OUT), with tokenizer and image processor beside it, and give OUT"
)


def _deepspeed(folder: Path, names: list[str]) -> str | None:
    deep = [name for name in names if re.fullmatch(r"global_step\d+", name)]
    shards = any(re.search(r"(zero_pp_rank|mp_rank)_.*(optim|model)_states\.pt$", name) for name in names)
    if "zero_to_fp32.py" not in names and not deep and not shards:
        return None
    at = folder.parent if shards and "zero_to_fp32.py" not in names else folder
    return (
        f"is a training folder of DeepSpeed, whose weights lie in shards; run `python {at / 'zero_to_fp32.py'} {at} "
        f"OUT --safe_serialization`, {_THEN}"
    )


def _megatron(folder: Path, names: list[str]) -> str | None:
    steps = [name for name in names if re.fullmatch(r"iter_\d+", name)]
    ranks = any(re.match(r"mp_rank_\d+", name) for name in names)
    if "latest_checkpointed_iteration.txt" not in names and not steps and not ranks and "common.pt" not in names:
        return None
    return (
        "is a training folder of Megatron-LM; convert it to the Hugging Face layout (Megatron-Bridge: `AutoBridge."
        f"from_hf_pretrained(BASE).export_ckpt('{folder}', 'OUT')`; Megatron-LM: tools/checkpoint/convert.py) and "
        "give OUT"
    )


def _sharded(folder: Path, names: list[str]) -> str | None:
    """Of torch.distributed.checkpoint, which FSDP, torchtitan and accelerate write."""
    for at in (folder, *(folder / name for name in reversed(names[-50:]))):
        inside = names if at == folder else _names(at)
        if ".metadata" in inside or any(name.endswith(".distcp") for name in inside):
            return (
                "is a training folder of FSDP (torch.distributed.checkpoint), whose weights lie in shards; run "
                f"`accelerate merge-weights {at} OUT`, or `python -m torch.distributed.checkpoint.format_utils "
                f"dcp_to_torch {at} OUT/pytorch_model.bin`, {_THEN}"
            )
    return None
