"""A model that is scored while it is trained, against the same weights saved and scored as a checkpoint."""

import os
import random
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from side_by_side import opened
from training_steps import batch_of, lessons_of, load, train_step

from radar_fast.errors import EngineError, UsageError
from radar_fast.models.checkpoint import Checkpoint
from radar_fast.readers import open_reader
from radar_fast.results.folder import ResultFolder
from radar_fast.results.journal import read_records
from radar_fast.results.record import Record, record_of
from radar_fast.sample import Sample
from radar_fast.training import Scorer, ScorerCallback, numbers_of

ROOT = Path(__file__).resolve().parents[2]
BOUND = 1e-5
"""On every raw logit and log-probability, fp32; what the batches hold may differ, and so may the last bits."""


def saved(model: Any, source: Path, folder: Path) -> Path:
    """The model as a checkpoint, with what else a checkpoint has."""
    model.save_pretrained(folder)
    for file in source.iterdir():
        if file.name not in ("config.json", "model.safetensors"):
            shutil.copyfile(file, folder / file.name)
    return folder


def difference(journal: Path, checkpoint: Path, samples: list[Sample]) -> float:
    """Between what a scorer wrote and what the engine says of the checkpoint, over all raw logits and logprobs."""
    written = {record.key: record for record in read_records(journal)}
    assert set(written) == {sample.key for sample in samples}
    engine, protocol = opened("transformers", checkpoint)
    with engine:
        return max(
            apart(record_of(scored), written[scored.sample.key])
            for scored in engine.score(map(protocol.prompt, samples))
        )


def apart(one: Record, other: Record) -> float:
    assert (one.status, other.status) == ("scored", "scored")
    pairs = zip((*one.logits, *one.logprobs), (*other.logits, *other.logprobs), strict=True)
    return max(abs(a - b) for mine, theirs in pairs for a, b in zip(mine, theirs, strict=True))


