"""Prompts to the letter, and the published resize rule."""

import re
from pathlib import Path
from typing import Any

import pytest
from family_samples import cases
from PIL import Image
from tiny import write_internvl_chat

from radar_fast.errors import ModelError, UsageError
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import open_protocol, smart_resize
from radar_fast.sample import ImageFile, Prompt, Sample

IMAGE, OTHER = ImageFile(Path("a.png")), ImageFile(Path("b.png"))


def text_of(prompt: Prompt) -> str:
    return "".join(part if isinstance(part, str) else part.text for part in prompt.parts)


def sample(*parts: str | ImageFile) -> Sample:
    return Sample("1", "t", "d", "a", parts, ("red", "dark blue"), 0)


def test_qwen2vl_puts_a_tag_an_image_and_the_question_without_a_separator() -> None:
    prompt = open_protocol("qwen2vl", None).prompt(sample(IMAGE, OTHER, "What colour?"))
    tag = "<|vision_start|><|image_pad|><|vision_end|>"
    assert text_of(prompt) == tag + tag + "What colour?"
    assert prompt.joiner == " "
    assert prompt.candidates == ("red", "dark blue")
    assert prompt.images == (IMAGE, OTHER)


def test_qwen2vl_keeps_images_inline() -> None:
    prompt = open_protocol("qwen2vl", None).prompt(sample("Is ", IMAGE, " or ", OTHER, " larger?"))
    assert text_of(prompt).replace("<|vision_start|><|image_pad|><|vision_end|>", "I") == "Is I or I larger?"


def test_published_pixel_bounds_are_the_default() -> None:
    assert open_protocol("qwen2vl", None).pixels == (200704, 602112)
    assert open_protocol("qwen2vl", None, min_pixels=3136).pixels == (3136, 602112)


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (222, 226, (224, 224)),
        (28, 28, (56, 56)),  # below 4 tokens: scaled up
        (10, 100, (28, 112)),  # round(10 / 28) is 0: at least 28
        (512, 512, (504, 504)),
        (14, 42, (56, 112)),  # 28 x 56 is below 4 tokens: scaled up from the original sides
        (5000, 5000, (3556, 3556)),  # above 16384 tokens: scaled down
        (448, 336, (448, 336)),
    ],
)
def test_smart_resize(height: int, width: int, expected: tuple[int, int]) -> None:
    assert smart_resize(height, width) == expected


def test_smart_resize_refuses_a_strip() -> None:
    with pytest.raises(ValueError, match="200 times"):
        smart_resize(1, 201)


def test_the_first_resize_is_pils_default() -> None:
    picture = Image.effect_noise((226, 222), 90).convert("RGB")
    assert open_protocol("qwen2vl", None).image(picture).tobytes() == picture.resize((224, 224)).tobytes()


def test_auto_takes_qwen2vl_for_a_base_checkpoint_and_chat_for_roles(qwen2vl: Path, qwen2vl_chat: Path) -> None:
    assert open_protocol("auto", Checkpoint.open(qwen2vl)).name == "qwen2vl"
    assert open_protocol("auto", Checkpoint.open(qwen2vl_chat)).name == "chat"


def test_chat_renders_the_template_around_the_datasets_own_text(qwen2vl_chat: Path) -> None:
    checkpoint = Checkpoint.open(qwen2vl_chat)
    prompt = open_protocol("chat", checkpoint).prompt(sample(IMAGE, "Is <|im_end|> text?", OTHER, "Yes?"))
    expected = checkpoint.processor.apply_chat_template(
        [
            {
                "role": "user",
                "content": [
                    {"type": "image"},
                    {"type": "text", "text": "Is <|im_end|> text?"},
                    {"type": "image"},
                    {"type": "text", "text": "Yes?"},
                ],
            }
        ],
        tokenize=False,
        add_generation_prompt=True,
    )
    assert text_of(prompt) == expected
    assert "Is <|im_end|> text?" in prompt.parts, "the dataset's text is a part of its own, not markup"
    assert prompt.joiner == ""
    assert prompt.images == (IMAGE, OTHER)


