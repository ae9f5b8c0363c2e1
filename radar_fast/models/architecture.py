"""Whether weights are those of the model that config.json describes, by their names and shapes alone.

The judge is transformers' own loader, with all its renamings, run on tensors that have a shape and no content: nothing
is read or allocated, and what it calls missing, unexpected or mismatched is what it would in earnest. Both engines are
held to it: vLLM refuses some of this itself, and some not.
"""

import dataclasses
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from radar_fast.errors import ModelError
from radar_fast.models import internvl
from radar_fast.models.headers import Stored

__all__ = ["model_class_of", "require_fit", "require_matching"]

HARMLESS = (
    "rotary_emb.inv_freq",
    "position_ids",
)
"""Ends of names that weights may hold beyond the model's: what older versions of transformers saved beside the weights,
and newer ones compute. transformers itself adds what it knows of each family (such as heads for multi-token
prediction), and takes a language-model head that is tied for the embedding that it is."""

_LAYERS = ("num_hidden_layers", "depth", "num_layers", "n_layers", "n_layer", "encoder_layers", "decoder_layers")
_SHOWN = 3


def require_fit(
    path: Path, config: Mapping[str, Any], stored: Mapping[str, Stored], *, trust_remote_code: bool
) -> bool:
    """See that the weights are those of the architecture; False where transformers has no such model to ask.

    Args:
        path: the checkpoint, for messages.
        config: its ``config.json``.
        stored: name -> what its files hold.
        trust_remote_code: whether code that lies in the folder may be run.

    Raises:
        ModelError: weights are missing, unexpected or of another shape; names them.
    """
    require_possible(path, config, len(stored))
    import torch

    model_class, made = model_class_of(path, config, trust_remote_code=trust_remote_code)
    if model_class is None:
        return False
    state = {name: torch.empty(tensor.shape, device="meta", dtype=torch.bfloat16) for name, tensor in stored.items()}
    if config["model_type"] == internvl.MODEL_TYPE:
        state = {ours: part for name, tensor in state.items() for ours, part in internvl.mapped(name, tensor)}
    with _quiet():
        report = _on_paper(model_class).from_pretrained(
            None,
            config=made,
            state_dict=state,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            dtype=torch.bfloat16,
        )[1]
    require_matching(path, report)
    return True


def require_matching(path: Path, report: Mapping[str, Any]) -> None:
    """Raise ModelError for what transformers' loading report holds against the weights, of which none is harmless."""
    for problem, told, todo in (
        ("mismatched", "have another shape than config.json says", "see that config.json is this checkpoint's"),
        (
            "unexpected",
            "have no place in the model that config.json describes",
            "see that config.json is this checkpoint's",
        ),
        ("missing", "are missing from the checkpoint", "see that all of its files are there"),
    ):
        keys = sorted(map(_told, report[f"{problem}_keys"]))
        if problem == "unexpected":
            keys = [key for key in keys if not key.endswith(HARMLESS)]
        if keys:
            more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
            raise ModelError(f"{path}: {len(keys)} weights {told}: {', '.join(keys[:_SHOWN])}{more}; {todo}", path=path)


def _told(key: Any) -> str:
    """A weight's name, with both shapes where they are at odds."""
    if isinstance(key, str):
        return key
    name, found, wanted = key
    return f"{name} ({list(found)} in place of {list(wanted)})"


def require_possible(path: Path, config: Mapping[str, Any], weights: int) -> None:
    """Raise ModelError where config.json speaks of more layers than there are weights: no model of it is begun."""
    sections = [("", config), *((f"{name}.", part) for name, part in config.items() if isinstance(part, dict))]
    for where, section in sections:
        for name in _LAYERS:
            count = section.get(name)
            if isinstance(count, int) and count > weights:
                raise ModelError(
                    f"{path / 'config.json'}: {where}{name} is {count}, and the checkpoint holds {weights} weights in "
                    "all; see that config.json is this checkpoint's"
                )


def model_class_of(path: Path, config: Mapping[str, Any], *, trust_remote_code: bool) -> tuple[Any, Any]:
    """transformers' model class and configuration; (None, None) where it has none without running the folder's code."""
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

    if config["model_type"] == internvl.MODEL_TYPE:
        return transformers.InternVLForConditionalGeneration, internvl.make_config(config, path)
    try:
        made = transformers.AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=trust_remote_code)
    except ValueError:
        return None, None  # unknown to transformers, or code that may not be run; an engine that knows it may have it
    if type(made) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        return None, None
    return MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(made)], made


def _on_paper(model_class: Any) -> Any:
    """The model class, loading onto the meta device, where tensors have no content."""
    import torch

    class OnPaper(model_class):  # type: ignore[misc] # a base that is known at run time only
        @staticmethod
        def _load_pretrained_model(
            model: Any, state_dict: Any, checkpoint_files: Any, load_config: Any, *more: Any, **named: Any
        ) -> Any:
            on_meta = dataclasses.replace(load_config, device_map={"": torch.device("meta")})
            return model_class._load_pretrained_model(model, state_dict, checkpoint_files, on_meta, *more, **named)

        @staticmethod
        def _finalize_model_loading(model: Any, load_config: Any, loading_info: Any) -> Any:  # noqa: ARG004 - theirs
            """As transformers does, without giving content to what is missing."""
            model.mark_tied_weights_as_initialized(loading_info)
            model.tie_weights(missing_keys=loading_info.missing_keys, recompute_mapping=False)
            model._adjust_missing_and_unexpected_keys(loading_info)
            return loading_info

    # Renamings are looked up by the class's name.
    OnPaper.__name__, OnPaper.__qualname__ = model_class.__name__, model_class.__qualname__
    OnPaper.__module__ = model_class.__module__
    return OnPaper


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' own report of what does not fit, and its bar."""
    from transformers.utils import logging as theirs

    logger = logging.getLogger("transformers")
    before, bar = logger.level, theirs.is_progress_bar_enabled()
    logger.setLevel(logging.CRITICAL)
    theirs.disable_progress_bar()
    try:
        yield
    finally:
        logger.setLevel(before)
        if bar:
            theirs.enable_progress_bar()
