"""Prompt -> tokens and image tensors, by the checkpoint's own tokenizer and processor."""

import copy
import logging
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from radar_fast.engines.encode.disk_cache import DiskCache, settings_digest
from radar_fast.engines.encode.expansion import Expansions, Made
from radar_fast.engines.encode.image_cache import ImageCache, ImageReuse, ImageTap, stand_in
from radar_fast.engines.encode.tokens import PromptTokenizer, Tokens, least_positions, weave
from radar_fast.errors import ModelError, UsageError, one_line
from radar_fast.images import DECODE_SECONDS, read_image, why_too_many
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.models.vocabulary import vocabulary_of
from radar_fast.protocols import Protocol
from radar_fast.sample import Prompt, Reason, ReasonKind
from radar_fast.util.clock import Clock

__all__ = ["Encoded", "Encoder", "failed_processor", "refused_images"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Encoded:
    """A prompt as token ids and tensors. P tokens of shared prefix."""

    prompt: Prompt
    """Where it comes from."""
    prefix: tuple[int, ...]
    """[P] token ids that all candidates share, image tokens expanded."""
    suffixes: tuple[tuple[int, ...], ...]
    """A candidate: its token ids after the shared prefix."""
    scored_from: int
    """Index in every suffix of the first answer token; above 0 only where a merge crossed the boundary."""
    inputs: dict[str, torch.Tensor] = field(default_factory=dict)
    """What the processor made of the images, e.g. ``pixel_values``; empty without images."""
    token_inputs: dict[str, torch.Tensor] = field(default_factory=dict)
    """[P] a prefix token, e.g. ``mm_token_type_ids``: what the processor says of each token beside its id."""
    unexpanded: tuple[int, ...] = ()
    """Token ids of the whole prefix as text: one image token an image, and none left out."""

    @property
    def tokens_minimal(self) -> int:
        """The least positions that any method must compute for this sample alone: see :func:`least_positions`."""
        return least_positions(len(self.prefix), self.suffixes)


class Encoder:
    """Encodes prompts for one checkpoint and protocol. Safe to call from several threads.

    Raises:
        ModelError: the checkpoint has no processor that can be loaded.
        UsageError: pixel bounds are asked for that the image processor does not know.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        protocol: Protocol,
        dtype: torch.dtype,
        clock: Clock | None = None,
        reuse: ImageReuse | None = None,
        *,
        raw_pixels: bool = False,
    ) -> None:
        """Load the processor.

        Args:
            checkpoint: whose processor and tokenizer they are.
            protocol: what becomes of an image before the processor.
            dtype: of floating tensors.
            clock: counts what decoding, preprocessing and tokenising take.
            reuse: keep what becomes of images, for prompts that share them; None: nothing is kept.
            raw_pixels: leave pixels as they are, 0 to 255, for an engine that rescales and normalises them itself.
        """
        self._checkpoint, self._protocol, self._dtype = checkpoint.path, protocol, dtype
        self._clock = clock or Clock()
        self._processor: Any = copy.copy(checkpoint.processor_with(protocol.image_backend))
        self._processor.image_processor = copy.copy(self._processor.image_processor)  # of its own, as the processor is
        if protocol.pixels is not None:
            _bound_pixels(self._processor.image_processor, checkpoint, protocol.pixels)
        if raw_pixels:
            self._processor.image_processor.do_rescale = self._processor.image_processor.do_normalize = False
        if protocol.tiles is not None:
            self._processor.image_processor.crop_to_patches = True
            self._processor.image_processor.max_patches = protocol.tiles
        self._tokens = PromptTokenizer(
            self._processor.tokenizer, self._processor.image_token, vocabulary_of(checkpoint.config)
        )
        self._tap = ImageTap(self._processor.image_processor)
        self._prepared: ImageCache | None = None
        self._reuse_is_checked = False
        self._processor.image_processor = self._tap
        self._expansions = Expansions(self.image_token_id, dtype)
        if reuse is not None:
            self._prepared = ImageCache(self._open_store(reuse), dtype)

    @property
    def image_token_id(self) -> int:
        """The id that stands for one token of an image."""
        return self._tokens.image_id

    @property
    def image_processor(self) -> Any:
        """The checkpoint's own image processor, of the protocol's back end and within its pixel bounds."""
        return self._tap.inner

    def encode(self, prompt: Prompt) -> Encoded | Reason:
        """Read the images, tokenise, and find the shared prefix; a Reason if this prompt cannot be scored.

        Raises ModelError where the image processor fails in a way that no picture explains.
        """
        if self._prepared is None or not prompt.images:
            return self._encode(prompt)
        with self._prepared.turn(prompt.images) as key:
            with self._clock.measure("decode"):
                kept = self._prepared.find(key, prompt.images)
            if kept is not None and self._reuse_is_checked:
                return self._encode(prompt, kept)
            self._tap.take()
            encoded = self._encode(prompt)
            made = self._tap.take()
            if kept is not None:
                self._check_reuse(prompt, kept, encoded)
            elif made is not None and isinstance(encoded, Encoded):
                self._prepared.put(key, prompt.images, made)
            return encoded

    def _check_reuse(self, prompt: Prompt, kept: dict[str, Any], encoded: Encoded | Reason) -> None:
        """The first time that anything is used again: see that this processor then says the same, or do without."""
        try:
            self._reuse_is_checked = _same(self._encode(prompt, kept), encoded)
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            log.info("images cannot be used again: %s", one_line(error))
        if not self._reuse_is_checked:
            log.warning(
                "%s makes something else of images that it has seen before: every image is preprocessed anew",
                type(self._processor).__name__,
            )
            self._prepared = None

    def _open_store(self, reuse: ImageReuse) -> DiskCache | None:
        if reuse.folder is None:
            return None
        more = ("torch", "torchvision") if self._protocol.image_backend == "torchvision" else ()
        settings = {
            "processor": [type(self._processor).__name__, type(self.image_processor).__name__],
            "image_processor": self.image_processor.to_dict(),
            "protocol": {"name": self._protocol.name, **self._protocol.settings},
            "dtype": str(self._dtype),
            "versions": {name: version(name) for name in ("transformers", "pillow", "numpy", *more)},
        }
        return DiskCache(reuse.folder, reuse.most_bytes, settings_digest(settings))

    def _encode(self, prompt: Prompt, features: dict[str, Any] | None = None) -> Encoded | Reason:
        """Encode, with the images or with what was made of them before."""
        if features is None:
            with self._clock.measure("decode"):
                images = self.read_images(prompt)
            if isinstance(images, Reason):
                return images
        else:
            images = [stand_in() for _ in prompt.images]
        with self._clock.measure("tokenise"):
            tokens = self._tokens(prompt)
        if isinstance(tokens, Reason):
            return tokens
        split = tokens.split
        expanded = list(tokens.prefix)
        inputs: dict[str, torch.Tensor] = {}
        token_inputs: dict[str, torch.Tensor] = {}
        if images:
            try:
                with self._clock.measure("preprocess"):
                    expanded, inputs, token_inputs, faithful = self._expand(tokens, images, features)
            except ValueError as error:
                return refused_images(prompt, error)
            except (TypeError, ArithmeticError, LookupError, AttributeError, RuntimeError, MemoryError) as error:
                if features is not None:
                    raise
                raise failed_processor(self._checkpoint, error) from error
            if not faithful:
                [plain] = self._tokens.ids([tokens.processor_text], add_special=tokens.add_special)
                expanded = weave(tokens.prefix, plain, expanded, self.image_token_id)
                if token_inputs:  # made for the defaced text; of these, only which tokens are images is known
                    token_inputs = {"mm_token_type_ids": (torch.tensor(expanded) == self.image_token_id).int()}
        kept = len(expanded) - split.scored_from
        return Encoded(
            prompt,
            tuple(expanded[:kept]),
            split.suffixes,
            split.scored_from,
            inputs,
            {name: values[:kept] for name, values in token_inputs.items()},
            tokens.prefix,
        )

    def read_images(self, prompt: Prompt, seconds: float | None = None) -> list[Any] | Reason:
        """The prompt's images as the processor is to get them, in reading order; a Reason if one cannot be had.

        ``seconds`` are of CPU time, for all of them together; None: as many for each as any picture may take.
        """
        images: list[Any] = []
        pixels, encoded = 0, dict[str, int]()
        end = None if seconds is None else time.thread_time() + seconds
        for file in prompt.images:
            left = DECODE_SECONDS if end is None else min(DECODE_SECONDS, max(0.0, end - time.thread_time()))
            image = read_image(file, self._protocol.rgb, left)
            if isinstance(image, Reason):
                return image
            try:
                image = self._protocol.image(image)
            except ValueError as error:
                return Reason(ReasonKind.UNREADABLE_IMAGE, f"{file.name}: {error}")
            pixels += image.width * image.height
            encoded[file.key] = file.size
            if found := why_too_many(pixels, sum(encoded.values())):
                return Reason(ReasonKind.UNREADABLE_IMAGE, f"image {file.name} {found}: replace it")
            images.append(image)
        return images

    def tokenise(self, prompt: Prompt) -> Tokens | Reason:
        """The prompt's text as token ids, one image token an image; a Reason if this prompt cannot be scored."""
        return self._tokens(prompt)

    def _expand(self, tokens: Tokens, images: list[Any], features: dict[str, Any] | None) -> tuple[*Made, bool]:
        """By the processor, or as it is known to do it; and whether the ids are the prefix's to the letter."""
        if self._expansions.proven and (features is not None or self._tap.can_repeat):
            made = self._tap.repeat(images) if features is None else features
            known = self._expansions.find(made)
            if known is not None and len(known.runs) == len(images):
                return *known(tokens.prefix, made, self._dtype), True
            features = made
        with self._tap.giving(features):
            processed = self._process(tokens.processor_text, images, tokens.add_special)
        seen = self._tap.last if features is None else features
        if seen is not None and tokens.text_is_faithful:
            self._expansions.learn(tokens.prefix, seen, processed)
        return *processed, tokens.text_is_faithful

    def _process(
        self, text: str, images: list[Any], add_special: bool
    ) -> tuple[list[int], dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        made = self._processor(text=[text], images=images, return_tensors="pt", add_special_tokens=add_special)
        ids = made.pop("input_ids")
        made.pop("attention_mask", None)
        inputs, token_inputs = {}, {}
        for name, value in made.items():
            if not isinstance(value, torch.Tensor):
                continue
            if value.shape == ids.shape and not value.is_floating_point():
                token_inputs[name] = value[0]
            else:
                inputs[name] = value.to(self._dtype) if value.is_floating_point() else value
        return ids[0].tolist(), inputs, token_inputs


def refused_images(prompt: Prompt, error: ValueError | OSError) -> Reason:
    """The reason for a prompt whose images the image processor refused."""
    named = ", ".join(image.name for image in prompt.images)
    if isinstance(error, OSError) and error.errno is not None:  # a file went away, or the disk does not give it
        return Reason(ReasonKind.IO_ERROR, f"{named}: cannot be read ({error.strerror}): the next run tries again")
    return Reason(ReasonKind.UNREADABLE_IMAGE, f"{named}: the image processor refused: {error}")


def failed_processor(checkpoint: Path, error: Exception) -> ModelError:
    """The error to raise where an image processor fails in a way that no picture explains: its settings cannot be."""
    return ModelError(
        f"{checkpoint}: its image processor fails ({type(error).__name__}: {one_line(error, 200)}); take "
        "preprocessor_config.json and config.json of the model that it was trained from",
        path=checkpoint,
    )


def _same(one: Encoded | Reason, other: Encoded | Reason) -> bool:
    if isinstance(one, Reason) or isinstance(other, Reason):
        return one == other
    mine, theirs = ({**encoded.inputs, **encoded.token_inputs} for encoded in (one, other))
    return (
        (one.prefix, one.unexpanded, one.suffixes, one.scored_from)
        == (other.prefix, other.unexpanded, other.suffixes, other.scored_from)
        and (one.inputs.keys(), one.token_inputs.keys()) == (other.inputs.keys(), other.token_inputs.keys())
        and all(torch.equal(mine[name], theirs[name]) for name in mine)
    )


def _bound_pixels(image_processor: Any, checkpoint: Checkpoint, pixels: tuple[int, int]) -> None:
    size = image_processor.size
    if not {"shortest_edge", "longest_edge"} <= set(dict(size)) or not hasattr(image_processor, "merge_size"):
        raise UsageError(
            f"--min-pixels/--max-pixels: {type(image_processor).__name__} of {checkpoint.path} does not resize by area"
        )
    image_processor.size = type(size)(shortest_edge=pixels[0], longest_edge=pixels[1])
