"""A prompt's text -> token ids, and what of them all its candidates share.

The published rule: a candidate's tokens are those of ``prefix + joiner + candidate``, tokenised as one string, after
the first ``len(tokens(prefix))``. Where the joint tokenisation changes tokens of the prefix itself (a merge across the
boundary), the *shared* prefix is what all the candidates' sequences and the prefix have in common; the scored span
still starts at ``len(tokens(prefix))``.

Images are one token each here; :func:`weave` puts in the many tokens that a processor makes of each.
"""

import copy
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Self

from tokenizers import AddedToken

from radar_fast.engines.encode.safe_cuts import SafeCuts
from radar_fast.errors import ModelError
from radar_fast.models.vocabulary import special_pattern, special_tokens
from radar_fast.sample import Prompt, Reason, ReasonKind

__all__ = [
    "PromptTokenizer",
    "Split",
    "Tokens",
    "image_runs",
    "least_positions",
    "split_candidates",
    "weave",
    "with_runs",
]


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


def least_positions(prefix: int, suffixes: Sequence[Sequence[int]]) -> int:
    """The least positions that any method must compute to score a sample that it meets alone.

    An answer token is predicted by the row before it, and that row needs all rows before it: the prefix, and the answer
    tokens so far. Candidates that begin alike share those, so that rows are paths in a tree of tokens below the prefix;
    a candidate's last token predicts nothing that is asked for, and needs no row. What several *samples* have in
    common, such as an image and its question, is counted for each of them: an engine that keeps it from one to the
    next computes less.

    Args:
        prefix: P, how many tokens all candidates share.
        suffixes: a candidate: the tokens after those.

    Returns:
        P, and how many distinct beginnings, neither empty nor whole, the suffixes have.
    """
    paths = sorted(tuple(suffix[:-1]) for suffix in suffixes)
    shared = sum(_common(*pair) for pair in pairwise(paths))  # in this order neighbours share all that anyone shares
    return prefix + sum(map(len, paths)) - shared


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens the two begin with alike."""
    count = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        count += 1
    return count


@dataclass(frozen=True, slots=True)
class Tokens:
    """A prompt's text as token ids, before its image tokens are expanded."""

    prefix: tuple[int, ...]
    """Token ids of the whole prefix, one image token an image."""
    split: Split
    """Where the candidates part from it."""
    processor_text: str
    """The prefix as text in which every special token is meant as such: what a processor may be given."""
    text_is_faithful: bool
    """Whether ``processor_text`` is the prefix to the letter."""
    add_special: bool
    """Whether the tokenizer is to add its own special tokens around ``processor_text``."""


