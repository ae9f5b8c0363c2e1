"""lm-evaluation-harness's model ``radar-fast``: its ``hf``, with all continuations of a context in one pass."""

import io
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.registry import register_model
from lm_eval.models.huggingface import HFLM
from tqdm import tqdm

from radar_fast.engines.encode.encoder import Encoded, Encoder
from radar_fast.errors import DataError, ModelError
from radar_fast.harness.passes import Passes, Said, encoded
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import Protocol, open_protocol
from radar_fast.sample import EmbeddedImage, Part, Prompt, Reason, Sample

__all__ = ["RadarLM"]

BATCH_TOKENS = {"cpu": 4096, "cuda": 16384}
"""Most token positions in one forward pass, by device."""

IMAGE = "<image>"
"""What stands for an image in a context, as in the harness's own ``hf-multimodal``."""

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
        return self._said(made, list(groups.values()), [request[0] for request in requests], disable_tqdm)

    def _said(
        self,
        groups: Sequence[Encoded],
        members: Sequence[Sequence[int]],
        names: Sequence[Any],
        disable_tqdm: bool,
    ) -> list[Said]:
        """What is said of each request; ``members``: of a group, the requests that its continuations are."""
        found: list[Said] = [(0.0, False)] * len(names)
        with tqdm(total=len(names), disable=disable_tqdm or self.rank != 0, desc="Continuations") as bar:
            for number, said in self._passes(groups):
                for index, one in zip(members[number], said, strict=True):
                    found[index] = one
                    if names[index] is not None:
                        self.cache_hook.add_partial("loglikelihood", names[index], one)
                bar.update(len(said))
        return found

    # Images ----------------------------------------------------------------------------------------------------------

    @cached_property
    def _asking(self) -> tuple[Protocol, Encoder]:
        if self._folder is None:
            raise ModelError("questions with images: give pretrained as a checkpoint folder, which has the processor")
        checkpoint = Checkpoint.open(self._folder)
        protocol = open_protocol("auto", checkpoint)
        return protocol, Encoder(checkpoint, protocol, next(self.model.parameters()).dtype)

    def _of_images(self, requests: Sequence[tuple[Any, ...]]) -> list[Said]:
        """Requests of (context, continuation, {"visual": images}); those of one context and images are one question."""
        members: dict[tuple[Any, ...], list[int]] = {}
        for index, (context, _, *extra) in enumerate(requests):
            pictures = tuple(_embedded(extra[0].get("visual") or []) if extra else ())
            members.setdefault((context, pictures), []).append(index)
        groups = []
        for (context, pictures), indices in members.items():
            continuations = tuple(str(requests[index][1]) for index in indices)
            groups.append(self._encode(context, pictures, continuations))
        return self._said(groups, list(members.values()), [request[:2] for request in requests], False)

    def _encode(self, context: str, pictures: tuple[EmbeddedImage, ...], continuations: tuple[str, ...]) -> Encoded:
        protocol, encoder = self._asking
        sample = Sample("1", "lm-eval", "lm-eval", "other", tuple(_parts(context, pictures)), continuations, 0)
        asked = protocol.prompt(sample)
        made = encoder.encode(Prompt(sample, asked.parts, "", continuations))  # a continuation brings its own space
        if isinstance(made, Reason):
            raise DataError(f"a question of the task cannot be scored: {made}")
        return made


def _parts(context: str, pictures: Sequence[EmbeddedImage]) -> Iterable[Part]:
    """The context with its images where it says, or before it where it does not."""
    texts = context.split(IMAGE)
    if len(texts) == 1:
        texts = [*[""] * len(pictures), context]
    if len(texts) != len(pictures) + 1:
        raise DataError(f"a question of the task has {len(pictures)} images and {len(texts) - 1} {IMAGE} in its text")
    for number, text in enumerate(texts):
        if text:
            yield text
        if number < len(pictures):
            yield pictures[number]


def _embedded(visual: Any) -> Iterable[EmbeddedImage]:
    for number, picture in enumerate(visual if isinstance(visual, list | tuple) else [visual]):
        data = io.BytesIO()
        picture.save(data, "PNG")
        yield EmbeddedImage(f"image {number}", data.getvalue())
