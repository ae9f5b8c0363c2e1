"""What vLLM loads into each of its processes: every architecture once more, with the candidate pooler.

vLLM finds :func:`register` through the ``vllm.general_plugins`` entry point. It makes known, for every architecture
``X`` that vLLM's registry has, an architecture ``RadarX``: the same model with its pooler replaced by
:class:`~radar_fast.engines.vllm.pooler.CandidatePooler`. The class is derived when it is first asked for, by its name
in this module, so no list of families is needed and nothing is imported early.
"""

import re
from collections.abc import Iterator
from typing import Any

import torch
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, VocabParallelEmbedding
from vllm.model_executor.models.config import MODELS_CONFIG_MAP
from vllm.model_executor.models.registry import ModelRegistry

from radar_fast.engines.vllm import internvl as vllm_internvl
from radar_fast.engines.vllm.derive import PREFIX, derive
from radar_fast.util.orphans import end_with_parent, end_with_starter

__all__ = ["WorkerExtension", "register"]

_VLLMS_OWN = re.compile("EngineCore|VllmWorker|APIServer|ApiServer|VLLM_")
"""How the names of vLLM's processes begin, in all versions that are known."""


def register() -> None:
    """Make ``RadarX`` known for every architecture X of vLLM's registry. Imports no model; may be called again.

    It also sees that a process of vLLM's ends with whoever started it, however that ended: with radar-fast's process,
    and under a plain ``vllm serve``, or a program with an engine of its own, with that one. An engine core without its
    server would hold the device until somebody notices.
    """
    end_with_starter()
    end_with_parent(_VLLMS_OWN)
    for architecture in list(ModelRegistry.get_supported_archs()):
        if not architecture.startswith(PREFIX):
            ModelRegistry.register_model(PREFIX + architecture, f"{__name__}:{PREFIX}{architecture}")
    # vLLM adjusts some architectures' attention and cache by their name: the same for the same model.
    for architecture, adjustment in list(MODELS_CONFIG_MAP.items()):
        if not architecture.startswith(PREFIX):
            MODELS_CONFIG_MAP[PREFIX + architecture] = adjustment
    vllm_internvl.register()


def __getattr__(name: str) -> Any:
    """``RadarX``, derived from vLLM's X when it is first asked for."""
    architecture = name.removeprefix(PREFIX)
    if architecture == name or architecture not in ModelRegistry.models:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    derived = derive(ModelRegistry.models[architecture].load_model_cls(), name, __name__)
    globals()[name] = derived
    return derived


class WorkerExtension:
    """Methods that vLLM adds to its workers (``worker_extension_cls``), for ``collective_rpc`` by name."""

    model_runner: Any

    def radar_counts(self) -> tuple[int, bool]:
        """Images that this worker's vision encoder has encoded so far, and whether its LM head is fused."""
        model = self.model_runner.get_model()
        head = getattr(model, "radar_head", None)
        return int(getattr(model, "radar_images_encoded", 0)), bool(head is not None and head.fused)

    def radar_non_finite(self) -> list[str]:
        """Names of this worker's weights in which a value is infinite or no number."""
        found = []
        for name, weight in self.model_runner.get_model().named_parameters():
            if weight.dtype in (torch.float32, torch.float16, torch.bfloat16) and weight.numel():
                low, high = torch.aminmax(weight.detach())
                if not (torch.isfinite(low) and torch.isfinite(high)):
                    found.append(name)
        return found

    def radar_pack_requests(self) -> str | None:
        """See that packed requests are computed as their layouts say; why not, where this worker cannot."""
        from radar_fast.engines.vllm.packed_attention import PackedAttention
        from radar_fast.engines.vllm.packed_gate import reason_against

        refused = reason_against(self.model_runner)
        if refused is None:
            PackedAttention(self.model_runner).install()
        return refused

    def radar_load_weights(self, path: str) -> None:
        """Replace the model's weights by those in the checkpoint folder ``path``.

        vLLM's own reload passes over a tied LM head, which no checkpoint has weights for: where the head keeps a copy
        of its own, as the packed one of a CPU, it would stay the old one.
        """
        model = self.model_runner.get_model()
        tied = list(_tied_heads(model))
        self.model_runner.reload_weights(weights_path=path)
        for head, embedding in tied:
            head.weight = embedding.weight
            head.quant_method.process_weights_after_loading(head)


def _tied_heads(model: Any) -> Iterator[tuple[Any, Any]]:
    """(LM head, input embedding) where the two share one weight."""
    layers = [layer for layer in model.modules() if isinstance(layer, VocabParallelEmbedding)]
    for head in layers:
        for embedding in layers:
            if isinstance(head, ParallelLMHead) and embedding is not head and embedding.weight is head.weight:
                yield head, embedding
