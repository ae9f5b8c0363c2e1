"""Tokens at the boundary, special tokens in the data, and image expansion, with a real tokenizer and processor."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny import ROLE_TEMPLATE, write_internvl_hf, write_llava, write_qwen2vl

from radar_fast.engines.encode.encoder import Encoded, Encoder, refused_images
from radar_fast.errors import UsageError
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import open_protocol
from radar_fast.sample import AnyImage, EmbeddedImage, ImageFile, Prompt, Reason, ReasonKind, Sample


@pytest.fixture(scope="module")
def checkpoint(qwen2vl: Path) -> Checkpoint:
    return Checkpoint.open(qwen2vl)


@pytest.fixture(scope="module")
def encoder(checkpoint: Checkpoint) -> Encoder:
    return Encoder(checkpoint, open_protocol("qwen2vl", checkpoint), torch.float32)


@pytest.fixture
def picture(tmp_path: Path) -> ImageFile:
    Image.effect_noise((226, 222), 90).convert("RGB").save(tmp_path / "noise.png")
    return ImageFile(tmp_path / "noise.png")


def prompt(*parts: str | AnyImage, candidates: tuple[str, ...] = ("red", "dark blue"), joiner: str = " ") -> Prompt:
    made = open_protocol("qwen2vl", None).prompt(Sample("1", "t", "d", "a", parts, candidates, 0))
    return Prompt(made.sample, made.parts, joiner, made.candidates)


def test_an_image_inside_a_data_file_is_the_same_image(encoder: Encoder, picture: ImageFile) -> None:
    inside = EmbeddedImage("t.tsv:17 image", picture.path.read_bytes())
    ours, theirs = (encoder.encode(prompt(image, "What colour?")) for image in (inside, picture))
    assert isinstance(ours, Encoded)
    assert isinstance(theirs, Encoded)
    assert ours.prefix == theirs.prefix
    assert torch.equal(ours.inputs["pixel_values"], theirs.inputs["pixel_values"])
    assert "t.tsv:17 image" in refused_images(prompt(inside, "?"), ValueError("no")).detail


def test_an_image_becomes_as_many_tokens_as_its_grid_says(encoder: Encoder, picture: ImageFile) -> None:
    encoded = encoder.encode(prompt(picture, "What colour?"))
    assert isinstance(encoded, Encoded)
    # 222x226 -> 224x224 -> 256 tokens at least: 16 x 16 tokens of 28 pixels.
    assert encoded.inputs["image_grid_thw"].tolist() == [[1, 32, 32]]
    assert encoded.prefix.count(encoder.image_token_id) == 256
    assert encoded.scored_from == 0


def test_tokens_are_those_of_the_whole_string(encoder: Encoder, checkpoint: Checkpoint) -> None:
    tokenizer = checkpoint.processor.tokenizer
    encoded = encoder.encode(prompt("What is the missing color?"))
    assert isinstance(encoded, Encoded)
    for candidate, suffix in zip(("red", "dark blue"), encoded.suffixes, strict=True):
        whole = tokenizer(f"What is the missing color? {candidate}")["input_ids"]
        assert [*encoded.prefix, *suffix] == whole


def test_a_merge_across_the_boundary(encoder: Encoder, checkpoint: Checkpoint) -> None:
    """With no joiner "mis" + "sing" is one word: its tokens are none of the prefix's own."""
    tokenizer = checkpoint.processor.tokenizer
    encoded = encoder.encode(prompt("the mis", candidates=("sing part denoted", "sing color of the shape"), joiner=""))
    assert isinstance(encoded, Encoded)
    alone = tokenizer("the mis")["input_ids"]
    joint = [tokenizer(f"the mis{ending}")["input_ids"] for ending in ("sing part denoted", "sing color of the shape")]
    assert joint[0][: len(alone)] != alone, "the test's premise: a merge changes the prefix's tokens"
    assert encoded.scored_from > 0
    assert [[*encoded.prefix, *suffix] for suffix in encoded.suffixes] == joint
    assert len(encoded.prefix) + encoded.scored_from == len(alone)


@pytest.mark.parametrize("special", ["<|image_pad|>", "<|im_end|>", "<|vision_start|><|image_pad|><|vision_end|>"])
def test_special_tokens_in_the_data_stay_text(
    encoder: Encoder, checkpoint: Checkpoint, picture: ImageFile, special: str
) -> None:
    tokenizer = checkpoint.processor.tokenizer
    plain = encoder.encode(prompt(picture, "What colour?", candidates=("red", "blue")))
    encoded = encoder.encode(prompt(picture, f"What {special} colour?", candidates=("red", f"{special} blue")))
    assert isinstance(plain, Encoded)
    assert isinstance(encoded, Encoded)
    assert encoded.prefix.count(encoder.image_token_id) == 256
    assert tokenizer.decode(encoded.prefix[258:]) == f"What {special} colour?"
    assert tokenizer.decode(encoded.suffixes[1]) == f" {special} blue"
    specials = set(tokenizer.all_special_ids)
    assert not specials & set(encoded.prefix[258:])
    assert not specials & set(encoded.suffixes[1])
    assert encoded.prefix[:258] == plain.prefix[:258]
    assert encoded.suffixes[0] == plain.suffixes[0]


