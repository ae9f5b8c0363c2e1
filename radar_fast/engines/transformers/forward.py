"""A model's forward passes over encoded samples: packed, or the plain way, and the check that the two agree."""

import inspect
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from math import isfinite
from typing import Any, TypeAlias

import torch

from radar_fast.engines.encode.encoder import Encoded
from radar_fast.engines.head import LogitScaling, token_scores
from radar_fast.engines.transformers.attention import Layout, install, over, uninstall
from radar_fast.engines.transformers.cascade import Cascade
from radar_fast.engines.transformers.flex import Flex
from radar_fast.engines.transformers.packing import Batch, Flat, batch, flat, packed_length
from radar_fast.engines.transformers.split import Split
from radar_fast.engines.transformers.timing import DeviceTimer
from radar_fast.engines.transformers.transfer import joined, to_host
from radar_fast.errors import one_line
from radar_fast.util.clock import Clock

__all__ = ["SELF_CHECK_TOLERANCE", "Fetch", "Forward", "TokenScores"]

log = logging.getLogger(__name__)

SELF_CHECK_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 1.0, torch.float16: 0.25}
"""How far packed logits may be from plain ones in the self-check: far above rounding, far below a wrong mask."""

TokenScores = tuple[list[float], list[float]]
"""Raw logits and log-probabilities of a sample's answer tokens, candidate after candidate."""

Fetch: TypeAlias = Callable[[], list[TokenScores]]
"""Waits for a batch that was begun, and returns its samples' scores."""


