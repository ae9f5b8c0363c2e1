"""The one-pass engine against the plain loop, on real architectures with random weights."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from plain import TAG, PlainLoop, Question, puzzle_questions, sds
from processes import uncovered
from puzzles import PUZZLES
from tiny import ROLE_TEMPLATE, write_llava, write_qwen2vl

from radar_fast.engines import WINDOW, EngineContext, EngineOptions, open_engine
from radar_fast.engines.transformers import engine as module
from radar_fast.engines.transformers import forward
from radar_fast.engines.transformers.engine import TransformersEngine
from radar_fast.errors import EngineError, ModelError, UsageError
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import open_protocol
from radar_fast.readers import open_reader
from radar_fast.results import metrics
from radar_fast.results.record import record_of
from radar_fast.sample import ImageFile, ReasonKind, Sample, Scored

BOUND = 1e-4
"""On every raw logit and log-probability, fp32."""


def score(
    model: Path, samples: list[Sample], *, protocol: str = "auto", engine: str = "transformers", **options: Any
) -> tuple[dict[tuple[str, str], Scored], dict[str, Any]]:
    """What came out, and what the engine says of itself; ``options`` are the protocol's pixel bounds, the engine's."""
    pixels = {name: options.pop(name) for name in ("min_pixels", "max_pixels") if name in options}
    checkpoint = Checkpoint.open(model)
    chosen = open_protocol(protocol, checkpoint, **pixels)
    made = open_engine(engine, checkpoint, chosen, EngineOptions(device="cpu", dtype="float32", **options))
    try:
        return {
            scored.sample.key: scored for scored in made.score(map(chosen.prompt, samples))
        }, made.describe().to_dict()
    finally:
        made.close()


def largest_difference(scored: Scored, logits: list[list[float]], logprobs: list[list[float]]) -> float:
    pairs = [
        (mine, theirs)
        for candidate, plain, plain_logprobs in zip(scored.candidates, logits, logprobs, strict=True)
        for mine, theirs in (
            *zip(candidate.logits, plain, strict=True),
            *zip(candidate.logprobs, plain_logprobs, strict=True),
        )
    ]
    return max(abs(mine - theirs) for mine, theirs in pairs)


@pytest.mark.parametrize("puzzles", PUZZLES)
def test_puzzlevqa_equals_the_plain_loop(qwen2vl: Path, puzzles: Path) -> None:
    """Every sample; every sum of the work too."""
    bounds: dict[str, Any] = {"min_pixels": 3136, "max_pixels": 12544}
    samples = list(open_reader(puzzles))
    scored, described = score(qwen2vl, samples, **bounds)
    loop = PlainLoop(qwen2vl, **bounds)
    plain_sds: dict[str, list[float]] = {}
    worst = 0.0
    for question in puzzle_questions(puzzles):
        logits, logprobs = loop(question)
        worst = max(worst, largest_difference(scored[question.file, question.q_id], logits, logprobs))
        plain_sds.setdefault(question.file, []).append(sds(logits, question.correct))
    assert len(scored) == len(samples) >= 10
    assert worst <= BOUND
    summary = metrics.summarize(map(record_of, scored.values()), confidence=None)
    for task, values in plain_sds.items():
        assert summary.tasks[task].sds == pytest.approx(sum(values) / len(values), abs=1e-5)
    assert described["packed"] is True
    computed = sum(result.tokens_computed for result in scored.values())
    assert computed / sum(result.tokens_minimal for result in scored.values()) <= 1.10


def pictures(folder: Path) -> Iterator[tuple[Sample, Question]]:
    """Sizes that are no multiple of 28, modes that are not RGB, transparency in each way that PNG has, several images,
    none; candidates of all lengths."""
    answers = ["red", "dark blue", "a small light yellow hexagon in the picture", "A."]
    rng = np.random.default_rng(0)
    sizes = [(222, 226), (31, 400), (97, 55), (640, 481), (28, 28), (13, 300)]
    for index, size in enumerate(sizes):
        mode = ["RGB", "RGBA", "L", "P", "LA", "CMYK"][index]
        path = folder / f"{index}.{'jpg' if mode == 'CMYK' else 'png'}"
        pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        picture = Image.fromarray(pixels).convert(mode)
        if mode in ("RGBA", "LA"):
            picture.putalpha(Image.fromarray(pixels[:, :, 1]))  # truly transparent
        if mode == "P":
            picture.info["transparency"] = pixels[0, 0, :1].tobytes()
        picture.save(path)
    groups = [[0], [1], [2], [3], [4], [5], [0, 1, 2], [3, 3], []]
    for index, group in enumerate(groups):
        paths = [folder / f"{number}.{'jpg' if number == 5 else 'png'}" for number in group]
        text = f"What is the colour of picture {index}?"
        parts: tuple[ImageFile | str, ...] = (*map(ImageFile, paths), text)
        options = answers[: 2 + index % 3]
        yield (
            Sample(str(index), "odd", "d", "a", parts, tuple(options), 0),
            Question("odd", str(index), TAG * len(paths) + text, paths, options),
        )


def test_published_pixel_bounds_and_odd_images(qwen2vl: Path, tmp_path: Path) -> None:
    pairs = list(pictures(tmp_path))
    scored, _ = score(qwen2vl, [sample for sample, _ in pairs])
    loop = PlainLoop(qwen2vl, 256 * 28 * 28, 768 * 28 * 28)
    for sample, question in pairs:
        assert largest_difference(scored[sample.key], *loop(question)) <= BOUND, question


def test_both_resizes_matter(qwen2vl: Path, tmp_path: Path) -> None:
    """The reason for the first one: without it an image of 222 x 226 pixels gets 285 - 13 tokens instead of 256."""
    Image.effect_noise((226, 222), 90).convert("RGB").save(tmp_path / "a.png")
    sample = Sample("1", "t", "d", "a", (ImageFile(tmp_path / "a.png"), "What?"), ("red", "blue"), 0)
    scored, _ = score(qwen2vl, [sample], protocol="qwen2vl")
    images = PlainLoop(qwen2vl, 200704, 602112).images
    grid = images([Image.open(tmp_path / "a.png").convert("RGB")], return_tensors="pt")["image_grid_thw"]
    once = int(grid.prod()) // 4
    assert once == 272
    text_and_answers = scored["t", "1"].tokens_minimal - 256
    assert 0 < text_and_answers < 16, "the engine's image took 256 tokens"


@pytest.mark.parametrize("budget", [1, 700, 100_000])
def test_the_budget_changes_no_score(qwen2vl: Path, tmp_path: Path, budget: int) -> None:
    pairs = list(pictures(tmp_path))
    samples = [sample for sample, _ in pairs]
    bounds: dict[str, Any] = {"min_pixels": 3136, "max_pixels": 12544}
    reference, _ = score(qwen2vl, samples, **bounds)
    scored, _ = score(qwen2vl, samples, batch_tokens=budget, **bounds)
    for key, result in scored.items():
        logits = [list(candidate.logits) for candidate in reference[key].candidates]
        logprobs = [list(candidate.logprobs) for candidate in reference[key].candidates]
        # Another batch is another order of fp32 sums; with one thread 2.1e-5 has been seen.
        assert largest_difference(result, logits, logprobs) <= BOUND / 2


def test_dropping_whole_windows_changes_no_bit(qwen2vl: Path, demo: Path) -> None:
    """What resuming does, and the reason why a resumed run's summary equals an uninterrupted one's."""
    samples = [sample for sample in open_reader(demo / "mini-m3") if sample.reason is None][: 2 * WINDOW + 9]
    assert len(samples) == 2 * WINDOW + 9
    bounds: dict[str, Any] = {"min_pixels": 3136, "max_pixels": 3136}
    whole, _ = score(qwen2vl, samples, **bounds)
    rest, _ = score(qwen2vl, samples[WINDOW:], **bounds)
    for key, result in rest.items():
        assert result.candidates == whole[key].candidates


def test_chat_equals_a_plain_forward_through_the_checkpoints_own_processor(qwen2vl_chat: Path, tmp_path: Path) -> None:
    pairs = list(pictures(tmp_path))
    scored, described = score(qwen2vl_chat, [sample for sample, _ in pairs], min_pixels=3136, max_pixels=50176)
    assert described["packed"] is True
    loop = PlainLoop(qwen2vl_chat, 3136, 50176)
    head, tail = "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"
    for sample, question in pairs:
        # No joiner and no first resize: the answer follows the generation prompt.
        with torch.inference_mode():
            logits = []
            for answer in question.answers:
                start = chat_inputs(loop, question, head + question.text + tail)[0].shape[1]
                ids, inputs = chat_inputs(loop, question, head + question.text + tail + answer)
                rows = loop.model(input_ids=ids, attention_mask=torch.ones_like(ids), **inputs).logits[0]
                logits.append([rows[at - 1, ids[0, at]].item() for at in range(start, ids.shape[1])])
        for mine, plain in zip(scored[sample.key].candidates, logits, strict=True):
            assert mine.logits == pytest.approx(plain, abs=BOUND)


def chat_inputs(loop: PlainLoop, question: Question, text: str) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    import re

    inputs = {}
    if question.images:
        inputs = dict(loop.images([Image.open(path).convert("RGB") for path in question.images], return_tensors="pt"))
        pads = iter((inputs["image_grid_thw"].prod(-1) // 4).tolist())
        text = re.sub(r"<\|image_pad\|>", lambda match: match.group() * next(pads), text)
    ids = loop.tokenizer(text, return_tensors="pt")["input_ids"]
    pad = loop.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    return ids, {**inputs, "mm_token_type_ids": (ids == pad).int()}


def test_another_family_through_chat(tmp_path: Path) -> None:
    """LLaVA: one position axis, another image token, another vision tower. Packed equals the model's own forward."""
    folder = write_llava(tmp_path / "llava", template=ROLE_TEMPLATE.replace(TAG, "<image>\n"))
    (tmp_path / "images").mkdir()
    samples = [sample for sample, _ in pictures(tmp_path / "images")]
    packed, described = score(folder, samples)
    assert described["packed"] is True
    assert described["self_check_difference"] < BOUND
    plain, _ = score_plainly(folder, samples)
    assert set(packed) == {sample.key for sample in samples}
    for key, result in packed.items():
        assert result.reason is None
        logits = [list(candidate.logits) for candidate in plain[key].candidates]
        logprobs = [list(candidate.logprobs) for candidate in plain[key].candidates]
        assert largest_difference(result, logits, logprobs) <= BOUND


