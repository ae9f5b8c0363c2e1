"""A checkpoint's tokenizer against its model: which ids have a row, which tokens are special, what it adds."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from radar_fast.errors import ModelError

if TYPE_CHECKING:
    from radar_fast.models.checkpoint import Checkpoint

__all__ = ["special_pattern", "special_tokens", "tokenizer_notes", "vocabulary_of"]

_SHOWN = 3


def vocabulary_of(config: Mapping[str, Any]) -> int | None:
    """Rows of the language model's input embedding, by config.json; None where it does not say."""
    for section in (config.get("text_config"), config.get("llm_config"), config):
        if isinstance(section, Mapping) and type(section.get("vocab_size")) is int:
            return int(section["vocab_size"])
    return None


def special_tokens(tokenizer: Any) -> set[str]:
    """Tokens that mean something else than their letters wherever they stand in a text."""
    added = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    return {token for token in added | set(tokenizer.all_special_tokens) if token}


def special_pattern(tokenizer: Any, image_token: str) -> re.Pattern[str]:
    """Matches special tokens and the image token. Longest first, so that none hides behind a shorter one that it begins
    with."""
    tokens = special_tokens(tokenizer) | {image_token}
    return re.compile("|".join(re.escape(token) for token in sorted(tokens, key=lambda token: (-len(token), token))))


def tokenizer_notes(checkpoint: "Checkpoint") -> list[str]:
    """What a person should know of the checkpoint's tokenizer, a line each.

    Raises:
        ModelError: the image token of its processor is another than its model's.
    """
    processor = checkpoint.processor
    tokenizer, image_token = processor.tokenizer, str(processor.image_token)
    image_id = tokenizer.convert_tokens_to_ids(image_token)
    for field in ("image_token_id", "image_token_index"):
        wanted = checkpoint.config.get(field)
        if type(wanted) is int and image_id != wanted:
            raise ModelError(
                f"{checkpoint.path / 'config.json'}: {field} is {wanted}, and its tokenizer has {image_token} as "
                f"{image_id}; take the tokenizer that belongs to the model"
            )
    said = []
    if rows := vocabulary_of(checkpoint.config):
        beyond = sorted(token for token, index in tokenizer.get_vocab().items() if index >= rows and index != image_id)
        if beyond:
            more = f" and {len(beyond) - _SHOWN} more" if len(beyond) > _SHOWN else ""
            said.append(
                f"{checkpoint.name}: {', '.join(beyond[:_SHOWN])}{more}: in its tokenizer, beyond the {rows} rows of "
                "its embedding; samples with such a token are unscored"
            )
    bare, whole = (tokenizer("a", add_special_tokens=special)["input_ids"] for special in (False, True))
    if bare and list(whole[-1:]) != list(bare[-1:]):
        end = tokenizer.convert_ids_to_tokens(whole[-1])
        said.append(
            f"{checkpoint.name}: its tokenizer ends every text with {end}, so that this token is among those that are "
            "scored, as in the published scripts; unless it was trained so, set add_eos_token to false in "
            "tokenizer_config.json"
        )
    return said
