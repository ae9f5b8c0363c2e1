"""A transformers model, loaded where it is to run."""

from typing import Any

import torch

from radar_fast.errors import ModelError, one_line
from radar_fast.models import internvl
from radar_fast.models.architecture import require_matching
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.models.soundness import quantisation
from radar_fast.models.weights import tensors_of, weight_files

__all__ = ["load_model", "non_finite_weights"]


def load_model(checkpoint: Checkpoint, dtype: torch.dtype, device: torch.device) -> Any:
    """The checkpoint's transformers image-text-to-text model, in evaluation mode on ``device``.

    Raises:
        IncompleteError: its files are not whole.
        ModelError: it is not sound, cannot be loaded, or has no LM head over a base model.
    """
    checkpoint.require_sound()
    _require_package(checkpoint)
    if checkpoint.model_type == internvl.MODEL_TYPE:
        return _load_internvl(checkpoint, dtype).to(device)
    with checkpoint.explained("model"):
        import transformers

        model, report = transformers.AutoModelForImageTextToText.from_pretrained(
            checkpoint.path,
            dtype=dtype,
            attn_implementation="sdpa",
            local_files_only=True,
            trust_remote_code=checkpoint.trust_remote_code,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below, with their names
        )
    require_matching(checkpoint.path, report)  # once more: of a quantised one, or of pickles, little was known before
    if not hasattr(model, "model") or model.get_output_embeddings() is None:
        raise ModelError(
            f"{checkpoint.path}: {checkpoint.architecture} has no LM head over a base model", path=checkpoint.path
        )
    return model.eval().to(device)


@torch.inference_mode()
def non_finite_weights(model: Any) -> list[str]:
    """Names of the weights in which a value is infinite or no number. Each is read once; nothing is allocated."""
    found = []
    for name, weight in model.named_parameters():
        if weight.dtype in (torch.float32, torch.float16, torch.bfloat16) and weight.numel():
            low, high = torch.aminmax(weight)
            if not (torch.isfinite(low) and torch.isfinite(high)):
                found.append(name)
    return found


def _require_package(checkpoint: Checkpoint) -> None:
    """See that transformers has what the checkpoint's quantisation needs, which it otherwise says in many ways.

    Raises:
        ModelError: names the method and what is missing.
    """
    method = quantisation(checkpoint.config)
    if method is None:
        return
    from transformers.quantizers.auto import AutoHfQuantizer

    config = checkpoint.config.get("quantization_config")
    try:
        if config is not None:
            AutoHfQuantizer.from_config(config, pre_quantized=True).validate_environment(device_map=None)
    except Exception as error:  # each method raises what it likes
        raise ModelError(
            f"{checkpoint.path / 'config.json'}: quantised by {method}, and transformers cannot load that here: "
            f"{one_line(error)}; install what it names, take --engine vllm, or give the checkpoint before it was "
            "quantised"
        ) from None


def _load_internvl(checkpoint: Checkpoint, dtype: torch.dtype) -> Any:
    """An InternVLChatModel folder as transformers' InternVL. The weights are mapped from disk, not copied on the way.

    Raises:
        ModelError: as load_model; also where the folder holds weights that the model does not have.
    """
    tokenizer = checkpoint.processor.tokenizer
    config = internvl.make_config(checkpoint.config, checkpoint.path, tokenizer.convert_tokens_to_ids(internvl.CONTEXT))
    with checkpoint.explained("model"):
        import transformers

        weights = {
            name: tensor
            for file in weight_files(checkpoint.path)
            for published, stored in tensors_of(file)
            for name, tensor in internvl.mapped(published, stored)
        }
        model, report = transformers.InternVLForConditionalGeneration.from_pretrained(
            None,
            config=config,
            state_dict=weights,
            dtype=dtype,
            attn_implementation="sdpa",
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below, with their names
        )
    require_matching(checkpoint.path, report)
    return model.eval()
