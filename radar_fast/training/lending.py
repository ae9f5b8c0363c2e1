"""A model in training, lent for scoring: what is found out about it, and how it is given back as it was."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel

from radar_fast.errors import UsageError

__all__ = ["compute_dtype", "is_sharded", "lent", "unwrapped"]


def unwrapped(model: Any) -> Any:
    """The transformers model inside what wraps it: DDP, ``torch.compile``, or an adapter of peft, which stays applied.

    Raises:
        UsageError: its parameters are spread in a way that cannot be scored in place (FSDP 1, DeepSpeed ZeRO 3), or it
            has no LM head over a base model.
    """
    while True:
        if isinstance(model, nn.parallel.DistributedDataParallel):
            model = model.module
        elif hasattr(model, "_orig_mod"):
            model = model._orig_mod
        elif hasattr(model, "get_base_model"):
            model = model.get_base_model()
        else:
            break
    for module in model.modules():
        if isinstance(module, FullyShardedDataParallel):
            raise UsageError(
                "model: is wrapped by FSDP 1; shard it with fully_shard (FSDP 2), or score its checkpoints"
            )
    if any(hasattr(parameter, "ds_id") for parameter in model.parameters()):
        raise UsageError("model: DeepSpeed ZeRO 3 holds its parameters; score its checkpoints instead")
    if not hasattr(model, "model") or model.get_output_embeddings() is None:
        raise UsageError(
            f"model: {type(model).__name__} has no LM head over a base model; give a transformers image-text-to-text "
            "model"
        )
    return model


def is_sharded(model: nn.Module) -> bool:
    """Whether FSDP 2 has spread its parameters over ranks."""
    return any(isinstance(module, FSDPModule) for module in model.modules())


def compute_dtype(model: nn.Module) -> torch.dtype:
    """What it computes in: FSDP 2's own word where it has one, else the dtype of its parameters."""
    parameter = next(each for each in model.parameters() if each.is_floating_point())
    state = getattr(model, "_get_fsdp_state", None)
    policy = getattr(state(), "_mp_policy", None) if state is not None else None
    named: torch.dtype | None = getattr(policy, "param_dtype", None)
    return named or parameter.dtype


@contextmanager
def lent(model: nn.Module) -> Iterator[None]:
    """A context in which the model is in evaluation mode and attends by SDPA, which takes a mask of any shape.

    Afterwards every module has the mode that it had, every configuration its attention, the random states of Python,
    NumPy, the CPU and the model's GPU are what they were, FSDP 2's parameters are spread again, and memory that the
    scoring took is free.
    """
    device = next(model.parameters()).device
    modes = [(module, module.training) for module in model.modules()]
    configs: dict[int, Any] = {id(each.config): each.config for each in model.modules() if hasattr(each, "config")}
    attentions = [
        (config, config._attn_implementation)
        for config in configs.values()
        if getattr(config, "_attn_implementation", None) is not None
    ]
    drawn = random.getstate(), np.random.get_state(), torch.get_rng_state()
    drawn_on_device = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    try:
        model.eval()
        for config, attention in attentions:
            if attention not in ("sdpa", "eager"):
                config._attn_implementation_internal = "sdpa"
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for config, attention in attentions:
            config._attn_implementation_internal = attention
        for module in model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()
        random.setstate(drawn[0])
        np.random.set_state(drawn[1])
        torch.set_rng_state(drawn[2])
        if drawn_on_device is not None:
            torch.cuda.set_rng_state(drawn_on_device, device)
            torch.cuda.empty_cache()
