"""The vLLM engine against the transformers engine, on real vLLM (the CPU build) and real architectures."""

import itertools
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm", reason="no wheel of vLLM for this platform")

from PIL import Image
from plain import TAG
from puzzles import PUZZLES
from safetensors.torch import load_file, save_file
from side_by_side import largest_difference, opened, scored_by
from tiny import ROLE_TEMPLATE, write_llava
from vllm_engines import Engines, per_candidate

from radar_fast.demo.show import PIXELS
from radar_fast.engines.vllm.engine import VllmEngine
from radar_fast.errors import EngineError, ModelError
from radar_fast.protocols import Protocol
from radar_fast.readers import open_reader
from radar_fast.results import metrics
from radar_fast.results.record import record_of
from radar_fast.sample import ImageFile, ReasonKind, Sample

BOUND = 1e-4
"""On every raw logit and log-probability, fp32."""
BLOCK = 32
"""Tokens a block of the KV cache, as the engine sets it on a CPU."""
COUNTS = ("requests", "prefix_cache_hits", "resubmissions", "images_encoded", "processor_runs")


def counted(engine: Any) -> dict[str, int]:
    described = engine.describe().to_dict()
    return {name: described[name] for name in COUNTS}


def since(engine: Any, before: dict[str, int]) -> dict[str, int]:
    return {name: value - before[name] for name, value in counted(engine).items()}


# The demo's checkpoints on mini-M3 -----------------------------------------------------------------------------------


def one_by_one(engine: Any, protocol: Any, samples: list[Sample]) -> Any:
    """So that no batch depends on how fast images are read, and the same engine gives the same bits."""
    return {key: scored for sample in samples for key, scored in scored_by(engine, protocol, [sample]).items()}


@pytest.fixture
def series(demo: Path, engines: Engines) -> tuple[VllmEngine, Protocol]:
    """One engine for all tests on the demo's checkpoints; each test finds it, and leaves it, with step-1600."""
    engine, protocol = engines.open(demo / "checkpoints" / "step-1600", pixels=(PIXELS, PIXELS))
    assert isinstance(engine, VllmEngine)
    return engine, protocol


def mini_m3(demo: Path) -> list[Sample]:
    return [sample for sample in open_reader(demo / "mini-m3") if sample.reason is None]


def reference(model: Path, samples: list[Sample], **options: Any) -> Any:
    engine, protocol = opened("transformers", model, **options)
    try:
        return scored_by(engine, protocol, samples)
    finally:
        engine.close()


def test_mini_m3_equals_the_transformers_engine(demo: Path, series: tuple[VllmEngine, Protocol]) -> None:
    engine, protocol = series
    samples = mini_m3(demo)
    before = counted(engine)
    mine = scored_by(engine, protocol, samples)
    counts = since(engine, before)
    theirs = reference(demo / "checkpoints" / "step-1600", samples, pixels=(PIXELS, PIXELS))
    assert largest_difference(mine, theirs) <= BOUND
    ours, plain = (metrics.summarize(map(record_of, scored.values()), confidence=None) for scored in (mine, theirs))
    assert len(ours.directories) == 9
    for task, entry in plain.tasks.items():
        assert ours.tasks[task].sds == pytest.approx(entry.sds, abs=1e-5)

    assert engine.describe().to_dict()["prepared_images"] is True
    with_images = [sample for sample in samples if sample.images]
    pictures = {protocol.image(Image.open(f.path).convert("RGB")).tobytes() for s in samples for f in s.images}
    assert counts["processor_runs"] <= 8, "to see how its input is laid out; the others are assembled like it"
    assert len(with_images) > 100
    assert counts["images_encoded"] == len(pictures)
    assert counts["requests"] - counts["resubmissions"] <= sum(len(sample.candidates) for sample in samples)


def test_a_sample_scored_twice_gets_the_same_numbers(series: tuple[VllmEngine, Protocol]) -> None:
    """The second time its blocks are cached, often past its first answer row."""
    engine, protocol = series
    samples = [sample for words in range(40, 72) for sample in long_samples(count=2, words=words)]
    with per_candidate(engine):
        first = scored_by(engine, protocol, samples)
        before = counted(engine)
        second = scored_by(engine, protocol, samples)
    assert since(engine, before)["prefix_cache_hits"] > 0
    assert since(engine, before)["resubmissions"] > 0, "nothing was cached past an answer: this test shows nothing"
    assert largest_difference(first, second) <= 2e-5


def few_samples(demo: Path) -> list[Sample]:
    return [*mini_m3(demo)[:24], *long_samples(count=3, words=60)]


