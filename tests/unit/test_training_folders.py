"""Folders that trainers write: which trainer's each is, and what it says to do."""

from pathlib import Path

import pytest

from radar_fast.errors import ModelError
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.models.weights import weight_files


def make(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (["latest_checkpointed_iteration.txt", "iter_0000100/mp_rank_00/model.pt"], "Megatron-LM; convert it"),
        (["mp_rank_00/model_optim_rng.pt", "mp_rank_01/model_optim_rng.pt"], "Megatron-LM.*AutoBridge"),
        (["common.pt", ".metadata", "__0_0.distcp", "metadata.json"], "Megatron-LM.*give OUT"),
        (["iter_0000100/common.pt", "iter_0000200/common.pt"], "Megatron-LM.*tools/checkpoint/convert.py"),
        (["zero_to_fp32.py", "latest", "global_step9/mp_rank_00_model_states.pt"], r"zero_to_fp32\.py .*ROOT OUT"),
        (["global_step9/zero_pp_rank_0_mp_rank_00_model_states.pt"], "DeepSpeed.*--safe_serialization"),
        (["mp_rank_00_model_states.pt", "zero_pp_rank_0_mp_rank_00_optim_states.pt"], "DeepSpeed"),
        ([".metadata", "__0_0.distcp", "__1_0.distcp"], "FSDP.*accelerate merge-weights .*ROOT OUT"),
        (["step-100/.metadata", "step-200/.metadata", "step-200/__0_0.distcp"], "FSDP.*ROOT/step-200 OUT"),
        (["pytorch_model_fsdp_0/__0_0.distcp", "pytorch_model_fsdp_0/.metadata"], "dcp_to_torch"),
        (
            ["global_step_90/actor/model_world_size_2_rank_0.pt", "global_step_100/actor/model_world_size_2_rank_0.pt"],
            r"verl\.model_merger merge --backend fsdp --local_dir .*ROOT/global_step_100/actor --target_dir OUT",
        ),
        (["actor/model_world_size_1_rank_0.pt", "actor/huggingface/config.json"], "model_merger.*ROOT/actor "),
        (["actor/huggingface/config.json", "actor/huggingface/model.safetensors"], "--model .*ROOT/actor/huggingface"),
        (
            ["checkpoint-500/config.json", "checkpoint-1000/config.json", "x/y"],
            r"--model .*checkpoint-1000 \(or one of 1",
        ),
        (["huggingface/config.json", "optim/x.pt"], "give one of them: --model .*ROOT/huggingface"),
        (["adapter_config.json", "adapter_model.safetensors"], "is an adapter without its base; merge the adapter"),
        (["adapter_config.json", "adapter_model.bin", "tokenizer.json"], "merge_and_unload"),
        (["model-q4.gguf"], "GGUF"),
        (["consolidated.00.pth", "params.json"], "Meta"),
        (["readme.md"], "no config.json in it"),
    ],
)
def test_each_says_what_it_is_and_what_to_do(tmp_path: Path, files: list[str], told: str) -> None:
    folder = make(tmp_path / "ROOT", *files)
    with pytest.raises(ModelError, match=told) as caught:
        Checkpoint.open(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (["global_step9/mp_rank_00_model_states.pt", "zero_to_fp32.py", "tokenizer.json"], "DeepSpeed"),
        (["../model_world_size_2_rank_0.pt", "tokenizer.json"], "verl.*--local_dir .*ROOT --target_dir"),
        (["__0_0.distcp", ".metadata"], "FSDP"),
    ],
)
def test_with_a_config_and_without_weights_too(tmp_path: Path, files: list[str], told: str) -> None:
    folder = make(tmp_path / "ROOT" / "huggingface", "config.json", *files)
    with pytest.raises(ModelError, match=told):
        weight_files(folder)
