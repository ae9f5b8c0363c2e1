"""Packed requests in a vLLM worker: between the scheduler's rows and the model's.

Three places are hooked, on the objects of one live model runner: where attention metadata are built (as vLLM's own
``ChunkedLocalAttention`` does it, the backend gets other sequences than the scheduler's), where keys and values are
written to the KV cache, and the model's two entries, which then see kept rows only. No mask, no kernel of our own, any
attention back end with paged sequences; what must hold for that is in
:mod:`radar_fast.engines.vllm.packed_gate`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from vllm.model_executor.layers.attention import Attention

from radar_fast.engines.head import on_device
from radar_fast.engines.vllm.packed_layout import Layout
from radar_fast.engines.vllm.packed_step import Step, plan_step

__all__ = ["PackedAttention"]


@dataclass(slots=True)
class _OnDevice:
    """A step's arrays where the model is."""

    step: Step
    kept: torch.Tensor
    shift: torch.Tensor
    sources: torch.Tensor
    owners: torch.Tensor
    columns: torch.Tensor
    offsets: torch.Tensor
    sequence_owners: torch.Tensor
    sequence_columns: torch.Tensor
    slots: dict[str, torch.Tensor] = field(default_factory=dict)
    """A layer's name: [W] int64 slots of its KV cache that are written."""


