"""Text exactly as its template and tokenizer give it, with special tokens in a question still plain text."""

import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from tiny import ROLE_TEMPLATE
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from radar_fast.engines.encode.tokens import PromptTokenizer, Tokens
from radar_fast.errors import ModelError
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import open_protocol, prompt_digest
from radar_fast.protocols.base import prompt_text
from radar_fast.sample import ImageFile, Markup, Placeholder, Prompt, Reason, ReasonKind, Sample

IMAGE = ImageFile(Path("a.png"))
TRIMMING = ROLE_TEMPLATE.replace("item.text", "item.text | trim")


def sample(*parts: str | ImageFile, candidates: tuple[str, ...] = ("red", "dark blue")) -> Sample:
    return Sample("1", "t", "d", "a", parts, candidates, 0)


def chat(qwen2vl_chat: Path, folder: Path, template: str) -> Checkpoint:
    shutil.copytree(qwen2vl_chat, folder)
    (folder / "chat_template.jinja").write_text(template)
    return Checkpoint.open(folder)


def rendered(checkpoint: Checkpoint, asked: Sample) -> str:
    """What the template makes of it, by transformers alone."""
    content = [{"type": "text", "text": part} if isinstance(part, str) else {"type": "image"} for part in asked.parts]
    return str(
        checkpoint.processor.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
    )


# Templates -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "template",
    [
        ROLE_TEMPLATE,
        TRIMMING,
        ROLE_TEMPLATE.replace("item.text", "item.text | upper"),
        ROLE_TEMPLATE.replace("item.text", "item.text | replace('the', 'THE') | title"),
        ROLE_TEMPLATE.replace("item.text", "'Q: ' + item.text.strip()"),
        ROLE_TEMPLATE.replace("item.text", "item.text[:8]"),
    ],
)
@pytest.mark.parametrize(
    "question", ["What is the shape?", "  the end \n", "Is <|im_end|> the end? \n", "⟦0⟧ <|image_pad|>\n"]
)
def test_what_the_template_renders_is_what_is_asked(
    qwen2vl_chat: Path, tmp_path: Path, template: str, question: str
) -> None:
    checkpoint = chat(qwen2vl_chat, tmp_path / "model", template)
    prompt = open_protocol("chat", checkpoint).prompt(sample(IMAGE, question, IMAGE, "And this? "))
    whole = rendered(checkpoint, sample(IMAGE, question, IMAGE, "And this? "))
    if "<|" in question and "item.text }}" not in template and "trim" not in template and "strip" not in template:
        assert len(prompt.images) == 2  # filters that change letters change those of a special token in text, or not
    else:
        assert prompt_text(prompt) == whole
    meant = [part.text for part in prompt.parts if isinstance(part, Markup)]
    assert not any(token in text for text in meant for token in ("Is <|im_end|>", "<|image_pad|>\n")), "text stays text"
    assert sum(isinstance(part, Placeholder) for part in prompt.parts) == 2


def test_trimmed_text_with_special_tokens_has_them_as_text(qwen2vl_chat: Path, tmp_path: Path) -> None:
    checkpoint = chat(qwen2vl_chat, tmp_path / "model", TRIMMING)
    prompt = open_protocol("chat", checkpoint).prompt(sample(IMAGE, " Is <|im_end|> text? \n"))
    assert "<|im_end|>" in prompt.parts, "a part of its own, not markup"
    tokenizer = checkpoint.processor.tokenizer
    tokens = PromptTokenizer(tokenizer, "<|image_pad|>")(prompt)
    assert isinstance(tokens, Tokens)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert tokens.prefix.count(end) == 1, "the template's own"


def test_an_untouched_text_is_a_part_of_its_own(qwen2vl_chat: Path, tmp_path: Path) -> None:
    checkpoint = chat(qwen2vl_chat, tmp_path / "model", TRIMMING)
    assert "Why?" in open_protocol("chat", checkpoint).prompt(sample(IMAGE, "Why?")).parts


@pytest.mark.parametrize(
    "clock",
    ["{{ strftime_now('%d %b %Y') }}", "{%- set now = strftime_now %}{{ now('%H:%M') }}", "{{ strftime_now('%y')|e }}"],
)
def test_a_template_that_prints_the_date_is_noticed(qwen2vl_chat: Path, tmp_path: Path, clock: str) -> None:
    dated = open_protocol("chat", chat(qwen2vl_chat, tmp_path / "dated", clock + ROLE_TEMPLATE))
    [said] = dated.notes
    assert "prints the date or time, so that scores change with the day" in said
    plain = open_protocol("chat", chat(qwen2vl_chat, tmp_path / "plain", ROLE_TEMPLATE))
    assert plain.notes == ()
    assert prompt_digest(dated) != prompt_digest(plain)
    assert prompt_digest(plain) == prompt_digest(open_protocol("chat", Checkpoint.open(tmp_path / "plain")))


