"""lmms-eval with our model in it, against the plain loop: in an environment that has lmms-eval."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("lmms_eval", reason="it wants an environment of its own: docs/lm-eval.md")

from lmms_eval.api.instance import Instance
from lmms_eval.models import get_model
from lmms_tasks import write_pictures_task
from plain import TAG, PlainLoop, Question

from radar_fast.errors import DataError, UsageError

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
BOUND = 1e-4
CHOICES = ["red", "dark blue", "a hexagon"]


def expected(checkpoint: Path, pictures: list[Path]) -> list[list[float]]:
    """Of each question its candidates' mean losses, one forward pass a candidate."""
    loop = PlainLoop(checkpoint, 256 * 28 * 28, 768 * 28 * 28)
    losses = []
    for number, picture in enumerate(pictures):
        asked = Question("t", str(number), f"{TAG}What is {number}?", [picture], CHOICES[: 2 + number % 2])
        losses.append([-sum(each) / len(each) for each in loop(asked)[1]])
    return losses


def test_its_own_command_knows_it_and_answers_as_the_plain_loop(qwen2vl: Path, tmp_path: Path) -> None:
    tasks, pictures = write_pictures_task(tmp_path / "tasks")
    words = ["--model", "radar-fast", "--model_args", f"pretrained={qwen2vl},dtype=float32,device=cpu"]
    words += ["--tasks", "tiny_pictures", "--include_path", str(tasks), "--log_samples"]
    done = subprocess.run(
        [sys.executable, "-m", "lmms_eval", *words, "--output_path", str(tmp_path / "out"), "--batch_size", "1"],
        env={**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Error" not in done.stdout + done.stderr, done.stdout + done.stderr  # it ends with 0 all the same
    [written] = (tmp_path / "out").rglob("*samples_tiny_pictures.jsonl")
    said = [json.loads(line) for line in written.read_text().splitlines()]
    losses = expected(qwen2vl, pictures)
    assert len(said) == len(losses)
    for sample in said:
        mine = [float(loss) for loss, _ in sample["filtered_resps"]]  # its log holds strings
        assert mine == pytest.approx(losses[sample["doc_id"]], abs=BOUND)
    [results] = (tmp_path / "out").rglob("*results.json")
    right = [min(range(len(each)), key=each.__getitem__) == 1 for each in losses]
    assert json.loads(results.read_text())["results"]["tiny_pictures"]["acc,none"] == sum(right) / len(right)


def test_what_it_does_not_do_is_said(qwen2vl: Path) -> None:
    model = get_model("radar-fast").create_from_arg_string(f"pretrained={qwen2vl},device=cpu", {"batch_size": 1})
    facts = {"task": "t", "doc_id": 0, "repeats": 1}
    with pytest.raises(UsageError, match="--tasks: t generates"):
        model.generate_until([Instance("generate_until", ("What?", {}), 0, metadata=facts)])
    model.task_dict = {"t": {"test": [{}]}}
    films = Instance("loglikelihood", ("What?", " a", lambda _: ["film.mp4"], 0, "t", "test"), 0, metadata=facts)
    with pytest.raises(DataError, match="shows a str"):
        model.loglikelihood([films])
    alone = Instance("loglikelihood", ("", " a"), 0, metadata=facts)
    with pytest.raises(DataError, match="is empty"):
        model.loglikelihood([alone])