class PackedAttention:
    """Of one model runner. Between a step's first metadata and the end of its forward pass it knows that step."""

    def __init__(self, runner: Any) -> None:
        self._runner = runner
        self._most_sequences = int(runner.vllm_config.scheduler_config.max_num_seqs)
        self._now: _OnDevice | None = None
        self._answered: tuple[bool, ...] = ()

    def install(self) -> None:
        """Hook everything. The model's pooler must be ours."""
        for groups in self._runner.attn_groups:
            for group in groups:
                for builder in group.metadata_builders:
                    self._hook_builder(builder)
        for layer in self._runner.compilation_config.static_forward_context.values():
            if isinstance(layer, Attention):
                layer.impl.do_kv_cache_update = self._write(layer.impl.do_kv_cache_update)
        model = self._runner.get_model()
        model.embed_input_ids = self._embed(model.embed_input_ids)
        model.forward = self._forward(model.forward)
        model.pooler.answered = self.take_answered

    def take_answered(self) -> tuple[bool, ...]:
        """Of the step that the model has just computed: :attr:`Step.answered`. Empty where no request was packed."""
        answered, self._answered = self._answered, ()
        return answered

    # Metadata --------------------------------------------------------------------------------------------------------

    def _hook_builder(self, builder: Any) -> None:
        inner = builder.build

        def build(common_prefix_len: int, common_attn_metadata: Any, *args: Any, **rest: Any) -> Any:
            common = self._virtual(common_attn_metadata, builder)
            if common is not common_attn_metadata:
                common_prefix_len = 0  # cascade attention counts in the scheduler's sequences
            return inner(common_prefix_len, common, *args, **rest)

        builder.build = build
        builder.supports_update_block_table = False  # which would pass by build() for groups after the first

    def _virtual(self, common: Any, builder: Any) -> Any:
        """The step as the back end is to see it."""
        block = builder.kv_cache_spec.block_size
        if self._now is None:
            self._now = self._begin(common, block)
        now = self._now
        if now is None:
            return common
        step = now.step
        table = common.block_table_tensor
        slots = table[now.owners, now.columns].long() * block + now.offsets
        now.slots |= dict.fromkeys(builder.layer_names, slots)
        starts, lengths = torch.from_numpy(step.starts), torch.from_numpy(step.lengths)
        positions = common.positions
        changed: dict[str, Any] = {
            "query_start_loc": starts.to(table.device, non_blocking=True),
            "query_start_loc_cpu": starts,
            "seq_lens": lengths.to(table.device, non_blocking=True),
            "num_reqs": len(step.lengths),
            "num_actual_tokens": int(step.starts[-1]),
            "max_query_len": int(np.diff(step.starts).max()),
            "max_seq_len": int(step.lengths.max()),
            "block_table_tensor": table[now.sequence_owners[:, None], now.sequence_columns],
            "slot_mapping": slots,
            "positions": None if positions is None else positions[now.kept] - now.shift,
            "is_prefilling": torch.ones(len(step.lengths), dtype=torch.bool),
            "seq_lens_cpu_upper_bound": lengths,
            # What vLLM derives of the others when it is first asked; 0.26 has more of these than 0.32.
            "_seq_lens_cpu": lengths,
            "_num_computed_tokens_cpu": None,
            "_num_computed_tokens_cache": None,
            "_token_to_req_indices_cache": None,
        }
        return replace(common, **{name: value for name, value in changed.items() if hasattr(common, name)})

    def _begin(self, common: Any, block: int) -> _OnDevice | None:
        batch = self._runner.input_batch
        count = int(common.num_reqs)
        names = batch.req_ids
        if count != len(names):
            return None  # padded, or a dummy run: packed requests are answered by nothing
        layouts = [Layout.of(batch.pooling_params[name].extra_kwargs) for name in names]
        if not any(layouts):
            return None
        computed = batch.num_computed_tokens_cpu[:count].tolist()
        starts = common.query_start_loc_cpu[: count + 1].tolist()
        device = common.block_table_tensor.device
        step = plan_step(layouts, computed, starts, block, self._most_sequences)
        self._answered = step.answered
        rows = on_device(device, step.kept, step.shift, step.sources, step.owners, step.columns, step.offsets)
        kept, shift, sources, owners, columns, offsets = rows
        sequence_owners, sequence_columns = on_device(device, step.sequence_owners, step.sequence_columns)
        return _OnDevice(step, kept, shift, sources, owners, columns, offsets, sequence_owners, sequence_columns)

    # KV cache --------------------------------------------------------------------------------------------------------

    def _write(self, inner: Callable[..., None]) -> Callable[..., None]:
        def do_kv_cache_update(layer: Any, key: Any, value: Any, kv_cache: Any, slot_mapping: Any) -> None:
            if self._now is not None:
                key, value = key.index_select(0, self._now.sources), value.index_select(0, self._now.sources)
                slot_mapping = self._now.slots[layer.layer_name]
            inner(layer, key, value, kv_cache, slot_mapping)

        return do_kv_cache_update

    # The model -------------------------------------------------------------------------------------------------------

    def _embed(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        def embed_input_ids(
            input_ids: Any, multimodal_embeddings: Any = None, *, is_multimodal: Any = None, **rest: Any
        ) -> Any:
            """Embeddings of kept rows, at their scheduled places; nobody looks at the others'."""
            now = self._now
            if now is None:
                return inner(input_ids, multimodal_embeddings, is_multimodal=is_multimodal, **rest)
            if is_multimodal is not None:
                is_multimodal = is_multimodal[now.kept.to(is_multimodal.device)]
            found = inner(input_ids[now.kept], multimodal_embeddings, is_multimodal=is_multimodal, **rest)
            return _scattered(found, now.kept, len(input_ids))

        return embed_input_ids

    def _forward(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        def forward(
            input_ids: Any, positions: Any, intermediate_tensors: Any = None, inputs_embeds: Any = None, **rest: Any
        ) -> Any:
            """Hidden states of kept rows, at their scheduled places."""
            now = self._now
            if now is None:
                return inner(input_ids, positions, intermediate_tensors, inputs_embeds, **rest)
            try:
                hidden = inner(
                    None if input_ids is None else input_ids[now.kept],
                    positions[..., now.kept] - now.shift,
                    intermediate_tensors,
                    None if inputs_embeds is None else inputs_embeds[now.kept],
                    **rest,
                )
            finally:
                self._now = None
            return _scattered(hidden, now.kept, positions.shape[-1])

        return forward


def _scattered(some: torch.Tensor, rows: torch.Tensor, count: int) -> torch.Tensor:
    """[S, D] at [S] rows of [count, D]."""
    return some.new_zeros(count, some.shape[-1]).index_copy_(0, rows, some)
