"""Whether a vLLM worker can compute packed requests as their layouts say. Runs in vLLM's own processes.

All that is asked here is a guard: what it refuses would give wrong numbers, or none. A worker that refuses says why,
and samples go as their plans' requests.
"""

from collections.abc import Iterator
from typing import Any

from vllm.model_executor.layers.attention import Attention
from vllm.v1.kv_cache_interface import FullAttentionSpec

__all__ = ["reason_against"]


def reason_against(runner: Any) -> str | None:
    """Why packed requests cannot be computed by this model runner; None where they can."""
    return next((reason for reason, wrong in _conditions(runner) if wrong), None)


def _conditions(runner: Any) -> Iterator[tuple[str, bool]]:
    """What must not be, each with what to say where it is. In an order in which each can be asked after the last."""
    config = runner.vllm_config
    parallel, scheduler, model = config.parallel_config, config.scheduler_config, config.model_config
    yield "the V2 model runner keeps requests elsewhere", not hasattr(runner, "input_batch")
    yield "chunked prefill may cut a request", bool(scheduler.enable_chunked_prefill)
    yield "pipeline stages hand rows on", parallel.pipeline_parallel_size > 1
    yield "data parallel engines step together", parallel.data_parallel_size > 1
    for name in ("decode_context_parallel_size", "prefill_context_parallel_size"):
        yield "a context is cut over ranks", getattr(parallel, name, 1) > 1
    yield "two halves of a batch run in turn", bool(getattr(parallel, "enable_dbo", False))
    yield "KV blocks come from another engine", config.kv_transfer_config is not None
    yield "tokens are drafted", config.speculative_config is not None
    yield "adapters are chosen by row", config.lora_config is not None
    yield "prompts come as embeddings", bool(model.enable_prompt_embeds)
    yield "CUDA graphs or torch.compile fix the shapes of a step", not model.enforce_eager
    yield "images attend both ways", bool(getattr(runner, "is_mm_prefix_lm", False))
    yield "positions have four parts", bool(getattr(runner, "uses_xdrope_dim", 0))
    yield "the KV cache is quantised", config.cache_config.cache_dtype != "auto"
    yield "the model is wrapped", runner.model is not runner.get_model()
    block = config.cache_config.block_size
    layers = config.compilation_config.static_forward_context
    for groups in runner.attn_groups:
        for group in groups:
            specs = getattr(group.kv_cache_spec, "kv_cache_specs", None) or {"": group.kv_cache_spec}
            for spec in specs.values():
                yield f"there is attention of another kind ({type(spec).__name__})", type(spec) is not FullAttentionSpec
                yield "attention has a window", _limited(spec)
                yield "attention looks ahead", bool(getattr(spec, "non_causal", False))
                yield "groups of layers have blocks of their own size", spec.block_size != block
            split = getattr(group, "kernel_block_size", None)
            yield "the attention splits blocks", split is not None and split != block
            yield (
                "the attention splits blocks",
                any(each.kv_cache_spec.block_size != block for each in group.metadata_builders),
            )
            inside = getattr(group.backend, "forward_includes_kv_cache_update", True)
            yield f"{group.backend.get_name()} writes the KV cache within attention", inside
            for name in group.layer_names:
                layer = layers[name]
                yield f"{type(layer).__name__} is no plain attention", type(layer) is not Attention
                yield "keys are shared between layers", layer.kv_sharing_target_layer_name is not None
                yield "attention weighs by distance", getattr(layer.impl, "alibi_slopes", None) is not None


def _limited(spec: Any) -> bool:
    return any(getattr(spec, name, None) is not None for name in ("sliding_window", "attention_chunk_size"))