def test_a_plain_loop_is_scored_as_its_checkpoint_would_be(demo: Path, tmp_path: Path) -> None:
    source = demo / "checkpoints" / "step-50"
    model = load(source)
    model.model.visual.eval()  # as a frozen tower is kept
    processor = Checkpoint.open(source).processor
    samples = list(open_reader(demo / "mini-m3"))
    scorer = Scorer.from_model(
        model, processor, samples, every=2, limit=10, min_pixels=3136, max_pixels=3136, out=tmp_path, strict=True
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    lessons = lessons_of(source)
    modes = [module.training for module in model.modules()]
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    for step in (1, 2):
        train_step(model, model, optimizer, Random(step).sample(lessons, 2))
        gradients = [None if each.grad is None else each.grad.clone() for each in model.parameters()]
        drawn = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # type: ignore[index]
        summary = scorer.score(step)
        assert (summary is None) == (step == 1)
        assert drawn == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # type: ignore[index]
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            assert (parameter.grad is None) == (gradient is None)
            assert gradient is None or torch.equal(parameter.grad, gradient)
    assert [module.training for module in model.modules()] == modes
    assert [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()] == hooks
    assert summary is not None
    assert summary.overall.scored == len(scorer.samples) == 10
    assert (summary.step, summary.complete) == (2, True)
    assert numbers_of(summary)["radar/sds"] == summary.overall.estimates["sds"].value
    assert (
        difference(
            tmp_path / "step-2" / "samples.jsonl", saved(model, source, tmp_path / "saved"), list(scorer.samples)
        )
        <= BOUND
    )
    folder = ResultFolder(tmp_path / "step-2")
    assert folder.read_summary().overall == summary.overall
    assert folder.manifest().step == 2
    loss = train_step(model, model, optimizer, lessons[:2])  # autograd finds nothing that it cannot use
    assert loss == loss


def test_what_goes_wrong_does_not_end_the_training(demo: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = demo / "checkpoints" / "step-50"
    model = load(source)
    samples = list(open_reader(demo / "mini-m3"))[:4]
    scorer = Scorer.from_model(model, source, samples)

    def broken(sample: Sample) -> Any:
        raise RuntimeError(f"no prompt of {sample.id}")

    scorer._protocol = replace(scorer._protocol, prompt=broken)
    assert scorer.score(7) is None
    assert "step 7: not scored: no prompt of" in caplog.text
    assert model.training
    strict = Scorer.from_model(model, source, samples, strict=True)
    strict._protocol = scorer._protocol
    with pytest.raises(EngineError, match="no prompt of"):
        strict.score(7)


def test_a_model_of_bfloat16_and_another_attention(demo: Path) -> None:
    source = demo / "checkpoints" / "step-1600"
    model = load(source).to(torch.bfloat16)
    model.config._attn_implementation = "flash_attention_2"  # not to be had here, as the scorer must find out
    samples = list(open_reader(demo / "mini-m3"))
    summary = Scorer.from_model(model, source, samples, limit=8, confidence=None, strict=True).score(1)
    again = Scorer.from_model(
        load(source), source, samples, limit=8, confidence=None, strict=True, autocast=torch.bfloat16
    )
    other = again.score(1)
    assert summary is not None
    assert other is not None
    assert model.config.get_text_config()._attn_implementation == "flash_attention_2"
    sds = [each.overall.estimates["sds"].value for each in (summary, other)]
    assert sds[0] == pytest.approx(sds[1], abs=0.02)


def test_what_cannot_be_scored_in_memory_is_refused(demo: Path) -> None:
    source = demo / "checkpoints" / "step-50"
    model = load(source)
    sample = next(iter(open_reader(demo / "mini-m3")))
    with pytest.raises(UsageError, match="no LM head"):
        Scorer.from_model(model.model, source, [sample])
    with pytest.raises(UsageError, match="no transformers processor"):
        Scorer.from_model(model, object(), [sample])
    with pytest.raises(UsageError, match="every 0"):
        Scorer.from_model(model, source, [sample], every=0)
    with pytest.raises(UsageError, match="none of them can be scored"):
        Scorer.from_model(model, source, [])
    next(model.parameters()).ds_id = 1
    with pytest.raises(UsageError, match="ZeRO 3"):
        Scorer.from_model(model, source, [sample])


@pytest.mark.full
def test_the_callback_scores_at_the_trainers_steps(demo: Path, tmp_path: Path) -> None:
    """A real Trainer, which also writes the checkpoint that the last scoring is compared with."""
    pytest.importorskip("accelerate")
    from transformers import Trainer, TrainingArguments

    source = demo / "checkpoints" / "step-50"
    model = load(source)
    lessons = lessons_of(source)
    arguments = TrainingArguments(
        str(tmp_path / "trainer"),
        max_steps=4,
        per_device_train_batch_size=4,
        learning_rate=1e-3,
        save_steps=4,
        report_to=[],
        use_cpu=True,
        remove_unused_columns=False,
        disable_tqdm=True,
        logging_steps=1,
    )
    trainer = Trainer(model, arguments, train_dataset=lessons * 2, data_collator=lambda some: batch_of(some, model))
    scorer = Scorer.from_model(model, source, open_reader(demo / "mini-m3"), every=2, limit=10, out=tmp_path / "scores")
    callback = ScorerCallback(scorer, trainer.log)
    trainer.add_callback(callback)
    trainer.train()
    assert list(callback.summaries) == [2, 4]
    logged = [entry for entry in trainer.state.log_history if "radar/sds" in entry]
    assert [entry["step"] for entry in logged] == [2, 4]
    assert logged[1]["radar/sds"] == callback.summaries[4].overall.estimates["sds"].value
    written = tmp_path / "trainer" / "checkpoint-4"
    for file in source.iterdir():
        if not (written / file.name).exists():
            shutil.copyfile(file, written / file.name)
    assert difference(tmp_path / "scores" / "step-4" / "samples.jsonl", written, list(scorer.samples)) <= BOUND


def two_processes(script: str, *words: Path) -> list[str]:
    """What two ranks of a script of ``tests/support`` say, over gloo; both must end well."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    here = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, str(ROOT / "tests/support" / script), *map(str, words)]
    ranks = [
        subprocess.Popen(
            command, env={**here, "RANK": str(rank)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for rank in range(2)
    ]
    try:
        said = [rank.communicate(timeout=500)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
    assert [rank.returncode for rank in ranks] == [0, 0], said
    return said


@pytest.mark.full
def test_a_rank_whose_pass_breaks_off_keeps_no_other_waiting(demo: Path) -> None:
    """Under FSDP 2 out of memory amid a pass costs a smaller batch, and another exception the scoring alone."""
    said = two_processes("broken_passes.py", demo / "checkpoints" / "step-50", demo / "mini-m3")
    for text in said:
        for step in (5, 6):
            assert f"step {step}: not scored: rank 1: the model failed on" in text
    assert "gathers are made for the other ranks" in said[1]


@pytest.mark.full
def test_two_ranks_score_as_one(demo: Path, tmp_path: Path) -> None:
    """Two processes over gloo, under FSDP 2 and DDP; and a rank that fails keeps no other waiting."""
    source = demo / "checkpoints" / "step-50"
    said = two_processes("two_ranks.py", source, demo / "mini-m3", tmp_path)
    for text in said:
        assert "step 1: not scored: rank 1: a rank fails" in text
        assert "step 2: not scored: rank 1: a rank fails" in text
    samples = list(open_reader(demo / "mini-m3"))
    for kind in ("fsdp", "ddp"):
        folder = tmp_path / kind
        for file in source.iterdir():
            if file.name not in ("config.json", "model.safetensors"):
                shutil.copyfile(file, folder / "saved" / file.name)
        keys = {record.key for record in read_records(folder / "step-3" / "samples.jsonl")}
        chosen = [sample for sample in samples if sample.key in keys]
        assert len(chosen) == 13
        assert difference(folder / "step-3" / "samples.jsonl", folder / "saved", chosen) <= BOUND
