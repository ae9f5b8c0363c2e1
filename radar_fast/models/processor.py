"""A checkpoint's transformers processor without its video part, its images resized by PIL or by torchvision.

transformers before 4.57 resized with PIL unless it was told otherwise, and so did RADAR's scripts; later versions take
torchvision where it is installed. The video part is left out because it needs torchvision even for PIL. transformers is
imported only when a processor is asked for.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from radar_fast.errors import ModelError, UsageError, one_line
from radar_fast.models import internvl

__all__ = ["load_processor", "require_torchvision"]


def require_torchvision() -> None:
    """Raise UsageError where transformers cannot resize images with torchvision."""
    import torch

    try:
        importlib.import_module("torchvision.transforms.v2.functional")
    except (ImportError, RuntimeError, AttributeError, OSError) as error:  # the last three: built for another torch
        raise UsageError(
            f"--image-backend torchvision: torchvision does not work here ({one_line(error, 160)}); install the build "
            f"of it that belongs to torch {torch.__version__} (`pip install torchvision`), or leave the option out"
        ) from None


def load_processor(
    path: Path, config: Mapping[str, Any], *, trust_remote_code: bool, image_backend: str = "pil"
) -> Any:
    """The processor for images and text of the checkpoint at ``path``.

    Args:
        path: the folder.
        config: its ``config.json``.
        trust_remote_code: whether code that lies in the folder may be run.
        image_backend: what images are resized with, ``pil`` or ``torchvision``; InternVL as published knows PIL alone.

    Raises:
        ModelError: transformers has no such processor. Whatever transformers raises, where it cannot be loaded.
    """
    import transformers
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

    if config["model_type"] == internvl.MODEL_TYPE:
        return _internvl_processor(path, config)
    kwargs = {"local_files_only": True, "trust_remote_code": trust_remote_code}
    read = transformers.AutoConfig.from_pretrained(path, **kwargs)
    if type(read) not in PROCESSOR_MAPPING:
        named = config.get("architectures")
        architecture = named[0] if isinstance(named, list) and named else "unknown"
        raise ModelError(
            f"{path / 'config.json'}: model_type {config['model_type']!r} ({architecture}) has no processor for images "
            "and text in transformers; pick an image-text-to-text checkpoint"
        )
    found = _without_video(PROCESSOR_MAPPING[type(read)]).from_pretrained(path, backend=image_backend, **kwargs)
    if image_backend != "pil" and type(found.image_processor).__name__.endswith("Pil"):
        raise ModelError(
            f"{path}: transformers has no image processor of {image_backend} for it, only "
            f"{type(found.image_processor).__name__}; leave --image-backend out",
            path=path,
        )
    return found


def _internvl_processor(path: Path, config: Mapping[str, Any]) -> Any:
    """transformers' InternVL processor around the tokenizer of a published folder, which has no processor."""
    import transformers
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

    made = internvl.make_config(config, path)
    # With the configuration in hand, the tokenizer's loader does not ask for the folder's own code.
    tokenizer = transformers.AutoTokenizer.from_pretrained(
        path, config=made, local_files_only=True, trust_remote_code=False
    )
    internvl.make_tokens_known(tokenizer, path)
    images = GotOcr2ImageProcessorPil(**internvl.image_settings(config))
    return _without_video(transformers.InternVLProcessor)(images, tokenizer, image_seq_length=made.image_seq_length)


def _without_video(processor_class: Any) -> Any:
    """The processor class less its video processor, which needs torchvision even to be constructed."""

    class ImagesOnly(processor_class):  # type: ignore[misc] # a base that is known at run time only
        @classmethod
        def get_attributes(cls) -> list[str]:
            return [name for name in super().get_attributes() if name != "video_processor"]

    ImagesOnly.__name__ = processor_class.__name__
    return ImagesOnly
