"""radar-fast under lmms-eval: its entry points name :func:`manifest`, and ``--model radar-fast`` is there."""

from typing import Any

__all__ = ["manifest"]


def manifest() -> Any:
    """What lmms-eval asks of an entry point in the group ``lmms_eval.models``: a name, and where the class is."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id="radar-fast", simple_class_path="radar_fast.lmms.model.RadarLMM")
