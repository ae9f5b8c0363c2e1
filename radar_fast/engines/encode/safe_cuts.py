"""Where a text may be cut so that its halves tokenise on their own: what candidates share is then tokenised once.

A cut between an ASCII letter and a space is safe for a tokenizer of this make, whatever follows the cut:

- It first finds its added tokens. None of them holds white space, or begins or ends with an ASCII letter, so none lies
  across the cut or reaches it.
- It normalises by NFC or not at all. An ASCII letter and a space are never composed with one another.
- It then splits with one of the patterns below, from left to right. In none can a match go on from a letter to a space,
  or an attempt at one look beyond that space: so every split before the cut is made without what follows it, one is
  made at the cut, and none after it looks back.
- Byte-level BPE then works on each piece by itself.

So ``tokens(head + tail) == tokens(head) + tokens(tail)``. Of any other make nothing is said: its texts stay whole.
"""

import json
import string
from typing import Any

from tokenizers import AddedToken, models, normalizers, pre_tokenizers

__all__ = ["SafeCuts"]

_WORTH = 128
"""Characters of a head from which on two calls are quicker than one."""

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_PATTERNS = frozenset(
    {
        _GPT2,
        # Qwen2 to Qwen3
        _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + _SPACES,
        # Qwen3.5
        _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|" + _SPACES,
        # GPT-4 (cl100k), Llama 3
        _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + _SPACES,
        # GPT-4o (o200k)
        rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTIONS}?|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
        rf"{_CONTRACTIONS}?|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|" + _SPACES,
        # Mistral's Tekken
        rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
        r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + _SPACES,
    }
)


class SafeCuts:
    """Finds cuts for one tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        """Look at a transformers tokenizer: whether it is of the make that this module speaks of."""
        backend = getattr(tokenizer, "backend_tokenizer", None)
        self._safe = (
            backend is not None
            and isinstance(backend.model, models.BPE)
            and not backend.model.dropout
            and (backend.normalizer is None or isinstance(backend.normalizer, normalizers.NFC))
            and _pattern(backend.pre_tokenizer) in _PATTERNS
            and not any(map(_reaches_cuts, tokenizer.added_tokens_decoder.values()))
            and _does_nothing_else(tokenizer)
        )

    def find(self, text: str) -> int | None:
        """The last safe cut of ``text``, or None where there is none or a cut would gain nothing.

        What stands before it and what stands from it on, whatever is appended there, have the token ids that they have
        as one text. Special tokens of the tokenizer's own go before the former.
        """
        if not self._safe:
            return None
        at = text.rfind(" ")
        while at >= _WORTH:
            if text[at - 1] in string.ascii_letters:
                return at
            at = text.rfind(" ", 0, at)
        return None


def _pattern(pre_tokenizer: pre_tokenizers.PreTokenizer | None) -> str | None:
    """The pattern that a byte-level pre-tokenizer splits at, if it does nothing else."""
    if pre_tokenizer is None:
        return None
    settings = json.loads(pre_tokenizer.__getstate__())
    *splits, last = settings.get("pretokenizers", [settings])
    if last["type"] != "ByteLevel" or last["add_prefix_space"]:
        return None
    if last["use_regex"]:
        return None if splits else _GPT2
    if len(splits) != 1 or splits[0]["type"] != "Split" or splits[0]["behavior"] != "Isolated" or splits[0]["invert"]:
        return None
    pattern: str | None = splits[0]["pattern"].get("Regex")
    return pattern


def _reaches_cuts(token: AddedToken) -> bool:
    text = token.content
    return any(end in string.ascii_letters for end in (text[:1], text[-1:])) or any(map(str.isspace, text))


def _does_nothing_else(tokenizer: Any) -> bool:
    """Whether the transformers side only calls its backend, and puts special tokens before a text, never after it."""
    import transformers

    plain = transformers.PreTrainedTokenizerFast
    if any(getattr(type(tokenizer), name) is not getattr(plain, name) for name in ("__call__", "_encode_plus")):
        return False
    bare, whole = (tokenizer("a a", add_special_tokens=special)["input_ids"] for special in (False, True))
    return bool(whole[len(whole) - len(bare) :] == bare)
