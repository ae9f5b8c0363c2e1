"""A vLLM model class -> the same class with the candidate pooler. Runs in vLLM's own processes."""

from typing import Any

from radar_fast.engines.vllm.head import AnswerHead
from radar_fast.engines.vllm.pooler import CandidatePooler

__all__ = ["PREFIX", "derive"]

PREFIX = "Radar"
"""Put before an architecture's name: the same model with the candidate pooler."""


def derive(base: Any, name: str, module: str) -> Any:
    """``base`` with the candidate pooler, as ``module``'s class of that name.

    The multimodal processor's registration is inherited with the class.
    """

    class WithCandidatePooler(base):  # type: ignore[misc] # a base that is known at run time only
        is_pooling_model = True

        def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:  # vLLM reads these names
            super().__init__(vllm_config=vllm_config, prefix=prefix)
            self.radar_head = AnswerHead(self)
            self.pooler = CandidatePooler(self.radar_head)
            self.radar_images_encoded = 0

        def embed_multimodal(self, **kwargs: Any) -> Any:
            embeddings = super().embed_multimodal(**kwargs)
            self.radar_images_encoded += len(embeddings)
            return embeddings

    WithCandidatePooler.__name__ = WithCandidatePooler.__qualname__ = name
    WithCandidatePooler.__module__ = module
    return WithCandidatePooler
