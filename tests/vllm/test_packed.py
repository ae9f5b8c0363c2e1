"""One request a sample on real vLLM (the CPU build): the numbers of a request a path, and what each guard is for.

A guard's test takes it away and shows what goes wrong then.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("vllm", reason="no wheel of vLLM for this platform")

from side_by_side import largest_difference, scored_by
from vllm_engines import Engines, per_candidate

from radar_fast.demo.show import PIXELS
from radar_fast.engines.vllm import flights, packed_attention
from radar_fast.engines.vllm.engine import VllmEngine
from radar_fast.engines.vllm.packed_attention import PackedAttention
from radar_fast.engines.vllm.packed_gate import reason_against
from radar_fast.engines.vllm.packed_layout import PACKED, Layout, Nonces, PackedRequest, pack
from radar_fast.engines.vllm.packed_step import plan_step
from radar_fast.engines.vllm.prepare import Ready
from radar_fast.engines.vllm.preprocessor import Preprocessor
from radar_fast.protocols import Protocol
from radar_fast.readers import open_reader
from radar_fast.sample import Sample

BOUND = 1e-5
"""On every raw logit and log-probability, fp32: rounding, as the rows of a step are others."""
WRONG = 0.01
"""Far beyond rounding."""
WORDS = ["red", "green", "blue", "yellow", "purple", "orange", "light", "dark", "small", "large", "circle", "square"]
OPTIONS = ("red", "dark blue", "green circle in the picture", "light yellow square", "dark red", "dark", "small")


@pytest.fixture
def series(demo: Path, engines: Engines) -> tuple[VllmEngine, Protocol]:
    """The engine of tests/vllm/test_engine_vllm.py, with nothing cached."""
    engine, protocol = engines.open(demo / "checkpoints" / "step-1600", pixels=(PIXELS, PIXELS))
    assert isinstance(engine, VllmEngine)
    engine.drop_caches()
    return engine, protocol


def questions(count: int, words: int = 40, options: tuple[str, ...] = OPTIONS) -> list[Sample]:
    """Texts of all lengths modulo a block, no two with a common beginning."""
    return [
        Sample(
            f"{words}-{index}",
            "texts",
            "d",
            "a",
            (" ".join([str(index), *(WORDS[(index * 7 + at * at) % len(WORDS)] for at in range(words + index))]),),
            options,
            0,
        )
        for index in range(count)
    ]


def attention_of(engine: VllmEngine) -> PackedAttention:
    """The worker's, which is in this process."""
    [pooler] = engine._engine.collective_rpc(lambda worker: worker.model_runner.get_model().pooler)
    found = pooler.answered.__self__
    assert isinstance(found, PackedAttention)
    return found


def both_ways(engine: VllmEngine, protocol: Protocol, samples: list[Sample]) -> tuple[Any, Any]:
    """In one request a sample and in one a path, each with nothing cached."""
    engine.drop_caches()
    mine = scored_by(engine, protocol, samples)
    engine.drop_caches()
    with per_candidate(engine):
        theirs = scored_by(engine, protocol, samples)
    engine.drop_caches()
    return mine, theirs


def counted(engine: VllmEngine, name: str) -> int:
    return int(engine.describe().counts[name])


def test_the_numbers_of_a_request_a_path_in_the_least_of_rows(demo: Path, series: tuple[VllmEngine, Protocol]) -> None:
    engine, protocol = series
    assert engine.describe().settings["request"] == "one"
    samples = [s for s in open_reader(demo / "mini-m3") if s.reason is None][::3] + questions(32)
    before = {name: counted(engine, name) for name in ("requests", "packed_requests", "resubmissions")}
    mine, theirs = both_ways(engine, protocol, samples)
    assert largest_difference(mine, theirs) <= BOUND
    assert counted(engine, "packed_requests") - before["packed_requests"] > len(samples) // 2
    assert counted(engine, "requests") - before["requests"] > 3 * len(samples)
    assert counted(engine, "resubmissions") == before["resubmissions"]
    assert all(scored.tokens_computed <= scored.tokens_minimal for scored in mine.values())
    assert sum(s.tokens_computed for s in theirs.values()) > 1.3 * sum(s.tokens_minimal for s in theirs.values())


def test_scored_again_with_blocks_of_the_first_time(series: tuple[VllmEngine, Protocol]) -> None:
    """Whole blocks of the head are read from the cache, and those behind them are nobody's: nothing goes again."""
    engine, protocol = series
    first = scored_by(engine, protocol, questions(32))
    hits, again = counted(engine, "prefix_cache_hits"), counted(engine, "resubmissions")
    second = scored_by(engine, protocol, questions(32))
    assert counted(engine, "prefix_cache_hits") - hits == 32
    assert counted(engine, "resubmissions") == again
    assert largest_difference(first, second) <= BOUND
    with per_candidate(engine):
        assert largest_difference(scored_by(engine, protocol, questions(32)), first) <= BOUND


# Guards --------------------------------------------------------------------------------------------------------------