def test_new_weights_in_a_live_engine(demo: Path, series: tuple[VllmEngine, Protocol]) -> None:
    """Prompts and images, and so the cache's keys, are the same. The heads are tied."""
    engine, protocol = series
    samples = few_samples(demo)
    before = scored_by(engine, protocol, samples)
    engine.load_weights(demo / "checkpoints" / "step-100")
    found = scored_by(engine, protocol, samples)
    engine.load_weights(demo / "checkpoints" / "step-1600")
    assert largest_difference(found, before) > 0.1
    assert (
        largest_difference(found, reference(demo / "checkpoints" / "step-100", samples, pixels=(PIXELS, PIXELS)))
        <= BOUND
    )
    assert largest_difference(scored_by(engine, protocol, samples), before) <= 2e-5


@pytest.mark.full
def test_new_weights_give_what_an_engine_of_their_own_gives(demo: Path, engines: Engines) -> None:
    """A, B, A: each as a fresh engine gives it to the bit, though prompts, images and so cache keys are the same.

    The heads are tied: vLLM's reload alone leaves the old one in place on a CPU.
    """
    fresh = {}
    for step in ("step-100", "step-1600"):
        engine, protocol = engines.open(demo / "checkpoints" / step, pixels=(PIXELS, PIXELS), anew=True)
        fresh[step] = one_by_one(engine, protocol, few_samples(demo))
    for step in ("step-1600", "step-100", "step-1600"):
        engine.load_weights(demo / "checkpoints" / step)
        live = one_by_one(engine, protocol, few_samples(demo))
        assert largest_difference(live, fresh[step]) == 0.0, step
    assert largest_difference(fresh["step-100"], fresh["step-1600"]) > 0.1


def test_weights_of_another_model_are_refused(
    demo: Path, series: tuple[VllmEngine, Protocol], qwen2vl: Path, tmp_path: Path
) -> None:
    engine, protocol = series
    with pytest.raises(ModelError, match=r"config\.json"):
        engine.load_weights(qwen2vl)
    with pytest.raises(ModelError, match="no such checkpoint"):
        engine.load_weights(tmp_path / "none")
    stream = engine.score(map(protocol.prompt, mini_m3(demo)[:8]))
    next(stream)
    with pytest.raises(EngineError, match="still being scored"):
        engine.load_weights(demo / "checkpoints" / "step-100")
    stream.close()  # type: ignore[attr-defined] # a generator
    assert len(scored_by(engine, protocol, mini_m3(demo)[:8])) == 8, "what was left behind does not come up again"


def test_bad_samples_are_unscored_and_the_rest_goes_on(
    demo: Path, series: tuple[VllmEngine, Protocol], tmp_path: Path
) -> None:
    engine, protocol = series
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    Image.new("RGB", (5000, 4)).save(tmp_path / "thin.png")
    Image.new("RGB", (60, 60), "red").save(tmp_path / "red.png")

    def sample(name: str, *parts: Any, options: tuple[str, ...] = ("red", "blue")) -> Sample:
        return Sample(name, "t", "d", "a", parts, options, 0)

    red = ImageFile(tmp_path / "red.png")
    samples = [
        sample("gone", ImageFile(tmp_path / "gone.png"), "What?"),
        sample("cut", ImageFile(tmp_path / "cut.png"), "What?"),
        sample("thin", ImageFile(tmp_path / "thin.png"), "What?"),
        sample("long", red, "what " * 5000),
        sample("special", red, "Is <|image_pad|> or <|im_end|> text?", options=("red", "<|endoftext|>", "red or")),
        sample("text", "No picture here."),
    ]
    found = scored_by(engine, protocol, samples)
    kinds = {key[1]: scored.reason.kind if scored.reason else None for key, scored in found.items()}
    assert kinds == {
        "gone": ReasonKind.MISSING_IMAGE,
        "cut": ReasonKind.UNREADABLE_IMAGE,
        "thin": ReasonKind.UNREADABLE_IMAGE,
        "long": ReasonKind.TOO_LONG,
        "special": None,
        "text": None,
    }
    theirs = reference(demo / "checkpoints" / "step-1600", samples, pixels=(PIXELS, PIXELS))
    assert largest_difference(found, theirs) <= BOUND


