"""The demo's data: mini-M3 keeps the published layout, and the kept checkpoints are loadable Qwen2-VL folders."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer, Qwen2VLForConditionalGeneration

from radar_fast.demo import write_checkpoints, write_mini_m3
from radar_fast.demo.blueprint import PREPROCESSOR, make_config, make_tokenizer
from radar_fast.demo.lessons import Lesson, ask, draw_items, fingerprint, prepare
from radar_fast.demo.mini_m3 import draw_item
from radar_fast.demo.tasks import TASKS, Item
from radar_fast.demo.train import evaluate
from radar_fast.errors import UsageError

SAMPLES = 16
SUFFIX = "_pretrained_mllm_eval"
DIRECTORIES = {
    "general_visual_question_answering": "MMBench",
    "multiple_discipline_reasoning": "MMMU_Pro",
    "mathematical_reasoning": "MathVista",
    "physical_reasoning": "SeePhys",
    "spatial_reasoning": "Spatial_reasoning",
    "Wiki_animal_identification": "Wiki_animal",
    "Wiki_plant_identification": "Wiki_plant",
    "Wiki_attraction_identification": "Wiki_attraction",
    "Wiki_celebrity_identification": "Wiki_celebrity",
}
MMBENCH_PERCEPTION = {
    *("action_recognition", "attribute_comparison", "attribute_recognition", "celebrity_recognition", "image_emotion"),
    *("image_quality", "image_scene", "image_style", "image_topic", "object_localization", "ocr"),
    "spatial_relationship",
}
MMBENCH_REASONING = {
    *("function_reasoning", "future_prediction", "identity_reasoning", "nature_relation"),
    *("physical_property_reasoning", "physical_relation", "social_relation", "structuralized_imagetext_understanding"),
}
SPECIAL_TOKENS = {
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>"),
    *("<|image_pad|>", "<|video_pad|>"),
}


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mini") / "m3"
    write_mini_m3(folder, samples_per_task=SAMPLES)
    return folder


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_checkpoints(tmp_path_factory.mktemp("checkpoints"))


def records(folder: Path) -> Iterator[tuple[Path, str, dict[str, Any]]]:
    for file in sorted(folder.glob("*/*.json")):
        for q_id, record in json.loads(file.read_text(encoding="utf-8")).items():
            yield file, q_id, record


def published_images(file: Path, q_id: str, record: dict[str, Any]) -> list[Path]:
    """Where the published scripts look for a record's images, written from their rules, not from ours."""
    stem, images = file.stem, file.parent / "images"
    if stem.startswith("MMMU_Pro"):
        category = "_".join(stem.split("_")[2:-4])
        text = record["question"]
        if "<image " in record["ori_options"]:
            text += str(record["answer"]) + str(record["distraction"][0])
        return [images / category / f"{q_id}_image_{n}.png" for n in re.findall(r"<image (\d+)>", text)]
    if stem.startswith("MMBench"):
        return [images / "_".join(stem.split("_")[1:-4]) / f"{q_id}.jpg"]
    if stem.startswith("SeePhys"):
        return [images / f"{q_id.split('--')[0]}_{i}.png" for i in range(record["img_num"])]
    return [images / f"{q_id.split('--')[0]}.jpg"]


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_directories_and_file_names_are_the_published_ones(benchmark: Path) -> None:
    assert {path.name for path in benchmark.iterdir()} == set(DIRECTORIES)
    for directory, bench in DIRECTORIES.items():
        stems = [path.stem for path in (benchmark / directory).glob("*.json")]
        assert stems
        for stem in stems:
            assert stem.startswith(bench)
            assert stem.endswith(f"_{SAMPLES}{SUFFIX}")
    files = [path.stem for path in (benchmark / "general_visual_question_answering").glob("*.json")]
    categories = {"_".join(stem.split("_")[1:-4]) for stem in files}
    assert len(categories & MMBENCH_PERCEPTION) >= 4
    assert len(categories & MMBENCH_REASONING) >= 1
    assert categories <= MMBENCH_PERCEPTION | MMBENCH_REASONING
    assert len(list((benchmark / "multiple_discipline_reasoning").glob("*.json"))) >= 2