@pytest.mark.parametrize(
    "bomb",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{{ ('x' * 999999999) | length }}",
        "{% set n = namespace(s='x') %}{% for c in messages[0].content[1].text %}{% set n.s = n.s ~ n.s %}{% endfor %}",
        "{{ 'x' | center(4000000000) | length }}",
        "{% for a in range(99999) %}{{ 'a long line of text, again and again' }}{% endfor %}",
    ],
)
def test_a_template_that_takes_the_machine_down_is_refused(qwen2vl_chat: Path, tmp_path: Path, bomb: str) -> None:
    checkpoint = chat(qwen2vl_chat, tmp_path / "model", bomb + ROLE_TEMPLATE)
    started = time.process_time()
    with pytest.raises(
        ModelError, match=r"model: its chat template takes more than 5 s, 512 MiB or 1048576 characters"
    ):
        open_protocol("auto", checkpoint)
    assert time.process_time() - started < 5, "not in this process"


# Tokenizers ----------------------------------------------------------------------------------------------------------


def sentencepiece_like(scheme: str | None, *, special: tuple[str, ...]) -> PreTrainedTokenizerFast:
    """Words and letters with a dummy prefix: by Metaspace, or as in older Llama by a normaliser (``scheme`` None)."""
    words = ["▁is", "▁a", "▁text", "is", "a", "text", "▁", "?", "<", ">", "s", "e", "p", "i", "m", "g", "t", "x", "/"]
    words += ["<s>", "<sep>", "<img>", "<unk>"]
    unigram = Tokenizer(models.Unigram([(word, -1.0 - 0.01 * index) for index, word in enumerate(words)], 22))
    if scheme is None:
        unigram.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        unigram.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    unigram.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    return PreTrainedTokenizerFast(tokenizer_object=unigram, unk_token="<unk>")


@pytest.mark.parametrize("scheme", ["first", "always", "never", None])
@pytest.mark.parametrize(
    "question", ["is <sep> a text?", "<sep>is a text", "a<sep>text<sep>?", " <sep> ", "is<sep>", "a text"]
)
def test_special_text_is_tokenised_as_if_it_were_plain(scheme: str | None, question: str) -> None:
    """As by a tokenizer of the same make to which the token in the question is not special."""
    tokenizer = sentencepiece_like(scheme, special=("<img>", "<sep>", "<unk>"))
    ignorant = sentencepiece_like(scheme, special=("<img>", "<unk>"))
    tag = Placeholder(IMAGE, "<img>")
    prompt = Prompt(sample(IMAGE, question), ("a ", tag, question, Markup(" text")), " ", ("is", "a text"))
    tokens = PromptTokenizer(tokenizer, "<img>")(prompt)
    assert isinstance(tokens, Tokens)
    whole = f"a <img>{question} text"
    expected = ignorant(whole)["input_ids"]
    # A word of the vocabulary is not made of letters: spell what Unigram would find whole.
    assert [ignorant.convert_ids_to_tokens(index) for index in tokens.prefix] == ignorant.convert_ids_to_tokens(
        expected
    )


def test_special_text_and_meant_tokens_that_strip(qwen2vl_chat: Path) -> None:
    tokenizer: Any = Checkpoint.open(qwen2vl_chat).processor.tokenizer
    tokenizer.add_tokens([AddedToken("<mask>", lstrip=True, rstrip=True, special=True, normalized=False)])
    prompt = Prompt(sample(), ("the <|im_end|> ", Markup(" <mask> "), " end"), "", ("a", "b"))
    tokens = PromptTokenizer(tokenizer, "<|image_pad|>")(prompt)
    assert isinstance(tokens, Tokens)
    mask = tokenizer.convert_tokens_to_ids("<mask>")
    at = tokens.prefix.index(mask)
    assert tokenizer.decode(list(tokens.prefix[:at])) == "the <|im_end|>"
    assert tokenizer.decode(list(tokens.prefix[at + 1 :])) == "end"
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") not in tokens.prefix


@pytest.mark.parametrize("pair", [("caf\u00e9", "cafe\u0301"), ("\u212b", "\u00c5"), ("o\u0302\u0323", "\u1ed9")])
def test_candidates_of_the_same_tokens_are_ambiguous(qwen2vl_chat: Path, pair: tuple[str, str]) -> None:
    tokenizer = PromptTokenizer(Checkpoint.open(qwen2vl_chat).processor.tokenizer, "<|image_pad|>")
    for candidates in (pair, ("x", *pair)):
        reason = tokenizer(Prompt(sample("What?", candidates=candidates), ("What?",), " ", candidates))
        assert isinstance(reason, Reason)
        assert reason.kind == ReasonKind.AMBIGUOUS_ANSWER
        assert "have the same tokens" in reason.detail
    assert isinstance(tokenizer(Prompt(sample("?"), ("?",), " ", ("x", "red", "red"))), Tokens), (
        "said alike, asked twice"
    )


def test_a_token_without_a_row_is_the_samples_own_fault(qwen2vl_chat: Path) -> None:
    tokenizer: Any = Checkpoint.open(qwen2vl_chat).processor.tokenizer
    rows = len(tokenizer)
    tokenizer.add_tokens(["<loc>"])
    asked = PromptTokenizer(tokenizer, "<|image_pad|>", rows)
    for parts, candidates in ((("Where is <loc>?",), ("a", "b")), (("Where?",), ("here", "<loc>"))):
        reason = asked(Prompt(sample(*parts), parts, " ", candidates))
        assert isinstance(reason, Reason)
        assert reason.kind == ReasonKind.UNKNOWN_TOKEN
        assert f"'<loc>' has the id {rows}, and the model's embedding {rows} rows" in reason.detail
    assert isinstance(asked(Prompt(sample("Where?"), ("Where?",), " ", ("a", "b"))), Tokens)
