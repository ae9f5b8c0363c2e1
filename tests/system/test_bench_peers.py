"""Peers of ``radar-fast bench`` that are asked for in special cases, and contenders that fail."""

import json
from pathlib import Path
from typing import Any

import pytest
from bench_data import write_jsonl
from command_line import run_cli
from sglang_stand_in import serving

from radar_fast.bench.config import BenchConfig
from radar_fast.bench.contender import EngineContender, Setup
from radar_fast.bench.race import bench
from radar_fast.bench.report import tables_of
from radar_fast.bench.sglang_peer import SGLang
from radar_fast.bench.workload import generated_samples
from radar_fast.engines import EngineOptions
from radar_fast.errors import EngineError, UsageError

SMALL: dict[str, Any] = {"min_pixels": 56 * 56, "max_pixels": 112 * 112}
ON_CPU = EngineOptions(device="cpu", dtype="float32", workers=1)


def setup_of(name: str, model: Path, **changes: Any) -> Setup:
    return Setup(name=name, model=str(model), protocol="qwen2vl", **SMALL, options=ON_CPU, **changes)


def test_sglang_is_asked_for_the_rows_before_answers_and_agrees(qwen2vl: Path, tmp_path: Path) -> None:
    samples = generated_samples(tmp_path, count=2, candidates=3, size=(60, 160))
    (tmp_path / "ours").mkdir()
    (tmp_path / "theirs").mkdir()
    ours = EngineContender(setup_of("transformers", qwen2vl))
    wanted = ours.score(samples, tmp_path / "ours").logprobs
    ours.close()
    assert wanted is not None
    with serving(qwen2vl) as (address, server):
        peer = SGLang(setup_of("sglang", qwen2vl, sglang=address))
        peer.forget()
        found = peer.score(samples, tmp_path / "theirs")
        assert peer.describe() == {"sglang": "stand-in", "address": address}
        peer.close()
    assert server.flushed == 1
    assert found.logits == []
    for mine, theirs in zip(found.logprobs or [], wanted, strict=True):
        for one, other in zip(mine, theirs, strict=True):
            assert one == pytest.approx(other, abs=1e-4)
    # A prefix a sample, before everything else, so that candidates find it cached; then a request a candidate.
    assert len(server.asked) == 2 * (1 + 3)
    assert not any("return_logprob" in body for body in server.asked[:2])
    assert all(body["return_logprob"] for body in server.asked[2:])
    assert found.tokens_computed < sum(len(body["input_ids"]) for body in server.asked[2:]) * 10


def test_a_server_that_is_not_there_or_says_something_else_is_told_in_a_line(
    qwen2vl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EngineError, match=r"^sglang: http://127.0.0.1:9/get_server_info: [^\n]*$"):
        SGLang(setup_of("sglang", qwen2vl, sglang="http://127.0.0.1:9"))
    samples = generated_samples(tmp_path, count=1, candidates=2, size=(60, 160))
    with serving(qwen2vl) as (address, server):
        peer = SGLang(setup_of("sglang", qwen2vl, sglang=address))
        for answer, words in (
            ({"meta_info": {}}, "no such answer"),
            ({"meta_info": {"prompt_tokens": 9, "input_token_logprobs": [[0.0, -5, None]] * 9}}, "of other tokens"),
        ):
            monkeypatch.setattr(server, "generate", lambda _body, answer=answer: answer)
            with pytest.raises(EngineError, match=words):
                peer.score(samples, tmp_path)
        peer.close()


def test_a_server_and_its_peer_need_each_other() -> None:
    for changes in ({"peers": ("sglang",)}, {"sglang": "http://localhost:1"}):
        with pytest.raises(UsageError, match="--peers sglang and --sglang URL: one needs the other"):
            BenchConfig(model="demo", **changes)
    with pytest.raises(UsageError, match="--sglang localhost: an address is wanted"):
        BenchConfig(model="demo", peers=("sglang",), sglang="localhost")


@pytest.mark.full
def test_a_contender_that_fails_is_a_row_with_its_reason(tmp_path: Path) -> None:
    config = BenchConfig(
        model="demo",
        engines=("fake",),
        peers=("vllm-token-ids", "sglang"),
        sglang="http://127.0.0.1:9",
        samples=6,
        rounds=2,
        seconds=60.0,
        size=(60, 160),
        **SMALL,
        options=ON_CPU,
        report=tmp_path / "report.json",
    )
    report = bench(config)
    fake, token_ids, sglang = report["rows"]
    assert fake["samples"] == 6
    assert len(fake["seconds_of_rounds"]) == 2
    assert fake["agrees"]
    assert fake["ratios"] == {}
    assert "vllm-token-ids" in token_ids["failed"]  # no V2 runner on a CPU, or no vLLM at all
    assert sglang["failed"].startswith("sglang: http://127.0.0.1:9/get_server_info:")
    assert report["complete"]
    kept = json.loads((tmp_path / "report.json").read_text())
    assert kept["rows"] == report["rows"]
    assert len(tables_of(report)) == 3
    with pytest.raises(UsageError, match="vllm-token-ids"):  # nobody is left: what the first of them said
        bench(BenchConfig(model="demo", engines=(), peers=("vllm-token-ids",), samples=1, options=ON_CPU))


@pytest.mark.full
def test_letters_are_scored_in_one_request_a_sample(demo: Path, tmp_path: Path) -> None:
    pytest.importorskip("vllm", reason="no wheel of vLLM for this platform")
    data = write_jsonl(tmp_path / "data")
    model = demo / "checkpoints" / "step-1600"
    # Two: the demo's tokenizer cuts " C" into two tokens.
    pixels = ("--min-pixels", SMALL["min_pixels"], "--max-pixels", SMALL["max_pixels"])
    arguments = ("--model", model, "--data", data, "--candidates", 2, "--samples", 4, "--rounds", 1, *pixels)
    engines = ("--engines", "transformers", "--peers", "vllm-letters", "--letters", "--device", "cpu")
    result = run_cli("bench", *arguments, *engines)
    assert result.exit_code == 0, result.stdout + result.stderr
    report = json.loads(result.stdout.strip().splitlines()[-1])
    assert "their letters scored" in report["data"]
    assert report["answer_tokens"] == 1
    ours, letters = report["rows"]
    assert letters["agrees"]
    assert letters["largest_logit_difference"] < 1e-4
    assert letters["tokens_computed"] <= ours["tokens_computed"]
