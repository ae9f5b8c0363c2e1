"""The question in a request to ``vllm serve``: what a client may send, and what is made of it.

Only what is in the request itself is read: nothing is fetched for a client, and no file is opened.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from radar_fast.engines.vllm.limits import Limits
from radar_fast.sample import AnyImage, EmbeddedImage, Part

__all__ = ["About", "Question", "parse_question"]


@dataclass(frozen=True, slots=True)
class Question:
    """A validated request."""

    parts: tuple[Part, ...]
    """Texts and images in reading order."""
    candidates: tuple[str, ...]
    answer: int | None
    """Index of the correct candidate, where the client wants its SDS."""
    about: "About"
    """What some prompts hang on beside that."""


@dataclass(frozen=True, slots=True)
class About:
    """Of the sample that a question is, where it is one of a benchmark: see :class:`~radar_fast.sample.Sample`."""

    task: str = "serve"
    directory: str = "serve"
    metadata: Mapping[str, str | int] = field(default_factory=dict)


def parse_question(data: object, limits: Limits | None = None) -> Question:
    """The ``data`` of a request -> a question.

    Raises:
        TooLargeError: it is beyond a limit.
        ValueError: a field is missing or wrong; the message names it. vLLM answers with status 400.
    """
    limits = limits or Limits()
    if not isinstance(data, Mapping):
        raise ValueError("data: give an object with parts and candidates")
    if unknown := sorted(set(data) - {"parts", "candidates", "answer", "sample"}):
        raise ValueError(f"data: unknown field {unknown[0]!r}; it takes parts, candidates, answer and sample")
    parts = data.get("parts")
    if not isinstance(parts, Sequence) or isinstance(parts, str) or not parts:
        raise ValueError("data.parts: give a list of text and image_url parts, as in a chat message's content")
    candidates = data.get("candidates")
    if not isinstance(candidates, Sequence) or isinstance(candidates, str) or not candidates:
        raise ValueError("data.candidates: give a list of answers")
    limits.check("candidates", len(candidates))
    for index, candidate in enumerate(candidates):
        if not isinstance(candidate, str) or not candidate.strip():
            raise ValueError(f"data.candidates[{index}]: give a string that is not blank")
    answer = data.get("answer")
    if answer is not None and (
        isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(candidates)
    ):
        raise ValueError(
            f"data.answer: give the correct candidate's index, 0 to {len(candidates) - 1}, or leave it out"
        )
    limits.check("images", sum(isinstance(part, Mapping) and part.get("type") == "image_url" for part in parts))
    asked = tuple(_part(part, f"data.parts[{index}]") for index, part in enumerate(parts))
    about = _about(data.get("sample"))
    texts = (*asked, *candidates, about.task, about.directory, *about.metadata.values())
    limits.check("characters", sum(len(text) for text in texts if isinstance(text, str)))
    pixels = 0
    for part in asked:
        if isinstance(part, EmbeddedImage):
            pixels += limits.check_image(part.data, pixels, part.name)
    return Question(asked, tuple(candidates), answer, about)


def _about(sample: object) -> About:
    """The ``sample`` of a request. Raises ValueError."""
    if sample is None:
        return About()
    if not isinstance(sample, Mapping) or set(sample) - {"task", "directory", "metadata"}:
        raise ValueError("data.sample: give an object with task, directory and metadata")
    named = {name: sample[name] for name in ("task", "directory") if name in sample}
    if not all(isinstance(value, str) for value in named.values()):
        raise ValueError("data.sample: give task and directory as strings")
    metadata = sample.get("metadata", {})
    if not isinstance(metadata, Mapping) or not all(
        isinstance(value, str) or type(value) is int for value in metadata.values()
    ):
        raise ValueError("data.sample.metadata: give an object of strings and whole numbers")
    return About(**named, metadata=dict(metadata))


def _part(part: object, where: str) -> Part:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if isinstance(part, Mapping) and kind == "text":
        text = part.get("text")
        if not isinstance(text, str):
            raise ValueError(f"{where}.text: give a string")
        return text
    if isinstance(part, Mapping) and kind == "image_url":
        inner = part.get("image_url")
        url = inner.get("url") if isinstance(inner, Mapping) else inner
        return _image(url, f"{where}.image_url")
    raise ValueError(f'{where}: give {{"type": "text", ...}} or {{"type": "image_url", ...}}')


def _image(url: object, where: str) -> AnyImage:
    """Only images that are in the request: the server fetches no addresses and opens no files for its clients."""
    if not isinstance(url, str) or not url.startswith("data:image/"):
        raise ValueError(f"{where}: give the image itself, as data:image/...;base64,...")
    head, _, text = url.partition(",")
    if not head.endswith(";base64") or not text:
        raise ValueError(f"{where}: the data URL is not base64")
    try:
        return EmbeddedImage(where, base64.b64decode(text, validate=True))
    except binascii.Error as error:
        raise ValueError(f"{where}: the base64 cannot be read: {error}") from None
