"""Prompt -> tokens and image tensors, by the checkpoint's own tokenizer and processor.

The published rule: a candidate's tokens are those of ``prefix + joiner + candidate``, tokenised as one string, after
the first ``len(tokens(prefix))``. Where the joint tokenisation changes tokens of the prefix itself (a merge across the
boundary), the *shared* prefix is what all the candidates' sequences and the prefix have in common; the scored span
still starts at ``len(tokens(prefix))``.
"""

import copy
import logging
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from typing import Any

import torch

from radar_fast.engines.encode.disk_cache import DiskCache, settings_digest
from radar_fast.engines.encode.image_cache import ImageCache, ImageReuse, ImageTap, stand_in
from radar_fast.engines.encode.safe_cuts import SafeCuts
from radar_fast.errors import ModelError, UsageError, one_line
from radar_fast.images import read_image
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import Protocol
from radar_fast.sample import Prompt, Reason, ReasonKind
from radar_fast.util.clock import Clock

__all__ = ["Encoded", "Encoder", "Split", "Tokens", "refused_images", "split_candidates"]

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
        """The prefix once and every answer token once."""
        return len(self.prefix) + sum(map(len, self.suffixes))


@dataclass(frozen=True, slots=True)
class Split:
    """Where candidates part from their prefix."""

    shared: int
    """Tokens that the prefix and all joint sequences begin with."""
    suffixes: tuple[tuple[int, ...], ...]
    """A candidate: the tokens after the shared ones."""
    scored_from: int
    """Index in every suffix of the first answer token."""


def split_candidates(prefix: Sequence[int], joint: Sequence[Sequence[int]]) -> Split:
    """Find the shared prefix of ``prefix`` and all ``joint`` sequences, and where the answers start.

    Args:
        prefix: token ids of the prefix alone.
        joint: a candidate: token ids of prefix, joiner and candidate as one string.
    """
    shared = len(prefix)
    for sequence in joint:
        shared = min(shared, len(sequence))
        for index in range(shared):
            if sequence[index] != prefix[index]:
                shared = index
                break
    return Split(shared, tuple(tuple(sequence[shared:]) for sequence in joint), len(prefix) - shared)


