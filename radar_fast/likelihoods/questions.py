"""Questions in a harness's words, a context with images and its continuations -> what a forward pass takes."""

import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch

from radar_fast.engines.encode.encoder import Encoded, Encoder
from radar_fast.errors import DataError
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import open_protocol
from radar_fast.sample import EmbeddedImage, Part, Prompt, Reason, Sample

__all__ = ["IMAGE", "Questions", "embedded"]

IMAGE = "<image>"
"""What stands for an image in a context, as in lm-evaluation-harness's ``hf-multimodal`` and in lmms-eval."""


class Questions:
    """Puts questions to a checkpoint as its own protocol does."""

    def __init__(self, checkpoint: Checkpoint, dtype: torch.dtype) -> None:
        """``dtype``: of the model, for its pixels.

        Raises:
            ModelError: the checkpoint has no processor, or none that can be used.
        """
        self._protocol = open_protocol("auto", checkpoint)
        self._encoder = Encoder(checkpoint, self._protocol, dtype)

    def encode(self, context: str, pictures: Sequence[EmbeddedImage], continuations: Sequence[str]) -> Encoded:
        """One question.

        Args:
            context: with IMAGE where each image stands; where it has none, the images come before it.
            pictures: in reading order.
            continuations: each brings its own space.

        Raises:
            DataError: it is empty, there are more or fewer images than it has places for, or one cannot be used.
        """
        said = tuple(continuations)
        sample = Sample("1", "harness", "harness", "other", tuple(_parts(context, pictures)), said, 0)
        asked = self._protocol.prompt(sample)
        made = self._encoder.encode(Prompt(sample, asked.parts, "", said))
        if isinstance(made, Reason):
            raise DataError(f"a question of the task cannot be scored: {made}")
        if not made.prefix:
            raise DataError("a question of the task is empty, as acc_mutual_info asks one; leave that metric out")
        return made


def _parts(context: str, pictures: Sequence[EmbeddedImage]) -> Iterable[Part]:
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


def embedded(visual: Any) -> Iterator[EmbeddedImage]:
    """PIL images, one or a list, as parts of a sample.

    Raises:
        DataError: something else, such as the path of a video.
    """
    for number, picture in enumerate(visual if isinstance(visual, list | tuple) else [visual]):
        if not hasattr(picture, "save"):
            raise DataError(f"a question of the task shows a {type(picture).__name__}; radar-fast takes PIL images")
        data = io.BytesIO()
        picture.save(data, "PNG")
        yield EmbeddedImage(f"image {number}", data.getvalue())