def test_every_image_is_where_the_published_scripts_look_and_opens(benchmark: Path) -> None:
    wanted = set()
    for file, q_id, record in records(benchmark):
        paths = published_images(file, q_id, record)
        assert paths
        for path in paths:
            with Image.open(path) as image:
                image.load()
                assert image.mode == "RGB"
                assert image.format == {".jpg": "JPEG", ".png": "PNG"}[path.suffix]
        wanted.update(paths)
    assert wanted == {path for path in benchmark.rglob("*") if path.suffix in (".jpg", ".png")}


def test_some_sides_are_no_multiple_of_28(benchmark: Path) -> None:
    sizes = set()
    for path in benchmark.rglob("*.jpg"):
        with Image.open(path) as image:
            sizes.add(image.size)
    assert {(56, 56), (64, 48), (100, 75), (100, 100)} <= sizes


def test_every_record_is_a_question_with_one_right_answer(benchmark: Path) -> None:
    for file, q_id, record in records(benchmark):
        fields = {"question", "answer", "distraction"}
        fields |= {"img_num"} if file.stem.startswith("SeePhys") else set()
        fields |= {"ori_options"} if file.stem.startswith("MMMU_Pro") else set()
        assert set(record) == fields, q_id
        assert record["question"].strip()
        assert record["distraction"]
        assert all(isinstance(text, str) for text in record["distraction"])
        candidates = [str(record["answer"]), *record["distraction"]]
        assert all(text.strip() == text != "" for text in candidates)
        assert len(set(candidates)) == len(candidates) <= 6


def test_q_ids_are_unique_over_all_files(benchmark: Path) -> None:
    counted = Counter(q_id for _, q_id, _ in records(benchmark))
    assert len(counted) == len(TASKS) * SAMPLES
    assert set(counted.values()) == {1}


def test_the_rare_rules_are_all_met(benchmark: Path) -> None:
    rows = list(records(benchmark))
    mmmu = [(record, published_images(*row)) for row in rows for record in [row[2]] if "ori_options" in record]
    assert sorted(len(images) for _, images in mmmu)[-2:] == [3, 13]
    assert any(len(images) > 1 and "<image 2>" in record["question"] for record, images in mmmu)
    with_pictures = [record for record, _ in mmmu if "<image " in record["ori_options"]]
    assert any("<image " in record["question"] for record in with_pictures)
    assert any("<image " not in record["question"] for record in with_pictures)
    assert all(isinstance(record["ori_options"], str) for record, _ in mmmu)
    for record in with_pictures:
        assert len(record["distraction"]) == 1
        for option in (record["answer"], *record["distraction"]):
            assert re.fullmatch(r"<image \d+>", option)
            assert option in record["ori_options"]
    assert {record["img_num"] for _, _, record in rows if "img_num" in record} == {1, 2, 3}
    assert any(isinstance(record["answer"], int) for _, _, record in rows)
    shared = Counter((file, q_id.split("--")[0]) for file, q_id, _ in rows if "--" in q_id)
    assert max(shared.values()) == 2


def test_questions_about_one_picture_differ() -> None:
    for task in TASKS:
        if task.questions_per_picture > 1:
            first, second = draw_item(task, 0, 0), draw_item(task, 1, 0)
            assert [image.tobytes() for image in first.images] == [image.tobytes() for image in second.images]
            assert first.question != second.question


def test_the_seed_alone_decides_every_byte(benchmark: Path, tmp_path: Path) -> None:
    write_mini_m3(tmp_path / "again", samples_per_task=SAMPLES)
    write_mini_m3(tmp_path / "other", samples_per_task=SAMPLES, seed=1)
    assert digests(tmp_path / "again") == digests(benchmark)
    other = digests(tmp_path / "other")
    jsons = {name: digest for name, digest in digests(benchmark).items() if name.endswith(".json")}
    assert all(other[name] != digest for name, digest in jsons.items())


def test_a_smaller_benchmark_holds_the_first_records_of_a_larger(benchmark: Path, tmp_path: Path) -> None:
    write_mini_m3(tmp_path / "m3", samples_per_task=5)
    large = {q_id: record for _, q_id, record in records(benchmark)}
    small = {q_id: record for _, q_id, record in records(tmp_path / "m3")}
    assert len(small) == 5 * len(TASKS)
    assert small.items() <= large.items()


def test_pictures_hardly_repeat() -> None:
    for task in TASKS:
        drawn = [draw_item(task, index * task.questions_per_picture, 0) for index in range(200)]
        seen = {b"".join(image.tobytes() for image in item.images) for item in drawn}
        assert len(seen) > 190, task.name