class Forward:
    """Scores samples with one model, which nothing is known of at first.

    The first sample is also scored the plain way (a forward per candidate, no packing, the model's own head). Where the
    two disagree, as in an architecture that builds its own attention mask, it says so and goes on without packing:
    slower, but right. Attention of another kind (``split``, ``cascade``, ``flex``) gives way to the mask first.
    """

    def __init__(
        self,
        model: Any,
        name: str,
        attention: str,
        dtype: torch.dtype,
        device: torch.device,
        image_token_id: int,
        clock: Clock,
    ) -> None:
        """Look at the model, and give it its attention.

        Args:
            model: a transformers image-text-to-text model in evaluation mode on ``device``.
            name: the checkpoint's, for messages.
            attention: ``dense``, ``split``, ``cascade`` or ``flex``; dense where the model does not take it.
            dtype: of the model.
            device: where it is.
            image_token_id: what stands for one token of an image.
            clock: counts what the vision tower and the head take.
        """
        self.text_config: Any = model.config.get_text_config()
        self.attention = attention
        """What it is now."""
        self.packed = _attends_fully(self.text_config)
        """Whether samples share a forward pass, candidates their prefix."""
        self.self_check_difference: float | None = None
        """The largest between packed logits and plain ones; None before anything was scored packed."""
        self._model, self._dtype, self._device, self._image_token_id = model, dtype, device, image_token_id
        self._head = model.get_output_embeddings()
        self.vocabulary: int | None = getattr(self._head, "out_features", None)
        """Rows of the LM head, where it says."""
        self._scaling = LogitScaling(self.text_config)
        self._rope_index = getattr(model.model, "get_rope_index", None)
        self._timer = DeviceTimer(clock, device)
        tower = model.get_encoder(modality="image")
        if tower is not model:
            self._timer.watch(tower, "vision")
        if not self.packed:
            log.warning("%s does not attend to all earlier tokens in every layer: scoring without packing", name)
            self.attention = "dense"
        if self.attention != "dense":
            try:
                install(model, flash_vision=self.attention == "cascade" and device.type == "cuda")
            except ValueError as error:
                self._use_mask(one_line(error))

    @property
    def in_rows(self) -> bool:
        """Whether a batch's samples are rows, padded to the longest; else they lie end to end."""
        return self.attention in ("dense", "split")

    @property
    def untried(self) -> bool:
        """Whether :meth:`try_attention` is to be called before samples are batched: with a mask batches are others."""
        return self.packed and self.attention != "dense" and self.self_check_difference is None

    def try_attention(self, samples: Sequence[Encoded]) -> None:
        """Score a few samples without a mask and the last of them the plain way; take the mask where they disagree."""
        try:
            with self._without_gradients():
                plain, _ = self._plain_scores(samples[-1])
                if self._agree(plain, self._packed_scores(samples)[-1][0]):
                    return
        except (RuntimeError, TypeError, ValueError, LookupError, MemoryError) as error:
            self._use_mask(one_line(error))
        else:
            self._use_mask(f"its logits are off by {self.self_check_difference:.3g} from plain ones")
        self.self_check_difference = None

    def __call__(self, samples: Sequence[Encoded]) -> list[TokenScores]:
        """Score a batch: what is known of each sample's answer tokens. Raises what the model raises."""
        return self.begin(samples)()

    def begin(self, samples: Sequence[Encoded]) -> Fetch:
        """Begin to score a batch. On a GPU the next may be begun before this one's scores are fetched, so that the
        device never waits for the host. Raises what the model raises.
        """
        with self._without_gradients():
            if not self.packed:
                fetch = _known(list(map(self._plain_scores, samples)))
            else:
                fetch = self._begin_packed(samples)
                if self.self_check_difference is None:
                    fetch = _known(self._self_check(samples, fetch()))
        timed = self._timer.take()

        def scores() -> list[TokenScores]:
            found = fetch()
            self._timer.collect(timed)
            return found

        return scores

    def drop_model(self) -> None:
        """Let go of the model, and leave nothing of ours on it; what was found out about it stays."""
        self._timer.unwatch()
        self._model = self._head = self._rope_index = None

    def _without_gradients(self) -> AbstractContextManager[None]:
        """In which the model runs."""
        return torch.inference_mode()

    # Packed ----------------------------------------------------------------------------------------------------------

    def _packed_scores(self, samples: Sequence[Encoded]) -> list[TokenScores]:
        return self._begin_packed(samples)()

    def _begin_packed(self, samples: Sequence[Encoded]) -> Fetch:
        lay = batch if self.in_rows else flat
        packed = lay(samples, list(map(self._prefix_positions, samples)), self._device)
        names = samples[0].inputs
        inputs = {name: joined([sample.inputs[name] for sample in samples], self._device) for name in names}
        logits, logprobs = self._answers(packed, inputs)
        counts = [sum(len(suffix) - sample.scored_from for suffix in sample.suffixes) for sample in samples]
        host = to_host(torch.stack([logits, logprobs]))

        def scores() -> list[TokenScores]:
            both = host()  # here alone a batch waits for the device
            return [(some[0].tolist(), some[1].tolist()) for some in torch.split(both, counts, dim=1)]

        return scores

    def _answers(self, packed: Batch | Flat, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """[T] raw logits and [T] log-probabilities of the batch's answer tokens, fp32."""
        hidden = self._hidden(packed, inputs)
        with self._timer.measure("head"):
            return token_scores(
                hidden.flatten(0, 1)[packed.hidden_rows], self._head, self._scaling, packed.answer_rows, packed.targets
            )

    def _hidden(self, packed: Batch | Flat, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """[1 or B, L, D] final hidden states."""
        run = partial(self._model.model, input_ids=packed.ids, position_ids=packed.positions, use_cache=False, **inputs)
        if isinstance(packed, Batch) and self.attention == "dense":
            output = run(attention_mask=packed.mask(self._dtype))
        else:
            layout = self._layout(packed)
            with over(layout):
                # Four axes: transformers hands such a mask on as it is, instead of making one of all tokens times all.
                output = run(attention_mask=torch.zeros(1, 1, 1, 1, dtype=self._dtype, device=self._device))
        hidden: torch.Tensor = output.last_hidden_state
        return hidden

    def _layout(self, packed: Batch | Flat) -> Layout | Split:
        if isinstance(packed, Batch):
            return Split(packed, self._dtype)
        return Cascade(packed) if self.attention == "cascade" else Flex(packed)

    def _prefix_positions(self, encoded: Encoded) -> torch.Tensor:
        """[P], or [axes, P] where the model numbers image tokens by row and column (M-RoPE)."""
        length = len(encoded.prefix)
        if self._rope_index is None:
            return torch.arange(length)
        if not encoded.inputs:
            return torch.arange(length).expand(3, -1)
        ids = torch.tensor([encoded.prefix])
        known = {"mm_token_type_ids": (ids == self._image_token_id).int(), **encoded.inputs}
        wanted = inspect.signature(self._rope_index).parameters
        positions, _ = self._rope_index(ids, **{name: known[name] for name in wanted if name in known})
        axes: torch.Tensor = positions[:, 0]
        return axes

    # The plain way ---------------------------------------------------------------------------------------------------

    def _plain_scores(self, sample: Encoded) -> TokenScores:
        """A forward per candidate through the whole model, with its own mask, positions and head."""
        logits: list[float] = []
        logprobs: list[float] = []
        inputs = {name: value.to(self._device) for name, value in sample.inputs.items()}
        for suffix in sample.suffixes:
            ids = torch.tensor([[*sample.prefix, *suffix]], device=self._device)
            token_inputs = {
                name: torch.nn.functional.pad(value, (0, len(suffix)))[None].to(self._device)
                for name, value in sample.token_inputs.items()
            }
            rows = torch.arange(sample.scored_from - 1, len(suffix) - 1, device=self._device) + len(sample.prefix)
            full = (
                self._model(
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    use_cache=False,
                    logits_to_keep=rows,
                    **inputs,
                    **token_inputs,
                )
                .logits[0]
                .float()
            )
            targets = torch.tensor(suffix[sample.scored_from :], device=self._device)[:, None]
            logits += full.gather(1, targets)[:, 0].tolist()
            logprobs += full.log_softmax(-1).gather(1, targets)[:, 0].clamp_max(0.0).tolist()
        return logits, logprobs

    def _self_check(self, samples: Sequence[Encoded], scores: list[TokenScores]) -> list[TokenScores]:
        """Score the batch's shortest sample the plain way too; give up packing where the two disagree."""
        index = min(range(len(samples)), key=lambda index: packed_length(samples[index]))
        plain, _ = self._plain_scores(samples[index])
        if self._agree(plain, scores[index][0]):
            return scores
        log.warning(
            "packed logits are off by %.3g from plain ones: this architecture does not take a tree mask; "
            "scoring without packing",
            self.self_check_difference,
        )
        self.packed = False
        return list(map(self._plain_scores, samples))

    def _agree(self, plain: list[float], packed: list[float]) -> bool:
        """Whether the two are the same but for rounding. Of numbers that are none nothing is learned, and the check
        waits for better ones."""
        pairs = [(isfinite(a) and isfinite(b), abs(a - b)) for a, b in zip(plain, packed, strict=True)]
        self.self_check_difference = max((difference for finite, difference in pairs if finite), default=None)
        return (self.self_check_difference or 0.0) <= SELF_CHECK_TOLERANCE[self._dtype]

    def _use_mask(self, why: str) -> None:
        log.warning("attention %s does not work with this architecture (%s): going on with a mask", self.attention, why)
        uninstall(self._model)
        self.attention = "dense"


def _known(scores: list[TokenScores]) -> Fetch:
    return lambda: scores


def _attends_fully(text_config: Any) -> bool:
    """Whether every layer attends to all earlier tokens, as the tree mask says they do."""
    if kinds := getattr(text_config, "layer_types", None):
        return set(kinds) == {"full_attention"}
    # Mistral and others of its age have one window for all layers, and no kinds.
    return not (getattr(text_config, "sliding_window", None) and getattr(text_config, "use_sliding_window", True))
