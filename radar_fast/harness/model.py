"""lm-evaluation-harness's model ``radar-fast``: its ``hf``, with all continuations of a context in one pass."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.registry import register_model
from lm_eval.models.huggingface import HFLM
from tqdm import tqdm

from radar_fast.engines.base import WINDOW
from radar_fast.engines.encode.encoder import Encoded
from radar_fast.errors import ModelError
from radar_fast.likelihoods.passes import BATCH_TOKENS, Passes, Said, encoded
from radar_fast.likelihoods.questions import Questions, embedded
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.sample import EmbeddedImage

__all__ = ["RadarLM"]

Request = tuple[tuple[str, str], list[int], list[int]]
"""As the harness has it: (context, continuation), and the token ids of both."""


@register_model("radar-fast")
class RadarLM(HFLM):  # type: ignore[misc] # the harness is untyped here
    """Whatever ``hf`` takes, and checkpoints of image-text-to-text models, whose questions may have images.

    Tokens, chat templates, truncation, rolling windows and generation are those of ``hf``; what it computes for
    log-likelihoods is done here: requests with the same context share it.
    """

    def __init__(self, pretrained: Any, batch_tokens: int | None = None, **more: Any) -> None:
        """Load it.

        Args:
            pretrained: a checkpoint folder, or a transformers model.
            batch_tokens: most token positions in one forward pass.
            more: as ``hf`` takes them.
        """
        self._folder = Path(pretrained) if isinstance(pretrained, str) and Path(pretrained).is_dir() else None
        super().__init__(pretrained, **{"backend": "causal", **more})
        device = torch.device(self.device)
        model = self.model
        self._passes = Passes(
            model,
            self._folder.name if self._folder else type(model).__name__,
            next(model.parameters()).dtype,
            device,
            int(batch_tokens or BATCH_TOKENS.get(device.type, 4096)),
        )

    def _create_model(self, pretrained: str, dtype: Any = "auto", **more: Any) -> None:
        """As ``hf`` does, but for image-text-to-text checkpoints, which it cannot load."""
        from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as MULTIMODAL

        if self._folder is None or Checkpoint.open(self._folder).model_type not in MULTIMODAL:
            super()._create_model(pretrained, dtype=dtype, **more)
            return
        from radar_fast.engines.transformers.loading import load_model

        checkpoint = Checkpoint.open(self._folder, trust_remote_code=bool(more.get("trust_remote_code")))
        chosen = checkpoint.dtype if dtype in ("auto", None) else str(dtype).removeprefix("torch.")
        self._model = load_model(checkpoint, getattr(torch, chosen), torch.device(self.device))

    def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> list[Said]:
        """Of each request (log-likelihood of the continuation, whether it is greedy)."""
        if any(len(request.args) > 2 for request in requests):
            return self._of_images([request.args for request in requests])
        return list(super().loglikelihood(requests, disable_tqdm=disable_tqdm))

    def _loglikelihood_tokens(
        self,
        requests: Sequence[Request],
        disable_tqdm: bool = False,
        override_bs: int | None = None,  # noqa: ARG002 - hf's
    ) -> list[Said]:
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, (_, context, continuation) in enumerate(requests):
            kept = (*context, *continuation)[-(self.max_length + 1) :]  # as hf cuts them, from the left
            groups.setdefault(tuple(kept[: len(kept) - len(continuation)]), []).append(index)
        made = [
            encoded((context, tuple(tuple(requests[index][2]) for index in indices)))
            for context, indices in groups.items()
        ]
        names = [request[0] for request in requests]
        found: list[Said] = [(0.0, False)] * len(names)
        with self._bar(len(names), disable_tqdm) as bar:
            self._note(found, made, list(groups.values()), names, bar)
        return found

    def _bar(self, total: int, disable: bool) -> Any:
        return tqdm(total=total, disable=disable or self.rank != 0, desc="Continuations")

    def _note(
        self,
        found: list[Said],
        groups: Sequence[Encoded],
        members: Sequence[Sequence[int]],
        names: Sequence[Any],
        bar: Any,
    ) -> None:
        """Fill in what is said of the groups' requests; ``members``: of a group, which its continuations are."""
        for number, said in self._passes(groups):
            for index, one in zip(members[number], said, strict=True):
                found[index] = one
                if names[index] is not None:
                    self.cache_hook.add_partial("loglikelihood", names[index], one)
            bar.update(len(said))

    # Images ----------------------------------------------------------------------------------------------------------

    @cached_property
    def _questions(self) -> Questions:
        if self._folder is None:
            raise ModelError("questions with images: give pretrained as a checkpoint folder, which has the processor")
        return Questions(Checkpoint.open(self._folder), next(self.model.parameters()).dtype)

    def _of_images(self, requests: Sequence[tuple[Any, ...]]) -> list[Said]:
        """Requests of (context, continuation, {"visual": images}); those of one context and images are one question."""
        members: dict[tuple[str, tuple[EmbeddedImage, ...]], list[int]] = {}
        for index, (context, _, *extra) in enumerate(requests):
            pictures = tuple(embedded(extra[0].get("visual") or []) if extra else ())
            members.setdefault((context, pictures), []).append(index)
        names = [request[:2] for request in requests]
        found: list[Said] = [(0.0, False)] * len(names)
        questions = list(members.items())
        with self._bar(len(names), False) as bar:
            for start in range(0, len(questions), WINDOW):  # pixels of no more than these are in memory at a time
                window = questions[start : start + WINDOW]
                groups = [
                    self._questions.encode(*asked, [str(requests[index][1]) for index in indices])
                    for asked, indices in window
                ]
                self._note(found, groups, [indices for _, indices in window], names, bar)
        return found