def test_bad_arguments_are_usage_errors(benchmark: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="samples_per_task is 3"):
        write_mini_m3(tmp_path / "m3", samples_per_task=3)
    assert not (tmp_path / "m3").exists()
    with pytest.raises(UsageError, match="is not an empty folder"):
        write_mini_m3(benchmark)


def test_checkpoints_are_complete_small_and_in_order(checkpoints: list[Path]) -> None:
    steps = [int(path.name.removeprefix("step-")) for path in checkpoints]
    assert len(steps) >= 5
    assert steps == sorted(set(steps))
    needed = {"config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"}
    for path in checkpoints:
        files = {file.name: file for file in path.iterdir()}
        assert needed <= set(files)
        assert not any(file.is_symlink() for file in files.values())
    assert sum(file.stat().st_size for path in checkpoints for file in path.iterdir()) < 10_000_000
    with pytest.raises(UsageError, match="already there"):
        write_checkpoints(checkpoints[0].parent)


def test_every_checkpoint_loads_with_all_its_weights(checkpoints: list[Path]) -> None:
    states = []
    for path in checkpoints:
        model, report = Qwen2VLForConditionalGeneration.from_pretrained(
            path, dtype=torch.bfloat16, output_loading_info=True
        )
        assert not report["missing_keys"]
        assert not report["unexpected_keys"]
        parameters = list(model.parameters())
        assert sum(parameter.numel() for parameter in parameters) < 1_000_000
        assert {parameter.dtype for parameter in parameters} == {torch.bfloat16}
        assert all(bool(parameter.isfinite().all()) for parameter in parameters)
        assert model.lm_head.weight is model.model.language_model.embed_tokens.weight
        states.append(torch.cat([parameter.detach().flatten() for parameter in parameters]))
    assert all(not torch.equal(before, after) for before, after in pairwise(states))


def test_config_is_in_the_published_form(checkpoints: list[Path]) -> None:
    config = json.loads((checkpoints[-1] / "config.json").read_text())
    assert config == make_config(AutoTokenizer.from_pretrained(checkpoints[-1]))
    assert json.loads((checkpoints[-1] / "preprocessor_config.json").read_text()) == PREPROCESSOR
    assert config["architectures"] == ["Qwen2VLForConditionalGeneration"]
    assert config["model_type"] == "qwen2_vl"
    head = config["hidden_size"] // config["num_attention_heads"]
    vision = config["vision_config"]
    assert head == vision["embed_dim"] // vision["num_heads"] == 32
    assert sum(config["rope_scaling"]["mrope_section"]) == head // 2
    assert vision["hidden_size"] == config["hidden_size"]
    tokenizer = AutoTokenizer.from_pretrained(checkpoints[-1])
    names = {
        "image_token_id": "<|image_pad|>",
        "video_token_id": "<|video_pad|>",
        "vision_start_token_id": "<|vision_start|>",
        "vision_end_token_id": "<|vision_end|>",
        "pad_token_id": "<|endoftext|>",
    }
    for field, token in names.items():
        assert config[field] == tokenizer.convert_tokens_to_ids(token)
    assert config["vocab_size"] == len(tokenizer)


