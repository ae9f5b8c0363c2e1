"""What a processor makes of a prompt beside its pixels, known from a prompt with images of the same shape.

A processor writes as many tokens in an image's place as the image's features have shapes for, and looks at nothing else
to do so. Learning that once for each shape spares the processor's own layers of arguments and checks, which take longer
than preprocessing a small image. It is used only once it has been seen to give what the processor gives.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from radar_fast.engines.encode.tokens import image_runs, with_runs
from radar_fast.errors import ModelError

__all__ = ["Expansion", "Expansions", "Made"]

MOST = 1024
"""Shapes that are known at a time."""

MOST_VALUES = 256
"""Of a tensor of whole numbers, such as an image's grid, that tell one shape from another."""

TYPES = "mm_token_type_ids"

Made = tuple[list[int], dict[str, torch.Tensor], dict[str, torch.Tensor]]
"""Token ids with images expanded, tensors of the images, and tensors of a value a token."""


@dataclass(frozen=True, slots=True)
class Expansion:
    """What becomes of a prompt whose images' features have one set of shapes."""

    runs: tuple[tuple[int, ...], ...]
    """An image: the token ids that stand in its place."""
    inputs: tuple[str, ...]
    """Names of the features that the model gets."""
    types: bool
    """Whether the model is also told which tokens are images."""
    image_id: int
    """The id of one token of an image."""

    def __call__(self, prefix: Sequence[int], features: Mapping[str, torch.Tensor], dtype: torch.dtype) -> Made:
        """Args:
        prefix: token ids, one image token an image.
        features: what the image processor made of the images.
        dtype: of floating tensors.
        """
        ids = with_runs(prefix, self.runs, self.image_id)
        inputs = {name: _typed(features[name], dtype) for name in self.inputs}
        types = {TYPES: (torch.tensor(ids) == self.image_id).to(torch.int64)} if self.types else {}
        return ids, inputs, types


class Expansions:
    """Those of one processor. Safe to call from several threads."""

    def __init__(self, image_id: int, dtype: torch.dtype) -> None:
        """``image_id``: of one token of an image. ``dtype``: of floating tensors."""
        self._image_id, self._dtype = image_id, dtype
        self._known: dict[object, Expansion] = {}
        self.proven = False
        """Whether one has been seen to give what the processor gives for another prompt."""
        self._refuted = False

    def find(self, features: Mapping[str, Any]) -> Expansion | None:
        """What is known of these shapes."""
        key = _key(features)
        return None if key is None or self._refuted else self._known.get(key)

    def learn(self, prefix: Sequence[int], features: Mapping[str, Any], made: Made) -> None:
        """Take in what the processor made; the first time that it could be told beforehand, see whether it was right.

        Args:
            prefix: token ids, one image token an image.
            features: what the image processor made of the images.
            made: by the processor, of both.
        """
        ids, inputs, token_inputs = made
        key = _key(features)
        if key is None or self._refuted or set(token_inputs) - {TYPES} or set(inputs) - set(features):
            return
        known = self._known.get(key)
        if known is None:
            try:
                runs = image_runs(prefix, ids, self._image_id)
            except ModelError:  # it changes more of the prompt than that
                self._refuted = True
                return
            known = Expansion(tuple(map(tuple, runs)), tuple(inputs), bool(token_inputs), self._image_id)
            if not _same(known(prefix, features, self._dtype), made):
                self._refuted = True
                return
            while len(self._known) >= MOST:
                del self._known[next(iter(self._known))]
            self._known[key] = known
        elif _same(known(prefix, features, self._dtype), made):
            self.proven = not self._refuted
        else:
            self._refuted, self.proven = True, False


def _key(features: Mapping[str, Any]) -> object | None:
    """Shapes, and the values of small tensors of whole numbers; None where a feature is of another kind."""
    parts: list[object] = []
    for name, value in sorted(features.items()):
        if not isinstance(value, torch.Tensor):
            return None
        values: tuple[Any, ...] = ()
        if not value.is_floating_point():
            if value.numel() > MOST_VALUES:
                return None
            values = tuple(value.flatten().tolist())
        parts.append((name, tuple(value.shape), values))
    return tuple(parts)


def _typed(value: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return value.to(dtype) if value.is_floating_point() else value


def _same(one: Made, other: Made) -> bool:
    return one[0] == other[0] and all(
        mine.keys() == theirs.keys() and all(_equal(mine[name], theirs[name]) for name in mine)
        for mine, theirs in zip(one[1:], other[1:], strict=True)
    )


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)
