"""The engine on a model that is in memory already and goes on being trained: nothing of it is changed for good.

Under FSDP2 a parameter is whole only while its module's own ``forward`` runs, entered by way of the root, and on every
rank at once. So such a model is always called as a whole, with the rows that predict no answer token taken away just
before its head, and in step with the other ranks (:class:`Turns`).
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from radar_fast.engines.base import reason_of_weights
from radar_fast.engines.encode.context import EngineContext
from radar_fast.engines.encode.encoder import Encoded
from radar_fast.engines.head import LogitScaling, token_scores
from radar_fast.engines.options import EngineOptions
from radar_fast.engines.transformers.engine import TransformersEngine
from radar_fast.engines.transformers.forward import Forward, TokenScores
from radar_fast.engines.transformers.gathers import Gathers
from radar_fast.engines.transformers.loading import non_finite_weights
from radar_fast.engines.transformers.packing import Batch, Flat
from radar_fast.errors import EngineError
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import Protocol as Prompting
from radar_fast.sample import Prompt, Scored

__all__ = ["InMemoryEngine", "Turns"]


class Turns(Protocol):
    """Keeps the forward passes of several ranks in step, where a pass on one needs all of them."""

    @property
    def gathers(self) -> Gathers:
        """What is made up where a pass breaks off."""

    def take(self, images: bool) -> None:
        """Return when this rank may run a pass; ``images``: whether the vision tower runs in it."""


class InMemoryEngine(TransformersEngine):
    """Scores prompts with a transformers image-text-to-text model that is in memory."""

    def __init__(
        self,
        model: Any,
        checkpoint: Checkpoint,
        protocol: Prompting,
        options: EngineOptions,
        *,
        autocast: torch.dtype | None = None,
        turns: Turns | None = None,
    ) -> None:
        """Nothing is loaded.

        Args:
            model: in evaluation mode, on one device.
            checkpoint: what its folder would hold, weights apart.
            protocol: how samples are put to it.
            options: with device and dtype as the model has them.
            autocast: run it under ``torch.autocast`` to this dtype.
            turns: where its parameters are spread over ranks, what keeps them in step.
        """
        self._given, self._autocast, self._turns = model, autocast, turns
        super().__init__(checkpoint, protocol, options, EngineContext())

    def load_weights(self, path: Path) -> None:
        """Never. Raises EngineError: its weights are the training's."""
        raise EngineError(f"{path}: a model in memory takes no other weights; open the checkpoint instead", path=path)

    def encode(self, prompt: Prompt) -> Encoded | Scored:
        """The prompt, encoded for :meth:`run_along`; unscored where it cannot be."""
        return self._encode(prompt)

    def run_along(self, sample: Encoded) -> None:
        """One forward pass whose result nobody wants, for the sake of other ranks."""
        assert isinstance(self._forward, _ShardedForward)
        self._forward.run_along(sample)

    def _load(self, checkpoint: Checkpoint) -> Forward:
        model = self._given
        sharded = self._turns is not None
        self._unsound = None if sharded else reason_of_weights(checkpoint.name, non_finite_weights(model))
        kind = _ShardedForward if sharded else _GivenForward
        made = kind(
            model,
            checkpoint.name,
            self._attention,
            self._dtype,
            self._device,
            self._encoder.image_token_id,
            self._clock,
        )
        made.autocast, made.turns = self._autocast, self._turns
        return made


class _GivenForward(Forward):
    """Forward passes that leave nothing behind which autograd could not use: what inference mode makes, such as a
    cache of rotary angles, it cannot."""

    autocast: torch.dtype | None = None
    turns: Turns | None = None

    @contextmanager
    def _without_gradients(self) -> Iterator[None]:
        cast = nullcontext() if self.autocast is None else torch.autocast(self._device.type, self.autocast)
        with torch.no_grad(), cast:
            yield


class _ShardedForward(_GivenForward):
    """Forward passes of a model that must be called as a whole, in step with other ranks."""

    def run_along(self, sample: Encoded) -> None:
        """The sample's first candidate."""
        assert self.turns is not None
        with self._without_gradients(), self.turns.gathers.of_a_pass(bool(sample.inputs)):
            super()._plain_scores(replace(sample, suffixes=sample.suffixes[:1]))

    def _answers(self, packed: Batch | Flat, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        assert isinstance(packed, Batch)
        assert self.turns is not None
        self.turns.take(bool(inputs))

        def only_answers(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            return (args[0].flatten(0, 1)[packed.hidden_rows][None], *args[1:])

        hook = self._head.register_forward_pre_hook(only_answers)
        try:
            with self.turns.gathers.of_a_pass(bool(inputs)):
                output = self._model(
                    input_ids=packed.ids,
                    position_ids=packed.positions,
                    attention_mask=packed.mask(self._dtype),
                    use_cache=False,
                    **inputs,
                )
        finally:
            hook.remove()
        # These logits are scaled already; what is left is to look some of them up.
        unscaled = LogitScaling(object())
        return token_scores(output.logits[0], nn.Identity(), unscaled, packed.answer_rows, packed.targets)

    def _plain_scores(self, sample: Encoded) -> TokenScores:
        assert self.turns is not None
        logits: list[float] = []
        logprobs: list[float] = []
        for suffix in sample.suffixes:  # a forward pass each
            self.turns.take(bool(sample.inputs))
            with self.turns.gathers.of_a_pass(bool(sample.inputs)):
                more, more_normalised = super()._plain_scores(replace(sample, suffixes=(suffix,)))
            logits += more
            logprobs += more_normalised
        return logits, logprobs
