"""The stages of the data, one frozen type each: Sample -> Prompt -> Scored.

A reader makes a :class:`Sample` of each row of a dataset, a protocol makes it a :class:`Prompt`, an engine makes
that a :class:`Scored`. Each stage holds the one before it, so whatever comes out of an engine can be traced to
its row of the dataset without a lookup. All of them pickle, copy, compare and hash. This module imports only the
arithmetic of :class:`Scored` and a mapping that cannot be changed.
"""

import errno
import hashlib
import io
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from radar_fast.scores import Verdict, judge
from radar_fast.util.frozen import FrozenMapping
from radar_fast.util.pickling import pickles_fast
from radar_fast.util.printable import printable

__all__ = [
    "PASSING",
    "AnyImage",
    "Candidate",
    "EmbeddedImage",
    "ImageFile",
    "Markup",
    "Part",
    "Placeholder",
    "Prompt",
    "Reason",
    "ReasonKind",
    "Sample",
    "Scored",
]


class ReasonKind(StrEnum):
    """Why a sample is unscored. The values appear in the journal as ``reason_kind``."""

    TOO_MANY_IMAGES = "too-many-images"
    """More images than the published protocol scores. The only kind that leaves the exit status at 0."""
    BAD_RECORD = "bad-record"
    """A field is missing or has the wrong type."""
    BLANK_QUESTION = "blank-question"
    """Pictures and nothing asked of them. RADAR's scripts score it, and so does an engine, for the published files."""
    NO_DISTRACTOR = "no-distractor"
    """Nothing to tell the answer from."""
    AMBIGUOUS_ANSWER = "ambiguous-answer"
    """A distractor equals the answer, candidates have the same tokens, or the answer is none of the options, or several
    of them."""
    NOTHING_TO_ASK = "nothing-to-ask"
    """Without its images, or without its text, nothing of the question is left."""
    EMPTY_CANDIDATE = "empty-candidate"
    """A candidate is empty, white space only, or tokenises to nothing."""
    UNKNOWN_TOKEN = "unknown-token"  # noqa: S105 - no password
    """A token of the tokenizer's that the model has no embedding for."""
    IMAGE_TAG_MISMATCH = "image-tag-mismatch"
    """Image tags in the text and images of the record do not pair up."""
    MISSING_IMAGE = "missing-image"
    """No such image file."""
    UNREADABLE_IMAGE = "unreadable-image"
    """The image file is empty, truncated, too large, or no image."""
    IO_ERROR = "io-error"
    """The image file is there, but the operating system did not give it: permissions, or an error of the disk."""
    PATH_OUTSIDE_DATA = "path-outside-data"
    """The record names a file outside the data folder."""
    TOO_LONG = "too-long"
    """More tokens than the model has positions for."""
    OUT_OF_MEMORY = "out-of-memory"
    """The sample alone does not fit the device."""
    REFUSED = "refused"
    """The server that was asked (``--engine http``) will not answer it, as beyond one of its limits."""
    NON_FINITE = "non-finite"
    """The model gave a logit that is infinite or no number."""
    ENGINE_DIED = "engine-died"
    """In a farm: every engine that was given the sample has died or failed of it, at last with nothing else to do."""


PASSING = frozenset({ReasonKind.MISSING_IMAGE, ReasonKind.IO_ERROR})
"""Kinds that may be gone the next time: such a sample is tried again when its run is resumed."""


ONLY_PUBLISHED = frozenset({ReasonKind.BLANK_QUESTION})
"""Kinds of samples that are in no number of ours, and scored all the same: the published files count them."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a sample could not be scored: a kind to count by, and a line to read."""

    kind: ReasonKind
    detail: str
    """One line that names the field or file, what was found, and what to do."""

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}"


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image on disk, not yet opened."""

    path: Path
    """Checked to lie inside the data folder; whether it exists and is an image is found out when it is read."""

    @property
    def name(self) -> str:
        """What messages call it, on one line."""
        text = str(self.path)
        return printable(text)

    @property
    def key(self) -> str:
        """Equal keys, equal images."""
        return str(self.path)

    @property
    def size(self) -> int:
        """Bytes of the encoded image; -1 where there is no such file."""
        try:
            return self.path.stat().st_size
        except (OSError, ValueError):
            return -1

    def open(self) -> BinaryIO:
        """The encoded image, from its first byte. Raises OSError, also for what is no regular file."""
        mode = self.path.stat().st_mode
        # Before opening: to open a pipe would wait for its writer, and devices have no end.
        if stat.S_ISDIR(mode):
            raise OSError(errno.EISDIR, "is a directory", str(self.path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "is not a regular file", str(self.path))
        return self.path.open("rb")


@dataclass(frozen=True, slots=True)
class EmbeddedImage:
    """An image that lies inside a data file, not yet decoded."""

    name: str
    """What messages call it, on one line: file, place and field, such as ``MMBench_DEV_EN.tsv:17 image``."""
    data: bytes = field(repr=False)
    """The encoded image (PNG, JPEG, ...)."""

    @property
    def key(self) -> str:
        """Equal keys, equal images: a digest of the bytes, whatever the image is called."""
        return hashlib.blake2b(self.data, digest_size=16).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of the encoded image."""
        return len(self.data)

    def open(self) -> BinaryIO:
        """The encoded image, from its first byte."""
        return io.BytesIO(self.data)


AnyImage = ImageFile | EmbeddedImage
"""An image, wherever it lies: ``name``, ``key``, ``size`` and ``open()`` are all that anything else asks of it."""

Part = str | AnyImage
"""A piece of a question, in reading order: text as the dataset has it, or an image."""


