"""Every model family on real vLLM (the CPU build) against a plain loop written from the published rules."""

from pathlib import Path

import pytest

pytest.importorskip("vllm", reason="no wheel of vLLM for this platform")

from family_loops import (
    QWEN,
    PlainQwen,
    assert_equal,
    compose_original,
    compose_plain,
    internvl_hf_loop,
    qwen_question,
)
from family_samples import cases
from internvl_published import PlainInternVL
from side_by_side import largest_difference, scored_by
from tiny import write_internvl_chat
from vllm_engines import Engines, per_candidate

from radar_fast.engines import Engine
from radar_fast.engines.vllm.engine import VllmEngine
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.protocols import Protocol
from radar_fast.sample import Sample, Scored

pytestmark = pytest.mark.full  # an engine each


def scored_both_ways(engine: Engine, protocol: Protocol, samples: list[Sample]) -> dict[tuple[str, str], Scored]:
    """In one request a sample, which must be what a request a path gives."""
    assert isinstance(engine, VllmEngine)
    found = scored_by(engine, protocol, samples)
    described = engine.describe()
    assert described.settings["request"] == "one"
    assert described.counts["packed_requests"] > 0
    with per_candidate(engine):
        assert largest_difference(found, scored_by(engine, protocol, samples)) <= 1e-5
    return found


def test_internvl_chat_equals_the_published_model(engines: Engines, tmp_path: Path) -> None:
    model = write_internvl_chat(tmp_path / "model")
    wanted = cases(tmp_path / "images")
    engine, protocol = engines.open(tmp_path / "model")
    found = scored_both_ways(engine, protocol, [case.sample for case in wanted])
    described = engine.describe().to_dict()
    loop = PlainInternVL(model, Checkpoint.open(tmp_path / "model").processor.tokenizer, 448, 256)
    for case in wanted:
        assert_equal(found[case.sample.key], *loop(case.internvl, case.images, list(case.sample.candidates)))
    assert described["processor_runs"] <= 2 * sum(bool(case.images) for case in wanted), "once a sample, each way"


def test_composed_projector_equals_its_parts(engines: Engines, tmp_path: Path) -> None:
    loop = compose_plain(tmp_path)
    engine, protocol = engines.open(tmp_path / "model")
    wanted = cases(tmp_path / "images")
    found = scored_both_ways(engine, protocol, [case.sample for case in wanted])
    for case in wanted:
        assert_equal(found[case.sample.key], *loop(case.plain + "\n", case.images, list(case.sample.candidates)))


@pytest.mark.parametrize("kind", ["mistral", "llama"])
def test_composed_original_equals_its_parts(engines: Engines, tmp_path: Path, kind: str) -> None:
    loop, turn = compose_original(tmp_path, kind)
    engine, protocol = engines.open(tmp_path / "model")
    wanted = cases(tmp_path / "images")
    found = scored_both_ways(engine, protocol, [case.sample for case in wanted])
    for case in wanted:
        answers = [f" {candidate}" for candidate in case.sample.candidates]
        assert_equal(found[case.sample.key], *loop(turn.format(case.turn), case.images, answers))


def test_internvl_of_transformers_equals_the_published_rules(engines: Engines, tmp_path: Path) -> None:
    loop = internvl_hf_loop(tmp_path / "model")
    engine, protocol = engines.open(tmp_path / "model")
    wanted = cases(tmp_path / "images")
    found = scored_both_ways(engine, protocol, [case.sample for case in wanted])
    for case in wanted:
        assert_equal(found[case.sample.key], *loop(case.internvl, case.images, list(case.sample.candidates)))


@pytest.mark.parametrize("family", list(QWEN))
def test_qwen_chat_equals_the_models_own_forward(engines: Engines, tmp_path: Path, family: str) -> None:
    folder = QWEN[family](tmp_path / "model")
    engine, protocol = engines.open(folder)
    wanted = cases(tmp_path / "images")
    found = scored_both_ways(engine, protocol, [case.sample for case in wanted])
    loop = PlainQwen(folder, family)
    for case in wanted:
        assert_equal(found[case.sample.key], *loop(qwen_question(case), case.images, list(case.sample.candidates)))