@dataclass(frozen=True, slots=True)
class Tokens:
    """A prompt's text as token ids, before its image tokens are expanded."""

    prefix: tuple[int, ...]
    """Token ids of the whole prefix, one image token an image."""
    split: Split
    """Where the candidates part from it."""
    tame: str
    """The prefix as text in which every special token is meant as such: what a processor may be given."""
    tame_is_faithful: bool
    """Whether ``tame`` is the prefix to the letter."""
    add_special: bool
    """Whether the tokenizer is to add its own special tokens around ``tame``."""


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
            raw_pixels: leave pixels as bytes, for an engine that rescales and normalises them itself.
        """
        self._protocol, self._dtype = protocol, dtype
        self._clock = clock or Clock()
        self._processor: Any = copy.copy(checkpoint.processor)  # of its own, as is its image processor
        self._tokenizer: Any = self._processor.tokenizer
        self._image_token: str = self._processor.image_token
        self._image_id: int = self._tokenizer.convert_tokens_to_ids(self._image_token)
        self._special = _any_of(_special_tokens(self._tokenizer) | {self._image_token})
        self._once = threading.Lock()
        self._processor.image_processor = copy.copy(self._processor.image_processor)
        if protocol.pixels is not None:
            _bound_pixels(self._processor.image_processor, checkpoint, protocol.pixels)
        if raw_pixels:
            self._processor.image_processor.do_rescale = self._processor.image_processor.do_normalize = False
        if protocol.tiles is not None:
            self._processor.image_processor.crop_to_patches = True
            self._processor.image_processor.max_patches = protocol.tiles
        # The first call settles the tokenizer's padding and truncation; later calls only read them, so that threads
        # may share it.
        self._ids(["warm-up"], add_special_tokens=True)
        self._cuts = SafeCuts(self._tokenizer)
        self._tap = ImageTap(self._processor.image_processor)
        self._prepared: ImageCache | None = None
        self._reuse_is_checked = False
        if reuse is not None:
            self._processor.image_processor = self._tap
            self._prepared = ImageCache(self._open_store(reuse), dtype)

    @property
    def image_token_id(self) -> int:
        """The id that stands for one token of an image."""
        return self._image_id

    @property
    def image_processor(self) -> Any:
        """The checkpoint's own image processor: PIL, within the protocol's pixel bounds."""
        return self._tap.inner

    def encode(self, prompt: Prompt) -> Encoded | Reason:
        """Read the images, tokenise, and find the shared prefix; a Reason if this prompt cannot be scored."""
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
        settings = {
            "processor": [type(self._processor).__name__, type(self.image_processor).__name__],
            "image_processor": self.image_processor.to_dict(),
            "protocol": {"name": self._protocol.name, **self._protocol.settings},
            "dtype": str(self._dtype),
            "versions": {name: version(name) for name in ("transformers", "pillow", "numpy")},
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
            tokens = self.tokenise(prompt)
        if isinstance(tokens, Reason):
            return tokens
        split = tokens.split
        expanded = list(tokens.prefix)
        inputs: dict[str, torch.Tensor] = {}
        token_inputs: dict[str, torch.Tensor] = {}
        if images:
            try:
                with self._clock.measure("preprocess"), self._tap.giving(features):
                    expanded, inputs, token_inputs = self._process(tokens.tame, images, tokens.add_special)
            except ValueError as error:
                return refused_images(prompt, error)
            if not tokens.tame_is_faithful:
                [plain] = self._ids([tokens.tame], tokens.add_special)
                expanded = _weave(list(tokens.prefix), plain, expanded, self._image_id)
                if token_inputs:  # made for the defaced text; of these, only which tokens are images is known
                    token_inputs = {"mm_token_type_ids": (torch.tensor(expanded) == self._image_id).int()}
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

    def read_images(self, prompt: Prompt) -> list[Any] | Reason:
        """The prompt's images as the processor is to get them, in reading order; a Reason if one cannot be had."""
        images = []
        for file in prompt.images:
            image = read_image(file)
            if isinstance(image, Reason):
                return image
            try:
                images.append(self._protocol.image(image))
            except ValueError as error:
                return Reason(ReasonKind.UNREADABLE_IMAGE, f"{file.name}: {error}")
        return images

    def tokenise(self, prompt: Prompt) -> Tokens | Reason:
        """The prompt's text as token ids, one image token an image; a Reason if this prompt cannot be scored."""
        text = "".join(part if isinstance(part, str) else part.text for part in prompt.parts)
        bos = getattr(self._tokenizer, "bos_token", None)
        add_special = not (bos and text.startswith(bos))
        endings = [prompt.joiner + candidate for candidate in prompt.candidates]
        written = [part for part in prompt.parts if isinstance(part, str)] + endings
        tame = text
        if any(map(self._special.search, written)):
            # Special tokens in the dataset's own text stay text. The processor cannot be told so: it sees the prompt
            # with those defaced, and its image tokens are then put into the faithful tokens.
            tame = "".join(
                self._special.sub("#", part) if isinstance(part, str) else part.text for part in prompt.parts
            )
            pieces = [(part, False) if isinstance(part, str) else (part.text, True) for part in prompt.parts]
            prefix, *joint = (self._faithful_ids([*pieces, (ending, False)], add_special) for ending in ["", *endings])
        else:
            prefix, *joint = self._ids_of_endings(text, ["", *endings], add_special)
        if prefix.count(self._image_id) != len(prompt.images):
            return Reason(
                ReasonKind.IMAGE_TAG_MISMATCH,
                f"the prompt holds {prefix.count(self._image_id)} image tokens ({self._image_token}) for "
                f"{len(prompt.images)} images; take the image token out of the text",
            )
        for candidate, sequence in zip(prompt.candidates, joint, strict=True):
            if len(sequence) <= len(prefix):
                return Reason(ReasonKind.EMPTY_CANDIDATE, f"candidate {candidate!r} tokenises to nothing")
        return Tokens(tuple(prefix), split_candidates(prefix, joint), tame, tame == text, add_special)

    def _ids(self, texts: list[str], add_special_tokens: bool) -> list[list[int]]:
        ids: list[list[int]] = self._tokenizer(texts, add_special_tokens=add_special_tokens)["input_ids"]
        return ids

    def _ids_of_endings(self, text: str, endings: list[str], add_special: bool) -> list[list[int]]:
        """The ids of ``text`` with each of the endings, as one string each; a shared part once if it can be."""
        at = self._cuts.find(text)
        if at is None:
            return self._ids([text + ending for ending in endings], add_special)
        [head] = self._ids([text[:at]], add_special)
        return [head + tail for tail in self._ids([text[at:] + ending for ending in endings], False)]

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

    def _faithful_ids(self, pieces: list[tuple[str, bool]], add_special: bool) -> list[int]:
        """Ids of (text, trusted) pieces in which only trusted special tokens are recognised.

        The tokenizer cuts its input at special tokens and never merges across them, so the runs between trusted ones
        can be tokenised one by one.
        """
        runs: list[str] = [""]
        marks: list[str] = []
        for text, trusted in pieces:
            if not trusted:
                runs[-1] += text
                continue
            end = 0
            for match in self._special.finditer(text):
                runs[-1] += text[end : match.start()]
                marks.append(match.group())
                runs.append("")
                end = match.end()
            runs[-1] += text[end:]
        ids: list[int] = list(self._tokenizer("", add_special_tokens=True)["input_ids"]) if add_special else []
        for index, run in enumerate(runs):
            if run:
                ids += self._literal_tokenizer(run, add_special_tokens=False, split_special_tokens=True)["input_ids"]
            if index < len(marks):
                ids.append(self._tokenizer.convert_tokens_to_ids(marks[index]))
        return ids

    @property
    def _literal_tokenizer(self) -> Any:
        """A tokenizer of its own for text in which nothing is special: the setting sticks to the object."""
        with self._once:
            return self._literal

    @cached_property
    def _literal(self) -> Any:
        literal = copy.deepcopy(self._tokenizer)
        literal("warm-up", add_special_tokens=False, split_special_tokens=True)  # sets it, before threads share it
        return literal


