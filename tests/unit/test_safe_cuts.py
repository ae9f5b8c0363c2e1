"""Texts cut in two have the tokens that they have whole, for every make of tokenizer that cuts are called safe for."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from radar_fast.engines.encode import safe_cuts as cuts
from radar_fast.engines.encode.safe_cuts import SafeCuts

FILLER = "It's the filler's 1st half, don't you see? "
CORPUS = [
    "What's the shape of the part  of the picture\n\nthat is denoted with a question mark? It's red, we'll say 12345.",
    "HELLO World, don't you'RE they've he'd  I'm\t we'll; naïve café Überraschung 123 4 567 日本語 text <tool> x",
    "A. red circle B. blue square C. green triangle D. none of these \r\n\r\n  (E) I can't say -- it isn't there...",
] * 4
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def make(pattern: str | None = QWEN2, change: Callable[[Tokenizer], None] = lambda _: None) -> PreTrainedTokenizerFast:
    """A small byte-level BPE tokenizer that splits at ``pattern``; None: as GPT-2."""
    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    split = [] if pattern is None else [pre_tokenizers.Split(Regex(pattern), "isolated")]
    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([*split, last]) if split else last
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False))
    bpe.add_special_tokens(["<|image|>"])
    bpe.add_tokens(["<tool>", AddedToken("…", normalized=True)])
    change(bpe)
    return PreTrainedTokenizerFast(tokenizer_object=bpe)


AWKWARD = (
    *(" ", "  ", "\n", " \n", "\r\n", "\t", "\u00a0", "\u3000", "\u200d", "a", "B", " is", " the", "12", "345"),
    *("'s", "'", "'RE", ".", "!?", "/", "é", "e\u0301", "\u0301", "日", "😀", "\u017f", "ǅ", "<tool>", "<|image|>"),
    "…",
)
PIECES = st.lists(st.one_of(st.sampled_from(AWKWARD), st.text(max_size=4)), max_size=12).map("".join)


@pytest.fixture(scope="module", params=[None, *sorted(cuts._PATTERNS)], ids=lambda pattern: (pattern or "GPT-2")[-60:])
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    return make(request.param)


@settings(max_examples=150, deadline=None)
@given(before=PIECES, after=PIECES, endings=st.lists(PIECES, min_size=1, max_size=3))
def test_halves_have_the_tokens_of_the_whole(
    tokenizer: PreTrainedTokenizerFast, before: str, after: str, endings: list[str]
) -> None:
    text = FILLER * 3 + before + "x y" + after
    at = SafeCuts(tokenizer).find(text)
    assert at is not None
    assert text[at] == " "
    head = tokenizer(text[:at])["input_ids"]
    for ending in ["", *endings]:
        tail = tokenizer(text[at:] + ending, add_special_tokens=False)["input_ids"]
        assert head + tail == tokenizer(text + ending)["input_ids"]


def test_the_cut_is_the_last_one_between_a_letter_and_a_space() -> None:
    found = SafeCuts(make())
    assert found.find(FILLER * 4 + "one two: 3 4") == len(FILLER * 4 + "one")
    assert found.find("one two three") is None, "so short that two calls would take longer than one"
    assert found.find("1 " * 200) is None


def test_special_tokens_of_the_tokenizer_stay_before_the_text() -> None:
    def begin(bpe: Tokenizer) -> None:
        bpe.post_processor = processors.TemplateProcessing(single="<|image|> $A", special_tokens=[("<|image|>", 600)])

    bos = make(change=begin)
    text = FILLER * 4 + "one two"
    at = SafeCuts(bos).find(text)
    assert at is not None
    halves = bos(text[:at])["input_ids"] + bos(text[at:], add_special_tokens=False)["input_ids"]
    assert halves == bos(text)["input_ids"]
    assert halves[0] == 600


def end_of_text(bpe: Tokenizer) -> None:
    bpe.post_processor = processors.TemplateProcessing(single="$A <|image|>", special_tokens=[("<|image|>", 600)])


UNSAFE = {
    "an added token with a space in it": lambda bpe: bpe.add_tokens(["x y"]),
    "an added token that ends with a letter": lambda bpe: bpe.add_tokens([AddedToken("<x", rstrip=True)]),
    "an added token that begins with a letter": lambda bpe: bpe.add_special_tokens([AddedToken("x>", lstrip=True)]),
    "a token after the text": end_of_text,
    "another normalizer": lambda bpe: setattr(bpe, "normalizer", normalizers.Prepend("▁")),
    "a space put before the text": lambda bpe: setattr(bpe, "pre_tokenizer", pre_tokenizers.ByteLevel()),
    "no pre-tokenizer": lambda bpe: setattr(bpe, "pre_tokenizer", None),
    "tokens of chance": lambda bpe: setattr(bpe.model, "dropout", 0.5),
}


@pytest.mark.parametrize("change", UNSAFE.values(), ids=UNSAFE)
def test_texts_of_any_other_make_stay_whole(change: Callable[[Tokenizer], None]) -> None:
    assert SafeCuts(make(change=change)).find(FILLER * 4 + "one two") is None


def test_texts_split_by_an_unknown_pattern_stay_whole() -> None:
    assert SafeCuts(make(QWEN2.replace(r"\p{N}", r"\p{N} ?"))).find(FILLER * 4 + "one two") is None


def test_a_tokenizer_with_code_of_its_own_is_left_alone() -> None:
    class Lower(PreTrainedTokenizerFast):  # type: ignore[misc] # transformers is untyped
        def __call__(self, text: object, **options: object) -> object:
            return super().__call__(text, **options)

    assert SafeCuts(Lower(tokenizer_object=make().backend_tokenizer)).find(FILLER * 4 + "one two") is None