class PromptTokenizer:
    """Tokenises prompts by one transformers tokenizer. Safe to call from several threads."""

    def __init__(self, tokenizer: Any, image_token: str, rows: int | None = None) -> None:
        """Settle the tokenizer.

        Args:
            tokenizer: a transformers tokenizer, which nobody else may change from now on.
            image_token: what stands for an image in a prompt's text.
            rows: of the model's embedding; None: not known.
        """
        self._tokenizer, self._image_token = tokenizer, image_token
        self.image_id: int = tokenizer.convert_tokens_to_ids(image_token)
        self._special = special_pattern(tokenizer, image_token)
        self._rows = rows
        self._once = threading.Lock()
        # The first call settles the tokenizer's padding and truncation; later calls only read them, so that threads
        # may share it.
        self.ids(["warm-up"], add_special=True)
        self._cuts = SafeCuts(tokenizer)

    def __call__(self, prompt: Prompt) -> Tokens | Reason:
        """The prompt's text as token ids, one image token an image; a Reason if this prompt cannot be scored."""
        text = "".join(part if isinstance(part, str) else part.text for part in prompt.parts)
        bos = getattr(self._tokenizer, "bos_token", None)
        add_special = not (bos and text.startswith(bos))
        endings = [prompt.joiner + candidate for candidate in prompt.candidates]
        written = [part for part in prompt.parts if isinstance(part, str)] + endings
        defaced = text
        if any(map(self._special.search, written)):
            # Special tokens in the dataset's own text stay text. The processor cannot be told so: it sees the prompt
            # with those defaced, and its image tokens are then put into the faithful tokens.
            defaced = "".join(
                self._special.sub("#", part) if isinstance(part, str) else part.text for part in prompt.parts
            )
            pieces = [(part, False) if isinstance(part, str) else (part.text, True) for part in prompt.parts]
            prefix, *joint = (self._faithful_ids([*pieces, (ending, False)], add_special) for ending in ["", *endings])
        else:
            prefix, *joint = self._ids_of_endings(text, ["", *endings], add_special)
        if prefix.count(self.image_id) != len(prompt.images):
            return Reason(
                ReasonKind.IMAGE_TAG_MISMATCH,
                f"the prompt holds {prefix.count(self.image_id)} image tokens ({self._image_token}) for "
                f"{len(prompt.images)} images; take the image token out of the text",
            )
        for candidate, sequence in zip(prompt.candidates, joint, strict=True):
            if len(sequence) <= len(prefix):
                return Reason(ReasonKind.EMPTY_CANDIDATE, f"candidate {candidate!r} tokenises to nothing")
        if reason := self._unfit(prompt, prefix, joint):
            return reason
        return Tokens(tuple(prefix), split_candidates(prefix, joint), defaced, defaced == text, add_special)

    def _unfit(self, prompt: Prompt, prefix: list[int], joint: list[list[int]]) -> Reason | None:
        """Why these tokens cannot be scored, if they cannot."""
        first: dict[tuple[int, ...], str] = {}
        for candidate, sequence in zip(prompt.candidates, joint, strict=True):
            other = first.setdefault(tuple(sequence), candidate)
            if other != candidate:
                return Reason(
                    ReasonKind.AMBIGUOUS_ANSWER,
                    f"candidates {other!a} and {candidate!a} have the same tokens, and no model tells them apart",
                )
        if self._rows is None:
            return None
        beyond = {index for sequence in (prefix, *joint) for index in sequence if index >= self._rows} - {self.image_id}
        if beyond:
            token = self._tokenizer.convert_ids_to_tokens(min(beyond))
            return Reason(
                ReasonKind.UNKNOWN_TOKEN,
                f"token {token!r} has the id {min(beyond)}, and the model's embedding {self._rows} rows; take the "
                "tokenizer that belongs to the model",
            )
        return None

    def ids(self, texts: list[str], *, add_special: bool) -> list[list[int]]:
        """Token ids of each text as it stands, special tokens recognised; ``add_special`` puts the tokenizer's own
        around it."""
        ids: list[list[int]] = self._tokenizer(texts, add_special_tokens=add_special)["input_ids"]
        return ids

    def _ids_of_endings(self, text: str, endings: list[str], add_special: bool) -> list[list[int]]:
        """The ids of ``text`` with each of the endings, as one string each; a shared part once if it can be."""
        at = self._cuts.find(text)
        if at is None:
            return self.ids([text + ending for ending in endings], add_special=add_special)
        [head] = self.ids([text[:at]], add_special=add_special)
        return [head + tail for tail in self.ids([text[at:] + ending for ending in endings], add_special=False)]

    def _faithful_ids(self, pieces: list[tuple[str, bool]], add_special: bool) -> list[int]:
        """Ids of (text, trusted) pieces, as one text, in which only trusted special tokens are recognised.

        Each of those goes in as a stand-in, an added token of the literal tokenizer that cuts the text where the
        special token would, and whose id is then put back: so a space that the tokenizer puts before a text, or before
        every piece of it, stands where it would stand if the untrusted tokens were plain text.
        """
        literal = self._literal_tokenizer
        text = "".join(
            self._special.sub(lambda match: literal.stand_ins[match.group()], piece) if trusted else piece
            for piece, trusted in pieces
        )
        ids = literal.tokenizer(text, add_special_tokens=add_special, split_special_tokens=True)["input_ids"]
        return [literal.meant.get(index, index) for index in ids]

    @property
    def _literal_tokenizer(self) -> "_Literal":
        """A tokenizer of its own for text in which nothing is special: the setting sticks to the object."""
        with self._once:
            return self._literal

    @cached_property
    def _literal(self) -> "_Literal":
        return _Literal.of(self._tokenizer, special_tokens(self._tokenizer) | {self._image_token})


