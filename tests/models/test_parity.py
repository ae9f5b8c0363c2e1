"""The demo's whole series on mini-M3 against the published algorithm, through the command line."""

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import run_cli
from plain import PlainLoop, m3_questions, sds

from radar_fast.demo.show import PIXELS

OTHERS = ("step-50", "step-100", "step-200", "step-400", "step-800")


def score(demo: Path, step: str, out: Path) -> list[dict[str, Any]]:
    model = ["--model", demo / "checkpoints" / step]
    options = ["--data", demo / "mini-m3", "--out", out, "--dtype", "float32", "--device", "cpu"]
    pixels = ["--min-pixels", PIXELS, "--max-pixels", PIXELS, "--official-out", out / "official"]
    result = run_cli("score", *model, *options, *pixels)
    assert result.exit_code == 0, result.stderr  # the only unscored sample is one of 13 images
    return [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("step", ["step-1600", *(pytest.param(step, marks=pytest.mark.full) for step in OTHERS)])
def test_every_logit_of_every_checkpoint(demo: Path, step: str, tmp_path: Path) -> None:
    lines = score(demo, step, tmp_path)
    found = {(line["metadata"]["stem"], line["id"]): line for line in lines}
    letters = {key: line["candidates"] for key, line in found.items()}
    loop = PlainLoop(demo / "checkpoints" / step, PIXELS, PIXELS)
    worst = 0.0
    files: dict[str, list[tuple[float, bool]]] = {}
    for question in m3_questions(demo / "mini-m3", letters):
        line = found.pop((question.file, question.q_id))
        assert line["status"] == "scored", line["reason"]
        assert line["candidates"] == question.answers
        logits, logprobs = loop(question)
        for ours, theirs in ((line["logits"], logits), (line["logprobs"], logprobs)):
            assert [len(candidate) for candidate in ours] == [len(candidate) for candidate in theirs]
            for mine, plain in zip(ours, theirs, strict=True):
                worst = max([worst, *(abs(a - b) for a, b in zip(mine, plain, strict=True))])
        means = [sum(candidate) / len(candidate) for candidate in logits]
        files.setdefault(question.file, []).append((sds(logits), means.index(max(means)) == 0))
    assert worst <= 1e-4
    [left] = found.values()
    assert (left["status"], left["reason_kind"]) == ("unscored", "too-many-images")

    summary = json.loads((tmp_path / "summary.json").read_text())
    assert len(files) == len(summary["tasks"]) == 16
    for stem, scores in files.items():
        entry = summary["tasks"][stem.removesuffix("_pretrained_mllm_eval")]
        assert entry["sds"] == pytest.approx(sum(value for value, _ in scores) / len(scores), abs=1e-5)
        assert entry["accuracy"] == pytest.approx(sum(right for _, right in scores) / len(scores))
    engine = summary["engine"]
    # Prompts of 25 tokens: 3% is padding, 10% are beginnings that candidates share, computed once for each of them.
    assert 1.0 <= engine["tokens_computed"] / engine["tokens_minimal"] <= 1.15

    # The published files: their own denominators, which count the record of 13 images as wrong.
    name = f"{step}_{PIXELS}~{PIXELS}"
    [text] = tmp_path.glob(f"official/multiple_discipline_reasoning/*Math*/{name}.txt")
    stem = text.parent.name
    successes = sum(right for _, right in files[stem])
    total = len(files[stem]) + 1
    assert text.read_text().startswith(f"Success Rate: {successes}/{total}:{successes / total * 100:.2f}%, ")
    macro = summary["directories"]["multiple_discipline_reasoning"]
    assert macro["aggregation"] == "macro"
    official = json.loads((tmp_path / f"official/multiple_discipline_reasoning/total/{name}.json").read_text())
    assert len(official) == 2
    assert macro["sds"] == pytest.approx(sum(entry["avg_prob"] for entry in official.values()) / 2, abs=1e-6)


def test_every_subset_and_rule_is_in_mini_m3(demo: Path) -> None:
    """The parity above would say nothing of a rule that no record exercises."""
    from radar_fast.readers import open_reader
    from radar_fast.readers.m3 import DIRECTORIES
    from radar_fast.sample import ReasonKind

    samples = list(open_reader(demo / "mini-m3"))
    assert {sample.directory for sample in samples} == set(DIRECTORIES)
    assert {sample.ability for sample in samples} == {"perception", "reasoning"}
    first = {sample.candidates[0] for sample in samples if sample.candidates}
    assert first >= {"A", "B"}, "images in options, in both orders"
    assert max(len(sample.images) for sample in samples) > 1
    assert any(isinstance(sample.parts[0], str) and len(sample.parts) > 3 for sample in samples), "inline images"
    assert [sample.reason.kind for sample in samples if sample.reason] == [ReasonKind.TOO_MANY_IMAGES]
    assert len({sample.id for sample in samples}) == len(samples)
