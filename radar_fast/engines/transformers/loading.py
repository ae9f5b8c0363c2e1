"""A transformers model, loaded where it is to run."""

from typing import Any

import torch

from radar_fast.errors import ModelError
from radar_fast.models import internvl
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.models.weights import tensors_of, weight_files

__all__ = ["load_model"]


def load_model(checkpoint: Checkpoint, dtype: torch.dtype, device: torch.device) -> Any:
    """The checkpoint's transformers image-text-to-text model, in evaluation mode on ``device``.

    Raises:
        ModelError: it cannot be loaded, weights are missing, or it has no LM head over a base model.
    """
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
        )
    if missing := sorted(report["missing_keys"]):
        shown = ", ".join(missing[:3])
        raise ModelError(f"{checkpoint.path}: {len(missing)} weights are missing from the checkpoint, e.g. {shown}")
    if not hasattr(model, "model") or model.get_output_embeddings() is None:
        raise ModelError(f"{checkpoint.path}: {checkpoint.architecture} has no LM head over a base model")
    return model.eval().to(device)


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
    for problem in ("missing", "unexpected", "mismatched"):
        if keys := sorted(str(key) for key in report[f"{problem}_keys"]):
            shown = ", ".join(keys[:3])
            raise ModelError(
                f"{checkpoint.path}: {len(keys)} weights are {problem} where an {internvl.ARCHITECTURE} is to be read, "
                f"e.g. {shown}; see that all shards are there"
            )
    return model.eval()