def test_images_of_a_sample_that_vllm_refused_can_be_asked_about_again(
    series: tuple[VllmEngine, Protocol], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vLLM is sent an image once; one that it refused together with its prompt has not been sent."""
    engine, protocol = series
    Image.effect_noise((60, 60), 90).convert("RGB").save(tmp_path / "noise.png")
    sample = Sample("1", "t", "d", "a", (ImageFile(tmp_path / "noise.png"), "What?"), ("red", "blue"), 0)

    def refuse(*_: Any) -> None:
        raise ValueError("too long for it")

    with monkeypatch.context() as patched:
        patched.setattr(engine._engine, "add_request", refuse)
        [refused] = scored_by(engine, protocol, [sample]).values()
    assert refused.reason is not None
    assert refused.reason.kind is ReasonKind.TOO_LONG
    [scored] = scored_by(engine, protocol, [sample]).values()
    assert scored.reason is None


# Work ----------------------------------------------------------------------------------------------------------------


WORDS = ["red", "green", "blue", "yellow", "purple", "orange", "light", "dark", "small", "large", "circle", "square"]


def long_samples(count: int, words: int) -> list[Sample]:
    """Text prompts of about ``words`` tokens, no two with a common beginning, four candidates of one to four tokens."""
    return [
        Sample(
            f"long-{words}-{index}",
            "long",
            "d",
            "a",
            (" ".join([str(index), *(WORDS[(index * 7 + at * at) % len(WORDS)] for at in range(words))]),),
            ("red", "dark blue", "green circle", "light yellow square"),
            0,
        )
        for index in range(count)
    ]


def test_the_work_is_near_its_minimum_under_load(series: tuple[VllmEngine, Protocol]) -> None:
    """More samples than vLLM takes at once, prompts of about 512 tokens, every length modulo the block size."""
    engine, protocol = series
    samples = [sample for words in range(335, 367) for sample in long_samples(count=3, words=words)]
    assert len(samples) > 2 * 8192 // 512
    before = counted(engine)
    found = scored_by(engine, protocol, samples)
    for scored in found.values():
        spare = (len(scored.candidates) - 1) * (BLOCK - 1)
        assert scored.tokens_computed <= scored.tokens_minimal + spare, scored.sample.id
    computed = sum(scored.tokens_computed for scored in found.values())
    minimal = sum(scored.tokens_minimal for scored in found.values())
    assert 490 < minimal / len(samples) < 560
    assert computed / minimal <= 1.20
    assert since(engine, before)["resubmissions"] == 0
    assert sum(scored.seconds for scored in found.values()) > 0


def test_candidates_that_share_a_long_beginning_and_duplicates(demo: Path, series: tuple[VllmEngine, Protocol]) -> None:
    """More common tokens than two blocks hold."""
    engine, protocol = series
    common = " ".join(itertools.islice(itertools.cycle(WORDS), 40))
    options = (f"{common} red", f"{common} red", f"{common} blue circle", common, f"red {common}", "red", "blue")
    samples = [
        Sample(f"{words}", "common", "d", "a", (f"{words} what is it? " * words,), options, 0)
        for words in (1, 4, 7, 9, 12)
    ]
    before = counted(engine)
    found = scored_by(engine, protocol, samples)
    counts = since(engine, before)
    assert largest_difference(found, reference(demo / "checkpoints" / "step-1600", samples)) <= BOUND
    assert counts["resubmissions"] == 0
    assert all(scored.tokens_computed <= scored.tokens_minimal + 6 * (BLOCK - 1) for scored in found.values())


# Other models, and requests in pieces --------------------------------------------------------------------------------


def pictures(folder: Path) -> list[Sample]:
    """Odd sizes and modes, several images, one image in several samples, none."""
    sizes = [(222, 226), (31, 400), (97, 55), (140, 181), (28, 28)]
    for index, size in enumerate(sizes):
        mode = ["RGB", "RGBA", "L", "P", "RGB"][index]
        picture = Image.effect_noise(size, 60 + index).convert("RGB").convert(mode)
        if mode == "RGBA":
            picture.putalpha(Image.effect_noise(size, 90))
        picture.save(folder / f"{index}.png")
    answers = ("red", "dark blue", "a small light yellow hexagon in the picture", "A.")
    groups = [[0], [1], [2], [3], [4], [0, 1, 2], [3, 3], [], [1]]
    return [
        Sample(
            str(index),
            "odd",
            "d",
            "a",
            (*(ImageFile(folder / f"{number}.png") for number in group), f"What is the colour of picture {index}?"),
            answers[: 2 + index % 3],
            0,
        )
        for index, group in enumerate(groups)
    ]


@pytest.mark.full
@pytest.mark.parametrize("puzzles", PUZZLES)
def test_puzzlevqa_and_odd_images_with_whole_requests(
    engines: Engines, qwen2vl: Path, puzzles: Path, tmp_path: Path
) -> None:
    bounds = (3136, 12544)
    engine, protocol = engines.open(qwen2vl, pixels=bounds)
    odd, samples = pictures(tmp_path), list(open_reader(puzzles))
    before = counted(engine)
    mine = scored_by(engine, protocol, samples)
    counts = since(engine, before)
    assert largest_difference(scored_by(engine, protocol, odd), reference(qwen2vl, odd, pixels=bounds)) <= BOUND
    more = since(engine, before)
    assert largest_difference(mine, reference(qwen2vl, samples, pixels=bounds)) <= BOUND
    assert len(mine) == len(samples)
    assert counts["processor_runs"] <= 8
    assert more["images_encoded"] - counts["images_encoded"] == 5, "an image that several samples share, once"


@pytest.mark.full
def test_requests_in_pieces(engines: Engines, qwen2vl: Path, tmp_path: Path) -> None:
    """A budget far below the prompts' length: prefixes and answers are cut anywhere."""
    bounds = (3136, 12544)
    answer = " ".join(itertools.islice(itertools.cycle(WORDS), 30))
    samples = [
        *pictures(tmp_path),
        *(
            Sample(str(words), "long", "d", "a", ("what " * words,), (answer, "red", f"blue {answer}"), 0)
            for words in range(20, 60, 3)
        ),
    ]
    engine, protocol = engines.open(
        qwen2vl, pixels=bounds, batch_tokens=64, arguments={"disable_chunked_mm_input": "false"}
    )
    described = engine.describe().to_dict()
    assert (described["batch_tokens"], described["whole_requests"]) == (64, False)
    found = scored_by(engine, protocol, samples)
    assert largest_difference(found, reference(qwen2vl, samples, pixels=bounds)) <= BOUND


@pytest.mark.full
def test_processes_and_a_cache_change_nothing(engines: Engines, qwen2vl: Path, demo: Path, tmp_path: Path) -> None:
    """Two engines after one another: the second decodes nothing."""
    bounds = (3136, 12544)
    samples = [sample for sample in mini_m3(demo) if sample.images][:40]
    found = []
    for kind in ("processes", "threads"):
        engine, protocol = engines.open(
            qwen2vl, pixels=bounds, worker_kind=kind, workers=2, preprocess_cache=tmp_path / "cache"
        )
        found.append(scored_by(engine, protocol, samples))
        described = engine.describe().to_dict()
        assert (described["worker_kind"], described["prepared_images"]) == (kind, True)
    engines.close()
    assert sum(1 for _ in (tmp_path / "cache").rglob("*.safetensors")) >= 30
    assert largest_difference(*found) <= 2e-5
    assert largest_difference(found[1], reference(qwen2vl, samples, pixels=bounds)) <= BOUND


@pytest.mark.full
def test_torchvisions_pixels_in_both_engines(engines: Engines, qwen2vl: Path, tmp_path: Path) -> None:
    """Both see the same, transparent pictures among them, and something else than PIL's pixels."""
    bounds, samples = (3136, 12544), pictures(tmp_path)
    engine, protocol = engines.open(qwen2vl, pixels=bounds, image_backend="torchvision")
    assert protocol.image_backend == "torchvision"
    found = scored_by(engine, protocol, samples)
    theirs = reference(qwen2vl, samples, pixels=bounds, image_backend="torchvision")
    assert largest_difference(found, theirs) <= BOUND
    assert largest_difference(theirs, reference(qwen2vl, samples, pixels=bounds)) > 2 * BOUND
    engines.close()


@pytest.mark.full
def test_another_family_through_chat(engines: Engines, tmp_path: Path) -> None:
    """LLaVA: no list of families anywhere."""
    model = write_llava(tmp_path / "llava", template=ROLE_TEMPLATE.replace(TAG, "<image>\n"))
    weights = load_file(model / "model.safetensors")
    # As the published checkpoints have it; transformers 5.19 writes these names without the middle part.
    names = {name: name.replace("vision_tower.", "vision_tower.vision_model.") for name in weights}
    if not any("vision_tower.vision_model." in name for name in weights):
        weights = {names[name]: value for name, value in weights.items()}
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    (tmp_path / "images").mkdir()
    samples = pictures(tmp_path / "images")
    engine, protocol = engines.open(model)
    found = scored_by(engine, protocol, samples)
    assert engine.describe().to_dict()["prepared_images"] is not None
    assert largest_difference(found, reference(model, samples)) <= BOUND


def test_an_answer_beyond_the_head_is_refused_before_vllm(demo: Path, series: tuple[VllmEngine, Protocol]) -> None:
    engine, protocol = series
    before = counted(engine)
    rows, engine._vocabulary = engine._vocabulary, 3
    try:
        scored = one_by_one(engine, protocol, mini_m3(demo)[:1])
    finally:
        engine._vocabulary = rows
    [refused] = scored.values()
    assert refused.reason.kind == ReasonKind.UNKNOWN_TOKEN
    assert since(engine, before)["requests"] == 0
    assert rows == 512