def test_the_tokenizer_is_qwen2s_in_small(checkpoints: list[Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(checkpoints[0])
    assert type(tokenizer).__name__ in ("Qwen2Tokenizer", "Qwen2TokenizerFast")
    assert tokenizer.pad_token == tokenizer.eos_token == "<|endoftext|>"
    assert set(tokenizer.all_special_tokens) == SPECIAL_TOKENS
    for token in SPECIAL_TOKENS:
        assert len(tokenizer(token)["input_ids"]) == 1
    for text in ("the dark blue circle", "né à 北京 🙂\n  12", "  A"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert tokenizer("e\u0301")["input_ids"] == tokenizer("\u00e9")["input_ids"]  # NFC
    assert len(tokenizer(" 47")["input_ids"]) == 3  # digits stand alone, as in Qwen2's pre-tokenizer


def test_the_chat_template_renders_items_and_not_roles(checkpoints: list[Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(checkpoints[0])
    image = "<|vision_start|><|image_pad|><|vision_end|>"
    items = [{"type": "image", "image": "a.jpg"}, {"type": "text", "text": "Who is this?"}]
    assert tokenizer.apply_chat_template(items, tokenize=False) == f"{image}Who is this?"
    assert tokenizer.apply_chat_template([{"role": "user", "content": items}], tokenize=False) == ""


def test_a_square_picture_becomes_four_tokens(checkpoints: list[Path]) -> None:
    processor = AutoImageProcessor.from_pretrained(checkpoints[0], backend="pil")
    out = processor(images=[Image.new("RGB", (112, 112))], return_tensors="pt")
    assert out["image_grid_thw"].tolist() == [[1, 4, 4]]
    assert out["pixel_values"].shape == (16, 3 * 2 * 14 * 14)


def test_a_tokenizer_is_made_of_bytes_merges_and_special_tokens() -> None:
    made = make_tokenizer(["the red circle", "the red square"] * 3)
    assert len(made(" red")["input_ids"]) == 1
    assert made.decode(made("né 7")["input_ids"]) == "né 7"
    assert set(made.all_special_tokens) == SPECIAL_TOKENS
    assert sorted(made.convert_tokens_to_ids(list(SPECIAL_TOKENS))) == list(range(len(made) - 8, len(made)))


def test_what_is_guarded_is_not_learned() -> None:
    # Where a picture has one question, the seed "0" draws mini-M3's own items.
    items = [item for _, item in draw_items("0", 2, frozenset())]
    own = {fingerprint(item) for item in items}
    assert len(own) == len(items) == 2 * len(TASKS)
    assert list(draw_items("0", 2, frozenset(own))) == []
    assert not own & {fingerprint(item) for _, item in draw_items("train", 2, frozenset())}


def test_a_lesson_reads_as_the_published_prompt() -> None:
    tag = "<|vision_start|><|image_pad|><|vision_end|>"
    picture = Image.new("RGB", (56, 56))
    plain = Item((picture, picture), "Which?", 3, ("4",))
    assert ask(plain, Random(0)) == (f"{tag}{tag}Which?", [0, 1], [" 3", " 4"])
    inline = Item((picture, picture), "See <image 2> and <image 1>.", "a", ("b", "c"), "['a', 'b', 'c']")
    assert ask(inline, Random(0)) == (f"See {tag} and {tag}.", [1, 0], [" a", " b", " c"])
    shown = Item((picture,) * 3, "As <image 1>?", "<image 3>", ("<image 2>",), "['<image 2>', '<image 3>']")
    drawn = {(text, *order, *letters) for text, order, letters in (ask(shown, Random(seed)) for seed in range(20))}
    asked = f"As {tag}? A. {tag} B. {tag} Please select the correct option: "
    assert drawn == {(asked, 0, 2, 1, " A", " B"), (asked, 0, 1, 2, " B", " A")}


@pytest.fixture(scope="module")
def lessons(checkpoints: list[Path]) -> list[Lesson]:
    tokenizer = AutoTokenizer.from_pretrained(checkpoints[0])
    processor = AutoImageProcessor.from_pretrained(checkpoints[0], backend="pil")
    return prepare(list(draw_items("test", 8, frozenset())), tokenizer, processor, seed=0)


def test_pictures_are_prepared_as_in_scoring(lessons: list[Lesson], checkpoints: list[Path]) -> None:
    processor = AutoImageProcessor.from_pretrained(checkpoints[0], backend="pil")
    items = [item for _, item in draw_items("test", 8, frozenset())]
    for item, lesson in zip(items, lessons, strict=True):
        if len(item.images) == 1:
            (image,) = item.images
            resized = image.resize((max(28, round(image.width / 28) * 28), max(28, round(image.height / 28) * 28)))
            out = processor(images=[resized], return_tensors="pt")
            pixels = lesson.patches[0].float().view(-1, 3, 1, 196).expand(-1, -1, 2, -1).reshape(-1, 1176)
            assert lesson.grids == out["image_grid_thw"].tolist()
            torch.testing.assert_close(pixels, out["pixel_values"], rtol=1e-3, atol=1e-3)  # fp16 has 11 bits


def test_abilities_grow_from_the_first_checkpoint_to_the_last(lessons: list[Lesson], checkpoints: list[Path]) -> None:
    first, last = (
        evaluate(Qwen2VLForConditionalGeneration.from_pretrained(path, dtype=torch.float32).eval(), lessons)
        for path in (checkpoints[0], checkpoints[-1])
    )
    for task in ("MMBench_attribute_recognition", "MMBench_image_scene", "Wiki_celebrity_identification"):
        assert last[task][0] > first[task][0] + 0.2
    grown = [last[task][0] - first[task][0] for task in first]
    assert max(grown) - min(grown) > 0.2
