"""Sample -> Sample: the same benchmark asked in another way, to see what the image, the text or the options are worth.

``candidates="letter"`` lists the options in the question, as VLMEvalKit's default prompt does, and scores the letters:

    Hint: {hint}                                  where the dataset has one
    Question: {question}                          left out where there is no text
    Options:
    A. {option}
    B. {option}
    Please select the correct answer from the options above. {newline}

Images at the front stay there; one inside the text stays at its place. Options stand in the dataset's order where the
sample has it (``Sample.ordered``), under the letters that it has for them: those of a table with an empty option column
are not renumbered, for they may be drawn into the picture. Where the reader put the answer first, options are shuffled
by a hash of the id, which is the same in every run. Candidates that are letters already, of options that the question
lists, stay as they are.

``candidates="text"`` asks the question as it is, after its hint where the dataset has one: a passage to read, or the
unit that the answer is in, without which many a question cannot be answered.

``without="image"`` leaves the images out and joins the text around them. ``without="text"`` leaves out all text of the
question and the hint, and keeps the images. What is scored, the candidates, stays; so do options that are to be listed.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from string import ascii_uppercase

from radar_fast.sample import Part, Reason, ReasonKind, Sample
from radar_fast.util.choices import check_one_of

__all__ = ["CANDIDATES", "WITHOUT", "Conditions"]

CANDIDATES = ("text", "letter")
WITHOUT = ("image", "text")

_INSTRUCTION = "Please select the correct answer from the options above. \n"


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """How samples are asked. Raises UsageError at birth for what is no condition."""

    candidates: str = "text"
    """``text``: the options themselves are scored, and not listed. ``letter``: listed, and their letters scored."""
    without: str | None = None
    """``image`` or ``text``: what is left out of every question; None: nothing."""

    def __post_init__(self) -> None:
        check_one_of("candidates", self.candidates, CANDIDATES)
        if self.without is not None:
            check_one_of("without", self.without, WITHOUT)

    def apply(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        """The samples under these conditions, in order, lazily. One that has nothing left to ask gets a reason."""
        return map(self.one, samples)

    def one(self, sample: Sample) -> Sample:
        """One sample under these conditions; what cannot be scored anyway stays as it is."""
        if sample.reason is not None and sample.candidates and self.settings():
            return replace(sample, parts=(), candidates=(), answer=0)  # nobody has published it so
        if sample.reason is None and self.without is not None:
            sample = _without(sample, self.without)
        if sample.reason is None:
            sample = _lettered(sample) if self.candidates == "letter" else _hinted(sample)
        return sample

    def settings(self) -> dict[str, str]:
        """What tells these conditions from the usual ones in a run's identity: nothing, for the usual ones."""
        chosen = {} if self.candidates == "text" else {"candidates": self.candidates}
        return chosen if self.without is None else {**chosen, "without": self.without}


def _without(sample: Sample, what: str) -> Sample:
    if what == "image":
        text = "".join(part for part in sample.parts if isinstance(part, str))
        left: tuple[Part, ...] = (text,) if text.strip() else ()
    else:
        left = tuple(part for part in sample.parts if not isinstance(part, str))
        hintless = {name: value for name, value in sample.metadata.items() if name != "hint"}
        sample = replace(sample, metadata=hintless)
    if left:
        return replace(sample, parts=left)
    found = f"without its {what} nothing of the question is left: score it in a run without --without {what}"
    return _unscored(sample, ReasonKind.NOTHING_TO_ASK, found)


def _lettered(sample: Sample) -> Sample:
    count = len(sample.candidates)
    if sorted(sample.candidates) == list(ascii_uppercase[:count]):
        return sample
    if count > len(ascii_uppercase):
        found = f"{count} candidates, and there are {len(ascii_uppercase)} letters: score it with --candidates text"
        return _unscored(sample, ReasonKind.BAD_RECORD, found)
    order = list(range(count)) if sample.ordered else _shuffled(sample.id, count)
    letters = _letters(sample) if sample.ordered else tuple(ascii_uppercase[:count])
    options = "".join(f"{letter}. {sample.candidates[index]}\n" for letter, index in zip(letters, order, strict=True))
    first, question = _fronted(sample.parts)
    asked: tuple[Part, ...] = ("Question: ", *question, "\n") if question else ()
    return replace(
        sample,
        parts=_joined((*first, _hint(sample), *asked, f"Options:\n{options}{_INSTRUCTION}")),
        candidates=letters,
        answer=order.index(sample.answer),
        ordered=True,
    )


def _letters(sample: Sample) -> tuple[str, ...]:
    """What the dataset calls the candidates: A, B, C, ... unless the metadata say otherwise."""
    count, own = len(sample.candidates), str(sample.metadata.get("letters", ""))
    known = len(own) == len(set(own)) == count and set(own) <= set(ascii_uppercase)
    return tuple(own if known else ascii_uppercase[:count])


def _shuffled(name: str, count: int) -> list[int]:
    """An order of ``count`` options that looks random and depends on the sample's id alone."""

    def place(index: int) -> bytes:
        return hashlib.sha256(f"{name}\0{index}".encode("utf-8", "surrogatepass")).digest()

    return sorted(range(count), key=place)


def _hinted(sample: Sample) -> Sample:
    hint = _hint(sample)
    if not hint:
        return sample
    first, question = _fronted(sample.parts)
    return replace(sample, parts=_joined((*first, hint, *question)))


def _hint(sample: Sample) -> str:
    hint = sample.metadata.get("hint")
    return f"Hint: {hint}\n" if isinstance(hint, str) and hint.strip() else ""


def _fronted(parts: tuple[Part, ...]) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
    """The leading images, and the rest of the question."""
    first = next((place for place, part in enumerate(parts) if isinstance(part, str)), len(parts))
    return parts[:first], parts[first:]


def _joined(pieces: tuple[Part, ...]) -> tuple[Part, ...]:
    """One text where several stand side by side, not several: a tokenizer may not see where one ends."""
    merged: list[Part] = []
    for piece in pieces:
        if isinstance(piece, str) and merged and isinstance(merged[-1], str):
            merged[-1] += piece
        elif piece:
            merged.append(piece)
    return tuple(merged)


def _unscored(sample: Sample, kind: ReasonKind, found: str) -> Sample:
    return replace(sample, parts=(), candidates=(), answer=0, reason=Reason(kind, f"{sample.id!a}: {found}"))