def test_internvl_separates_by_benchmark_and_keeps_file_order(tmp_path: Path) -> None:
    write_internvl_chat(tmp_path / "model", side=28)
    protocol = open_protocol("auto", Checkpoint.open(tmp_path / "model"))
    for case in cases(tmp_path / "images"):
        prompt = protocol.prompt(case.sample)
        turn = text_of(prompt).split("<|im_start|>user\n")[1].removesuffix("<|im_end|>\n<|im_start|>assistant\n")
        assert turn.replace("<IMG_CONTEXT>", "<image>") == case.internvl, case.sample.id
        assert [image.path for image in prompt.images if isinstance(image, ImageFile)] == case.images


def published_turn(question: str, images: int, separator: str) -> str:
    """The published loop, to the letter, but for numbers in place of features."""
    for number in range(images):
        if "<image>" not in question:
            question = f"<image>{separator}" + question
        question = question.replace("<image>", f"[{number}]", 1)
    return question


@pytest.mark.parametrize(
    ("task", "question", "images"),
    [
        ("MathVista_1", "What does <image> show?", 1),
        ("Wiki_plant", "What does <image> show?", 1),
        ("Wiki_plant", "<image>", 1),
        ("Wiki_plant", "Is <image> or <image> larger?", 1),  # the second tag stays text
        ("SeePhys_1", "Is <image> or <image> larger?", 2),
        ("SeePhys_1", "Is it <image>?", 3),
        ("SeePhys_1", "Is it?", 2),
        ("SeePhys_1", "Is <image> text?", 0),
        ("MMBench_x_1", "Is <image>\n<image 1> there?", 1),
    ],
)
def test_a_literal_tag_is_where_internvls_script_puts_the_image(
    tmp_path: Path, task: str, question: str, images: int
) -> None:
    write_internvl_chat(tmp_path / "model", side=28)
    files = [ImageFile(Path(f"{number}.png")) for number in range(images)]
    asked = Sample("1", task, "d", "a", (*files, question), ("red", "blue"), 0, {"question": question})
    prompt = open_protocol("auto", Checkpoint.open(tmp_path / "model")).prompt(asked)
    turn = text_of(prompt).split("<|im_start|>user\n")[1].removesuffix("<|im_end|>\n<|im_start|>assistant\n")
    # The script gives features in the order of the files, to places in reading order; so do we, with the numbers too.
    wanted = re.sub(r"\[\d+\]", "<IMG_CONTEXT>", published_turn(question, images, separator_of(task)))
    assert turn == wanted
    assert list(prompt.images) == files


def separator_of(task: str) -> str:
    return "\n" if task.startswith(("MMBench", "MMMU_Pro", "MathVista")) else " "


def test_other_checkpoints_and_bounds_do_not_fit_internvl(qwen2vl: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="'qwen2_vl', no InternVL"):
        open_protocol("internvl", Checkpoint.open(qwen2vl))
    write_internvl_chat(tmp_path / "model", side=28)
    with pytest.raises(UsageError, match="--protocol internvl fixes the size"):
        open_protocol("auto", Checkpoint.open(tmp_path / "model"), max_pixels=3136)


@pytest.mark.parametrize(
    ("written", "error", "message"),
    [
        ("{", ModelError, r"composed\.json: cannot be read"),
        ("[]", ModelError, r"composed\.json: cannot be read"),
        ("{}", ModelError, r"composed\.json: cannot be read"),
        ('{"protocol": "x"}', UsageError, "--protocol x: unknown"),
    ],
)
def test_a_note_of_compose_that_cannot_be_used(
    tmp_path: Path, written: str, error: type[Exception], message: str
) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llava"}')
    (tmp_path / "composed.json").write_text(written)
    with pytest.raises(error, match=message):
        open_protocol("auto", Checkpoint.open(tmp_path))


def test_chat_needs_a_template_that_takes_roles(qwen2vl: Path) -> None:
    with pytest.raises(ModelError, match="role-style"):
        open_protocol("chat", Checkpoint.open(qwen2vl))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("flamingo", {}, "--protocol flamingo: unknown"),
        ("chat", {}, "needs --model"),
        ("internvl", {}, "--protocol internvl: needs --model"),
        ("qwen2vl", {"min_pixels": 700000}, "no larger than the second"),
        ("qwen2vl", {"min_pixels": 0}, "above 0"),
        ("qwen2vl", {"image_backend": "opencv"}, "--image-backend opencv: unknown; it is one of pil, torchvision"),
    ],
)
def test_wrong_options(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_protocol(name, None, **options)