@pickles_fast
@dataclass(frozen=True, slots=True)
class Sample:
    """One multiple-choice question as a dataset has it."""

    id: str
    """Unique within its task: the dataset's own id where there is one."""
    task: str
    """The file the sample comes from, or what the dataset calls the task. The unit that SDS is averaged over."""
    directory: str
    """The group of tasks it belongs to: the folder's name."""
    ability: str
    """What it is said to measure: ``perception``, ``reasoning``, or a name given by the user."""
    parts: tuple[Part, ...]
    """The question: texts and images in reading order."""
    candidates: tuple[str, ...]
    """The answer and its distractors, in the order in which they are scored."""
    answer: int
    """Index of the answer in ``candidates``."""
    metadata: Mapping[str, str | int] = FrozenMapping()
    """What exports need and scoring does not: ``question`` (as published), ``index`` (place in its file), ``file``.
    Whatever mapping is given, a copy that cannot be changed is kept. Some keys have a meaning of their own: ``hint``
    (stands before the question), ``letters`` (what the dataset calls the candidates, where that is not A, B, C, ...),
    and those that :mod:`radar_fast.results.facets` counts by."""
    reason: Reason | None = None
    """Set by a reader that found the record unfit to be scored; ``parts`` and ``candidates`` may then be empty."""
    ordered: bool = False
    """Whether ``candidates`` stand in the dataset's own order, which tells nothing of the answer. False where the
    reader puts the answer first: then a prompt that lists the options must shuffle them."""

    def __post_init__(self) -> None:
        if not isinstance(self.metadata, FrozenMapping):
            object.__setattr__(self, "metadata", FrozenMapping(self.metadata))

    @property
    def key(self) -> tuple[str, str]:
        """(task, id): unique in a run."""
        return self.task, self.id

    @property
    def images(self) -> tuple[AnyImage, ...]:
        """The images in reading order."""
        return tuple(part for part in self.parts if not isinstance(part, str))


@dataclass(frozen=True, slots=True)
class Markup:
    """Text that the protocol wrote: special tokens in it are meant as such. The dataset's own text is ``str``."""

    text: str


@dataclass(frozen=True, slots=True)
class Placeholder:
    """Where an image goes, and the markup that stands for it before the processor expands it."""

    image: AnyImage
    text: str
    """Holds the model's image token exactly once, e.g. ``<|vision_start|><|image_pad|><|vision_end|>``."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model is to read: a prefix that all candidates share, and the candidates."""

    sample: Sample
    """Where it comes from."""
    parts: tuple[str | Markup | Placeholder, ...]
    """The prefix in order. A ``str`` is the dataset's text, in which no special token is recognised."""
    joiner: str
    """Stands between the prefix and each candidate; its tokens belong to the candidate."""
    candidates: tuple[str, ...]
    """As in the sample, unless the protocol rewrites them."""

    @property
    def images(self) -> tuple[AnyImage, ...]:
        """The images in reading order."""
        return tuple(part.image for part in self.parts if isinstance(part, Placeholder))


@dataclass(frozen=True, slots=True)
class Candidate:
    """The score of one candidate, one number for each token, without joiner tokens merged into the prefix."""

    logits: tuple[float, ...]
    """Raw logit of each answer token at the row before it; fp32 values."""
    logprobs: tuple[float, ...]
    """Log-probability (natural) of the same token at the same row; fp32 values, never above 0."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What an engine found out about a prompt: either ``candidates``, or the ``reason`` why not."""

    sample: Sample
    candidates: tuple[Candidate, ...] = ()
    """One for each candidate of the sample, in its order; empty when unscored."""
    reason: Reason | None = None
    """Why the sample is unscored; None when it is scored."""
    tokens_computed: int = 0
    """Token positions that the language model computed for it, padding counted."""
    tokens_minimal: int = 0
    """The least positions that any method must compute for this sample alone: its prefix once, and below it every
    distinct beginning of its answers, without their last tokens. Fewer are computed where samples share a prefix, such
    as an image, and the engine keeps it from one to the next."""
    seconds: float = 0.0
    """Its share of the time its batch took to compute."""

    @property
    def verdict(self) -> Verdict | None:
        """What the raw logits say; None when unscored.

        Raises:
            ValueError: the scores are not those of the sample's candidates, or not finite; the engine has to return
                such a sample as unscored.
        """
        return self._judged(tuple(candidate.logits for candidate in self.candidates))

    @property
    def verdict_logprob(self) -> Verdict | None:
        """What the log-probabilities say; None when unscored. Raises ValueError as :attr:`verdict`."""
        return self._judged(tuple(candidate.logprobs for candidate in self.candidates))

    @property
    def sds(self) -> float | None:
        """Probability of the answer under the mean raw logits, the published score: in [0, 1]; None when unscored."""
        return verdict.probability if (verdict := self.verdict) else None

    @property
    def sds_logprob(self) -> float | None:
        """The same under the mean log-probabilities."""
        return verdict.probability if (verdict := self.verdict_logprob) else None

    @property
    def correct(self) -> bool | None:
        """Whether no candidate has a higher mean raw logit than the answer; None when unscored."""
        return verdict.correct if (verdict := self.verdict) else None

    @property
    def correct_logprob(self) -> bool | None:
        """The same under the mean log-probabilities."""
        return verdict.correct if (verdict := self.verdict_logprob) else None

    def _judged(self, tokens: tuple[tuple[float, ...], ...]) -> Verdict | None:
        if self.reason is not None or self.sample.reason is not None:
            return None
        if len(tokens) != len(self.sample.candidates):
            raise ValueError(f"{len(self.sample.candidates)} candidates, but scores of {len(tokens)}")
        # Doubles, whatever an engine gives: the mean is taken in double precision.
        return judge([tuple(map(float, candidate)) for candidate in tokens], self.sample.answer)
