"""A checkpoint of torch.distributed.checkpoint (FSDP, torchtitan) -> one of transformers, for ``radar-fast watch``.

    radar-fast watch run/checkpoint --data M3-Bench --out results \
        --convert 'python examples/dcp_to_hf.py {input} {output} Qwen2-VL-2B'

The weights come from the folder, config, tokenizer and image processor from the checkpoint that training began with.
The folder's ``.metadata`` is a pickle: convert only what your own training wrote.
"""

import argparse
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save


def main() -> None:
    """Convert one folder."""
    parser = argparse.ArgumentParser(description="torch.distributed.checkpoint -> transformers")
    parser.add_argument("source", type=Path, help="the folder with .metadata in it")
    parser.add_argument("output", type=Path, help="is made")
    parser.add_argument("base", type=Path, help="a checkpoint of transformers with the same architecture")
    parser.add_argument("--key", default="model", help="under which the weights were saved, if under any")
    asked = parser.parse_args()

    weights = shutil.ignore_patterns("*.safetensors", "*.bin", "*.index.json")
    shutil.copytree(asked.base, asked.output, ignore=weights)
    whole = asked.output / "weights.pt"
    dcp_to_torch_save(asked.source, whole)
    state = torch.load(whole, map_location="cpu", weights_only=True)
    whole.unlink()
    tensors = {name: tensor.contiguous() for name, tensor in state.get(asked.key, state).items()}
    save_file(tensors, asked.output / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    main()