@contextmanager
def laid_out_otherwise(monkeypatch: pytest.MonkeyPatch, change: Any) -> Iterator[None]:
    """With packed requests changed on their way to vLLM."""
    with monkeypatch.context() as patched:
        patched.setattr(flights, "pack", lambda *words: change(pack(*words)))
        yield


def test_without_filler_paths_share_blocks(
    series: tuple[VllmEngine, Protocol], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, protocol = series

    def bare(packed: PackedRequest) -> PackedRequest:
        length = packed.layout.first + len(packed.layout.depth)
        return replace(packed, prompt=packed.prompt[:length], layout=replace(packed.layout, length=length))

    with laid_out_otherwise(monkeypatch, bare):
        wrong, right = both_ways(engine, protocol, questions(4))
    assert largest_difference(wrong, right) > WRONG


def test_without_a_shift_positions_are_those_of_the_packing(
    series: tuple[VllmEngine, Protocol], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, protocol = series
    with monkeypatch.context() as patched:
        patched.setattr(
            packed_attention, "plan_step", lambda *words: replace(step := plan_step(*words), shift=step.shift * 0)
        )
        wrong, theirs = both_ways(engine, protocol, questions(4))
    assert largest_difference(wrong, theirs) > WRONG


class _Fixed(Nonces):
    """The same nonce for every request."""

    def take(self, unlike: int) -> list[int]:
        return [unlike, *self._alphabet[:3]]


def test_without_a_nonce_a_text_finds_the_blocks_of_a_packing(
    series: tuple[VllmEngine, Protocol], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that happens to have the same tokens: its keys in those blocks are other texts'."""
    engine, protocol = series
    [sample] = questions(1, words=70)

    def after(nonces: Nonces) -> float:
        """How far off a plain text is that goes on as a packing does."""
        made: list[PackedRequest] = []
        engine.drop_caches()

        def noted(packed: PackedRequest) -> PackedRequest:
            made.append(packed)
            return packed

        with laid_out_otherwise(monkeypatch, noted), monkeypatch.context() as patched:
            patched.setattr(engine._flights, "_nonces", nonces)
            scored_by(engine, protocol, [sample])
        [packed] = made
        text = packed.prompt[: len(packed.prompt) - 2]
        if not isinstance(nonces, _Fixed):  # the text as it would be: what is asked for ends the head
            text[packed.layout.head] = packed.prompt[packed.layout.first]
        found = [_tokens_scored(engine, text, read_cache) for read_cache in (True, False)]
        return max(abs(one - other) for one, other in zip(*found, strict=True))

    ordinary = engine._flights._nonces
    assert ordinary is not None
    assert after(_Fixed(ordinary._alphabet)) > WRONG
    assert after(ordinary) <= BOUND


def _tokens_scored(engine: VllmEngine, text: list[int], read_cache: bool) -> list[float]:
    """Raw logits of two tokens after a text of tokens, as a plain request."""
    from vllm import PoolingParams

    from radar_fast.engines.vllm.requests import TARGETS

    asked = PoolingParams(task="plugin", skip_reading_prefix_cache=not read_cache, extra_kwargs={TARGETS: [[5, 9]]})
    engine._engine.add_request("text", {"type": "token", "prompt_token_ids": text}, asked)
    outputs: list[Any] = []
    while not outputs:
        outputs = engine._engine.step()
    return [logit for logit, _ in outputs[0].outputs.data.tolist()]


def test_more_sequences_than_there_is_room_for_go_as_requests(
    series: tuple[VllmEngine, Protocol], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, protocol = series
    attention = attention_of(engine)
    samples = questions(8)
    right = scored_by(engine, protocol, samples)
    widest: list[int] = []  # of each step with packed requests: a step of plain ones is as wide as vLLM made it

    def watched(layouts: Any, *words: Any) -> Any:
        step = plan_step(layouts, *words)
        if any(answered and layout for answered, layout in zip(step.answered, layouts, strict=True)):
            widest.append(len(step.lengths))
        return step

    with monkeypatch.context() as patched:
        patched.setattr(packed_attention, "plan_step", watched)
        for room in (12, 2):  # for some samples together, for none of them
            widest.clear()
            patched.setattr(attention, "_most_sequences", room)
            again = counted(engine, "resubmissions")
            assert largest_difference(scored_by(engine, protocol, samples), right) <= BOUND
            assert max(widest, default=0) <= room
        assert counted(engine, "resubmissions") > again


def test_what_was_not_computed_as_packed_is_not_answered(
    series: tuple[VllmEngine, Protocol], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A packed request computed as a plain text has rows where its scores are looked up, of another text."""
    engine, protocol = series
    attention = attention_of(engine)
    right = scored_by(engine, protocol, questions(4))
    engine.drop_caches()
    with monkeypatch.context() as patched:
        patched.setattr(attention, "_most_sequences", 0)
        assert largest_difference(scored_by(engine, protocol, questions(4)), right) <= BOUND
        engine.drop_caches()
        [pooler] = engine._engine.collective_rpc(lambda worker: worker.model_runner.get_model().pooler)
        patched.setattr(pooler, "answered", lambda: [True] * len(attention.take_answered()))
        assert largest_difference(scored_by(engine, protocol, questions(4)), right) > WRONG


def test_an_image_that_reaches_the_root_is_left_to_plain_requests(series: tuple[VllmEngine, Protocol]) -> None:
    """The root is computed apart from the head, and has an embedding of its own."""
    engine, protocol = series
    prompt = protocol.prompt(questions(1)[0])
    ready = engine._preparer.submit(prompt).result()
    assert isinstance(ready, Ready)
    assert engine._flights._pack(ready) is not None
    length = len(ready.shared["prompt_token_ids"])
    for end, fits in ((length - 1, True), (length, False)):
        place = SimpleNamespace(offset=end - 5, length=5)
        ready.shared["mm_placeholders"] = {"image": [place]}
        assert (engine._flights._pack(ready) is not None) is fits


def _set(path: str, value: Any) -> Any:
    return pytest.param(path, value, id=path.replace(".", "-"))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        _set("vllm_config.scheduler_config.enable_chunked_prefill", True),
        _set("vllm_config.parallel_config.pipeline_parallel_size", 2),
        _set("vllm_config.parallel_config.data_parallel_size", 2),
        _set("vllm_config.parallel_config.decode_context_parallel_size", 2),
        _set("vllm_config.parallel_config.enable_dbo", True),
        _set("vllm_config.kv_transfer_config", object()),
        _set("vllm_config.speculative_config", object()),
        _set("vllm_config.lora_config", object()),
        _set("vllm_config.model_config.enforce_eager", False),
        _set("vllm_config.model_config.enable_prompt_embeds", True),
        _set("vllm_config.cache_config.cache_dtype", "fp8"),
        _set("vllm_config.cache_config.block_size", 64),
        _set("is_mm_prefix_lm", True),
        _set("uses_xdrope_dim", 4),
        _set("get_model", object),
        _set("attn_groups.0.0.kernel_block_size", 16),
        _set("attn_groups.0.0.kv_cache_spec.sliding_window", 128),
        _set("attn_groups.0.0.kv_cache_spec.attention_chunk_size", 128),
        _set("attn_groups.0.0.backend.forward_includes_kv_cache_update", True),
    ],
)
def test_the_gate_is_shut(series: tuple[VllmEngine, Protocol], path: str, value: Any) -> None:
    """The live runner is let through; the same with one setting changed is not."""
    engine, _ = series
    [runner] = engine._engine.collective_rpc(lambda worker: worker.model_runner)
    assert reason_against(runner) is None
    *parents, name = path.split(".")
    owner: Any = runner
    for parent in parents:
        owner = owner[int(parent)] if parent.isdigit() else getattr(owner, parent)
    there = name in vars(owner)
    before = getattr(owner, name, None)
    if name == "forward_includes_kv_cache_update":
        before = owner.forward_includes_kv_cache_update
        owner.forward_includes_kv_cache_update = value
    else:
        object.__setattr__(owner, name, value)
    try:
        reason = reason_against(runner)
        assert reason
        assert "\n" not in reason
    finally:
        if there:
            (setattr if isinstance(owner, type) else object.__setattr__)(owner, name, before)
        else:
            delattr(owner, name)


def test_a_layout_travels_as_numbers_and_bytes() -> None:
    """vLLM's process gets it through msgpack."""
    arrays = {name: np.arange(6, dtype=np.int32) for name in ("depth", "sources", "places", "rows", "tokens")}
    layout = Layout(3, 7, 40, paths=np.arange(6, dtype=np.int32).reshape(2, 3), **arrays)
    said = layout.to_dict()
    assert all(isinstance(value, int | bytes) for value in said.values())
    again = Layout.of({PACKED: said})
    assert again is not None
    assert all(np.array_equal(getattr(again, name), getattr(layout, name)) for name in ("paths", *arrays))
    assert Layout.of({}) is None


def test_an_input_that_would_be_assembled_otherwise_is_laid_out_by_the_processor(
    demo: Path, series: tuple[VllmEngine, Protocol], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is assembled only once one has been seen to come to the same."""
    engine, protocol = series
    samples = [s for s in open_reader(demo / "mini-m3") if s.reason is None and len(s.images) == 1][:12]
    assembled = Preprocessor.assemble

    def with_places_beside(*words: Any) -> Any:
        made = assembled(*words)
        assert made is not None
        [place] = made["mm_placeholders"]["image"]
        return {**made, "mm_placeholders": {"image": [replace(place, offset=place.offset + 1)]}}

    right = scored_by(engine, protocol, samples)
    with monkeypatch.context() as patched:
        patched.setattr(engine._preparer, "_models", {})
        patched.setattr(Preprocessor, "assemble", with_places_beside)
        engine.drop_caches()
        runs = engine._preparer.processor_runs
        assert largest_difference(scored_by(engine, protocol, samples), right) <= BOUND
        assert engine._preparer.processor_runs == runs + len(samples)
    engine.drop_caches()
    with monkeypatch.context() as patched:
        patched.setattr(engine._preparer, "_models", {})
        runs = engine._preparer.processor_runs
        assert largest_difference(scored_by(engine, protocol, samples), right) <= BOUND
        assert engine._preparer.processor_runs < runs + len(samples)