def refused_images(prompt: Prompt, error: ValueError | OSError) -> Reason:
    """The reason for a prompt whose images the image processor refused."""
    named = ", ".join(image.name for image in prompt.images)
    return Reason(ReasonKind.UNREADABLE_IMAGE, f"{named}: the image processor refused: {error}")


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


def _special_tokens(tokenizer: Any) -> set[str]:
    added = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    return {token for token in added | set(tokenizer.all_special_tokens) if token}


def _any_of(tokens: set[str]) -> re.Pattern[str]:
    """Longest first, so that no token hides behind a shorter one that it begins with."""
    return re.compile("|".join(re.escape(token) for token in sorted(tokens, key=lambda token: (-len(token), token))))


def _bound_pixels(image_processor: Any, checkpoint: Checkpoint, pixels: tuple[int, int]) -> None:
    size = image_processor.size
    if not {"shortest_edge", "longest_edge"} <= set(dict(size)) or not hasattr(image_processor, "merge_size"):
        raise UsageError(
            f"--min-pixels/--max-pixels: {type(image_processor).__name__} of {checkpoint.path} does not resize by area"
        )
    image_processor.size = type(size)(shortest_edge=pixels[0], longest_edge=pixels[1])


def _weave(faithful: list[int], tame: list[int], expanded: list[int], image_id: int) -> list[int]:
    """``faithful`` with its image tokens expanded as ``expanded`` expands those of ``tame``.

    ``tame`` and ``expanded`` are the same text before and after the processor; ``faithful`` has the same image tokens
    in the same order, and other text between them.
    """
    texts: list[list[int]] = [[]]
    for token in tame:
        if token == image_id:
            texts.append([])
        else:
            texts[-1].append(token)
    runs: list[list[int]] = []
    start = len(texts[0])
    stop = len(expanded) - len(texts[-1])
    for text in texts[1:-1]:
        end = start
        if text:  # adjacent images have no text between them: the last of them takes the whole run
            end = next((at for at in range(start + 1, stop) if expanded[at : at + len(text)] == text), -1)
            if end < 0:
                raise ModelError(
                    "the processor changed text beside the images; special tokens in a question cannot be kept"
                )
        runs.append(expanded[start:end])
        start = end + len(text)
    runs.append(expanded[start:stop])
    woven: list[int] = []
    images = iter(runs)
    for token in faithful:
        woven.extend(next(images) if token == image_id else (token,))
    return woven