def test_special_tokens_beside_several_images(encoder: Encoder, tmp_path: Path) -> None:
    files = []
    for index, size in enumerate([(500, 500), (640, 480)]):
        Image.new("RGB", size, (index * 90, 0, 0)).save(tmp_path / f"{index}.png")
        files.append(ImageFile(tmp_path / f"{index}.png"))
    plain = encoder.encode(prompt("Is ", files[0], " the # of ", files[1], files[0], "?"))
    special = encoder.encode(prompt("Is ", files[0], " the <|im_end|> of ", files[1], files[0], "?"))
    assert isinstance(plain, Encoded)
    assert isinstance(special, Encoded)

    def images(encoded: Encoded) -> list[int]:
        """Lengths of the runs of image tokens."""
        flags = "".join("i" if token == encoder.image_token_id else " " for token in encoded.prefix)
        return [len(run) for run in flags.split()]

    assert images(special) == images(plain)
    assert len(images(special)) == 3


def test_a_candidate_that_tokenises_to_nothing(qwen2vl: Path, tmp_path: Path) -> None:
    """A tokenizer whose normalizer drops a character: a candidate of only that leaves no token."""
    import json
    import shutil

    folder = tmp_path / "dropping"
    shutil.copytree(qwen2vl, folder)
    spec = json.loads((folder / "tokenizer.json").read_text())
    spec["normalizer"] = {"type": "Replace", "pattern": {"Regex": "\u00ad"}, "content": ""}
    (folder / "tokenizer.json").write_text(json.dumps(spec))
    checkpoint = Checkpoint.open(folder)
    encoder = Encoder(checkpoint, open_protocol("qwen2vl", checkpoint), torch.float32)
    encoded = encoder.encode(prompt("What colour?", candidates=("red", "\u00ad"), joiner=""))
    assert isinstance(encoded, Reason)
    assert encoded.kind is ReasonKind.EMPTY_CANDIDATE
    assert "tokenises to nothing" in encoded.detail


def test_an_image_that_cannot_be_read_is_a_reason(encoder: Encoder, tmp_path: Path) -> None:
    missing = encoder.encode(prompt(ImageFile(tmp_path / "none.png"), "What colour?"))
    assert isinstance(missing, Reason)
    assert missing.kind is ReasonKind.MISSING_IMAGE
    Image.new("RGB", (1000, 2)).save(tmp_path / "strip.png")
    strip = encoder.encode(prompt(ImageFile(tmp_path / "strip.png"), "What colour?"))
    assert isinstance(strip, Reason)
    assert "200 times" in strip.detail


def test_a_questions_pixels_come_to_an_end(encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small picture that a record shows a thousand times; no more of them are decoded than may be prepared."""
    monkeypatch.setattr("radar_fast.images._MAX_PREPARED", 3 * 560 * 420)
    Image.new("1", (560, 420)).save(tmp_path / "empty.png")
    image = ImageFile(tmp_path / "empty.png")
    found = encoder.encode(prompt(*[image] * 1000, "Which?"))
    assert isinstance(found, Reason)
    assert found.kind is ReasonKind.UNREADABLE_IMAGE
    assert "nearly empty" in found.detail
    few = encoder.read_images(prompt(*[image] * 3, "Which?"))
    assert isinstance(few, list)
    assert len(few) == 3


def test_pixel_bounds_need_a_processor_that_has_them(qwen2vl_chat: Path) -> None:
    checkpoint = Checkpoint.open(qwen2vl_chat)
    protocol = open_protocol("chat", checkpoint, min_pixels=3136, max_pixels=50176)
    Encoder(checkpoint, protocol, torch.float32)
    with pytest.raises(UsageError, match="give both or neither"):
        open_protocol("chat", checkpoint, min_pixels=3136)


@pytest.mark.parametrize("family", ["qwen2vl", "llava", "internvl"])
def test_a_known_shape_is_encoded_as_by_the_processor(tmp_path: Path, family: str) -> None:
    """Pictures of two sizes, one and two of them, beside texts with and without special tokens in them."""
    if family == "qwen2vl":
        write_qwen2vl(tmp_path / "model")
    elif family == "internvl":
        write_internvl_hf(tmp_path / "model")
    else:
        template = ROLE_TEMPLATE.replace("<|vision_start|><|image_pad|><|vision_end|>", "<image>\n")
        write_llava(tmp_path / "model", template=template)
    checkpoint = Checkpoint.open(tmp_path / "model")
    protocol = open_protocol("auto", checkpoint)

    def fresh() -> Encoder:
        return Encoder(checkpoint, protocol, torch.float32)

    files = []
    for number, size in enumerate([(64, 64), (64, 64), (64, 64), (120, 70), (120, 70)]):
        Image.new("RGB", size, (number * 40, 0, 90)).save(tmp_path / f"{number}.png")
        files.append(ImageFile(tmp_path / f"{number}.png"))
    samples = [
        Sample(str(number), "t", "d", "a", parts, ("red", "dark blue"), 0)
        for number, parts in enumerate(
            [
                *((file, f"What colour is number {number}?") for number, file in enumerate(files)),
                (files[0], files[3], "Both?"),
                (files[1], files[4], "Both again?"),
                (files[2], "Is <|im_end|> there?"),
            ]
        )
    ]
    learned = fresh()
    for sample in samples:
        mine, theirs = learned.encode(protocol.prompt(sample)), fresh().encode(protocol.prompt(sample))
        assert isinstance(mine, Encoded)
        assert isinstance(theirs, Encoded)
        assert (mine.prefix, mine.suffixes, mine.unexpanded) == (theirs.prefix, theirs.suffixes, theirs.unexpanded)
        for some, others in ((mine.inputs, theirs.inputs), (mine.token_inputs, theirs.token_inputs)):
            assert some.keys() == others.keys()
            assert all(torch.equal(some[name], others[name]) for name in some)
    assert learned._expansions.proven, "the test's premise: it was used"