def score_plainly(model: Path, samples: list[Sample]) -> tuple[dict[tuple[str, str], Scored], dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(forward.SELF_CHECK_TOLERANCE, torch.float32, -1.0)
        return score(model, samples)


def test_where_packing_is_wrong_the_engine_says_so_and_goes_on(
    qwen2vl: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The self-check is made to fail: what comes out is the plain forward, with its own cost."""
    pairs = list(pictures(tmp_path))
    samples = [sample for sample, _ in pairs]
    scored, described = score_plainly(qwen2vl, samples)
    assert described["packed"] is False
    assert "scoring without packing" in caplog.text
    loop = PlainLoop(qwen2vl, 200704, 602112)
    for sample, question in pairs[:4]:
        assert largest_difference(scored[sample.key], *loop(question)) <= BOUND
        assert scored[sample.key].tokens_computed > scored[sample.key].tokens_minimal


def test_a_sliding_window_is_not_packed(tmp_path: Path) -> None:
    """Its layers do not see the whole prefix, which the tree mask would let them."""
    folder = write_qwen2vl(tmp_path / "sliding")
    config = json.loads((folder / "config.json").read_text())
    window = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}
    config["text_config"].update(window, layer_types=["full_attention", "sliding_attention"])
    (folder / "config.json").write_text(json.dumps(config))
    (tmp_path / "images").mkdir()
    pairs = list(pictures(tmp_path / "images"))[:4]
    scored, described = score(folder, [sample for sample, _ in pairs])
    assert described["packed"] is False
    loop = PlainLoop(folder, 200704, 602112)
    for sample, question in pairs:
        assert largest_difference(scored[sample.key], *loop(question)) <= BOUND


def test_a_prompt_longer_than_the_model_is_unscored(tmp_path: Path) -> None:
    folder = write_qwen2vl(tmp_path / "short")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["max_position_embeddings"] = 64
    (folder / "config.json").write_text(json.dumps(config))
    samples = [
        Sample(str(size), "t", "d", "a", ("what " * size,), ("red", "dark blue circle"), 0) for size in (5, 40, 300)
    ]
    scored, _ = score(folder, samples)
    assert scored["t", "5"].reason is None
    reason = scored["t", "300"].reason
    assert reason is not None
    assert reason.kind is ReasonKind.TOO_LONG
    assert "64" in reason.detail


def test_weights_that_overflow_are_unscored_not_nan(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = write_qwen2vl(tmp_path / "inf")
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"][7] = float("inf")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    scored, _ = score(folder, [Sample("1", "t", "d", "a", ("What?",), ("red", "blue"), 0)])
    reason = scored["t", "1"].reason
    assert reason is not None
    assert reason.kind is ReasonKind.NON_FINITE


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_runs_and_is_near(qwen2vl: Path, tmp_path: Path, dtype: str) -> None:
    checkpoint = Checkpoint.open(qwen2vl)
    protocol = open_protocol("qwen2vl", checkpoint, min_pixels=3136, max_pixels=12544)
    samples = [sample for sample, _ in pictures(tmp_path)]
    exact, _ = score(qwen2vl, samples, min_pixels=3136, max_pixels=12544)
    engine = TransformersEngine(checkpoint, protocol, EngineOptions(device="cpu", dtype=dtype), EngineContext())
    for scored in engine.score(map(protocol.prompt, samples)):
        for mine, theirs in zip(scored.candidates, exact[scored.sample.key].candidates, strict=True):
            assert mine.logits == pytest.approx(theirs.logits, abs=0.6)
    assert engine.describe().to_dict()["dtype"] == dtype
    engine.close()


def test_cuda_is_refused_where_there_is_none(qwen2vl: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    checkpoint = Checkpoint.open(qwen2vl)
    with pytest.raises(UsageError, match="no CUDA device"):
        open_engine("auto", checkpoint, open_protocol("auto", checkpoint), EngineOptions(device="cuda"))


OUT_OF_MEMORY = """
import json, resource, sys
from pathlib import Path
from radar_fast import Checkpoint, EngineOptions, Sample, open_engine, open_protocol

checkpoint = Checkpoint.open(Path(sys.argv[1]))
protocol = open_protocol("qwen2vl", checkpoint)
options = EngineOptions(device="cpu", dtype="float32", workers=1, batch_tokens=60_000)
engine = open_engine("transformers", checkpoint, protocol, options)
short = [Sample(f"s{i}", "t", "d", "a", ("what color is it?",), ("red", "blue"), 0) for i in range(3)]
list(engine.score(map(protocol.prompt, short)))  # threads and libraries take their share before the limit is set
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
used = int(status["VmSize"].split()[0]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (used + 150 * 2**20, resource.RLIM_INFINITY))
# 42 rows of 1,400 tokens: 0.33 GB for the mask alone, and a single row takes 12 MB.
long = [Sample(f"l{i}", "t", "d", "a", ("the color " * 700,), ("red", "dark blue"), 0) for i in range(40)]
scored = list(engine.score(map(protocol.prompt, long)))
print(json.dumps({"unscored": sum(s.reason is not None for s in scored), "ids": sorted(s.sample.id for s in scored),
                  "budget": engine.describe().to_dict()["batch_tokens"]}))
"""


@pytest.mark.parametrize(("width", "tokens"), [(160, 4096), (3008, 1568), (8960, 526), (10**6, 256)])
def test_a_wide_models_batch_stays_within_a_cpus_caches(width: int, tokens: int) -> None:
    config = SimpleNamespace(intermediate_size=width, hidden_size=512)
    assert module._batch_tokens(torch.device("cpu"), config, torch.float32) == tokens
    assert module._batch_tokens(torch.device("cuda"), config, torch.bfloat16) == 16384


def test_out_of_memory_halves_the_budget_and_goes_on(qwen2vl: Path) -> None:
    """A real refusal: the address space is limited, and a batch of 40 long rows does not fit it."""
    command = [sys.executable, "-c", OUT_OF_MEMORY, str(qwen2vl)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=uncovered())
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["unscored"] == 0
    assert report["ids"] == sorted(f"l{index}" for index in range(40))
    assert report["budget"] < 60_000
    assert "out of memory" in result.stderr


def test_the_next_batch_is_begun_before_this_ones_scores_are_fetched(
    qwen2vl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU; no score changes. Memory that a batch in flight takes is waited for before batches get smaller."""
    samples = [sample for sample, _ in pictures(tmp_path)]
    expected, told = score(qwen2vl, samples, batch_tokens=600)
    happened: list[str] = []
    plain_begin = forward.Forward.begin

    def begin(self: forward.Forward, batch: Any) -> Any:
        number = sum(what.startswith("begin") for what in happened) + 1
        happened.append(f"begin {number}")
        if number == 3:
            raise torch.OutOfMemoryError("a batch is in flight")
        fetch = plain_begin(self, batch)

        def noted() -> Any:
            happened.append(f"fetch {number}")
            return fetch()

        return noted

    monkeypatch.setattr(forward.Forward, "begin", begin)
    monkeypatch.setattr(TransformersEngine, "_overlaps", True)
    found, described = score(qwen2vl, samples, batch_tokens=600)
    assert happened[:7] == ["begin 1", "begin 2", "fetch 1", "begin 3", "fetch 2", "begin 4", "begin 5"]
    assert happened[-1].startswith("fetch")
    assert {key: scored.candidates for key, scored in found.items()} == {
        key: scored.candidates for key, scored in expected.items()
    }
    assert described["batch_tokens"] == told["batch_tokens"]


def test_another_checkpoints_weights_in_the_same_engine(qwen2vl: Path, tmp_path: Path) -> None:
    """Bit for bit what a new engine says of it; only weights may differ, and nothing may be in flight."""
    other = write_qwen2vl(tmp_path / "other", seed=1)
    wider = write_qwen2vl(tmp_path / "wider", layers=3)
    (tmp_path / "images").mkdir()
    samples = [sample for sample, _ in pictures(tmp_path / "images")]
    expected, _ = score(other, samples)
    checkpoint = Checkpoint.open(qwen2vl)
    protocol = open_protocol("auto", checkpoint)
    engine = TransformersEngine(checkpoint, protocol, EngineOptions(device="cpu", dtype="float32"), EngineContext())
    try:
        stream = engine.score(map(protocol.prompt, samples))
        first = next(stream)
        with pytest.raises(EngineError, match="still being scored"):
            engine.load_weights(other)
        list(stream)
        with pytest.raises(ModelError, match=r"config\.json"):
            engine.load_weights(wider)
        assert next(iter(engine.score([protocol.prompt(first.sample)]))).reason is None, "it is as it was"
        engine.load_weights(other)
        assert engine.describe().to_dict()["compute_seconds"] is None, "counted anew"
        found = {scored.sample.key: scored.candidates for scored in engine.score(map(protocol.prompt, samples))}
    finally:
        engine.close()
    assert found == {key: scored.candidates for key, scored in expected.items()}
    assert found[first.sample.key] != first.candidates


def test_an_answer_beyond_the_head_is_refused_before_the_device(qwen2vl: Path) -> None:
    """Whatever config.json says of the vocabulary: on a GPU its numbers would be NaN, for nobody looks there."""
    checkpoint = Checkpoint.open(qwen2vl)
    protocol = open_protocol("qwen2vl", checkpoint)
    engine = TransformersEngine(
        checkpoint, protocol, EngineOptions(device="cpu", dtype="float32", workers=1), EngineContext()
    )
    try:
        assert engine._forward.vocabulary == checkpoint.config["text_config"]["vocab_size"]
        engine._forward.vocabulary = 3
        [scored] = engine.score([protocol.prompt(Sample("1", "t", "d", "a", ("What?",), ("red", "blue"), 0))])
    finally:
        engine.close()
    assert scored.reason is not None
    assert scored.reason.kind == ReasonKind.UNKNOWN_TOKEN
    assert "the model's LM head 3 rows" in scored.reason.detail
