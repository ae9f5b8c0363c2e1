"""What a model is asked, for a person to read: a prompt's text, its tokens, and where candidates part from it."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from radar_fast.sample import Markup, Placeholder, Prompt

__all__ = ["prompt_lines", "token_lines"]


def prompt_lines(prompt: Prompt) -> Iterator[str]:
    """The sample's name, the text that all candidates share with what wrote each part, and the candidates."""
    sample = prompt.sample
    yield f"{sample.task} {sample.id} ({sample.directory}, {sample.ability})"
    for part in prompt.parts:
        if isinstance(part, Placeholder):
            yield f"  image     {part.text!a}  {part.image.name}"
        elif isinstance(part, Markup):
            yield f"  protocol  {part.text!r}"
        else:
            yield f"  data      {part!r}"
    yield f"  joiner    {prompt.joiner!r}"
    for index, candidate in enumerate(prompt.candidates):
        yield f"  {'answer   ' if index == sample.answer else 'candidate'} {candidate!r}"


def token_lines(
    tokenizer: Any, prefix: Sequence[int], shared: int, suffixes: Iterable[Sequence[int]], scored_from: int
) -> Iterator[str]:
    """The tokens, parted by ``|``; those that are scored stand in ``[]``.

    Args:
        tokenizer: a transformers tokenizer.
        prefix: token ids of the whole prefix, one image token an image.
        shared: how many of them all candidates share.
        suffixes: a candidate: its token ids after the shared ones.
        scored_from: index in every suffix of the first that is scored.
    """

    def shown(ids: Sequence[int]) -> str:
        return "|".join(repr(tokenizer.decode([one]))[1:-1] for one in ids)

    yield f"  tokens    {shared} shared: {shown(prefix[:shared])}"
    for suffix in suffixes:
        before = f"{shown(suffix[:scored_from])}|" if scored_from else ""
        yield f"  scored    {before}[{shown(suffix[scored_from:])}]"