@dataclass(frozen=True)
class _Literal:
    """A tokenizer to which special tokens are plain text, with stand-ins for those that are meant."""

    tokenizer: Any
    stand_ins: Mapping[str, str]
    """A special token -> what stands for it."""
    meant: Mapping[int, int]
    """Id of a stand-in -> that of its special token."""

    @classmethod
    def of(cls, tokenizer: Any, special: Iterable[str]) -> Self:
        literal = copy.deepcopy(tokenizer)
        how = {str(token): token for token in tokenizer.added_tokens_decoder.values()}
        # Of characters that are nobody's, so that no text has one by accident.
        stand_ins = {token: f"\U000f7adaradar{number}\U000f7ada" for number, token in enumerate(sorted(special))}
        literal.add_tokens(
            [
                AddedToken(
                    stand_in,
                    lstrip=token in how and how[token].lstrip,
                    rstrip=token in how and how[token].rstrip,
                    normalized=False,
                    special=False,
                )
                for token, stand_in in stand_ins.items()
            ]
        )
        meant = {
            literal.convert_tokens_to_ids(stand_in): tokenizer.convert_tokens_to_ids(token)
            for token, stand_in in stand_ins.items()
        }
        # A call settles its settings, before threads share it.
        literal("warm-up", add_special_tokens=True, split_special_tokens=True)
        return cls(literal, stand_ins, meant)


def weave(faithful: Sequence[int], plain: Sequence[int], expanded: Sequence[int], image_id: int) -> list[int]:
    """``faithful`` with its image tokens expanded as ``expanded`` expands those of ``plain``.

    ``plain`` and ``expanded`` are the same text before and after the processor; ``faithful`` has the same image tokens
    in the same order, and other text between them.

    Raises:
        ModelError: the processor changed more than the image tokens.
    """
    return with_runs(faithful, image_runs(plain, expanded, image_id), image_id)


def with_runs(prefix: Sequence[int], runs: Sequence[Sequence[int]], image_id: int) -> list[int]:
    """``prefix`` with its image tokens, one an image, replaced by the images' runs of tokens."""
    images = iter(runs)
    woven: list[int] = []
    for token in prefix:
        woven.extend(next(images) if token == image_id else (token,))
    return woven


def image_runs(plain: Sequence[int], expanded: Sequence[int], image_id: int) -> list[Sequence[int]]:
    """An image: what ``expanded`` has in place of its one token in ``plain``.

    Raises:
        ModelError: the processor changed more than the image tokens.
    """
    texts: list[list[int]] = [[]]
    for token in plain:
        if token == image_id:
            texts.append([])
        else:
            texts[-1].append(token)
    runs: list[Sequence[int]] = []
    start = len(texts[0])
    stop = len(expanded) - len(texts[-1])
    for text in texts[1:-1]:
        end = start
        if text:  # adjacent images have no text between them: the last of them takes the whole run
            end = next((at for at in range(start + 1, stop) if list(expanded[at : at + len(text)]) == text), -1)
            if end < 0:
                raise ModelError(
                    "the processor changed text beside the images; special tokens in a question cannot be kept"
                )
        runs.append(expanded[start:end])
        start = end + len(text)
    runs.append(expanded[start:stop])
    return runs
